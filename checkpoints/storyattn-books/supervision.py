"""What a batch of stories trains: the frames, pixels, tokens and pairs that the parts of the loss average over."""

import torch

from .losses import changed_pixels, moving_cells

# What `counts` has a number for, in this order.
COUNTED = ("next_frame", "told", "changed", "reconstruction", "moving", "describe", "next_caption", "captioned")


class Supervision:
    """
    Masks over B stories of T frames, each the places that some parts of the loss average over.

    - `next_frame (B, T - 1)`: transitions between frames that are there; `told`: those of them whose painting reads the
      next caption; `changed`: those of these in which something changes, at `changed_pixels (B, T - 1, H, W)`.
    - `rebuilt (B, R)`, the indices of frames to reconstruct, and `rebuilt_mask`.
    - `moving (B, T)`: frames in which the attention has something to find, at `moving_cells (B, T, h, w)`.
    - `describe (B, T, L - 1)`, `next_caption (B, T - 1, L - 1)`: tokens to predict; `captioned (B, T)`: pairs to align.
      `None` without captions.
    """

    def __init__(self, frames, frame_mask, attention_mask, told, rebuilt, grid: tuple[int, int]):
        self.next_frame = frame_mask[:, 1:] & frame_mask[:, :-1]
        self.told = self.next_frame & told
        self.changed_pixels = changed_pixels(frames[:, 1:], frames[:, :-1])
        self.changed = self.told & self.changed_pixels.flatten(2).any(-1)
        self.rebuilt = rebuilt.clamp(min=0)
        self.rebuilt_mask = frame_mask.gather(1, self.rebuilt) & (rebuilt >= 0)
        self.moving_cells = moving_cells(frames.float(), frame_mask, grid)
        self.moving = frame_mask & self.moving_cells.flatten(2).any(-1)
        self.describe = self.next_caption = self.captioned = None
        if attention_mask is not None:
            self.describe = attention_mask[:, :, 1:].bool()
            self.next_caption = attention_mask[:, 1:, 1:].bool()
            self.captioned = attention_mask.any(-1) & frame_mask

    def counts(self) -> dict[str, torch.Tensor]:
        """How many places each mask has, as numbers with a point; 0 for those that are not there."""
        masks = (self.next_frame, self.told, self.changed, self.rebuilt_mask)
        masks += (self.moving, self.describe, self.next_caption, self.captioned)
        nothing = torch.zeros((), device=self.told.device)
        return {name: nothing if mask is None else mask.sum().float() for name, mask in zip(COUNTED, masks)}
