"""Every measure against numbers worked out by hand, and a whole evaluation of a model whose behaviour is known."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from conftest import draw_story
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PILImage
from storyattn.training.common.files import write_results
from storyattn.training.evaluation.attention_metrics import AttentionMetrics
from storyattn.training.evaluation.caption_metrics import CaptionMetrics, text_scores, token_losses
from storyattn.training.evaluation.evaluate import evaluate_model
from storyattn.training.evaluation.floors import floor_predictions, train_median
from storyattn.training.evaluation.frame_metrics import EventMetrics, FrameErrors, FrameMetrics
from storyattn.training.evaluation.quick import quick_metrics
from storyattn.training.evaluation.results import results_document
from storyattn.training.evaluation.retrieval import retrieval_metrics
from storyattn.training.evaluation.tables import format_metrics
from storyattn.training.evaluation.windows import exchange
from torch.testing import assert_close
from transformers import BatchFeature

HEIGHT, WIDTH = 16, 24


def plain(level: float) -> torch.Tensor:
    return torch.full((3, HEIGHT, WIDTH), level)


def noise(seed: int) -> torch.Tensor:
    return torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))


def l1_distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a - b).abs().flatten(1).mean(dim=1)


# Frames


def test_l1_changed_counts_only_changed_pixels_and_pools_them():
    target = plain(0.0)
    target[0, :4, :6] = 1.0  # 24 of 384 pixels change, in one channel
    errors = FrameErrors()
    errors.update(plain(0.0)[None], target[None], plain(0.0)[None])
    assert_close(errors.compute(), {"l1": 24 / (3 * 384), "l1_changed": 1 / 3})
    errors.update(plain(0.5)[None], plain(1.0)[None], plain(0.0)[None])  # 384 changed pixels, each 0.5 off
    assert_close(errors.compute()["l1_changed"], (24 / 3 + 384 * 0.5) / (24 + 384))


def test_a_change_of_two_levels_is_no_change_but_three_are():
    errors = FrameErrors()
    errors.update(plain(0.0)[None], plain(102 / 255)[None], plain(100 / 255)[None])
    assert errors.compute()["l1_changed"] is None
    errors.update(plain(0.0)[None], plain(103 / 255)[None], plain(100 / 255)[None])
    assert_close(errors.compute()["l1_changed"], 103 / 255)


def test_identical_frames_have_finite_psnr_and_perfect_similarity():
    metrics = FrameMetrics(l1_distance)
    metrics.update(noise(0)[None], noise(0)[None], noise(1)[None])
    expected = {"l1": 0.0, "l1_changed": 0.0, "psnr": 100.0, "ssim": 1.0, "perceptual": 0.0, "edge_ratio": 1.0}
    assert_close(metrics.compute(), expected)


def test_psnr_of_a_known_error_is_averaged_over_frames():
    metrics = FrameMetrics(l1_distance)
    targets = torch.stack([noise(0) * 0.5, noise(1) * 0.5])
    offsets = torch.tensor([0.1, 0.01])[:, None, None, None]  # 20 and 40 decibels
    metrics.update(targets + offsets, targets, targets)
    assert_close(metrics.compute()["psnr"], 30.0, atol=1e-3, rtol=0)
    assert_close(metrics.compute()["perceptual"], 0.055, atol=1e-5, rtol=0)


def test_edge_ratio_falls_with_contrast_and_is_zero_for_a_blob():
    for factor in (0.5, 0.0):
        metrics = FrameMetrics(l1_distance)
        metrics.update(factor * noise(0)[None], noise(0)[None], noise(0)[None])
        assert_close(metrics.compute()["edge_ratio"], factor)


def test_edges_of_a_target_without_any_are_not_divided_by():
    metrics = FrameMetrics(l1_distance)
    metrics.update(noise(0)[None], plain(0.3)[None], plain(0.3)[None])
    assert metrics.compute()["edge_ratio"] is None


def test_placement_is_the_share_of_events_painted_in_their_box():
    target, last = plain(0.0), plain(0.0)
    target[:, 2:6, 3:9] = 1.0
    half = plain(0.0)
    half[:, 2:6, 3:9] = 0.6
    events = EventMetrics()
    events.update("enters", [3.2, 2.1, 8.7, 5.9], half, target, last)  # rounded outwards: rows 2:6, columns 3:9
    events.update("enters", [3, 2, 9, 6], last, target, last)
    events.update("enters", [900, 900, 950, 950], target, target, last)  # lies outside: cannot be judged
    events.update("night", None, target, target, last)
    result = events.compute()
    assert_close(result["enters"]["l1_changed"], (0.4 + 1.0 + 0.0) / 3)
    assert result["enters"]["copy_last_l1_changed"] == 1.0
    assert (result["enters"]["placement"], result["enters"]["count"], result["enters"]["count_with_box"]) == (0.5, 3, 2)
    assert (result["night"]["placement"], result["night"]["l1_changed"]) == (None, 0.0)


@pytest.mark.parametrize(
    "column, box", [(3, [3.9, 2.9, 8.0, 5.1]), (8, [4.0, 2.9, 8.1, 5.1]), (3, [4.0, 3.0, 8.0, 5.0])]
)
def test_boxes_are_rounded_outwards(column, box):
    target, last = plain(0.0), plain(0.0)
    target[:, 2:6, column] = 1.0
    events = EventMetrics()
    events.update("enters", box, target, target, last)
    is_touched = box[0] < column + 1 and column < box[2]
    assert events.compute()["enters"]["placement"] == float(is_touched)


def test_floors_are_what_they_are_called():
    inputs = torch.stack([plain(0.9), plain(0.0), plain(0.3)])
    floors = floor_predictions(inputs, plain(1.0), plain(0.5))
    levels = {name: floor.mean().item() for name, floor in floors.items()}
    assert_close(levels, {"copy_last": 0.3, "mean": 0.4, "oracle_input": 0.9, "train_median": 0.5})
    assert "train_median" not in floor_predictions(inputs, plain(1.0), None)


def test_train_median_is_taken_per_pixel_over_at_most_the_given_frames():
    stories = [{"frames": [0.0, 1.0]}, {"frames": [0.2]}, {"frames": [0.4, 0.6]}]
    seen = []

    def to_pixels(frames):
        seen.extend(frames)
        return torch.stack([plain(level) for level in frames])

    assert_close(train_median(stories, to_pixels), plain(102 / 255))
    seen.clear()
    train_median(stories, to_pixels, max_frames=3)
    assert len(seen) == 3


# Retrieval


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


# Attention


def test_attention_on_the_box_is_measured_against_its_share_of_the_frame():
    on_box, off_box = torch.zeros(2, 4, 6), torch.zeros(2, 4, 6)
    on_box[:, 1, 1] = 1.0  # the cell of pixels 4:8, 4:8
    off_box[:, 3, 5] = 1.0
    metrics = AttentionMetrics()
    for maps in (on_box, off_box):
        metrics.update(maps, [[4, 4, 12, 8]], HEIGHT, WIDTH)
    metrics.update(on_box, [], HEIGHT, WIDTH)  # nothing to look at: does not count
    share = 32 / (HEIGHT * WIDTH)
    result = metrics.compute()
    assert (result["pointing_game"], result["num_frames"]) == (0.5, 2)
    assert_close(result["chance_pointing_game"], share)
    assert_close(result["mass_over_area"], (1 / share + 0) / 2)
    assert result["per_head"]["pointing_game"] == [0.5, 0.5]


def test_uniform_attention_scores_chance():
    metrics = AttentionMetrics()
    metrics.update(torch.full((3, 4, 6), 1 / 24), [[0, 0, 12, 8], [4, 0, 12, 8]], HEIGHT, WIDTH)
    result = metrics.compute()
    assert_close(result["mass_over_area"], 1.0)
    assert_close(result["pointing_game"], result["chance_pointing_game"])


# Captions


def test_text_scores_of_true_and_of_foreign_captions():
    captions = ["The fox finds a red kite in the park .", "Лиса нашла змея в парке у реки ."]
    perfect = text_scores(captions, captions)
    assert_close(
        {name: perfect[name] for name in ("bleu4", "rouge_l", "chrf", "cider")},
        {"bleu4": 100.0, "rouge_l": 100.0, "chrf": 100.0, "cider": 10.0},
    )
    wrong = text_scores(["zzz"], ["The fox finds a red kite"])
    assert (wrong["bleu4"], wrong["rouge_l"], wrong["chrf"], wrong["distinct2"]) == (0.0, 0.0, 0.0, 0.0)
    assert set(text_scores([], []).values()) == {None}


def test_rouge_l_and_distinct2_by_hand():
    scores = text_scores(["a b c a b", "a b"], ["a x c b", "x y"])
    # longest common subsequence a c b: precision 3/5, recall 3/4, F 2/3; the second has none
    assert_close(scores["rouge_l"], 100 * (2 / 3) / 2)
    assert_close(scores["distinct2"], 3 / 5)  # ab bc ca ab + ab: three different of five


def test_cider_by_hand():
    """Two references without a word in common: every n-gram weighs ln 2, which falls out of the cosines."""
    # The first is right in words and pairs of words and has no longer n-grams; the second has one word of two.
    assert_close(text_scores(["A b.", "a c"], ["a b", "c d"])["cider"], 10 / 4 * (2 + 1 / 2) / 2)
    # Said twice: clipped to once; cosines 2/4 and 1/sqrt(5), and two words too many.
    twice = 10 / 4 * (2 / 4 + 1 / math.sqrt(5)) * math.exp(-(2**2) / (2 * 6**2))
    assert_close(text_scores(["a b a b", ""], ["a b", "c d"])["cider"], twice / 2)
    # What all references have says nothing: of "the fox" and "the owl" a wrong animal is all wrong.
    assert text_scores(["the owl", "the fox"], ["the fox", "the owl"])["cider"] == 0.0


def test_bits_per_byte_are_summed_over_captions_and_count_bytes():
    metrics = CaptionMetrics()
    logits, ids = torch.zeros(1, 3, 8), torch.tensor([[1, 5, 2]])  # two tokens of 3 bits
    metrics.add_loss("loss", logits, ids, torch.ones_like(ids), num_bytes=len("Лиса".encode()))
    metrics.add_loss("loss", logits, ids, torch.tensor([[1, 1, 0]]), num_bytes=1)
    found = metrics.compute(None, seed=0)
    assert_close(found["bits_per_byte"], (2 * 3 + 3) / (8 + 1), atol=1e-6, rtol=0)
    assert_close(found["loss"], 3 * math.log(2), atol=1e-6, rtol=0)
    assert found["bits_per_byte_shuffled_frames"] is None


def test_a_caption_that_is_cut_counts_the_bytes_that_are_left(small_model, small_processor):
    """Its loss is that of the tokens that are left: all bytes would make longer captions look easier."""
    stories = [draw_story(seed, num_frames=2) for seed in (0, 1)]
    told = ["The red fox walks.", "The red fox walks to the left. " * 30]
    for story, caption in zip(stories, told):
        story["captions"] = ["A fox.", caption]
    columns = {name: [story[name] for story in stories] for name in ("frames", "captions")}
    features = Features({"frames": List(Image()), "captions": List(Value("string")), "story_id": Value("string")})
    dataset = Dataset.from_dict({**columns, "story_id": ["a", "b"]}, features=features)
    metrics = evaluate_model(small_model, small_processor, dataset, progress=False)["describe"]
    ids = small_processor.encode_captions(told)
    kept = [len(text.encode()) for text in small_processor.batch_decode(ids, skip_special_tokens=True)]
    assert kept[0] == len(told[0]) and kept[1] < len(told[1]) / 4
    tokens = sum(len(caption) - 1 for caption in ids)
    assert_close(metrics["bits_per_byte"], metrics["loss"] * tokens / math.log(2) / sum(kept))


def test_token_losses_leave_out_padding_and_the_start_token():
    logits = torch.zeros(2, 4, 8)
    logits[0, 0, 5] = 100.0  # sure of the right first token
    input_ids = torch.tensor([[1, 5, 2, 0], [1, 6, 7, 2]])
    loss, tokens = token_losses(logits, input_ids, (input_ids > 0).long())
    assert tokens == 5
    assert_close(loss, 4 * math.log(8), atol=1e-4, rtol=0)


# A whole evaluation


def test_exchange_gives_everyone_something_of_another_group():
    groups = [0] * 5 + [1] * 3 + [2] * 4
    donors = exchange(groups, seed=3)
    assert sorted(donors) == list(range(12))
    assert all(groups[donor] != group for donor, group in zip(donors, groups))
    assert donors == exchange(groups, seed=3) != exchange(groups, seed=4)
    crowded = [0] * 5 + [1]
    assert all(crowded[donor] != group for donor, group in zip(exchange(crowded, 0), crowded))
    assert exchange([0, 0], 0) == [None, None]


class LevelProcessor:
    """Frames of one grey level; the caption "k" stands for level k / 10 and is the tokens start, 10 + k, end."""

    def __init__(self):
        scale = (WIDTH / 48, HEIGHT / 32) * 2
        self.image_processor = SimpleNamespace(
            transform_boxes=lambda boxes, size: [[edge * s for edge, s in zip(box, scale)] for box in boxes]
        )

    def __call__(self, frames, captions=None, return_tensors="pt"):
        captions = captions or [[None] * len(story) for story in frames]
        count = max(map(len, frames))
        pixels = torch.zeros(len(frames), count, 3, HEIGHT, WIDTH)
        ids, mask = torch.zeros(2, len(frames), count, 3, dtype=torch.long)
        frame_mask = torch.zeros(len(frames), count, dtype=torch.long)
        for row, (pictures, told) in enumerate(zip(frames, captions)):
            for column, (picture, text) in enumerate(zip(pictures, told)):
                pixels[row, column] = picture.getpixel((0, 0))[0] / 255 * 2 - 1
                frame_mask[row, column] = 1
                if text:
                    ids[row, column], mask[row, column] = torch.tensor([1, 10 + int(text), 2]), 1
        tensors = {"pixel_values": pixels, "frame_mask": frame_mask, "input_ids": ids, "attention_mask": mask}
        return BatchFeature(tensors)

    def tokenize_captions(self, captions):
        pictures = [[PILImage.new("RGB", (1, 1))] * len(story) for story in captions]
        return self(pictures, captions)

    def batch_decode(self, ids, skip_special_tokens=True):
        return [str(int(row[0]) - 10) for row in ids]


class LevelModel(torch.nn.Module):
    """Paints the level that the next caption names, without one repeats the last frame; describes what it sees."""

    base_model = property(lambda self: self.look)
    device = torch.device("cpu")

    def __init__(self):
        super().__init__()
        self.config = SimpleNamespace(max_frames=3, max_caption_length=8, image_size=[HEIGHT, WIDTH])
        self.part = torch.nn.Dropout()

    def unnormalize(self, pixel_values):
        return (pixel_values + 1) / 2

    def perceptual_distance(self, a, b):
        return l1_distance(a, b)

    def look(self, pixel_values, frame_mask, input_ids, attention_mask):
        maps = torch.zeros(*frame_mask.shape, 2, 4, 6)
        maps[..., 0, 0] = 1.0
        levels = (self.unnormalize(pixel_values)[:, :, 0, 0, 0] * 10).round().long()
        one_hot = torch.nn.functional.one_hot(torch.stack([levels, input_ids[:, :, 1] - 10]).clamp(min=0), 11).float()
        return SimpleNamespace(image_embeds=one_hot[0], text_embeds=one_hot[1], spatial_attentions=maps, levels=levels)

    def forward(self, pixel_values, frame_mask, input_ids, attention_mask, return_loss=False, use_next_caption=True):
        assert not self.training
        output = self.look(pixel_values, frame_mask, input_ids, attention_mask)
        frames = self.unnormalize(pixel_values)
        told = torch.where(attention_mask[:, 1:, 1] > 0, (input_ids[:, 1:, 1] - 10) / 10, frames[:, :-1, 0, 0, 0])
        told = torch.where(frame_mask[:, 1:] > 0, told, 0.5)  # what is painted for a padded frame is no matter
        output.predicted_frames = told[..., None, None, None].expand_as(frames[:, 1:])
        output.reconstructed_frames = frames + 0.1
        output.describe_logits = torch.zeros(*input_ids.shape, 32)
        output.describe_logits.scatter_(3, (10 + output.levels)[:, :, None, None].expand(-1, -1, 3, 1), 5.0)
        output.next_caption_logits = output.describe_logits[:, :-1]
        output.loss, output.loss_parts = torch.tensor(2.0), {"l1": torch.tensor(0.5)}
        return output

    def predict_next_frame(self, pixel_values, frame_mask, input_ids, attention_mask, **following):
        rows, last = torch.arange(len(frame_mask)), frame_mask.sum(dim=1) - 1
        frames = self.unnormalize(pixel_values)[rows, last]
        if not following:
            return frames
        told = following["next_attention_mask"][:, 1] > 0
        levels = torch.where(told, (following["next_input_ids"][:, 1] - 10) / 10, frames[:, 0, 0, 0])
        return levels[:, None, None, None].expand_as(frames)

    def generate(self, pixel_values, frame_mask, input_ids, attention_mask, task, **options):
        rows, last = torch.arange(len(frame_mask)), frame_mask.sum(dim=1) - 1
        levels = self.look(pixel_values, frame_mask, input_ids, attention_mask).levels[rows, last]
        return 10 + levels[:, None] + (task == "continue")


def level_stories(levels: list[list[int]], captions=None, boxes=False) -> Dataset:
    """Stories whose frames have the given grey levels, in tenths, 32 x 48 pixels large."""
    frames = [[PILImage.new("RGB", (48, 32), (round(25.5 * k),) * 3) for k in story] for story in levels]
    columns = {
        "story_id": [f"story {i}" for i in range(len(levels))],
        "frames": frames,
        "captions": captions or [[str(k) for k in story] for story in levels],
    }
    features = {"story_id": Value("string"), "frames": List(Image()), "captions": List(Value("string"))}
    if boxes:
        box = {"entity": "fox", "kind": "character", "box": [0.0, 0.0, 16.0, 16.0]}
        event = {"kind": "brightens", "entity": "fox", "box": [0.0, 0.0, 16.0, 16.0]}
        columns["boxes"] = [[[box] for _ in story] for story in levels]
        columns["events"] = [[event for _ in story] for story in levels]
        place = {"entity": Value("string"), "kind": Value("string"), "box": List(Value("float32"))}
        features |= {"boxes": List(List(place)), "events": List(place)}
    return Dataset.from_dict(columns, features=Features(features))


def test_evaluation_of_a_model_that_paints_what_the_caption_says():
    stories = level_stories([[0, 2, 5], [1, 4], [3, 6, 8, 9], [7]], boxes=True)
    train = level_stories([[5, 5], [1, 9]])
    model = LevelModel()
    metrics = evaluate_model(model, LevelProcessor(), stories, train_stories=train, batch_size=3, progress=False)
    assert model.training and model.part.training
    assert (metrics["num_windows"], metrics["num_windows_left_out"], metrics["num_stories"]) == (4, 1, 3)

    frames, tolerance = metrics["next_frame"], {"atol": 2e-3, "rtol": 0}  # grey levels are rounded to 8 bits
    steps = [0.3, 0.3, 0.2, 0.1]  # from the last input to the target of the four windows
    assert_close(frames["l1"], 0.0, **tolerance)
    assert_close(metrics["next_frame_alone"]["l1"], sum(steps) / 4, **tolerance)
    assert_close(frames["floors"]["copy_last"]["l1_changed"], sum(steps) / 4, **tolerance)
    assert_close(frames["floors"]["oracle_input"]["l1"], sum(steps) / 4, **tolerance)
    assert_close(frames["floors"]["mean"]["l1"], (0.4 + 0.3 + 0.35 + 0.2) / 4, **tolerance)
    assert_close(frames["floors"]["train_median"]["l1"], (0.0 + 0.1 + 0.3 + 0.4) / 4, **tolerance)
    assert_close(metrics["reconstruction"]["l1"], 0.1, **tolerance)
    assert frames["shuffled_caption"]["l1"] > 0.1
    event = frames["by_event"]["brightens"]
    assert (event["placement"], event["count"]) == (1.0, 4)
    assert_close(event["copy_last_l1_changed"], sum(steps) / 4, **tolerance)

    # describing is right, continuing says the last level plus one: right once in four
    assert metrics["describe"]["rouge_l"] == 100.0 and metrics["next_caption"]["rouge_l"] == 25.0
    assert metrics["describe"]["examples"][0] == {"target": "5", "generated": "5"}
    assert metrics["describe"]["floors"]["last_caption"]["rouge_l"] == 0.0
    assert set(metrics["describe"]["floors"]) == {"last_caption", "random_train_caption", "unigram"}
    sure, unsure = math.log(math.exp(5) + 31) - 5, math.log(math.exp(5) + 31)
    assert_close(metrics["describe"]["loss"], (sure + unsure) / 2)  # sure of the level, unsure of the end
    assert_close(metrics["describe"]["loss_shuffled_frames"], unsure)
    # captions of one byte and two tokens
    assert_close(metrics["describe"]["bits_per_byte"], (sure + unsure) / math.log(2))
    assert_close(metrics["next_caption"]["bits_per_byte_shuffled_frames"], 2 * unsure / math.log(2))
    # training has 5 twice, 1, 9, and four ends; each of 32 tokens counts once more; told are 5, 4, 8, 9
    bits = -sum(math.log2((count + 1) / (8 + 32)) for count in (2, 0, 0, 1, 4, 4, 4, 4)) / 4
    assert_close(metrics["describe"]["floors"]["unigram"]["bits_per_byte"], bits)
    assert "event" not in metrics["describe"]  # no captions of StoryWorld
    for direction in ("text_to_image", "image_to_text"):
        assert (metrics["retrieval"][direction]["r1"], metrics["retrieval"][direction]["within_story_r1"]) == (1.0, 1.0)
    assert metrics["retrieval"]["num_frames"] == 9
    assert metrics["attention"]["pointing_game"] == 1.0  # the first cell lies in the box of 8 x 8 pixels
    assert_close(metrics["attention"]["mass_over_area"], HEIGHT * WIDTH / 64)
    assert "model, shuffled caption" in format_metrics(metrics) and "brightens" in format_metrics(metrics)


def test_evaluation_without_boxes_events_training_stories_and_some_captions():
    stories = level_stories([[0, 2, 5], [1, 4], [3, 6]], [["0", None, "5"], ["1", "4"], ["3", None]])
    metrics = evaluate_model(LevelModel(), LevelProcessor(), stories, progress=False)
    assert "attention" not in metrics and "by_event" not in metrics["next_frame"]
    assert set(metrics["next_frame"]["floors"]) == {"copy_last", "mean", "oracle_input"}
    assert metrics["next_caption"]["num_captions"] == 2 and metrics["retrieval"]["num_frames"] == 5
    assert any("no caption" in note for note in metrics["notes"]) and any(
        "training" in note for note in metrics["notes"]
    )
    assert "-" in format_metrics(metrics)
    alone = evaluate_model(LevelModel(), LevelProcessor(), level_stories([[1, 2, 3, 4]]), progress=False)
    assert alone["next_frame"]["shuffled_caption"]["l1"] is None and alone["describe"]["loss_shuffled_frames"] is None


def test_evaluation_repeats_itself_and_takes_the_windows_asked_for():
    stories = level_stories([[0, 2, 5, 6, 7], [1, 4, 2], [3, 6, 8, 9]])
    first, second = (
        evaluate_model(LevelModel(), LevelProcessor(), stories, max_windows=4, seed=5, progress=False) for _ in range(2)
    )
    assert first == second and first["num_windows"] == 4


def test_stories_without_a_transition_are_refused():
    with pytest.raises(ValueError, match="no story with two frames among 2"):
        evaluate_model(LevelModel(), LevelProcessor(), level_stories([[1], [2]]), progress=False)


def test_quick_metrics_are_flat_numbers():
    stories = level_stories([[0, 2, 5], [1, 4]])
    numbers = quick_metrics(LevelModel(), LevelProcessor(), stories, max_windows=2, batch_size=1)
    expected = {"loss": 2.0, "loss_parts/l1": 0.5, "next_frame/l1": 0.0, "next_frame/l1_changed": 0.0}
    expected |= {"copy_last/l1": 0.3, "copy_last/l1_changed": 0.3}
    assert_close(numbers, expected, atol=2e-3, rtol=0)


def test_results_are_written_whole_and_without_nan(tmp_path):
    metrics = {"num_stories": 1, "num_windows": 2, "describe": {"loss": float("nan"), "heads": [float("inf"), 1.0]}}
    document = results_document(metrics, dataset="d", split="test", model="m", seed=0, command="storyattn evaluate")
    path = tmp_path / "deep" / "results.json"
    write_results(document, path)
    read = json.loads(path.read_text())
    assert read["metrics"]["describe"] == {"loss": None, "heads": [None, 1.0]}
    assert read["versions"]["torch"] == torch.__version__ and read["num_windows"] == 2
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]
