"""
Read dialogues of CoDraw and merge their turns into the steps of a picture story.

The rules are those of GeNeVA (El-Nouby et al. 2019; Maluuba/GeNeVA_datasets): a turn without a canvas, or whose canvas
shows no more objects than the one before it, is merged with the next turn; words are in lower case; messages of mere
chit-chat are dropped. What comes after the last step is left out. There, spelling was corrected by a web service, and
punctuation and the words of chit-chat were removed within messages too: here they stay.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from .clip_art import ClipArt
from .scene import parse_scene

SPLITS = {"train": "train", "val": "validation", "test": "test"}  # by the beginning of a file's name
FILE_NAME = re.compile(r"(train|val|test)_\d+")
CHIT_CHAT = {"hi", "hello", "ok", "okay", "alright", "done", "thanks", "bye"}
TELLER, DRAWER = "<teller>", "<drawer>"
SPEAKERS = {"msg_t": TELLER, "msg_d": DRAWER}
CAPTIONS = ("teller", "dialogue")
WORD = re.compile(r"[^\W_]+")
TOKENIZED = (  # what the tokenizer of the dialogues took apart, and how it is written
    (re.compile(r"[`´]"), "'"),
    (re.compile(r"''"), '"'),
    (re.compile(r"(\d) \. (?=\d)"), r"\1."),
    (re.compile(r"\s+(n't|'(?:s|m|re|ll|ve|d|em))\b"), r"\1"),
    (re.compile(r"\s+([.,;:!?%)\]])"), r"\1"),
    (re.compile(r"([(\[])\s+"), r"\1"),
)
SENTENCE_ENDS = ".,;:!?"


@dataclass
class Turn:
    """A turn of a dialogue: what was said, by speaker, and the canvas after it (`None` where there was none)."""

    messages: dict[str, str]
    canvas: list[ClipArt] | None


@dataclass
class Dialogue:
    """A dialogue; `name` is that of its file, `split` one of `SPLITS`."""

    name: str
    split: str
    turns: list[Turn]

    @property
    def num_changes(self) -> int:
        """How many canvases differ from the one before them; the first is empty."""
        canvases = [frozenset(), *(frozenset(turn.canvas) for turn in self.turns if turn.canvas is not None)]
        return sum(before != after for before, after in zip(canvases, canvases[1:]))


@dataclass
class Step:
    """A step of a story: the canvas that it leads to and the messages (speaker and text) that ask for it."""

    canvas: list[ClipArt]
    messages: list[tuple[str, str]] = field(default_factory=list)

    def caption(self, kind: str) -> str | None:
        """
        Return the messages as one text; `None` where nothing is left to say.

        `kind` "teller" joins the Teller's messages as sentences, "dialogue" all messages, each behind its speaker.
        """
        if kind == "dialogue":
            return " ".join(f"{speaker} {text}" for speaker, text in self.messages) or None
        texts = [text for speaker, text in self.messages if speaker == TELLER]
        ended = [text if text[-1] in SENTENCE_ENDS else f"{text}." for text in texts[:-1]]
        return " ".join([*ended, *texts[-1:]]) or None


def find_dialogues(folder: Path) -> list[Path]:
    """Return the files of the dialogues in a folder, by name; raises `ValueError` where there is none."""
    files = sorted(path for path in folder.glob("*.json") if FILE_NAME.fullmatch(path.stem))
    if not files:
        raise ValueError(f"source: got no dialogue in {folder}, expected files such as train_00001.json")
    return files


def read_dialogue(path: Path) -> Dialogue:
    """Return the dialogue of a file; raises `ValueError`, naming file, turn and field, for what is not as expected."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name}: cannot be read as JSON: {error}") from error
    turns = document.get("dialog") if isinstance(document, dict) else None
    if not isinstance(turns, list):
        raise ValueError(f"{path.name}: dialog: got {type(turns).__name__}, expected a list of turns")
    split = SPLITS[FILE_NAME.fullmatch(path.stem)[1]]
    return Dialogue(path.stem, split, [_read_turn(turn, f"{path.name}, turn {i}") for i, turn in enumerate(turns)])


def merge_turns(turns: list[Turn]) -> list[Step]:
    """Return the steps of a story: turns merged until the canvas shows more objects and something was said."""
    steps, messages, before = [], [], 0
    for turn in turns:
        messages += [(speaker, text) for speaker, text in turn.messages.items() if not is_chit_chat(text)]
        if turn.canvas is None:
            continue
        count = len({clip_art.class_id for clip_art in turn.canvas})
        if count > before and messages:
            steps.append(Step(turn.canvas, messages))
            messages, before = [], count
        else:
            before = min(before, count)
    return steps


def is_chit_chat(text: str) -> bool:
    """Return whether a message says nothing about the picture: its words are `CHIT_CHAT`, or it has none."""
    return all(word in CHIT_CHAT for word in WORD.findall(text))


def clean_message(text: str) -> str:
    """Return a message in lower case, with punctuation and short forms joined to their words as people write them."""
    text = " ".join(text.lower().split())
    for pattern, replacement in TOKENIZED:
        text = pattern.sub(replacement, text)
    return text


def _read_turn(turn: dict, where: str) -> Turn:
    if not isinstance(turn, dict):
        raise ValueError(f"{where}: got {type(turn).__name__}, expected an object")
    for name in (*SPEAKERS, "abs_d"):
        if not isinstance(turn.get(name), str):
            raise ValueError(f"{where}: {name}: got {turn.get(name)!r}, expected a string")
    messages = {speaker: clean_message(turn[name]) for name, speaker in SPEAKERS.items()}
    canvas = parse_scene(turn["abs_d"], f"{where}, abs_d") if turn["abs_d"] else None
    return Turn(messages, canvas)
