"""What written captions of StoryWorld get right: who, what and where of the event, and whom they name; with floors."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import product

from ..storyworld.reading import OPENING, CaptionFacts, named_characters, read_caption
from .frame_metrics import ratio

ASPECTS = ("character", "action", "place", "all")


def event_hits(written: CaptionFacts, true: CaptionFacts) -> dict[str, bool]:
    """
    Whether a caption tells the true event: the same `character`s in the same parts and no other; the same `action`
    (for weather and time: to the same); the same `place` (the landmark, of a journey the setting); `all` three.
    """
    place = "setting" if true.kind == "travel" else "landmark"
    hits = {
        "character": written.characters == true.characters,
        "action": written.kind == true.kind,
        "place": getattr(written, place) == getattr(true, place),
    }
    return {**hits, "all": all(hits.values())}


class EventFloor:
    """
    The best of simple guesses at the last event of a window, chosen by how often each is right in training.

    Guessed are the kind of event that is most frequent; the characters of the caption before, who acted there, who was
    named first in the window, who second, or both in either order; the landmark that was named last, before that, or
    before that. For each kind of the caption before, and each number of characters named so far, the guess that is
    right most often at the ends of the training `windows` (captions of frames in a row) is taken: for each aspect by
    itself, and for `all` the combination that is right most often as a whole.
    """

    def __init__(self, windows: Iterable[list[str | None]]):
        self.counts = {aspect: defaultdict(Counter) for aspect in ASPECTS}
        for *before, last in windows:
            true = read_caption(last or "")
            if true.kind in (None, OPENING):
                continue
            told = _told(before)
            who = [name for name, guess in _characters(told).items() if guess == true.characters]
            where = [rank for rank, guess in _landmarks(told).items() if guess == true.landmark]
            right = {"character": who, "action": [true.kind], "place": where}
            right["all"] = list(product(*right.values()))
            for aspect, guesses in right.items():
                for context in (_context(told), None):
                    self.counts[aspect][context].update(guesses)

    def hits(self, before: list[str | None], true: CaptionFacts) -> dict[str, bool]:
        """As `event_hits`, of the guesses at the event `true` after the captions `before`."""
        told = _told(before)
        who, where = _characters(told), _landmarks(told)
        choice = {aspect: self._choice(aspect, _context(told)) for aspect in ASPECTS}
        choice["all"] = choice["all"] or (None, None, None)

        def guessed(character, action, place) -> dict[str, bool]:
            return event_hits(CaptionFacts(action, who.get(character, ()), where.get(place), None, None), true)

        hits = guessed(*(choice[aspect] for aspect in ASPECTS[:3]))
        return {**hits, "all": guessed(*choice["all"])["all"]}

    def _choice(self, aspect: str, context):
        counts = self.counts[aspect]
        best = (counts.get(context) or counts[None]).most_common(1)
        return best[0][0] if best else None


class StoryWorldMetrics:
    """Collects written captions of one task beside the windows of StoryWorld whose last frame they tell of."""

    def __init__(self):
        self.generated, self.captions, self.visible = [], [], []

    def update(self, generated: str, window: dict) -> None:
        """Adds a caption and its window, an item of `StoryWindows`; one that is not of StoryWorld is left out."""
        facts = read_caption(window["captions"][-1])
        if not window.get("events") or facts.kind is None or facts.kind.split("/")[0] != window["events"][-1]["kind"]:
            return
        self.generated.append(generated)
        self.captions.append(window["captions"])
        self.visible.append({box["entity"] for box in window["boxes"][-1] if box["kind"] == "character"})

    def compute(self, train_windows: list[list[str | None]] | None, seed: int) -> dict[str, dict]:
        """
        - `event`: the shares of captions in which each of `event_hits` is right, `count`, and `floor`, the same of
          `EventFloor` over `train_windows`.
        - `named_characters`: `precision`, `recall` and `f1`, see `name_scores`; `floors`: those of a random caption of
          training (drawn by `seed`) and of the last caption before.

        Nothing where no window of StoryWorld was added.
        """
        if not self.generated:
            return {}
        targets = [captions[-1] for captions in self.captions]
        truth = [read_caption(target) for target in targets]
        event = _shares(event_hits(read_caption(text), true) for text, true in zip(self.generated, truth))
        last = [next((text for text in reversed(captions[:-1]) if text), "") for captions in self.captions]
        floors = {"last_caption": name_scores(last, targets, self.visible)}
        if train_windows is not None:
            floor = EventFloor(train_windows)
            event["floor"] = _shares(floor.hits(captions[:-1], true) for captions, true in zip(self.captions, truth))
            captions = [text for window in train_windows for text in window if text]
            drawn = random.Random(seed).choices(captions, k=len(targets))
            floors["random_train_caption"] = name_scores(drawn, targets, self.visible)
        event["count"] = len(targets)
        return {
            "event": event,
            "named_characters": {**name_scores(self.generated, targets, self.visible), "floors": floors},
        }


def name_scores(texts: list[str], targets: list[str], visible: list[set[str]]) -> dict[str, float | None]:
    """
    How well texts name the characters of a frame, summed over all frames.

    A caption of StoryWorld names those whom its event concerns, not all who are there, and tells of some who have just
    left. So `precision` is the share of the characters named that are `visible` in the frame or in its true caption,
    `recall` the share of those in the true captions (`targets`) that are named: both 1 for true captions, and nobody
    has to name bystanders. `f1` is their harmonic mean.
    """
    named = [named_characters(text) for text in texts]
    wanted = [named_characters(target) for target in targets]
    right = sum(len(names & (seen | true)) for names, seen, true in zip(named, visible, wanted))
    found = sum(len(names & true) for names, true in zip(named, wanted))
    precision, recall = ratio(right, sum(map(len, named))), ratio(found, sum(map(len, wanted)))
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if precision and recall else 0.0,
    }


def _told(captions: list[str | None]) -> list[CaptionFacts]:
    return [read_caption(caption) for caption in captions if caption]


def _context(told: list[CaptionFacts]) -> tuple | None:
    """What a guess depends on."""
    return (told[-1].kind, len(_cast(told))) if told else None


def _cast(told: list[CaptionFacts]) -> list[str]:
    return list(dict.fromkeys(name for facts in told for name in facts.characters))


def _characters(told: list[CaptionFacts]) -> dict[str, tuple[str, ...]]:
    """Guesses at the characters, by name."""
    if not told:
        return {}
    first, second = (tuple(_cast(told)[place : place + 1]) for place in (0, 1))
    last = told[-1].characters
    return {
        "last": last,
        "last actor": last[:1],
        "first": first,
        "second": second,
        "both": first + second,
        "both, the other way": second + first,
    }


def _landmarks(told: list[CaptionFacts]) -> dict[int, str]:
    """Guesses at the landmark: the last one, the one before it, the one before that."""
    named = [facts.landmark for facts in reversed(told) if facts.landmark]
    return dict(enumerate(dict.fromkeys(named)))


def _shares(hits: Iterable[dict[str, bool]]) -> dict[str, float]:
    found = list(hits)
    return {aspect: sum(hit[aspect] for hit in found) / len(found) for aspect in ASPECTS}
