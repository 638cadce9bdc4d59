"""Retrieval between pictures and captions, next to chance."""

import torch
from storyattn.training.evaluation.retrieval import retrieval_metrics
from torch.testing import assert_close


def test_retrieval_ranks_and_chance():
    image_embeds = torch.eye(4)
    text_embeds = torch.eye(4)[[0, 1, 3, 2]]  # the captions of story 1 are exchanged
    result = retrieval_metrics(image_embeds, text_embeds, torch.tensor([0, 0, 1, 1]))["text_to_image"]
    assert (result["r1"], result["r5"], result["within_story_r1"]) == (0.5, 1.0, 0.5)
    assert (result["chance_r1"], result["chance_r5"], result["chance_within_story_r1"]) == (0.25, 1.0, 0.5)


def test_chance_within_a_story_averages_over_frames():
    stories = torch.tensor([0, 0, 0, 0, 1, 1, 2])  # 4 frames at 1/4, 2 at 1/2, a story of one frame left out
    result = retrieval_metrics(torch.eye(7), torch.eye(7), stories)["image_to_text"]
    assert_close(result["chance_within_story_r1"], (4 / 4 + 2 / 2) / 6)
    assert (result["r1"], result["within_story_r1"]) == (1.0, 1.0)


def test_one_embedding_for_everything_scores_chance():
    same = torch.ones(20, 4) / 2
    result = retrieval_metrics(same, same, torch.arange(20) // 4)["text_to_image"]
    for name in ("r1", "r5", "r10", "within_story_r1"):
        assert_close(result[name], result[f"chance_{name}"])
