"""StoryAttnImageProcessor: pictures of any size and mode to frames of one size, and back."""

import numpy as np
import torch
from PIL import Image, ImageOps
from transformers.image_processing_backends import PilBackend
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import ImageInput, PILImageResampling

from .pictures import read_picture, to_rgb


class StoryAttnImageProcessor(PilBackend):
    """Turns pictures into `pixel_values`: RGB and upright, as `pictures` reads them, filling the frame, cropped.

    A frame shows the centre of its picture. With `do_center_crop=False` a picture is stretched to the frame instead.
    """

    resample = PILImageResampling.BICUBIC
    size = {"height": 64, "width": 96}
    image_mean = [0.5, 0.5, 0.5]
    image_std = [0.5, 0.5, 0.5]
    do_resize = True
    do_center_crop = True
    do_rescale = True
    do_normalize = True
    do_convert_rgb = True
    rescale_factor = 1 / 255
    model_input_names = ["pixel_values"]

    def preprocess(self, images: ImageInput, return_tensors: str | None = None, **kwargs) -> BatchFeature:
        """Turn one or a list of pictures, as `open_picture` takes them, into `pixel_values (N, 3, height, width)`."""
        size, pictures = kwargs.get("size"), _flat(images)
        if not pictures:
            raise ValueError("images: got none, expected at least one picture")
        opened = (read_picture(picture, f"images: picture {index}") for index, picture in enumerate(pictures))
        frames = np.stack([self.to_frame(picture, size) for picture in opened])
        return BatchFeature({"pixel_values": self.to_values(frames)}, tensor_type=return_tensors)

    def open_picture(self, picture: object, place: str = "picture") -> Image.Image:
        """Open a picture of any kind, RGB and upright, in its own size; raise `ValueError` that begins with `place`."""
        return read_picture(picture, place)

    def to_frame(self, picture: Image.Image | np.ndarray, size: object = None) -> np.ndarray:
        """Turn a PIL picture or array into a frame `(height, width, 3)`, uint8: upright, RGB, resized and cropped."""
        size = size or self.size
        height, width = (size["height"], size["width"]) if isinstance(size, dict) else (size.height, size.width)
        picture = to_rgb(picture)
        if not self.do_resize or picture.size == (width, height):
            return np.asarray(picture)
        if self.do_center_crop:
            return np.asarray(ImageOps.fit(picture, (width, height), Image.Resampling(self.resample)))
        return np.asarray(picture.resize((width, height), Image.Resampling(self.resample)))

    def to_values(self, frames: np.ndarray) -> np.ndarray:
        """Normalise frames `(N, height, width, 3)`, uint8, to `pixel_values (N, 3, height, width)`, float32."""
        # A channel in a row before any arithmetic, and no further copies: four times as fast.
        values = np.ascontiguousarray(frames.transpose(0, 3, 1, 2)).astype(np.float32)
        values *= np.float32(self.rescale_factor)
        if self.do_normalize:
            mean, std = (np.asarray(v, np.float32)[:, None, None] for v in (self.image_mean, self.image_std))
            values -= mean
            values /= std
        return values

    def postprocess(self, frames: torch.Tensor) -> list[Image.Image]:
        """Turn frames `(N, 3, H, W)` in [0, 1] into RGB pictures."""
        pixels = (frames.detach().float().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        return [Image.fromarray(picture) for picture in pixels]

    def transform_boxes(self, boxes: list[list[float]], original_size: tuple[int, int]) -> list[list[float]]:
        """Move boxes from a picture of `original_size (height, width)` into its frame; `[x1, y1, x2, y2]` in pixels.

        Boxes are cut at the border of the crop; a box that lies outside comes back without area.
        """
        height, width = self.size["height"], self.size["width"]
        scale_y, scale_x = height / original_size[0], width / original_size[1]
        if self.do_center_crop:
            scale_y = scale_x = max(scale_y, scale_x)
        left, top = (original_size[1] * scale_x - width) / 2, (original_size[0] * scale_y - height) / 2
        moved = np.asarray(boxes, dtype=float).reshape(-1, 4) * [scale_x, scale_y, scale_x, scale_y]
        moved -= [left, top, left, top]
        return np.clip(moved, 0, [width, height, width, height]).tolist()


def _flat(images: object) -> list:
    """List the pictures of nested lists, and of arrays and tensors of four dimensions."""
    if isinstance(images, (np.ndarray, torch.Tensor)) and images.ndim == 4:
        images = list(images)
    if not isinstance(images, (list, tuple)):
        return [images]
    return [picture for part in images for picture in _flat(part)]
