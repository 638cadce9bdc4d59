"""What captions are worth in words that training lacks."""

import pytest
import torch
from conftest import SMALL_CONFIG
from storyattn.training.data.sources import read_stories
from storyattn.training.evaluation.evaluate import evaluate_model
from storyattn.training.evaluation.tables import main_results, result_tables
from storyattn.training.evaluation.windows import MeasuredWindows, to_pixels
from storyattn.training.evaluation.wording_metrics import measure_wordings, wording_metrics


@pytest.fixture(scope="module")
def stories():
    return read_stories(
        "storyworld", "test_words", max_stories=2, storyworld_options={"image_size": tuple(SMALL_CONFIG["image_size"])}
    )


def half_understanding(model, processor, stories):
    """Paint the truth for captions of training, half of the way to it for held-out ones, and else the last frame."""
    training_captions = {text for story in stories for text in story["training_captions"]}
    number = model.config.max_frames
    windows = MeasuredWindows(stories, number)
    by_caption = {}
    for item in (windows[position] for position in range(len(windows))):
        frames = to_pixels(model, processor, item["frames"])
        for name in ("captions", "training_captions"):
            share = 1.0 if item[name][-1] in training_captions else 0.5
            by_caption[item[name][-1]] = frames[-2].lerp(frames[-1], share)

    def predict_next_frame(pixel_values, frame_mask, next_input_ids=None, next_attention_mask=None, **inputs):
        last = frame_mask.sum(1) - 1
        copied = model.unnormalize(pixel_values)[torch.arange(len(last)), last]
        if next_input_ids is None:
            return copied
        texts = processor.tokenizer.batch_decode(next_input_ids, skip_special_tokens=True)
        spelled = {
            processor.tokenizer.decode(processor.encode_captions([text])[0], skip_special_tokens=True): frame
            for text, frame in by_caption.items()
        }
        return torch.stack([spelled[text] for text in texts])

    return predict_next_frame


def test_half_of_the_gain_is_kept_by_a_model_that_goes_half_of_the_way(
    small_model, small_processor, stories, monkeypatch
):
    monkeypatch.setattr(
        small_model, "predict_next_frame", half_understanding(small_model, small_processor, stories), raising=False
    )
    windows = MeasuredWindows(stories, small_model.config.max_frames)
    measured = wording_metrics(small_model, small_processor, windows, batch_size=4, progress=False)
    assert measured["training_words"]["caption_given"]["l1_changed"] == pytest.approx(0, abs=1e-6)
    for name in ("l1_changed", "l1_changed_per_frame"):
        assert measured["gain_kept"][name] == pytest.approx(0.5, abs=1e-3)
    assert measured["training_words"]["caption_given"]["exact"] == 1.0
    assert measured["gain_kept"]["exact"] < 0.3


def test_only_stories_in_two_wordings_are_measured(small_model, small_processor, stories):
    results = evaluate_model(small_model, small_processor, stories, max_windows=2, progress=False)
    assert set(results["wordings"]) == {"held_out_words", "training_words", "gain_kept"}
    assert "Next frame by wording" in result_tables(results)
    assert "share of a caption's gain kept in words that training lacks" in {
        row["name"] for row in main_results(results)
    }
    alone = measure_wordings(small_model, small_processor, stories, 2, progress=False)
    assert alone == {"wordings": results["wordings"]}
    others = evaluate_model(
        small_model, small_processor, stories.remove_columns("training_captions"), max_windows=2, progress=False
    )
    assert "wordings" not in others
