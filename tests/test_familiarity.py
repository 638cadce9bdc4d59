"""The model says once where stories are far from those of its training."""

import numpy as np
import pytest
import torch
from conftest import draw_story
from storyattn import familiarity
from storyattn.outputs import StoryAttnModelOutput
from storyattn.training.evaluation.familiarity import familiar_similarity


@pytest.fixture
def warned(small_model, small_processor, monkeypatch):
    """Continue a story under a threshold, and return the warnings."""
    messages = []
    monkeypatch.setattr(familiarity.logger, "warning", messages.append)

    def run(
        least: float | None, captions: list | None = ("A fox.", "It runs."), times: int = 1, **options
    ) -> list[str]:
        monkeypatch.setattr(small_model.config, "familiar_similarity", least, raising=False)
        monkeypatch.setattr(small_model, "has_warned_of_unfamiliar_stories", False, raising=False)
        messages.clear()
        for _ in range(times):
            small_model.continue_story(
                small_processor, draw_story(0)["frames"][:2], captions and list(captions), max_new_tokens=2, **options
            )
        return list(messages)

    return run


def test_a_story_below_the_threshold_is_named_once(warned):
    (line,) = warned(1.5, times=3, num_steps=2)
    assert "at least 1.50" in line and "storyattn finetune" in line and "\n" not in line
    assert warned(-1.5) == [] and warned(None) == []


def test_a_story_without_captions_is_not_judged(warned):
    assert warned(1.5, captions=None) == []
    assert len(warned(1.5, captions=["A fox.", None])) == 1


def test_what_the_model_painted_is_not_judged(small_model, small_processor, warned, monkeypatch):
    story = small_model.continue_story(small_processor, draw_story(0)["frames"][:2], ["A fox.", "It runs."])
    monkeypatch.setattr(small_model.config, "familiar_similarity", 1.5)
    monkeypatch.setattr(small_model, "has_warned_of_unfamiliar_stories", False, raising=False)
    small_model.continue_story(small_processor, story, max_new_tokens=2)
    assert not small_model.has_warned_of_unfamiliar_stories


def test_the_similarity_of_a_story_is_the_mean_over_its_captions():
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    output = StoryAttnModelOutput(
        image_embeds=torch.stack([torch.stack([one, one]), torch.stack([one, one]), torch.stack([one, one])]),
        text_embeds=torch.stack([torch.stack([one, other]), torch.stack([other, other]), torch.stack([one, one])]),
    )
    mask = torch.tensor([[[1, 1], [1, 0]], [[1, 1], [0, 0]], [[0, 0], [0, 0]]])
    assert familiarity.story_similarities(output, mask) == [0.5, 0.0]


def test_the_threshold_is_what_nearly_all_validation_pairs_exceed(small_model, small_processor):
    stories = [draw_story(seed) for seed in range(8)]
    least = familiar_similarity(small_model, small_processor, stories)
    cosines = []
    for story in stories:
        for frame, caption in zip(story["frames"], story["captions"]):
            if caption:
                inputs = small_processor(frames=[[frame]], captions=[[caption]], return_tensors="pt")
                with torch.no_grad():
                    output = small_model.base_model(**inputs)
                cosines.append(float((output.image_embeds * output.text_embeds).sum()))
    assert least == pytest.approx(np.quantile(cosines, 0.01), abs=1e-5)
    assert familiar_similarity(small_model, small_processor, stories[:2]) is None
