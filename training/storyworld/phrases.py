"""Fill the slots of a wording: names, visible features and pronouns of characters, and phrases for props and places."""

import random

from .events import Step
from .nouns import (
    CHARACTER_WORDS,
    HELD_OUT_LANDMARK_SYNONYMS,
    HELD_OUT_PROP_SYNONYMS,
    HELD_OUT_SETTING_WORDS,
    PRONOUN_CASES,
    PROP_SYNONYMS,
    SETTING_WORDS,
    SHARED_FEATURES,
    SIDES,
    landmark_phrases,
)
from .stage import Stage
from .wording import SLOT

SIDE_NAMES = ("left", "middle", "right")
NEAR = ("by", "near", "next to", "beside", "at", "close to")
FALLING = {"rain": "rain", "snow": "snow", "storm": "storm"}
PRONOUN, SYNONYM, FEATURE, HELD_OUT_NAME = 0.4, 0.25, 0.2, 0.3  # chances, in this order of trial
NO_POSITION, OTHER_PLACE_NAME, BY_SIDE, BY_OTHER = 0.5, 0.25, 0.12, 0.15
NO_SETTING = 0.7


class Phrases:
    """The phrases of one caption; it remembers what the caption names.

    Args:
        rng: draws the phrases.
        step: the event.
        pronouns: the pronoun of each character, "he", "she" or "it".
        before: the characters and the props that the caption before names.
        held_out: use held-out names, too.

    Attributes:
        named: the characters that this caption names, not by a pronoun alone.
        props: the props that it names.
    """

    def __init__(
        self,
        rng: random.Random,
        step: Step,
        pronouns: dict[str, str],
        before: tuple[set[str], set[str]],
        held_out: bool,
    ):
        self.rng, self.step, self.pronouns, self.held_out = rng, step, pronouns, held_out
        self.whole = step
        self.named_before, self.props_before = before
        self.named: set[str] = set()
        self.props: set[str] = set()
        self.spoken: dict[str, str] = {}  # by the characters of this caption: the phrase that stood first

    def fill(self, text: str) -> str:
        """Return the text with every slot filled."""
        while SLOT.search(text):
            text = SLOT.sub(lambda match: self._slot(match[1]), text)
        return text

    def _slot(self, name: str) -> str:
        step = self.step
        head, _, tail = name.partition(".")
        if head in ("who", "who!", "other", "other!"):
            who = step.who if head.startswith("who") else step.other
            if tail in ("he", "him"):
                return self._second(who, "" if tail == "he" else "obj")
            return self._character(who, tail, pronoun=not head.endswith("!"))
        if name in ("his", "himself"):  # of the subject of its clause, whoever else is named
            return PRONOUN_CASES[self.pronouns[step.who]]["poss" if name == "his" else "self"]
        if name in ("he", "him"):
            return self._second(step.who, "" if name == "he" else "obj")
        if name == "absent":
            return self._character(step.absent, "", pronoun=False)
        if name == "both":
            return self._both()
        if head in ("prop", "the", "a", "bare", "it") and name != "bare.old":
            return self._prop(name)
        return self._somewhere(name)

    def _both(self) -> str:
        names = [self._character(who, "", pronoun=False) for who in (self.step.who, self.step.other)]
        return " and ".join(names)

    def _character(self, who: str, case: str, pronoun: bool) -> str:
        """Name a character in a case: "" as the subject, "obj", "poss", or "bare" without an article."""
        if case == "bare":
            self.named.add(who)
            return who
        if who in self.spoken:
            return self._second(who, case) if pronoun else self._again(who)
        if pronoun and self._pronoun_is_clear(who) and self.rng.random() < PRONOUN:
            self.spoken[who] = PRONOUN_CASES[self.pronouns[who]][case]
            return self.spoken[who]
        self.named.add(who)
        phrase = f"the {who}" if case == "poss" else self._name(who)
        self.spoken[who] = phrase
        return f"{phrase}'s" if case == "poss" else phrase

    def _again(self, who: str) -> str:
        """Repeat the name of a character; after a pronoun alone it is the usual name."""
        if who not in self.named:
            self.named.add(who)
            self.spoken[who] = f"the {who}"
        return self.spoken[who]

    def _second(self, who: str, case: str) -> str:
        """Name a character for the second time in a caption, by a pronoun where no other has the same."""
        rivals = [other for other in self.spoken if other != who and self._may_be(other, who)]
        if rivals:
            self.named.add(who)
            return f"the {who}'s" if case == "poss" else f"the {who}"
        self.spoken.setdefault(who, PRONOUN_CASES[self.pronouns[who]][case])
        return PRONOUN_CASES[self.pronouns[who]][case]

    def _pronoun_is_clear(self, who: str) -> bool:
        """Return whether the caption before, or else the picture before, leaves one character for the pronoun."""
        same = {other for other in self.named_before if self._may_be(other, who)}
        alone = set(self.whole.before.where) == {who}
        rivals = {other for other in self.spoken if other != who}
        return not rivals and (same == {who} or (alone and not self.named_before))

    def _may_be(self, other: str, who: str) -> bool:
        """Return whether the pronoun of `who` may mean `other`, as far as a reader knows."""
        return other == who or self.pronouns[who] in CHARACTER_WORDS[other].pronouns

    def _name(self, who: str) -> str:
        words = CHARACTER_WORDS[who]
        if self.held_out and self.rng.random() < HELD_OUT_NAME:
            return self.rng.choice(words.held_out)
        chance = self.rng.random()
        if chance < FEATURE:
            return self.rng.choice(self._features(who))
        return self.rng.choice(words.synonyms) if chance < FEATURE + SYNONYM else f"the {who}"

    def _features(self, who: str) -> tuple[str, ...]:
        """Return what is visible of a character and not of the other one, whom the picture before shows."""
        before, features = self.whole.before, CHARACTER_WORDS[who].features
        if who not in before.where:
            return features
        others = [other for other in before.where if other != who]
        shared = [
            phrase
            for phrase, characters in SHARED_FEATURES.items()
            if who in characters and not any(other in characters for other in others)
        ]
        if others and self.step is self.whole:
            shared += SIDES[_is_left_of(before, who, others[0])]
        return (*features, *shared)

    def _prop(self, name: str) -> str:
        prop = self.step.prop
        clear = self.props_before == {prop} and "it" not in self.spoken.values()
        if name == "it" and clear and self.rng.random() < PRONOUN:
            return "it"
        self.props.add(prop)
        if name == "bare.prop":
            return prop
        phrase = prop
        if self.held_out and prop in HELD_OUT_PROP_SYNONYMS and self.rng.random() < HELD_OUT_NAME:
            phrase = self.rng.choice(HELD_OUT_PROP_SYNONYMS[prop])
        elif self.rng.random() < SYNONYM:
            phrase = self.rng.choice(PROP_SYNONYMS[prop])
        if name == "a.prop":
            return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"
        return f"the {phrase}"

    def _somewhere(self, name: str) -> str:
        """Return a phrase for a place or a setting, or nothing where it may be left out."""
        step, before = self.step, self.step.before
        optional = name in ("at?", "at.mark?") or (name == "at*" and step.joins)
        if optional and self.rng.random() < NO_POSITION:
            return ""
        if name in ("at", "at?", "at*"):
            return self._at(step.stage, step.place, step.who, with_other=True)
        if name == "at.mark?":
            return self._at(step.stage, step.place, step.who, with_other=False)
        if name == "to":
            return self._to()
        if name == "place":
            return self._landmark(step.stage, step.place)
        if name == "from":
            return self._landmark(before, before.where[step.who])
        if name in ("at.from", "at.other"):
            who = step.who if name == "at.from" else step.other
            return self._at(before, before.where[who], who, with_other=False)
        if name == "dest":
            return self._destination()
        return self._setting(name)

    def _setting(self, name: str) -> str:
        """Return a phrase for a setting, or a word for the time or the weather."""
        stage = self.step.before if name.endswith("old") else self.step.stage
        if name == "time":
            return stage.time
        if name == "wet":
            weather = self.step.before.weather
            return FALLING[weather]
        if name == "in?" and self.rng.random() < NO_SETTING:
            return ""
        words = SETTING_WORDS[stage.setting]
        if self.held_out and stage.setting in HELD_OUT_SETTING_WORDS and self.rng.random() < HELD_OUT_NAME:
            words = HELD_OUT_SETTING_WORDS[stage.setting]
        preposition, phrase = self.rng.choice(words)
        if name.startswith("in"):
            return f"{preposition} {phrase}"
        return phrase.removeprefix("the ") if name.startswith("bare") else phrase

    def _landmark(self, stage: Stage, place: int) -> str:
        landmark = stage.landmark(place)
        usual, *others = landmark_phrases(landmark)
        if self.held_out and landmark in HELD_OUT_LANDMARK_SYNONYMS and self.rng.random() < HELD_OUT_NAME:
            others = HELD_OUT_LANDMARK_SYNONYMS[landmark]
            return self.rng.choice(others)
        return self.rng.choice(others) if self.rng.random() < OTHER_PLACE_NAME else usual

    def _at(self, stage: Stage, place: int, who: str, with_other: bool) -> str:
        chance = self.rng.random()
        other = self._neighbour(place, who) if with_other else None
        if other and chance < BY_OTHER:
            return f"{self.rng.choice(NEAR[2:4])} {self._character(other, 'obj', pronoun=False)}"
        if chance > 1 - BY_SIDE:
            return "in the middle" if place == 1 else f"on the {SIDE_NAMES[place]}"
        return f"{self.rng.choice(NEAR)} {self._landmark(stage, place)}"

    def _to(self) -> str:
        step, chance = self.step, self.rng.random()
        over = self.rng.choice(("to", "over to"))
        other = self._neighbour(step.place, step.who)
        if other and chance < BY_OTHER:
            return f"{over} {self._character(other, 'obj', pronoun=False)}"
        if chance > 1 - BY_SIDE:
            return f"{over} the {'middle' if step.place == 1 else SIDE_NAMES[step.place] + ' side'}"
        return f"{over} {self._landmark(step.stage, step.place)}"

    def _neighbour(self, place: int, who: str) -> str | None:
        """Return the other character where it stands at a place before and after the event, and is not named yet."""
        for other, spot in self.step.stage.where.items():
            if other not in (who, *self.spoken) and spot == place == self.step.before.where.get(other):
                return other
        return None

    def _destination(self) -> str:
        """Say where a journey ends: without a landmark it ends in the middle of the setting."""
        place, stage = self.step.place, self.step.stage
        setting = self._setting("setting")
        if place == 1 and self.rng.random() < NO_POSITION:
            return f"to {setting}"
        landmark = self._landmark(stage, place)
        return self.rng.choice((f"to {setting}, to {landmark}", f"to {landmark} {self._setting('in')}"))


def _is_left_of(stage: Stage, who: str, other: str) -> bool:
    here, spot = stage.where[who], stage.where[other]
    return here < spot or (here == spot and who == stage.cast[0])
