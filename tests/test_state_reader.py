"""Pictures of StoryWorld are read: all true ones rightly, painted ones as what is nearest, and noise as nothing."""

import numpy as np
import pytest
import torch
from PIL import Image
from storyattn.training.evaluation.state_evaluation import blurred
from storyattn.training.storyworld import SPLITS, generate_story
from storyattn.training.storyworld.stage import Stage, draw_stage
from storyattn.training.storyworld.state_reader import read_picture, state_reader
from storyattn.training.storyworld.states import SLOTS, PictureState, slots

SIZE = (64, 96)
STAGE = Stage(
    "farm", "rain", "evening", ("fox", "owl"), where={"fox": 1, "owl": 1}, lying={"key": 0}, held={"ball": "owl"}
)


def pixels_of(pictures: list[Image.Image]) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).permute(0, 3, 1, 2) / 255


@pytest.fixture(scope="module")
def stories() -> list[dict]:
    """Stories of all splits, some of them longer than usual."""
    return [generate_story(seed, split, num_frames=9) for split in SPLITS for seed in (5, 6, 7)]


@pytest.fixture(scope="module")
def frames(stories) -> torch.Tensor:
    return pixels_of([frame for story in stories for frame in story["frames"]])


@pytest.fixture(scope="module")
def states(stories) -> list[PictureState]:
    return [PictureState.from_json(text) for story in stories for text in story["states"]]


def test_every_true_frame_is_read_right(frames, states):
    readings = state_reader(SIZE).read(frames)
    assert [reading.state for reading in readings] == states
    assert min(reading.explained for reading in readings) > 0.999


@pytest.mark.parametrize("size", [(32, 48), (48, 96)])
def test_frames_of_other_sizes_are_read(size):
    picture, _ = draw_stage(STAGE, size)
    assert read_picture(picture).state == PictureState.of(STAGE)


def test_slightly_blurred_and_noisy_frames_are_read(frames, states):
    soft = 0.25 * frames + 0.75 * torch.nn.functional.avg_pool2d(frames, 3, 1, 1, count_include_pad=False)
    noise = torch.randn(frames.shape, generator=torch.Generator().manual_seed(0))
    readings = state_reader(SIZE).read((soft + 0.02 * noise).clamp(0, 1))
    assert np.mean([reading.state == state for reading, state in zip(readings, states)]) > 0.95


@pytest.mark.parametrize("kind", ["noise", "gray", "black", "stripes", "heavy blur"])
def test_what_is_no_drawing_cannot_be_read(frames, kind):
    some = frames[::9]
    pictures = {
        "noise": torch.rand(some.shape, generator=torch.Generator().manual_seed(0)),
        "gray": torch.full_like(some, 0.5),
        "black": torch.zeros_like(some),
        "stripes": (torch.arange(96) // 8 % 2).float().expand_as(some),
        "heavy blur": blurred(blurred(blurred(some))),
    }
    assert {reading.state for reading in state_reader(SIZE).read(pictures[kind])} == {None}


def test_what_no_story_draws_is_read_as_it_looks():
    """The fox has not left the place that it came from."""
    before = STAGE.changed(where={"fox": 0}, held={}, lying={})
    after = before.changed(where={"fox": 2})
    both = np.asarray(draw_stage(before, SIZE)[0]).copy()
    both[:, 50:] = np.asarray(draw_stage(after, SIZE)[0])[:, 50:]
    state = read_picture(Image.fromarray(both)).state
    assert [figure[:3] for figure in state.figures] == [("fox", 0, "left"), ("fox", 2, "left")]


@pytest.mark.parametrize(
    ("slot", "change"),
    [
        ("who", {"cast": ("pig", "owl"), "where": {"pig": 1, "owl": 1}}),
        ("where", {"where": {"fox": 2, "owl": 1}}),
        ("hand", {"held": {"book": "owl"}}),
        ("ground", {"lying": {"key": 2}}),
        ("weather", {"weather": "storm"}),
        ("time", {"time": "night"}),
        ("setting", {"setting": "beach"}),
        ("flags", {"festive": True}),
    ],
)
def test_each_slot_is_read_and_compared(slot, change):
    changed = STAGE.changed(**change)
    other = read_picture(draw_stage(changed, SIZE)[0]).state
    assert other == PictureState.of(changed)
    before, after = slots(PictureState.of(STAGE)), slots(other)
    differing = [name for name in SLOTS if before[name] != after[name]]
    assert slot in differing and set(differing) <= ({"who", "where"} if slot == "who" else {slot})


def test_a_state_comes_back_from_json():
    state = PictureState.of(STAGE)
    assert PictureState.from_json(state.to_json()) == state
    for text in ("", "[]", '{"figures":[]}', '{"a":1}', state.to_json().replace("weather", "wether")):
        with pytest.raises(ValueError, match="states: got .*, expected the state of a picture of StoryWorld"):
            PictureState.from_json(text)


def test_another_size_is_refused():
    with pytest.raises(ValueError, match=r"frames: got shape \(1, 3, 32, 48\), expected \(N, 3, 64, 96\)"):
        state_reader(SIZE).read(torch.zeros(1, 3, 32, 48))
