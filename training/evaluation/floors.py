"""What any prediction of the next frame has to beat: predictions that paint nothing."""

import random

import numpy as np
import torch

MEDIAN_FRAMES = 2000


def floor_predictions(inputs: torch.Tensor, target: torch.Tensor, median: torch.Tensor | None) -> dict:
    """
    The floors of one transition, by name, each `(3, H, W)` in [0, 1].

    `inputs (n, 3, H, W)` are the frames before the `target (3, H, W)`; `median (3, H, W)` is that of training frames.
    `copy_last` repeats the last frame, `mean` averages the input frames, `oracle_input` is the input frame of the
    lowest L1 to the target (it sees the target, so it bounds what copying a whole frame can reach), `train_median`
    needs `median` and is left out without it.
    """
    distances = (inputs - target).abs().flatten(1).mean(dim=1)  # (n,)
    floors = {"copy_last": inputs[-1], "mean": inputs.mean(dim=0), "oracle_input": inputs[distances.argmin()]}
    return floors if median is None else {**floors, "train_median": median}


def train_median(stories, to_pixels, seed: int = 0, max_frames: int = MEDIAN_FRAMES) -> torch.Tensor:
    """
    The median of every pixel and channel, `(3, H, W)` in [0, 1], over up to `max_frames` frames of `stories`.

    Whole stories are taken in an order drawn by `seed`. `to_pixels(frames: list[PIL]) -> (n, 3, H, W)` in [0, 1] brings
    frames to the size of the targets. Values are kept as 8 bits, so that 2,000 frames fit into memory.
    """
    order = list(range(len(stories)))
    random.Random(seed).shuffle(order)
    kept, count = [], 0
    for index in order:
        frames = stories[index]["frames"][: max_frames - count]
        kept.append((to_pixels(frames) * 255).round().to(torch.uint8).cpu().numpy())
        count += len(frames)
        if count >= max_frames:
            break
    frames = np.concatenate(kept)  # (n, 3, H, W)
    rows = [np.median(frames[:, :, row], axis=0) for row in range(frames.shape[2])]  # H times (3, W)
    return torch.from_numpy(np.stack(rows, axis=1) / 255).float()
