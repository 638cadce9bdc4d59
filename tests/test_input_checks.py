"""What the model refuses: masks, ids and values, each with one line that names it; padding may hold anything."""

import pytest
import torch
from conftest import draw_story


@pytest.fixture(scope="module")
def inputs(small_processor) -> dict[str, torch.Tensor]:
    """Two stories, of three frames and of two."""
    frames = [draw_story(1, 3)["frames"], draw_story(2, 2)["frames"]]
    return dict(small_processor(frames, [["A fox.", None, "The red fox walks."], ["An owl.", "It sleeps."]]))


def last_frame_nan(frames: torch.Tensor) -> torch.Tensor:
    frames = frames.clone()
    frames[0, -1, 0, 0, 0] = torch.nan
    return frames


REFUSED = {
    "frame_mask padded on the left": ("frame_mask", lambda mask: mask.flip(1), r"story 1: got \[0, 1, 1\]"),
    "frame_mask with a gap": ("frame_mask", lambda mask: torch.tensor([[1, 0, 1], [1, 1, 0]]), r"got \[1, 0, 1\]"),
    "frame_mask of no frame": ("frame_mask", torch.zeros_like, r"got \[0, 0, 0\]"),
    "frame_mask of another shape": ("frame_mask", lambda mask: mask[:, :2], r"got shape \(2, 2\)"),
    "frame_mask of other numbers": ("frame_mask", lambda mask: mask * 2, "got 2, expected 0 and 1"),
    "frame_mask of nan": ("frame_mask", lambda mask: mask * torch.nan, "got nan, expected 0 and 1"),
    "a list for a mask": ("frame_mask", lambda mask: mask.tolist(), "got list, expected a tensor"),
    "nan in the last frame": ("pixel_values", last_frame_nan, "story 0, frame 2: got nan"),
    "infinite frames": ("pixel_values", lambda frames: frames + torch.inf, "story 0, frame 0: got nan or inf"),
    "frames in 0..255": ("pixel_values", lambda frames: (frames + 1) * 127.5, "expected a frame that the processor"),
    "frames of another size": ("pixel_values", lambda frames: frames[..., :-1], r"got shape \(2, 3, 3, 32, 47\)"),
    "no story": ("pixel_values", lambda frames: frames[:0], r"got shape \(0, 3, 3, 32, 48\)"),
    "whole numbers for frames": ("pixel_values", lambda frames: frames.long(), "got torch.int64"),
    "ids beyond the vocabulary": ("input_ids", lambda ids: ids + 10**6, "got 1000.*, expected ids of tokens from 0"),
    "negative ids": ("input_ids", lambda ids: ids - 10**6, "got -9"),
    "ids of another shape": ("input_ids", lambda ids: ids[:, 0], r"got shape"),
    "fractional ids": ("input_ids", lambda ids: ids.float(), "got torch.float32"),
    "whole numbers of another kind": ("input_ids", lambda ids: ids.to(torch.uint64), "got torch.uint64"),
    "sparse ids": ("input_ids", lambda ids: ids.to_sparse(), "got a sparse or nested tensor"),
    "a sparse mask": ("frame_mask", lambda mask: mask.to_sparse(), "got a sparse or nested tensor"),
    "nested frames": (
        "pixel_values",
        lambda frames: torch.nested.nested_tensor(list(frames), layout=torch.jagged),
        "got a sparse or nest",
    ),
    "captions without a token": ("input_ids", lambda ids: ids[..., :0], "got shape"),
    "long captions": ("input_ids", lambda ids: ids.repeat(1, 1, 20), "at most the 32 positions"),
    "captions padded on the left": ("attention_mask", lambda mask: mask.flip(-1), "then 0 for padding"),
    "attention_mask of another shape": ("attention_mask", lambda mask: mask[..., :-1], "got shape"),
    "caption_mask of another shape": ("caption_mask", lambda _: torch.ones(2, 5), r"got shape \(2, 5\)"),
    "caption_mask of other numbers": ("caption_mask", lambda _: torch.full((2, 3), 7), "got 7"),
    "next_caption_mask of another shape": ("next_caption_mask", lambda _: torch.ones(2, 3), r"got shape \(2, 3\)"),
    "reconstructed out of range": ("reconstructed", lambda _: torch.full((2, 1), 3), "got 3, expected indices"),
    "reconstructed of another shape": ("reconstructed", lambda _: torch.zeros(3, 1).long(), "got shape"),
    "no temperature": ("spatial_temperature", lambda _: 0.0, "expected a number above 0"),
    "an infinite temperature": ("spatial_temperature", lambda _: float("inf"), "expected a number above 0"),
    "gamma that is no number": ("spatial_gamma", lambda _: float("nan"), "expected a number of at least 0"),
}
ONLY_FORWARD = ("caption_mask", "next_caption_mask", "reconstructed")


@pytest.mark.parametrize("case", REFUSED)
def test_each_wrong_input_is_refused_by_name(small_model, inputs, case):
    name, change, message = REFUSED[case]
    wrong = {**inputs, name: change(inputs.get(name))}
    calls = [lambda: small_model(**wrong)]
    if name not in ONLY_FORWARD:
        calls += [lambda: small_model.generate(**wrong), lambda: small_model.predict_next_frame(**wrong)]
    if name not in ONLY_FORWARD[1:]:
        calls.append(lambda: small_model.base_model(**wrong))
    for call in calls:
        with pytest.raises(ValueError, match=rf"^{name}: .*{message}") as refused:
            call()
        assert len(str(refused.value)) < 300 and "\n" not in str(refused.value)


def test_a_wrong_next_caption_is_refused(small_model, inputs):
    ids, mask = (inputs[name][:, 0] for name in ("input_ids", "attention_mask"))
    for next_ids, next_mask, message in (
        (ids + 10**6, mask, "next_input_ids: got 1000"),
        (ids[:1], mask[:1], "next_input_ids: got shape"),
        (ids, mask.flip(-1), "next_attention_mask: .*then 0 for padding"),
        (ids, None, "next_input_ids and next_attention_mask: got one without the other"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            small_model.predict_next_frame(**inputs, next_input_ids=next_ids, next_attention_mask=next_mask)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32, torch.float64])
def test_masks_of_every_type_are_read_alike(small_model, inputs, dtype):
    masks = {name: inputs[name].to(dtype) for name in ("frame_mask", "attention_mask")}
    caption_mask = torch.ones(2, 3, dtype=dtype)
    expected, output = small_model(**inputs), small_model(**{**inputs, **masks, "caption_mask": caption_mask})
    for name in ("predicted_frames", "describe_logits", "next_caption_logits"):
        assert torch.equal(output[name], expected[name]), name


@torch.no_grad()
def test_extreme_factors_give_numbers(small_model, inputs):
    for name, value in (("spatial_temperature", 1e-300), ("spatial_temperature", 1e300), ("spatial_gamma", 1e300)):
        output = small_model(**inputs, **{name: value})
        assert output.predicted_frames.isfinite().all() and output.spatial_attentions.isfinite().all(), (name, value)
