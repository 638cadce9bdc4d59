"""What written captions of StoryWorld get right: who, what and where of the event, and whom they name; with floors."""

import random
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable
from itertools import product

from ..storyworld.reading import OPENING, CaptionFacts, named_characters, read_caption, read_captions
from .frame_metrics import ratio

ASPECTS = ("character", "action", "place", "all")


def event_hits(written: CaptionFacts, event: dict, true: CaptionFacts) -> dict[str, bool | None]:
    """
    Return in which aspects a caption describes an event.

    `action`: the same kind of event (for weather and time: the same change). `character`: it names who acts, first, and
    nobody who has no part in the event; or the same characters in the same roles as the true caption. `place`: each
    place that it names is one of the event, or in the true caption; `None` where it names no place. `all`: the three,
    save a place that is not named.

    Args:
        written: the facts of the caption.
        event: the event as stories of StoryWorld have it, with `characters` and `places`.
        true: the facts of the true caption.
    """
    acts_first = written.characters[:1] == tuple(event["characters"][:1])
    places = {written.landmark, written.setting} - {None}
    hits = {
        "character": written.characters == true.characters
        or (acts_first and set(written.characters) <= set(event["characters"])),
        "action": written.kind == true.kind,
        "place": places <= {*event["places"], true.landmark, true.setting} if places else None,
    }
    return {**hits, "all": all(hit is not False for hit in hits.values())}


class EventFloor:
    """
    The best of simple guesses at the last event of a window, chosen by how often each is right in training.

    The guesses are: the most frequent kind of event; the characters of the caption before, the one who acted there,
    the first or the second that the window names, or both in either order; the landmark that was named last, before
    that, or before that. For each kind of the caption before and each number of characters named so far, the guess that
    is right most often at the ends of the training windows is taken: for each aspect by itself, and for `all` the
    combination that is right most often as a whole.

    Args:
        windows: the captions of training windows, runs of frames.
    """

    def __init__(self, windows: Iterable[list[str | None]]):
        self.counts = {aspect: defaultdict(Counter) for aspect in ASPECTS}
        for captions in windows:
            *facts, true = read_captions(captions)
            if true.kind in (None, OPENING):
                continue
            facts = _without_missing(facts, captions)
            who = [name for name, guess in _guessed_characters(facts).items() if guess == true.characters]
            landmarks = _guessed_landmarks(facts).items() if true.landmark else ()
            where = [rank for rank, guess in landmarks if guess == true.landmark]
            right = {"character": who, "action": [true.kind], "place": where}
            right["all"] = list(product(*right.values()))
            for aspect, guesses in right.items():
                for context in (_context(facts), None):
                    self.counts[aspect][context].update(guesses)

    def hits(self, captions: list[str | None], event: dict) -> dict[str, bool | None]:
        """Return `event_hits` of the guesses at an event, after the captions before the last one, which is true."""
        *facts, true = read_captions(captions)
        facts = _without_missing(facts, captions)
        characters, landmarks = _guessed_characters(facts), _guessed_landmarks(facts)
        choice = {aspect: self._best_guess(aspect, _context(facts)) for aspect in ASPECTS}
        choice["all"] = choice["all"] or (None, None, None)

        def hits_of(character: str | None, action: str | None, place: int | None) -> dict[str, bool | None]:
            guess = CaptionFacts(action, characters.get(character, ()), landmarks.get(place), None, None)
            return event_hits(guess, event, true)

        hits = hits_of(*(choice[aspect] for aspect in ASPECTS[:3]))
        return {**hits, "all": hits_of(*choice["all"])["all"]}

    def _best_guess(self, aspect: str, context: tuple | None) -> Hashable | None:
        """Return the guess that was right most often in `context`, or anywhere where nothing was right in it."""
        counts = self.counts[aspect]
        best = (counts.get(context) or counts[None]).most_common(1)
        return best[0][0] if best else None


class StoryWorldMetrics:
    """Collects written captions of one task beside the windows of StoryWorld whose last frame they describe."""

    def __init__(self):
        self.generated, self.captions, self.events, self.visible = [], [], [], []

    def update(self, generated: str, window: dict) -> None:
        """Add a caption and its window, an item of `StoryTransitions`; one that is not of StoryWorld is left out."""
        facts = read_caption(window["captions"][-1])
        if not window.get("events") or facts.kind is None or facts.event != window["events"][-1]["kind"]:
            return
        self.generated.append(generated)
        self.captions.append(window["captions"])
        self.events.append(window["events"][-1])
        self.visible.append({box["entity"] for box in window["boxes"][-1] if box["kind"] == "character"})

    def compute(self, train_windows: list[list[str | None]] | None, seed: int) -> dict[str, dict]:
        """
        Return `event` and `named_characters`, or nothing where no window of StoryWorld was added.

        - `event`: the shares of captions in which each of `event_hits` is right, `count`, and `floor`, the same of
          `EventFloor`.
        - `named_characters`: `precision`, `recall` and `f1`, see `name_scores`; `floors`: those of a random caption of
          training and of the last caption before.

        Args:
            train_windows: captions of training windows, from which the floors are taken, if any.
            seed: the seed by which captions of training are drawn.
        """
        if not self.generated:
            return {}
        truth = list(map(last_facts, self.captions))
        written = [last_facts([*captions[:-1], text]) for captions, text in zip(self.captions, self.generated)]
        event = _shares(map(event_hits, written, self.events, truth))
        named, wanted = ([set(facts.characters) for facts in captions] for captions in (written, truth))
        before = [_without_missing(read_captions(captions[:-1]), captions) for captions in self.captions]
        last = [set(facts[-1].characters) if facts else set() for facts in before]
        floors = {"last_caption": name_scores(last, wanted, self.visible)}
        if train_windows is not None:
            floor = EventFloor(train_windows)
            event["floor"] = _shares(map(floor.hits, self.captions, self.events))
            captions = [text for window in train_windows for text in window if text]
            drawn = map(named_characters, random.Random(seed).choices(captions, k=len(truth)))
            floors["random_train_caption"] = name_scores(list(drawn), wanted, self.visible)
        event["count"] = len(truth)
        return {
            "event": event,
            "named_characters": {**name_scores(named, wanted, self.visible), "floors": floors},
        }


def name_scores(named: list[set[str]], wanted: list[set[str]], visible: list[set[str]]) -> dict[str, float | None]:
    """
    Measure how well captions name the characters of their frames, summed over all frames.

    A caption of StoryWorld names those whom its event concerns, not all who are visible, and it may name some who have
    just left. So the true captions score 1 in precision and recall, and nobody has to name bystanders.

    Args:
        named: the characters that each caption names.
        wanted: those that the true captions of the same frames name.
        visible: the characters that are visible in each frame.

    Returns:
        `precision`, the share of the named characters that are visible or in the true caption; `recall`, the share of
        those in the true captions that are named; `f1`, their harmonic mean. `None` where there is nothing to divide
        by.
    """
    right = sum(len(names & (seen | true)) for names, seen, true in zip(named, visible, wanted))
    recalled = sum(len(names & true) for names, true in zip(named, wanted))
    precision, recall = ratio(right, sum(map(len, named))), ratio(recalled, sum(map(len, wanted)))
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if precision and recall else 0.0,
    }


def last_facts(captions: list[str | None]) -> CaptionFacts:
    """Return the facts of the last caption of a window."""
    return read_captions(captions)[-1]


def _without_missing(facts: list[CaptionFacts], captions: list[str | None]) -> list[CaptionFacts]:
    """Return what the captions of a window say, without missing ones."""
    return [fact for fact, caption in zip(facts, captions) if caption]


def _context(facts: list[CaptionFacts]) -> tuple[str | None, int] | None:
    """Return what a guess depends on: the kind of the caption before, and how many characters are named so far."""
    return (facts[-1].kind, len(_cast(facts))) if facts else None


def _cast(facts: list[CaptionFacts]) -> list[str]:
    """Return the characters in the order in which they are first named."""
    return list(dict.fromkeys(name for caption in facts for name in caption.characters))


def _guessed_characters(facts: list[CaptionFacts]) -> dict[str, tuple[str, ...]]:
    """Return guesses at the characters, by the name of the guess."""
    if not facts:
        return {}
    first, second = (tuple(_cast(facts)[place : place + 1]) for place in (0, 1))
    last = facts[-1].characters
    return {
        "last": last,
        "last actor": last[:1],
        "first": first,
        "second": second,
        "both": first + second,
        "both, the other way": second + first,
    }


def _guessed_landmarks(facts: list[CaptionFacts]) -> dict[int, str]:
    """Return guesses at the landmark: the last one (0), the one before it (1), the one before that (2)."""
    named = [caption.landmark for caption in reversed(facts) if caption.landmark]
    return dict(enumerate(dict.fromkeys(named)))


def _shares(hits: Iterable[dict[str, bool | None]]) -> dict[str, float | None]:
    """Return the share of captions in which each aspect is right, of those that have the aspect."""
    hits = list(hits)
    counted = {aspect: [hit[aspect] for hit in hits if hit[aspect] is not None] for aspect in ASPECTS}
    return {aspect: ratio(sum(values), len(values)) for aspect, values in counted.items()}
