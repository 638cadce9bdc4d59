"""Floors that a model has to beat: predictions that paint nothing, and what floors take from training stories."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from storyattn import StoryAttnProcessor

from ..common.captions import has_text
from ..data.prepared_stories import PreparedStories
from ..data.windows import memory_frames, windows_of
from .caption_metrics import decoder_tokens
from .windows import Model, measured_frames, to_pixels

MEDIAN_FRAMES = 2000


@dataclass(frozen=True)
class TrainingData:
    """What the floors take from training stories."""

    captions: list[str]  # of all frames that have one
    windows: list[list[str | None]]  # the captions of every window
    tokens: torch.Tensor  # of all captions, without start tokens, (n,)
    median_frame: torch.Tensor  # (3, H, W) in [0, 1], on the model's device


def training_data(
    stories: Dataset | PreparedStories, model: Model, processor: StoryAttnProcessor, seed: int
) -> TrainingData:
    """
    Collect what the floors take from training stories.

    Args:
        stories: the training stories.
        model: the model beside which the floors stand.
        processor: its processor.
        seed: the seed by which `train_median` draws stories.

    Returns:
        Captions, windows, tokens and the median frame.
    """
    captions = [text for story_captions in stories["captions"] for text in story_captions if has_text(text)]
    median = train_median(stories, lambda frames: to_pixels(model, processor, frames), seed)
    return TrainingData(
        captions=captions,
        windows=windows_of(stories["captions"], measured_frames(model.config), memory_frames(model.config)),
        tokens=decoder_tokens(processor, captions),
        median_frame=median.to(model.device),
    )


def floor_predictions(
    inputs: torch.Tensor, target: torch.Tensor, median: torch.Tensor | None
) -> dict[str, torch.Tensor]:
    """
    Return what the floors predict for one transition.

    Args:
        inputs: the frames before the target, `(n, 3, H, W)` in [0, 1].
        target: the true next frame, `(3, H, W)` in [0, 1].
        median: the median of training frames, of the same shape; `None` leaves `train_median` out.

    Returns:
        Frames by floor: `copy_last` repeats the last frame, `mean` averages the inputs, `oracle_input` is the input of
        the lowest L1 to the target (it sees the target, so it bounds what copying a whole frame can reach), and
        `train_median` is `median`.
    """
    distances = (inputs - target).abs().flatten(1).mean(dim=1)  # (n,)
    floors = {"copy_last": inputs[-1], "mean": inputs.mean(dim=0), "oracle_input": inputs[distances.argmin()]}
    return floors if median is None else {**floors, "train_median": median}


def train_median(
    stories: Dataset | PreparedStories,
    to_pixels: Callable[[list[Image.Image]], torch.Tensor],
    seed: int = 0,
    max_frames: int = MEDIAN_FRAMES,
) -> torch.Tensor:
    """
    Return the median of every pixel and channel over frames of training stories.

    Whole stories are taken, in an order drawn by `seed`. Values are kept in 8 bits, so that 2,000 frames fit into
    memory.

    Args:
        stories: the training stories.
        to_pixels: brings pictures to the size of the targets, `(n, 3, H, W)` in [0, 1].
        seed: the seed of the order.
        max_frames: the most frames to take.

    Returns:
        The median frame, `(3, H, W)` in [0, 1].
    """
    order = list(range(len(stories)))
    random.Random(seed).shuffle(order)
    pixels, count = [], 0
    for index in order:
        frames = stories[index]["frames"][: max_frames - count]
        pixels.append((to_pixels(frames) * 255).round().to(torch.uint8).cpu().numpy())
        count += len(frames)
        if count >= max_frames:
            break
    frames = np.concatenate(pixels)  # (n, 3, H, W)
    rows = [np.median(frames[:, :, row], axis=0) for row in range(frames.shape[2])]  # H times (3, W)
    return torch.from_numpy(np.stack(rows, axis=1) / 255).float()
