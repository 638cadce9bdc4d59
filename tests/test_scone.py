"""SCONE's states, their pictures, and the reader that reads them back."""

import random

import numpy as np
import pytest
import torch
from scone_files import scene
from storyattn.training.scone import DOMAINS, State, draw_state, fault_of, parse_state, read_state, state_reader
from storyattn.training.scone.pictures import cell_box, patch, state_pixels
from storyattn.training.scone.states import random_state
from storyattn.training.scone.tangram_figures import FIGURES

EXAMPLES = {
    "scene": scene("1:ro 2:oy 3:y_ 4:gb 5:b_ 10:pp"),
    "alchemy": "1:rrgg 2:o 3:_ 4:bbb 5:yp 6:_ 7:pppp",
    "tangrams": "1:C 2:E 3:A",
}


def states_of(domain: str, number: int) -> list[State]:
    rng = random.Random(f"test/{domain}")
    return [random_state(domain, rng) for _ in range(number)]


def pixels_of(states: list[State], size: tuple[int, int] = (64, 96)) -> np.ndarray:
    return np.stack([state_pixels(state, size) for state in states]).transpose(0, 3, 1, 2)


def squares(figure: tuple) -> list[list[float]]:
    """Of each piece the squares of all distances between its corners, which is what its shape is."""
    return [sorted(round((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2, 9) for a in piece for b in piece) for piece in figure]


@pytest.mark.parametrize("domain", DOMAINS)
def test_states_are_written_as_they_were_read(domain):
    state = parse_state(domain, EXAMPLES[domain])
    assert str(state) == EXAMPLES[domain] and fault_of(state) is None
    for drawn in states_of(domain, 50):
        assert parse_state(domain, str(drawn)) == drawn


def test_what_the_slots_of_a_state_hold():
    assert parse_state("scene", EXAMPLES["scene"]).slots[:3] == ("ro", "oy", "y_")
    assert parse_state("alchemy", EXAMPLES["alchemy"]).slots[:3] == ("rrgg", "o___", "____")
    assert parse_state("tangrams", EXAMPLES["tangrams"]).slots == ("C", "E", "A", "_", "_")
    assert parse_state("tangrams", "").slots == ("_",) * 5 and str(parse_state("tangrams", "")) == ""


@pytest.mark.parametrize(
    "domain, text, reason",
    [
        ("scene", scene("4:_r"), "slot 4: got '_r', expected a person under the hat"),
        ("scene", scene("4:kr"), "slot 4: got 'kr', expected 2 of roygbp or _"),
        ("scene", scene("4:r"), "slot 4: got 'r_'|expected '"),
        ("scene", "1:r_ 2:__", "expected slots 1: to 10: of scene"),
        ("scene", EXAMPLES["scene"].replace(" 2:", " 3:"), "expected slots 1: to 10: of scene"),
        ("alchemy", "1:g_g 2:_ 3:_ 4:_ 5:_ 6:_ 7:_", "slot 1: got 'g_g', expected units from the bottom up"),
        ("alchemy", "1:ggggg 2:_ 3:_ 4:_ 5:_ 6:_ 7:_", "slot 1: got 'ggggg', expected 4 of"),
        ("alchemy", "1:g 2:_ 3:_ 4:_ 5:_ 6:_ 7:g_", "expected '1:g 2:_ 3:_ 4:_ 5:_ 6:_ 7:g'"),
        ("tangrams", "1:A 2:A", "slot 2: got 'A' again, expected each figure once"),
        ("tangrams", "1:A 2:_ 3:B", "slot 2: got nothing, expected no gap between figures"),
        ("tangrams", "1:F", "slot 1: got 'F', expected 1 of ABCDE or _"),
        ("tangrams", "1:A  2:B", "expected slots 1: and so on, at most 5 of tangrams"),
        ("tangrams", "1:A 3:B", "expected slots 1: and so on, at most 5 of tangrams"),
        ("chess", "1:A", "domain: got 'chess', expected one of scene, alchemy, tangrams"),
    ],
)
def test_states_that_are_none_are_refused_with_the_slot(domain, text, reason):
    with pytest.raises(ValueError, match=reason):
        parse_state(domain, text)


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("size", [(64, 96), (50, 90), (128, 192)])
def test_a_state_has_one_picture_of_the_size_asked_for(domain, size):
    state = parse_state(domain, EXAMPLES[domain])
    picture = draw_state(state, size)
    assert picture.size == size[::-1] and picture.mode == "RGB"
    assert np.array_equal(np.asarray(picture), np.asarray(draw_state(state, size)))
    assert str(read_state(picture, domain).state) == EXAMPLES[domain]


def test_a_picture_changes_only_in_the_slots_that_change():
    before, after = (parse_state("tangrams", text) for text in ("1:A 2:B 3:C", "1:A 2:D 3:C"))
    changed = (state_pixels(before) != state_pixels(after)).any(-1)
    left, top, right, bottom = cell_box("tangrams", 1, 0, (64, 96))
    assert changed[top:bottom, left:right].any()
    changed[top:bottom, left:right] = False
    assert not changed.any()


def test_sizes_without_room_are_refused():
    for size in ((16, 96), (64, 24), (64,)):
        with pytest.raises(ValueError, match="image_size: got .* expected height and width of at least"):
            draw_state(parse_state("tangrams", "1:A"), size)


def test_every_figure_is_laid_of_the_same_seven_pieces():
    pieces = sorted(squares(FIGURES["A"]))
    assert len(pieces) == 7 and len(FIGURES) == 5
    for figure in FIGURES.values():
        assert sorted(squares(figure)) == pieces


@pytest.mark.parametrize("domain", DOMAINS)
def test_true_pictures_are_read_right_with_full_margin_and_through_noise(domain):
    states = states_of(domain, 300)
    pixels = pixels_of(states)
    reader = state_reader(domain, (64, 96))
    readings = reader.read(torch.from_numpy(pixels / np.float32(255)))
    assert [reading.state for reading in readings] == states == [reading.legal for reading in readings]
    assert min(reading.margin for reading in readings) > 0.99
    noise = np.random.default_rng(0).normal(0, 25, pixels.shape)
    noisy = reader.read(np.clip(pixels + noise, 0, 255) / 255)
    assert [reading.state for reading in noisy] == states == [reading.legal for reading in noisy]
    assert np.mean([reading.margin for reading in noisy]) < 0.98


def test_the_margin_falls_to_nothing_half_way_between_two_pictures():
    one, other = (pixels_of([parse_state("alchemy", f"1:{unit} 2:_ 3:_ 4:_ 5:_ 6:_ 7:_")])[0] / 255 for unit in "gb")
    reader = state_reader("alchemy", (64, 96))
    margins = [reader.read((one + (other - one) * share)[None])[0].margin for share in (0, 0.25, 0.5)]
    assert margins == pytest.approx([1, 0.5, 0], abs=1e-3)


def paint(domain: str, text: str, *cells: tuple[int, int, str]) -> np.ndarray:
    """The picture of a state with other contents painted into cells: slot, cell and content."""
    pixels = state_pixels(parse_state(domain, text))
    for slot, cell, content in cells:
        left, top, right, bottom = cell_box(domain, slot, cell, (64, 96))
        pixels[top:bottom, left:right] = patch(domain, slot, cell, content, (64, 96))
    return pixels


def test_illegal_pictures_are_read_as_they_look_and_snapped_to_the_nearest_legal_state():
    hat = state_pixels(parse_state("scene", scene("2:gp"))).copy()
    empty = state_pixels(parse_state("scene", scene("")))
    left, top, right, _ = cell_box("scene", 1, 0, (64, 96))
    hat[top + 10 :, left:right] = empty[top + 10 :, left:right]  # the person below the hat is gone
    faults = {
        "scene": (hat, scene("2:_p"), scene("")),
        "alchemy": (
            paint("alchemy", "1:g 2:_ 3:_ 4:_ 5:_ 6:_ 7:_", (0, 3, "y")),
            "1:g__y 2:_ 3:_ 4:_ 5:_ 6:_ 7:_",
            "1:g 2:_ 3:_ 4:_ 5:_ 6:_ 7:_",
        ),
        "tangrams": (paint("tangrams", "1:A 2:B", (3, 0, "D")), "1:A 2:B 3:_ 4:D", "1:A 2:B"),
    }
    for domain, (pixels, shown, legal) in faults.items():
        (reading,) = state_reader(domain, (64, 96)).read(pixels.transpose(2, 0, 1)[None] / 255)
        assert str(reading.state) == shown and fault_of(reading.state) is not None
        assert str(reading.legal) == legal and fault_of(reading.legal) is None


def test_a_fading_person_under_a_clear_hat_is_a_person():
    person, empty = (pixels_of([parse_state("scene", scene(text))])[0] / 255 for text in ("2:gp", ""))
    top = cell_box("scene", 1, 0, (64, 96))[1]
    person[:, top + 10 :] += 0.55 * (empty - person)[:, top + 10 :]
    (reading,) = state_reader("scene", (64, 96)).read(person[None])
    assert (reading.state.slots[1], reading.legal.slots[1]) == ("_p", "gp")


@pytest.mark.parametrize("domain", DOMAINS)
def test_whatever_is_shown_the_legal_state_is_legal(domain):
    """Pictures of which one part is of one state and one of another: hats without people, gaps, figures twice."""
    pixels = pixels_of(states_of(domain, 80)) / np.float32(255)
    frames, others = pixels[:40], pixels[40:]
    if domain == "tangrams":
        frames[..., 48:] = others[..., 48:]
    else:
        frames[:, :, 36:] = others[:, :, 36:]
    readings = state_reader(domain, (64, 96)).read(frames)
    assert any(fault_of(reading.state) for reading in readings)
    assert not any(fault_of(reading.legal) for reading in readings)


def test_frames_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"frames: got shape \(1, 3, 32, 48\), expected \(N, 3, 64, 96\)"):
        state_reader("scene", (64, 96)).read(torch.zeros(1, 3, 32, 48))
