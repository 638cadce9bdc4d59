"""Changes of training windows: the same in all frames of a window, drawn by seed, epoch and story, never elsewhere."""

import numpy as np
import pytest
import torch
from conftest import draw_story, small_config
from storyattn import StoryAttnForConditionalGeneration
from storyattn.training.data.augmentation import Augmentation, mirrored_caption
from storyattn.training.data.prepared_stories import prepare_stories
from storyattn.training.data.sources import read_stories
from storyattn.training.data.windows import StoryWindows, TrainingCollator, TrainingWindows, draw_tasks
from torch.testing import assert_close

ALL = Augmentation(crop=0.3, colour=0.4, flip=True)
HEIGHT, WIDTH = 32, 48


@pytest.fixture
def window() -> np.ndarray:
    """Three frames of noise `(3, 32, 48, 3)`; the last equals the first, the second differs in a corner."""
    first = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    second = first.copy()
    second[:8, :8] = 255 - second[:8, :8]
    return np.stack([first, second, first])


def ramps() -> np.ndarray:
    """Return a frame whose red rises by 5 a pixel to the right, and green downwards."""
    frame = np.zeros((1, HEIGHT, WIDTH, 3), np.uint8)
    frame[..., 0] = np.arange(WIDTH) * 5
    frame[..., 1] = np.arange(HEIGHT)[:, None] * 5
    return frame


def test_without_augmentation_frames_stay_unchanged(window):
    assert Augmentation().apply(window, 0, 0, 0) is window
    assert Augmentation(caption_dropout=0.5).apply(window, 0, 0, 0) is window
    assert Augmentation().changes() == {} and Augmentation(crop=0.1).changes() == {"crop": 0.1}


def test_a_window_is_drawn_by_seed_epoch_and_story(window):
    places = [(seed, epoch, story) for seed in range(2) for epoch in range(2) for story in (0, 1, "a")]
    first, again = ([ALL.apply(window, *place).tobytes() for place in places] for _ in range(2))
    assert first == again and len(set(first)) == len(places)


@pytest.mark.parametrize("changes", [{"crop": 0.3}, {"colour": 0.4}, {"flip": True}, {}])
def test_all_frames_of_a_window_get_the_same_view(window, changes):
    augmentation = Augmentation(**changes) if changes else ALL
    for story in range(8):
        seen = augmentation.apply(window, 0, 0, story)
        assert seen.shape == window.shape and seen.dtype == np.uint8
        assert np.array_equal(seen[0], seen[2])
        for index in range(3):
            assert np.array_equal(seen[index : index + 1], augmentation.apply(window[index : index + 1], 0, 0, story))
        # A part that is equal in two frames is equal in their views, except for the rim that resizing blurs.
        assert (seen[0] != seen[1]).any(-1).sum() < 15 * 15
    assert any((augmentation.apply(window, 0, 0, story) != window).any() for story in range(8))


def test_a_crop_keeps_proportions_and_stays_within_its_share():
    shares, lefts = [], []
    for story in range(200):
        (seen,) = Augmentation(crop=0.4).apply(ramps(), 0, 0, story).astype(float)
        across = (seen[8, -8, 0] - seen[8, 8, 0]) / 5 / (WIDTH - 16)
        down = (seen[-8, 8, 1] - seen[8, 8, 1]) / 5 / (HEIGHT - 16)
        assert across == pytest.approx(down, abs=0.03)
        shares.append(1 - across)
        lefts.append(seen[8, 8, 0] / 5 - 8 * across)
    assert -0.02 < min(shares) < 0.04 and 0.36 < max(shares) < 0.42
    assert min(lefts) > -1.5 and max(lefts) > 0.25 * WIDTH


def test_colours_keep_greys_grey_and_hues_what_they_are():
    frame = np.zeros((1, 1, 4, 3), np.uint8)
    frame[0, 0] = [(90, 90, 90), (200, 60, 60), (60, 60, 200), (140, 140, 140)]
    levels = []
    for story in range(200):
        grey, red, blue, light = Augmentation(colour=0.4).apply(frame, 0, 0, story)[0, 0].astype(int)
        assert grey.max() - grey.min() <= 1 and light.max() - light.min() <= 1
        assert red[0] > red[1] and abs(red[1] - red[2]) <= 1 and blue[2] > blue[0] and abs(blue[0] - blue[1]) <= 1
        levels.append((grey[0] + light[0]) / 2)
    assert min(levels) < 0.7 * 115 and max(levels) > 1.3 * 115


def test_half_of_the_windows_are_mirrored(window):
    mirrored = 0
    for story in range(200):
        seen = Augmentation(flip=True).apply(window, 0, 0, story)
        is_mirrored = np.array_equal(seen, window[:, :, ::-1])
        assert is_mirrored or np.array_equal(seen, window)
        mirrored += is_mirrored
    assert 70 < mirrored < 130


def test_training_is_changed_and_evaluation_is_not(stories_folder, small_processor):
    stories = prepare_stories(read_stories(str(stories_folder), "train"), small_processor.image_processor, "train")
    config = small_config(max_frames=4)
    plain, changed = (TrainingWindows(stories, small_processor, config, 0, how) for how in (Augmentation(), ALL))
    before = [item["frames"] for item in StoryWindows(stories, 4)]
    for story in range(24):
        one, other = plain[1, story], changed[1, story]
        assert np.array_equal(other["pixels"], ALL.apply(one["pixels"], 0, 1, story))
        assert not np.array_equal(one["pixels"], other["pixels"])
        assert {**one, "pixels": None, "caption_ids": None} == {**other, "pixels": None, "caption_ids": None}
        assert all(np.array_equal(a, np.asarray(b)) for a, b in zip(one["pixels"], before[story]))


# Hidden captions


def test_a_batch_has_the_mask_of_hidden_captions(stories_folder, small_processor):
    stories = prepare_stories(read_stories(str(stories_folder), "train"), small_processor.image_processor, "train")
    windows = TrainingWindows(stories, small_processor, small_config(), 0, Augmentation(caption_dropout=0.5))
    items = [windows[2, story] for story in range(24)]
    expected = [draw_tasks(3, small_config(), 0, 2, story, caption_dropout=0.5)["caption_mask"] for story in range(24)]
    batch = TrainingCollator(small_processor)(items)
    assert batch["caption_mask"].tolist() == expected and 0.2 < batch["caption_mask"].float().mean() < 0.8
    # Hidden captions are in the batch all the same.
    plain = TrainingCollator(small_processor)([{**item, "caption_mask": [True] * 3} for item in items])
    assert torch.equal(batch["input_ids"], plain["input_ids"])
    assert torch.equal(batch["attention_mask"], plain["attention_mask"])


def test_captions_are_hidden_by_seed_epoch_and_story():
    config = small_config()

    def hidden(share, seed=0):
        drawn = [draw_tasks(5, config, seed, epoch, 3, caption_dropout=share) for epoch in range(200)]
        return [[not read for read in tasks["caption_mask"]] for tasks in drawn]

    assert not np.any(hidden(0.0)) and hidden(0.3) == hidden(0.3) != hidden(0.3, seed=1)
    assert np.mean(hidden(0.3)) == pytest.approx(0.3, abs=0.05)
    assert len({tuple(row) for row in hidden(0.3)}) > 10  # each caption by itself
    others = ("next_caption_mask", "reconstructed")
    plain, dropped = (draw_tasks(5, config, 0, 1, 2, caption_dropout=share) for share in (0.0, 0.9))
    assert all(plain[name] == dropped[name] for name in others)


@pytest.mark.parametrize("context", [0, 2])
def test_a_hidden_caption_is_read_as_if_it_were_missing(small_processor, context):
    config = small_config(decoder_context_captions=context)
    config.adapt_to_tokenizer(small_processor.tokenizer)
    torch.manual_seed(0)
    model = StoryAttnForConditionalGeneration(config).eval()
    stories = [draw_story(seed, num_frames=3) for seed in (0, 1)]
    captions = [["The red fox walks.", "It finds an owl.", "They go home."]] * 2
    frames = [story["frames"] for story in stories]
    inputs = small_processor(frames=frames, captions=captions)
    missing = {**inputs, "attention_mask": inputs["attention_mask"].clone()}
    missing["attention_mask"][0, 1] = 0
    mask = torch.tensor([[1, 0, 1], [1, 1, 1]])
    with torch.no_grad():
        plain = model(**inputs)
        hidden = model(**inputs, caption_mask=mask, return_loss=True)
        without = model(**missing)
    for name in ("describe_states", "continue_states"):
        assert_close(hidden[name], without[name])
        assert_close(hidden[name][1], plain[name][1])
        assert not torch.allclose(hidden[name][0], plain[name][0])
    # Later captions are written without the hidden one, in states and verbatim.
    assert_close(hidden.next_caption_logits[0, 1], without.next_caption_logits[0, 1])
    assert_close(hidden.describe_logits[0, 2], without.describe_logits[0, 2])
    # It keeps its place in the shared space and is still written and aligned: as many tokens and pairs count.
    assert_close(hidden.text_embeds, plain.text_embeds)
    counts = model.loss_counts(**inputs, caption_mask=mask)
    assert counts == model.loss_counts(**inputs) and counts["captioned"] == 6
    targets = inputs["input_ids"][:, :, 1:].masked_fill(inputs["attention_mask"][:, :, 1:] == 0, -100)
    expected = torch.nn.functional.cross_entropy(hidden.describe_logits[:, :, :-1].flatten(0, 2), targets.flatten())
    assert_close(hidden.loss_parts["describe"], expected)


def test_a_hidden_next_caption_is_painted_all_the_same(small_model, small_processor):
    frames, captions = [draw_story(0, num_frames=2)["frames"]], [["The red fox walks.", "It finds an owl."]]
    inputs = small_processor(frames=frames, captions=captions)
    with torch.no_grad():
        painted = [
            small_model(**inputs, caption_mask=torch.tensor([mask])).predicted_frames for mask in ([1, 0], [1, 1])
        ]
    assert_close(*painted)


@pytest.mark.parametrize(
    ("caption", "mirrored"),
    [
        ("A tree on the left, facing right.", "A tree on the right, facing left."),
        ("LEFT side; Right-hand corner", "RIGHT side; Left-hand corner"),
        ("the leftmost cloud, rightwards", "the rightmost cloud, leftwards"),
        ("Put it right above the bright, upright pie. All right?", None),
        ("A cat sits.", None),
    ],
)
def test_a_mirrored_caption_names_the_other_side(caption, mirrored):
    expected = caption if mirrored is None else mirrored
    assert mirrored_caption(caption) == expected and mirrored_caption(expected) == caption


def test_a_mirrored_window_has_the_captions_of_the_other_side(stories_folder, small_processor):
    rows = read_stories(str(stories_folder), "train").select([0])
    rows = rows.map(lambda row: {"captions": ["a fox on the left"] * len(row["captions"])})
    stories = prepare_stories(rows, small_processor.image_processor, "train")
    plain, changed = (
        TrainingWindows(stories, small_processor, small_config(), 0, how)
        for how in (Augmentation(), Augmentation(flip=True))
    )
    turned = [changed.augmentation.is_flipped(0, epoch, 0) for epoch in range(8)]
    assert set(turned) == {True, False}
    for epoch, flipped in enumerate(turned):
        before, item = plain[epoch, 0], changed[epoch, 0]
        assert np.array_equal(item["pixels"], before["pixels"][:, :, ::-1] if flipped else before["pixels"])
        expected = small_processor.encode_captions(["a fox on the right" if flipped else "a fox on the left"])[0]
        assert [list(ids) for ids in item["caption_ids"]] == [expected] * len(item["caption_ids"])
