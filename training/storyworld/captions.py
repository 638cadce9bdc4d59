"""Write the captions of StoryWorld from its grammar, in words of training or in words that are held out."""

import random
from collections.abc import Sequence

from .events import Step
from .held_out_wordings import HELD_OUT_CONSTRUCTIONS, HELD_OUT_OPENERS
from .nouns import CHARACTER_WORDS
from .openings import opening_text
from .phrases import Phrases
from .scene_wordings import OPENERS
from .sentences import contract, sentence
from .stage import Stage
from .wording import (
    Wording,
    choose_alternatives,
    constructed,
    inflect_verbs,
    verbs_of,
    wordings_of,
)

TENSE_WEIGHTS = {"present": 10, "progressive": 4, "past": 5, "perfect": 2}
PAIR_TENSES = ("present", "progressive", "past")  # of two events in one sentence
CONTRACTED = 0.35  # share of captions with contractions, where they have any
OPENED = 0.15  # share of sentences that begin with a word such as "then", where they can


class FirstChoice(random.Random):
    """Takes the first of every choice and the more usual of every two: so each kind of event has one plain wording."""

    def random(self) -> float:
        """Return a number by which names are no pronouns, synonyms or features, and places are named by landmarks."""
        return 0.8

    def choice(self, seq: Sequence) -> object:
        """Return the first."""
        return seq[0]

    def choices(self, population: Sequence, weights: Sequence[float]) -> list:
        """Return the one of the largest weight, alone."""
        return [max(zip(weights, population), key=lambda pair: pair[0])[1]]


class Narrator:
    """Tells a story, caption by caption; pronouns refer to what the caption before names.

    Args:
        rng: draws the words.
        cast: the hero and the friend.
        held_out: every caption has words or a construction that training never shows.
    """

    def __init__(self, rng: random.Random, cast: tuple[str, str], held_out: bool = False):
        self.rng, self.held_out = rng, held_out
        self.pronouns = {who: rng.choice(CHARACTER_WORDS[who].pronouns) for who in cast}
        self.named: set[str] = set()
        self.props: set[str] = set()

    def open(self, stage: Stage) -> str:
        """Return the first caption of a story."""
        self.named, self.props = set(stage.where), {*stage.lying, *stage.held}
        return opening_text(stage, self.rng, self.held_out)

    def tell(self, step: Step) -> str:
        """Return the caption of an event."""
        phrases = Phrases(self.rng, step, self.pronouns, (self.named, self.props), self.held_out)
        text = self._pair(phrases, step.parts) if step.parts else self._single(phrases, step)
        self.named, self.props = phrases.named, phrases.props
        text = sentence(text)
        return contract(text) if self.rng.random() < CONTRACTED else text

    def _single(self, phrases: Phrases, step: Step) -> str:
        wording, held_verbs = self._wording(step)
        tense = self._tense(wording.tenses)
        text = self._realize(wording.text, tense, phrases, held_verbs)
        if wording.takes_opener and self.rng.random() < OPENED:
            sudden = self.held_out and tense != "perfect" and step.kind != "wait"
            openers = HELD_OUT_OPENERS if sudden else OPENERS[tense]
            text = f"{self.rng.choice(openers)} {text}"
        return text

    def _pair(self, phrases: Phrases, parts: tuple[Step, Step]) -> str:
        """Tell two events in one sentence."""
        first, second = parts
        wordings = [self._clause(step) for step in parts]
        if self.held_out and not any(wording.can_hold_out() for wording in wordings):
            wordings = [self._clause(step, held_out=True) for step in parts]
        tense = self._tense(tuple(tense for tense in PAIR_TENSES if all(tense in w.tenses for w in wordings)))
        texts = [wording.text for wording in wordings]
        if first.who == second.who and all(wording.has_actor for wording in wordings):
            texts[1] = texts[1].removeprefix("{who} ").replace("[", "[&", 1)
            join = self.rng.choice((" and ", " and then ", ", then "))
        else:
            join = self.rng.choice((", and ", ", and then ", " while ", ", and "))
        clauses = []
        for text, step in zip(texts, parts):
            phrases.step = step
            clauses.append(self._realize(text, tense, phrases, self.held_out))
        return join.join(clauses)

    def _clause(self, step: Step, held_out: bool = False) -> Wording:
        """Draw a plain clause for one of two events."""
        clauses = [wording for wording in self._possible(step) if wording.is_clause]
        if held_out:
            clauses = [
                *(wording for wording in clauses if wording.can_hold_out()),
                *(wording for wording in self._possible(step, held_out=True) if wording.is_clause),
            ]
        by_actor = bool(step.entity)  # of weather and the like one says what happens, not what somebody does
        return self.rng.choice([wording for wording in clauses if wording.has_actor == by_actor] or clauses)

    def _wording(self, step: Step) -> tuple[Wording, bool]:
        """Draw a wording, and say whether its verbs are held out."""
        possible = self._possible(step)
        if not self.held_out:
            return self.rng.choice(possible), False
        way = self.rng.random()
        with_verbs = [wording for wording in possible if wording.can_hold_out()]
        if way < 0.45 and with_verbs:
            return self.rng.choice(with_verbs), True
        with_actor = [wording for wording in possible if wording.has_actor and len(wording.tenses) > 2]
        if way < 0.7 and with_actor:
            return constructed(self.rng.choice(with_actor), self.rng.choice(HELD_OUT_CONSTRUCTIONS)), False
        return self.rng.choice(self._possible(step, held_out=True)), True

    @staticmethod
    def _possible(step: Step, held_out: bool = False) -> list[Wording]:
        """Return the wordings of an event whose conditions hold."""
        facts = step.facts()
        return [wording for wording in wordings_of(step.wording_kind, held_out) if wording.conditions <= facts]

    def _tense(self, tenses: tuple[str, ...]) -> str:
        return self.rng.choices(tenses, [TENSE_WEIGHTS[tense] for tense in tenses])[0]

    def _realize(self, text: str, tense: str, phrases: Phrases, held_verbs: bool) -> str:
        def pick(name: str) -> str:
            return self.rng.choice(verbs_of(name, held_verbs))

        return phrases.fill(inflect_verbs(choose_alternatives(text, self.rng), tense, pick))
