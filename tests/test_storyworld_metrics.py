"""What written captions of StoryWorld get right, against numbers worked out by hand."""

import pytest
from storyattn.training.evaluation.storyworld_metrics import (
    ASPECTS,
    EventFloor,
    StoryWorldMetrics,
    event_hits,
    name_scores,
)
from storyattn.training.storyworld import generate_story
from storyattn.training.storyworld.reading import read_caption

WALK = "The fox walks over to the cave."
RAIN = "It begins to rain on the fox by the cave in the mountains."
TRAVEL = "The journey leads the fox to the well in the village."
GIVE = "The fox gives the key to the owl by the cave."


def window(*captions: str, kind: str, visible=("fox",)) -> dict:
    """A window of the schema whose last frame shows `visible` and a prop."""
    boxes = [{"entity": name, "kind": "character"} for name in visible] + [{"entity": "key", "kind": "prop"}]
    event = {"kind": kind, "characters": ["fox"], "places": ["cave", "mountains"]}
    return {"captions": list(captions), "boxes": [boxes], "events": [event]}


def event_of(caption: str) -> dict:
    """The event of a caption that leaves nothing out."""
    facts = read_caption(caption)
    return {"characters": facts.characters, "places": [facts.landmark, facts.setting or "mountains"]}


@pytest.mark.parametrize(
    ("written", "true", "expected"),
    [
        (WALK, WALK, "111"),
        ("Now the fox wants to see the cave and walks there.", WALK, "111"),
        ("The owl walks over to the cave.", WALK, "011"),
        (RAIN, WALK, "101"),
        ("It begins to snow on the fox by the cave in the mountains.", RAIN, "101"),
        ("The fox walks over to the well.", WALK, "110"),
        ("The journey leads the fox to the bakery in the village.", TRAVEL, "110"),
        ("The journey leads the fox to the cave in the mountains.", TRAVEL, "110"),
        ("The owl gives the key to the fox by the cave.", GIVE, "011"),
        ("The fox gives the ball to the owl by the cave.", GIVE, "111"),
        ("The fox walks over.", WALK, "11-"),
        ("", WALK, "00-"),
    ],
)
def test_character_action_and_place_are_judged_apart(written, true, expected):
    hits = event_hits(read_caption(written), event_of(true), read_caption(true))
    assert "".join({True: "1", False: "0", None: "-"}[hits[aspect]] for aspect in ASPECTS[:3]) == expected
    assert hits["all"] == ("0" not in expected)


def test_what_the_true_caption_says_is_right():
    """Of two who part one may name the one who stays, and of a walk where it began."""
    event = {"characters": ["fox", "owl"], "places": ["cave", "mountains"]}
    true = read_caption("Only the owl remains, over there by the fir tree.")
    assert event_hits(true, event, true)["all"]
    assert not event_hits(true, event, read_caption("The fox leaves."))["character"]


def test_the_floor_is_the_best_guess_of_training():
    opening = "On a clear day in the mountains the {} stands by the cave."
    train = [[opening.format(who), WALK.replace("fox", who)] for who in ("owl", "pig", "cat")]
    train += [[opening.format("owl"), RAIN.replace("fox", "owl")]]
    floor = EventFloor(train)
    before = [opening.format("fox")]

    def hits(captions: list[str], last: str) -> dict:
        return floor.hits([*captions, last], event_of(last))

    assert hits(before, WALK) == dict.fromkeys(ASPECTS, True)
    rain = hits(before, RAIN)
    assert rain == {"character": True, "action": False, "place": True, "all": False}
    # An event after which training has nothing: what is most frequent anywhere.
    assert hits([GIVE], WALK)["action"]
    nothing = EventFloor([[None, "Once."]])
    missed = {**dict.fromkeys(ASPECTS, False), "place": None}
    assert nothing.hits([*before, WALK], event_of(WALK)) == missed
    assert hits([], WALK)["character"] is False


def test_all_is_guessed_as_a_whole():
    """Most frequent by itself: walking, and the landmark before the last; together they were never right."""
    cave, oak = "The fox stands by the cave.", "It begins to rain on the fox by the old oak in the forest."
    windows = [[cave, oak, "The fox walks over to the old oak."]] * 3
    windows += [[cave, oak, "The fox finds a key on the ground by the cave."]] * 2
    windows += [[cave, oak, "Night falls in the mountains, and the fox stands in the dark by the cave."]] * 2
    floor = EventFloor(windows)
    hits = [floor.hits(captions, event_of(captions[-1])) for captions in windows]
    assert [sum(hit[aspect] for hit in hits) for aspect in ASPECTS] == [7, 3, 4, 3]


def test_names_are_held_against_the_frame_and_the_true_caption():
    targets = [{"fox"}, {"owl"}]
    visible = [{"fox", "owl"}, {"fox"}]  # the owl has left
    assert name_scores(targets, targets, visible) == {"precision": 1.0, "recall": 1.0, "f1": 1.0}
    scores = name_scores([{"owl", "pig"}, {"owl", "fox"}], targets, visible)
    # Named are: owl (visible), pig (not), owl (just left), fox (visible); of the two in the captions one is named.
    assert scores == {"precision": 3 / 4, "recall": 1 / 2, "f1": 0.6}
    assert name_scores([set(), set()], targets, visible) == {"precision": None, "recall": 0.0, "f1": 0.0}


def test_only_windows_of_storyworld_count():
    metrics = StoryWorldMetrics()
    metrics.update("5", window("4", "5", kind="brightens"))
    metrics.update(WALK, {"captions": [WALK, WALK]})
    assert metrics.compute(None, 0) == {}
    metrics.update(WALK, window(GIVE, RAIN, kind="weather"))
    results = metrics.compute(None, 0)
    assert results["event"] == {"character": 1.0, "action": 0.0, "place": 1.0, "all": 0.0, "count": 1}
    assert results["named_characters"]["f1"] == 1.0
    assert results["named_characters"]["floors"] == {"last_caption": {"precision": 0.5, "recall": 1.0, "f1": 2 / 3}}
    floors = metrics.compute([[WALK, "The pig walks over to the well."]], seed=0)
    assert set(floors["named_characters"]["floors"]) == {"last_caption", "random_train_caption"}
    assert set(floors["event"]["floor"]) == set(ASPECTS)


def test_true_captions_are_right_and_beat_the_floor():
    stories = {
        split: [generate_story(seed, split, image_size=(16, 24)) for seed in range(40)] for split in ("train", "test")
    }
    metrics = StoryWorldMetrics()
    for story in stories["test"]:
        metrics.update(story["captions"][-1], story)
    results = metrics.compute([story["captions"] for story in stories["train"]], seed=0)
    assert results["event"]["count"] == 40
    assert all(results["event"][aspect] == 1.0 for aspect in ASPECTS)
    assert all(0 < results["event"]["floor"][aspect] < 0.9 for aspect in ASPECTS[:3])
    assert results["named_characters"]["f1"] == 1.0 > results["named_characters"]["floors"]["last_caption"]["f1"]
