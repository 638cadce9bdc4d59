"""StoryWorld: its pictures, captions, boxes, events and splits."""

import random

import numpy as np
import pytest
from PIL import Image
from storyattn.training.storyworld import EVENT_KINDS, SPLITS, dataset, generate_story, load_storyworld
from storyattn.training.storyworld.characters import CHARACTERS
from storyattn.training.storyworld.dataset import is_held_out
from storyattn.training.storyworld.plain_form import plain_form
from storyattn.training.storyworld.plots import PLOTS, open_stage, play
from storyattn.training.storyworld.props import PROPS
from storyattn.training.storyworld.settings import SETTINGS
from storyattn.training.storyworld.stage import Stage, draw_stage
from storyattn.training.storyworld.weather import TIMES, WEATHERS

NO_PLACE = ("opening", "weather", "time", "travel", "celebrate", "wait")  # kinds of events without a box
SMALL = {"image_size": (16, 24)}  # quickly drawn


@pytest.fixture(scope="module")
def stories() -> list[dict]:
    """150 stories of the training split."""
    return [generate_story(seed, "train") for seed in range(150)]


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture, dtype=np.int32)


def test_the_world_has_its_size():
    assert len(CHARACTERS) >= 12 and len(PROPS) >= 10 and len(SETTINGS) >= 8 and len(PLOTS) >= 8
    assert len(WEATHERS) >= 4 and len(TIMES) >= 3
    assert all(len(setting["landmarks"]) == 3 for setting in SETTINGS.values())


def test_a_story_is_a_function_of_its_seed():
    first, again = generate_story(3, "train"), generate_story(3, "train")
    assert first["captions"] == again["captions"] and first["events"] == again["events"]
    assert all(np.array_equal(pixels(a), pixels(b)) for a, b in zip(first["frames"], again["frames"]))
    other_seed, other_split = generate_story(4, "train"), generate_story(3, "test")
    assert first["captions"] != other_seed["captions"] and first["captions"] != other_split["captions"]


def test_one_value_per_frame(stories):
    for story in stories:
        numbers = {name: len(story[name]) for name in ("frames", "captions", "boxes", "events")}
        assert set(numbers.values()) == {6}
        assert all(frame.size == (96, 64) and frame.mode == "RGB" for frame in story["frames"])
        assert all(event["kind"] in EVENT_KINDS for event in story["events"])
        assert [event["kind"] == "opening" for event in story["events"]] == [True] + [False] * 5


def test_every_event_but_waiting_changes_a_part_of_the_picture(stories):
    for story in stories:
        for before, after, event in zip(story["frames"], story["frames"][1:], story["events"][1:]):
            changed = (pixels(before) != pixels(after)).any(-1)
            assert changed.any() == (event["kind"] != "wait"), (story["story_id"], event)
            if event["kind"] not in (*NO_PLACE, "two_events"):
                assert changed.mean() < 0.3, (story["story_id"], event)


def test_an_events_box_lies_where_something_changed(stories):
    seen = set()
    for story in stories:
        for before, after, event in zip(story["frames"], story["frames"][1:], story["events"][1:]):
            assert bool(event["box"]) == bool(event["entity"])
            if event["kind"] != "two_events":
                assert bool(event["box"]) == (event["kind"] not in NO_PLACE)
            if event["box"]:
                x1, y1, x2, y2 = event["box"]
                changed = (pixels(before) != pixels(after)).any(-1)[y1:y2, x1:x2]
                assert changed.mean() > 0.3, (story["story_id"], event)
                seen.add(event["kind"])
    assert seen == set(EVENT_KINDS) - set(NO_PLACE)


def test_every_kind_of_event_stands_at_every_position():
    """Of 1000 stories of six frames and of 400 of ten: at the first position after the opening, too."""
    for num_frames, count in ((6, 1000), (10, 400)):
        scripts = [dataset.write_script(seed, "validation", num_frames) for seed in range(count // 10)]
        scripts += [script_of_any_split(seed, num_frames) for seed in range(count)]
        seen = {(position, step.kind) for script in scripts for position, step in enumerate(script.steps)}
        expected = {(position, kind) for position in range(num_frames - 1) for kind in EVENT_KINDS[1:]}
        assert seen == expected, expected - seen


def script_of_any_split(seed: int, num_frames: int) -> dataset.Script:
    """Return a story that no split needs to accept, which is drawn in one attempt."""
    rng = random.Random(seed)
    plot, setting, cast, settings = dataset._choose(rng, "test")
    stage = open_stage(plot, rng, setting, cast)
    return dataset.Script(plot, cast, settings, stage, play(plot, rng, stage, num_frames - 1, settings))


def test_nobody_meets_a_second_self():
    for seed in range(400):
        for step in script_of_any_split(seed, 10).steps:
            for part in (step, *step.parts):
                assert part.who != part.other and part.who in part.stage.cast
                assert set(part.stage.where) <= set(part.stage.cast) and part.stage.where
                assert not set(part.stage.held) & set(part.stage.lying)
                assert len(set(part.stage.held.values())) == len(part.stage.held)


def test_two_events_in_one_stepboth_show():
    """The picture differs from that before and from that after the first event; nobody moves twice."""
    pairs = [step for seed in range(300) for step in script_of_any_split(seed, 10).steps if step.kind == "two_events"]
    for step in pairs:
        first, second = step.parts
        looks = [stage.look() for stage in (step.before, first.stage, step.stage)]
        assert looks[0] != looks[1] != looks[2] != looks[0] and second.before is first.stage
        moved = [part.who for part in step.parts if part.kind in ("walk", "chase", "shelter")]
        assert first.kind != second.kind and len(moved) == len(set(moved))
        assert not (first.kind == "leave" and first.who == second.who)
    assert len({tuple(part.kind for part in step.parts) for step in pairs}) > 60


def test_boxes_are_exact():
    """Without an entity only pixels in its box change, up to each of the four edges."""
    stage = Stage(
        "farm", "clear", "day", ("fox", "girl"), where={"fox": 0, "girl": 2}, lying={"ball": 1}, held={"key": "girl"}
    )
    whole, boxes = draw_stage(stage, (64, 96))
    box_of = {box["entity"]: box["box"] for box in boxes}
    assert set(box_of) == {"fox", "girl", "ball", "key"}
    without = {
        "fox": stage.changed(where={"girl": 2}),
        "ball": stage.changed(lying={}),
        "key": stage.changed(held={}),
    }
    for entity, other in without.items():
        rows, columns = (np.abs(pixels(whole) - pixels(draw_stage(other, (64, 96))[0])).max(-1) > 60).nonzero()
        x1, y1, x2, y2 = box_of[entity]
        assert abs(columns.min() - x1) <= 1 and abs(columns.max() + 1 - x2) <= 1, entity
        assert abs(rows.min() - y1) <= 1 and abs(rows.max() + 1 - y2) <= 1, entity


def test_boxes_lie_in_the_frame_and_name_the_cast(stories):
    for story in stories:
        for boxes in story["boxes"]:
            names = [box["entity"] for box in boxes]
            assert len(names) == len(set(names)) and names
            for box in boxes:
                x1, y1, x2, y2 = box["box"]
                assert 0 <= x1 < x2 <= 96 and 0 <= y1 < y2 <= 64
                assert box["entity"] in (story["characters"] if box["kind"] == "character" else PROPS)


def test_captions_are_sentences(stories):
    for story in stories:
        for caption in story["captions"]:
            assert caption.strip('"')[0].isupper() and caption[-1] in '.!?"', caption
            assert not set(caption) & set("{}[]()<>|+&") and "  " not in caption, caption
            assert caption.count('"') in (0, 2) and len(caption.split()) <= 36, caption


def test_wording_varies(stories):
    captions = [caption for story in stories for caption in story["captions"]]
    assert len(set(captions)) > 0.8 * len(captions)


def test_plain_captions_have_one_wording_for_each_event():
    wordings = {}
    for seed in range(120):
        varied = generate_story(seed, "train", **SMALL)
        story = generate_story(seed, "train", wordings="plain", **SMALL)
        assert story["states"] == varied["states"] and story["captions"] != varied["captions"]
        for event, caption in zip(story["events"], story["captions"]):
            if event["kind"] not in ("opening", "two_events", "weather", "time"):
                plain, _ = plain_form(caption.lower())
                wordings.setdefault((event["kind"], len(event["characters"])), set()).add(plain)
    assert len(wordings) > 12
    assert max(len(texts) for texts in wordings.values()) <= 3, wordings


def test_unseen_combinations_are_in_one_split_alone():
    for seed in range(300):
        story = generate_story(seed, "test_unseen", num_frames=2, **SMALL)
        assert is_held_out(story["characters"][0], story["setting"], story["plot"])
    for split in ("train", "validation", "test", "test_words"):
        for seed in range(75):
            story = generate_story(seed, split, num_frames=2, **SMALL)
            assert not any(is_held_out(who, story["setting"], story["plot"]) for who in story["characters"])


def test_any_size_and_length():
    story = generate_story(1, "train", image_size=(128, 192), num_frames=9)
    assert len(story["frames"]) == 9 and story["frames"][0].size == (192, 128)
    small = generate_story(1, "train", num_frames=9)
    assert small["captions"] == story["captions"]
    for large, box in zip(story["boxes"][0], small["boxes"][0]):
        assert np.allclose(np.array(large["box"]) / 2, box["box"], atol=2.01)
    assert generate_story(1, "train", image_size=(96, 96))["frames"][0].size == (96, 96)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "dev"}, "split: got 'dev', expected one of train,"),
        ({"wordings": "short"}, "wordings: got 'short', expected one of varied, plain"),
        ({"num_frames": 1}, "num_frames: got 1, expected at least 2"),
        ({"image_size": (8, 96)}, r"image_size: got \(8, 96\), expected .* at least 16"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        generate_story(0, options.pop("split", "train"), **options)


def test_a_data_set_of_no_stories_is_refused():
    with pytest.raises(ValueError, match="num_stories: got 0, expected at least 1"):
        load_storyworld("train", num_stories=0)


def test_stories_are_drawn_once(tmp_path, monkeypatch):
    """The cache key of the files is pinned: another process, and a later release, finds the stories by it."""
    options = {"num_stories": 4, "cache_dir": str(tmp_path)}
    drawn = load_storyworld("test", **options)
    (folder,) = (tmp_path / "generator").iterdir()
    assert folder.name == "default-fingerprint=storyworld-bc946f1548f5f4fb"
    monkeypatch.setattr(dataset, "generate_story", lambda *args, **options: pytest.fail("drawn again"))
    assert load_storyworld("test", **options)["captions"] == drawn["captions"]


def test_stories_of_several_lengths(tmp_path):
    stories = load_storyworld("validation", num_stories=12, num_frames=(4, 7), cache_dir=str(tmp_path), **SMALL)
    lengths = [len(captions) for captions in stories["captions"]]
    assert set(lengths) == {4, 5, 6, 7}
    same = generate_story(5, "validation", num_frames=lengths[5], image_size=(16, 24))
    assert stories[5]["captions"] == same["captions"]
    with pytest.raises(ValueError, match=r"num_frames: got \(6, 4\), expected a number, or the least and the most"):
        load_storyworld("validation", num_frames=(6, 4))


def test_the_data_set_holds_the_stories(tmp_path):
    stories = load_storyworld("validation", num_stories=3, cache_dir=str(tmp_path))
    expected = generate_story(2, "validation")
    assert stories[2]["captions"] == expected["captions"] and stories[2]["boxes"] == expected["boxes"]
    assert np.array_equal(pixels(stories[2]["frames"][5]), pixels(expected["frames"][5]))
    assert {
        split: len(load_storyworld(split, num_stories=2, cache_dir=str(tmp_path))) for split in SPLITS
    } == dict.fromkeys(SPLITS, 2)
    other = load_storyworld("validation", num_stories=3, seed=1, cache_dir=str(tmp_path))
    assert other[0]["captions"] != stories[0]["captions"]


def test_no_story_of_another_split_is_in_training():
    """More than half of its pictures in a story of training would make it the same story."""
    train = [pictures(generate_story(seed, "train", **SMALL)) for seed in range(300)]
    shown = set().union(*train)
    for split in ("validation", "test", "test_unseen", "test_words"):
        for seed in range(20):
            story = pictures(generate_story(seed, split, **SMALL))
            assert len(story & shown) <= len(story) / 2, (split, seed)


def pictures(story: dict) -> set[bytes]:
    return {frame.tobytes() for frame in story["frames"]}
