"""The exact state of painted frames: what scores, what must not, and where it stands in the results."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from storyattn.training.data.prepared_stories import prepare_stories
from storyattn.training.data.sources import read_stories
from storyattn.training.evaluation.evaluate import evaluate_model
from storyattn.training.evaluation.state_evaluation import StateEvaluation, has_states
from storyattn.training.evaluation.tables import main_results, result_tables
from storyattn.training.evaluation.terminal import format_metrics
from storyattn.training.evaluation.windows import MeasuredWindows
from storyattn.training.storyworld.states import SLOTS

SIZE = (32, 48)


@pytest.fixture(scope="module")
def stories():
    return read_stories("storyworld", "test", max_stories=4, storyworld_options={"image_size": SIZE})


@pytest.fixture(scope="module")
def items(stories) -> list[dict]:
    """All transitions of four stories of StoryWorld."""
    windows = MeasuredWindows(stories, 6)
    return [windows[position] for position in range(len(windows))]


def pixels(items: list[dict], position: int) -> torch.Tensor:
    frames = np.stack([np.asarray(item["frames"][position]) for item in items])
    return torch.from_numpy(frames).permute(0, 3, 1, 2) / 255


def test_true_frames_score_everything_and_controls_almost_nothing(items):
    states = StateEvaluation(seed=0)
    states.update_controls(pixels(items, -1), items)
    shares = states.compute()
    assert set(shares["true_frames"].values()) == {1.0}
    assert set(shares["controls"]) == {"last_frame", "blur", "noise", "gray"}
    for name in ("noise", "gray"):
        assert set(shares["controls"][name].values()) == {0.0}
    assert shares["controls"]["last_frame"]["exact"] == 0.0
    assert shares["controls"]["last_frame"]["setting"] > 0.5 and shares["controls"]["blur"]["exact"] < 0.2


def test_an_absent_character_and_a_wrong_place_are_wrong(items):
    """Each frame is painted as the frame of another window."""
    states = StateEvaluation(seed=0)
    hits = states.update("caption_given", pixels(items[1:] + items[:1], -1), items)
    assert not any(hit["exact"] for hit in hits)
    for hit, item, other in zip(hits, items, items[1:] + items[:1]):
        who = [{box["entity"] for box in of["boxes"][-1] if box["kind"] == "character"} for of in (item, other)]
        assert hit["who"] == (who[0] == who[1]) and hit["readable"]


def test_shares_are_counted_by_position_and_by_event(items):
    states = StateEvaluation(seed=0)
    painted = pixels(items, -1)
    painted[[item["start"] + len(item["frames"]) == 3 for item in items]] = 0.5  # the second transitions are gray
    states.update_groups(states.update("caption_given", painted, items), items)
    shares = states.compute()
    assert shares["caption_given"]["exact"] == 0.8
    assert [row["exact"] for row in shares["by_position"].values()] == [1.0, 0.0, 1.0, 1.0, 1.0]
    assert sum(row["count"] for row in shares["by_event"].values()) == len(items) == 20
    kinds = [item["events"][-1]["kind"] for item in items]
    assert {kind: row["count"] for kind, row in shares["by_event"].items()} == {k: kinds.count(k) for k in kinds}


def test_a_state_that_is_none_is_named_with_its_story(items):
    broken = [{**items[0], "states": ["", "fox"]}]
    with pytest.raises(ValueError, match="story 'test-0', states: got 'fox', expected the state of a picture"):
        StateEvaluation(seed=0).update("caption_given", pixels(broken, -1), broken)


def test_states_of_another_kind_of_story_are_not_read():
    for columns in (["frames", "states", "domain"], ["frames", "captions"]):
        assert not has_states(SimpleNamespace(column_names=columns))


def test_an_evaluation_reports_the_state_beside_its_controls(stories, small_model, small_processor):
    prepared = prepare_stories(stories, small_processor.image_processor, "test")
    metrics = evaluate_model(small_model, small_processor, prepared, max_windows=10, progress=False)
    state = metrics["state"]
    assert set(state) == {
        *("caption_given", "no_caption", "other_caption", "true_frames", "controls", "by_event", "by_position")
    }
    assert set(state["caption_given"]) == {"exact", *SLOTS, "readable"}
    assert state["true_frames"]["exact"] == 1.0 and state["caption_given"]["exact"] == 0.0  # fresh weights
    assert {position: row["count"] for position, row in state["by_position"].items()} == dict.fromkeys("12345", 2)
    (row,) = [row for row in main_results(metrics) if row["name"] == "next frame, caption given: exact state"]
    assert (row["value"], row["floor"], row["beaten"]) == (0.0, 0.0, False)
    for text in (result_tables(metrics), format_metrics(metrics)):
        for title in ("control: noise", "control: gray", "control: blur", "control: last frame", "by position"):
            assert title in text
