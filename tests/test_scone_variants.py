"""Variants of SCONE's stories: as true as the stories they are made of."""

import pytest
from scone_files import write_source
from storyattn.training.cli import scone as scone_cli
from storyattn.training.data.sources import read_stories
from storyattn.training.scone.sequences import Sequence
from storyattn.training.scone.states import fault_of, parse_state
from storyattn.training.scone.variants import exchange_words, variants

STATES = "1:__ 2:ro 3:__ 4:__ 5:__ 6:__ 7:y_ 8:__ 9:__ 10:__", "1:ro 2:__ 3:__ 4:__ 5:__ 6:__ 7:y_ 8:__ 9:__ 10:__"
COLOURS = {"r": "red", "o": "orange", "y": "yellow", "g": "green", "b": "blue", "p": "purple"}


def story(domain: str, states, instructions) -> Sequence:
    return Sequence("s", tuple(parse_state(domain, state) for state in states), tuple(instructions))


def test_colours_and_sides_are_exchanged_in_words_and_states_alike():
    sequence = story("scene", STATES, ["the man in red with an orange hat moves to the left of all"])
    drawn = variants(sequence, 40)
    assert drawn == variants(sequence, 40) and len({variant.name for variant in drawn}) == 40
    sides = set()
    for variant in drawn:
        before, after = variant.states
        place = next(slot for slot, content in enumerate(before.slots) if content.strip("_") and "_" not in content)
        shirt, hat = (COLOURS[symbol] for symbol in before.slots[place])
        side = "left" if place == 1 else "right"
        article = "an" if hat == "orange" else "a"
        assert variant.instructions == (f"the man in {shirt} with {article} {hat} hat moves to the {side} of all",)
        assert place in (1, 8) and after.slots[0 if place == 1 else 9] == before.slots[place]
        assert fault_of(before) is None and fault_of(after) is None
        sides.add(side)
    assert sides == {"left", "right"}


def test_where_places_are_counted_nothing_is_mirrored():
    sequence = story("scene", STATES, ["the second person from the left moves one place to the left"])
    assert all(variant.states[0].slots[1].strip("_") for variant in variants(sequence, 20))


def test_brown_stays_and_figures_have_no_names():
    states = "1:rb 2:_ 3:_ 4:_ 5:_ 6:_ 7:g", "1:r 2:_ 3:_ 4:_ 5:_ 6:_ 7:g"
    for variant in variants(story("alchemy", states, ["throw out the brown one above the red"]), 10):
        assert variant.states[0].slots[0][1] == "b"
        assert variant.instructions[0] == f"throw out the brown one above the {COLOURS[variant.states[0].slots[0][0]]}"
    rows = "1:A 2:C", "1:C"
    drawn = variants(story("tangrams", rows, ["remove the first one"]), 10)
    assert {variant.instructions for variant in drawn} == {("remove the first one",)}
    assert len({variant.states for variant in drawn}) > 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Red and the reds, not redo", "Blue and the blues, not redo"),
        ("a blue RED hat", "an orange BLUE hat"),
        ("the colored one", "the colored one"),
    ],
)
def test_whole_words_are_exchanged_all_at_once(text, expected):
    assert exchange_words(text, {"red": "blue", "blue": "orange", "orange": "red"}) == expected


def test_the_command_adds_variants_to_the_training_stories_alone(tmp_path, capsys):
    source = write_source(tmp_path / "source")
    flags = ["--domain", "scene", "--source", str(source), "--output", str(tmp_path / "out"), "--num_variants", "2"]
    scone_cli.main(flags)
    train, test = (read_stories(str(tmp_path / "out"), split) for split in ("train", "test"))
    originals = [name for name in train["story_id"] if "~" not in name]
    assert len(train) == 3 * len(originals) and not any("~" in name for name in test["story_id"])
    assert f"{2 * len(originals)} stories of `train` are variants" in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(SystemExit):
        scone_cli.main([*flags[:-1], "-1", "--overwrite"])
    assert "num_variants: got -1, expected at least 0" in capsys.readouterr().err
