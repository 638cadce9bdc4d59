"""
Does the model follow SCONE's instructions? The share of painted frames that show exactly the state that they should.

Painted frames are read by a fixed reader (`storyattn.training.scone.reader`), slot by slot. In the closed loop the
model starts from the true first frame and then reads its own paintings alone, as in use.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch
from datasets import Dataset
from PIL import Image
from storyattn import StoryAttnConfig, StoryAttnProcessor
from tqdm.auto import tqdm

from ..data.prepared_stories import PreparedStories
from ..models.baselines import BaselineConfig
from ..scone.pictures import draw_state
from ..scone.reader import Reading, state_reader
from ..scone.states import DOMAINS, State, parse_state
from .windows import Model, chunks, exchange, frames_shown, measured_frames


def check_max_frames(stories: Dataset | PreparedStories, config: StoryAttnConfig | BaselineConfig) -> None:
    """
    Refuse a model that cannot read the stories of SCONE among `stories` from their first frame to their last.

    Raises `ValueError` where `max_frames` of `config` is less than the frames of such a story.
    """
    longest = max((len(states) for _, states in scone_stories(stories).values()), default=0)
    if measured_frames(config) < longest:
        raise ValueError(
            f"max_frames: got {measured_frames(config)}, expected at least {longest}: a story of SCONE is read whole, "
            f"from its first frame on; train with --config_overrides max_frames={longest}"
        )


def scone_stories(stories: Dataset | PreparedStories) -> dict[int, tuple[str, list[str]]]:
    """Return domain and states of each story of SCONE, by its index in `stories`."""
    if not {"domain", "states"} <= set(stories.column_names):
        return {}
    rows = zip(stories["domain"], stories["states"])
    return {index: row for index, row in enumerate(rows) if row[0] in DOMAINS and row[1]}


def exact_match(
    model: Model,
    processor: StoryAttnProcessor,
    stories: Dataset | PreparedStories,
    indices: Iterable[int],
    *,
    batch_size: int = 16,
    context_frames: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, dict]:
    """Measure which share of painted frames shows exactly the state after each instruction of SCONE's stories.

    Args:
        model: a model in evaluation mode that has `predict_next_frame`.
        processor: its processor.
        stories: stories in the schema of `read_stories`; those without `domain` and `states` of SCONE are passed over.
        indices: the stories to measure.
        batch_size: stories at a time.
        context_frames: most frames that the model is shown; by default as many as it can read.
        seed: draws whose instructions are exchanged.
        progress: whether a progress bar is shown.

    Returns:
        By domain: `count` (stories); shares by instruction, `after_1` and so on: `closed_loop` (the model reads its own
        paintings), `closed_loop_snapped` (each painting is replaced by a drawing of the legal state that is nearest to
        it, which is also compared), `single_step` and `single_step_snapped` (from true frames; with their `mean`),
        `single_step_slots` (the share of slots that are right); `true_frames` (the share of true frames that are read
        right: 1 unless frames were cropped); `floors`: of `closed_loop` `copy_first`, of `single_step` `copy_last` and
        `shuffled_instruction`, the model's frames after the instruction of another story.

    Raises:
        ValueError: for states that are none, with the story.
    """
    groups = _groups(stories, indices)
    measured = {domain: _Domain(model, processor, domain, context_frames) for domain, _ in groups}
    with tqdm(total=sum(map(len, groups.values())), desc="following", unit="story", disable=not progress) as bar:
        for (domain, _), chosen in groups.items():
            donors = exchange(chosen, seed)
            for positions in chunks(len(chosen), batch_size):
                others = [donors[position] for position in positions]
                instructions = None if None in others else [stories[chosen[donor]]["captions"] for donor in others]
                measured[domain].measure([stories[chosen[position]] for position in positions], instructions)
                bar.update(len(positions))
    return {domain: domain_metrics.compute() for domain, domain_metrics in measured.items()}


def _groups(stories: Dataset | PreparedStories, indices: Iterable[int]) -> dict[tuple[str, int], list[int]]:
    """Return those of `indices` that are stories of SCONE, by domain and number of states."""
    described, groups = scone_stories(stories), defaultdict(list)
    for index in indices:
        if index in described:
            domain, states = described[index]
            groups[domain, len(states)].append(index)
    return groups


class _Shares:
    """Collects hits, or parts of them (0 to 1), by the number of instructions given so far."""

    def __init__(self):
        self.hits = defaultdict(list)

    def add(self, step: int, hits: Iterable[float]) -> None:
        self.hits[step] += map(float, hits)

    def compute(self, mean: bool = False) -> dict[str, float]:
        shares = {f"after_{step}": sum(hits) / len(hits) for step, hits in sorted(self.hits.items())}
        every = [hit for hits in self.hits.values() for hit in hits]
        return {"mean": sum(every) / len(every), **shares} if mean and every else shares


class _Domain:
    """The measurement of one domain, a batch of stories of one length after the other."""

    def __init__(self, model: Model, processor: StoryAttnProcessor, domain: str, context_frames: int | None):
        self.model, self.processor, self.domain = model, processor, domain
        self.num_shown = frames_shown(model.config, context_frames)
        self.count = 0
        self.shares = defaultdict(_Shares)

    def measure(self, rows: list[dict], other_instructions: list[list[str]] | None) -> None:
        """Add stories, rows of one length; `other_instructions` are the captions of as many other stories."""
        truth = [_states(row, self.domain) for row in rows]  # of each story all states
        self.count += len(rows)
        self._add_closed_loop("closed_loop", rows, truth, snap=False)
        self._add_closed_loop("closed_loop_snapped", rows, truth, snap=True)
        for step in range(1, len(truth[0])):
            expected, before = ([states[number] for states in truth] for number in (step, step - 1))
            history = [row["frames"][:step] for row in rows], [row["captions"][:step] for row in rows]
            readings = self._paint(*history, [row["captions"][step] for row in rows])[1]
            self._add("single_step", step, (reading.state for reading in readings), expected)
            self._add("single_step_snapped", step, (reading.legal for reading in readings), expected)
            right = [_slots_right(reading.state, state) for reading, state in zip(readings, expected)]
            self.shares["single_step_slots"].add(step, right)
            self._add("copy_last", step, before, expected)
            self._add("copy_first", step, (states[0] for states in truth), expected)
            if other_instructions is not None:
                readings = self._paint(*history, [captions[step] for captions in other_instructions])[1]
                self._add("shuffled_instruction", step, (reading.state for reading in readings), expected)
        self._add_true_frames(rows, truth)

    def compute(self) -> dict:
        """Return what `exact_match` says of a domain."""
        single = ("single_step", "single_step_snapped", "single_step_slots", "copy_last", "shuffled_instruction")
        shares = {name: share.compute(mean=name in single) for name, share in self.shares.items()}
        floors = {
            "closed_loop": {"copy_first": shares.pop("copy_first")},
            "single_step": {name: shares.pop(name) for name in single[3:] if name in shares},
        }
        return {"count": self.count, **shares, "true_frames": shares["true_frames"]["after_0"], "floors": floors}

    def _add_closed_loop(self, name: str, rows: list[dict], truth: list[list[State]], snap: bool) -> None:
        frames = [row["frames"][:1] for row in rows]
        for step in range(1, len(truth[0])):
            captions = [row["captions"][:step] for row in rows]
            pictures, readings = self._paint(frames, captions, [row["captions"][step] for row in rows])
            if snap:
                pictures = [
                    draw_state(reading.legal, picture.size[::-1]) for reading, picture in zip(readings, pictures)
                ]
            frames = [[*story, picture] for story, picture in zip(frames, pictures)]
            shown = (reading.legal if snap else reading.state for reading in readings)
            self._add(name, step, shown, [states[step] for states in truth])

    def _add_true_frames(self, rows: list[dict], truth: list[list[State]]) -> None:
        for row, states in zip(rows, truth):
            values = self.processor(frames=[row["frames"]], return_tensors="pt")["pixel_values"]
            readings = self._read(self.model.unnormalize(values.to(self.model.device))[0])
            self._add("true_frames", 0, (reading.state for reading in readings), states)

    def _add(self, name: str, step: int, states: Iterable[State], expected: list[State]) -> None:
        self.shares[name].add(step, (state == right for state, right in zip(states, expected)))

    def _paint(
        self, frames: list[list[Image.Image]], captions: list[list[str | None]], instructions: list[str | None]
    ) -> tuple[list[Image.Image], list[Reading]]:
        """The frames that follow, of each story the picture and what it shows."""
        shown = {"frames": [story[-self.num_shown :] for story in frames]}
        shown["captions"] = [story[-self.num_shown :] for story in captions]
        inputs = self.processor(**shown, return_tensors="pt").to(self.model.device)
        encoded = self.processor.tokenize_captions([[text] for text in instructions]).to(self.model.device)
        painted = self.model.predict_next_frame(
            **inputs,
            next_input_ids=encoded["input_ids"][:, 0],
            next_attention_mask=encoded["attention_mask"][:, 0],
        )
        return self.processor.postprocess_frames(painted), self._read(painted)

    def _read(self, frames: torch.Tensor) -> list[Reading]:
        return state_reader(self.domain, tuple(frames.shape[-2:])).read(frames)


def _states(row: dict, domain: str) -> list[State]:
    try:
        return [parse_state(domain, text) for text in row["states"]]
    except ValueError as error:
        raise ValueError(f"story {row['story_id']!r}, states: {error}") from error


def _slots_right(state: State, expected: State) -> float:
    return sum(a == b for a, b in zip(state.slots, expected.slots)) / len(expected.slots)
