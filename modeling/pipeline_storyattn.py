"""The pipeline "story-continuation": picture stories in, the captions and pictures that carry them on out.

`StoryAttnForConditionalGeneration.save_pretrained` names it in `config.json` and carries this file along.
"""

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForMultimodalLM, Pipeline
from transformers.image_utils import load_image
from transformers.pipelines import PIPELINE_REGISTRY

from .configuration_storyattn import CUSTOM_PIPELINES, TASK

FIELDS = ("frames", "captions")
PICTURES = (str, os.PathLike, bytes, bytearray, Image.Image, np.ndarray, torch.Tensor)


@dataclass
class _Story:
    """A story that was checked; `index` is its place among those of the call, for errors."""

    index: int
    frames: list
    captions: list[str | None]


class StoryContinuationPipeline(Pipeline):
    """Carries picture stories on: writes the next caption, paints its frame, and so on.

    ```python
    >>> tell = pipeline("story-continuation", model=repo, trust_remote_code=True)
    >>> told = tell({"frames": ["one.png", "two.png"], "captions": ["A fox wakes.", None]}, num_steps=3)
    >>> told["captions"], told["frames"]  # three texts and three PIL pictures
    ```
    """

    _load_processor = True
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __call__(self, inputs, **kwargs):
        """Carries on one story, a list of them, or whatever else gives one after the other.

        Args:
            inputs (`dict`, or a list, generator or data set of them): a story has `frames`, a list of its pictures, and
                may have `captions`, a list of one text or None a picture. A picture is a path, a URL, a base64 string,
                bytes of an image file, a PIL picture, or an array or tensor of uint8, or of floats in [0, 1], with one,
                three or four channels first or last. The last `max_frames - 1` are read.
            num_steps (`int`, 1): captions and pictures to add.
            return_attention (`bool`, False): adds `spatial_attentions`.
            batch_size (`int`, 1): how many stories of a list are told at once.
            timeout (`float`, *optional*): seconds that a URL may take.
            generate_kwargs (`dict`, *optional*), and any other argument: as in `continue_story` of the model
                (`max_new_tokens`, `num_beams`, `do_sample`, `spatial_gamma`, ...).

        Returns:
            for a story a dictionary, for a list of stories a list of them, else an iterator: `frames`, the painted PIL
            pictures, `captions`, the texts written for them, and on request `spatial_attentions`: per step a tensor
            `(T, heads, h, w)`, where the model looked in each of the T frames that it read, which sums to 1 over h, w.

        Raises `ValueError` for what is no story, no picture and no text, naming story, field and place, before any of a
        list of stories is told; for a picture that cannot be read, when it is its turn.
        """
        if isinstance(inputs, Mapping):
            return super().__call__(_checked(inputs, 0), **kwargs)
        if isinstance(inputs, (list, tuple)):
            stories = [_checked(story, index) for index, story in enumerate(inputs)]
            return super().__call__(stories, **kwargs) if stories else []
        if isinstance(inputs, (str, bytes)) or not (hasattr(inputs, "__iter__") or hasattr(inputs, "__getitem__")):
            raise ValueError(f"stories: found {_kind(inputs)}, expected a dictionary with 'frames', or a list of them")
        return super().__call__((_checked(story, index) for index, story in enumerate(inputs)), **kwargs)

    def _sanitize_parameters(
        self, num_steps=None, return_attention=None, timeout=None, generate_kwargs=None, **kwargs
    ) -> tuple[dict, dict, dict]:
        told = {"num_steps": num_steps, "return_attention": return_attention}
        told = {name: value for name, value in told.items() if value is not None}
        reading = {} if timeout is None else {"timeout": timeout}
        return reading, {**(generate_kwargs or {}), **kwargs, **told}, {}

    def preprocess(self, input_: _Story, timeout: float | None = None) -> dict:
        """Opens the pictures of a story, as frames of the size that the model reads."""
        frames = [self._frame(input_, position, timeout) for position in range(len(input_.frames))]
        return {"story": replace(input_, frames=frames)}

    def _frame(self, story: _Story, position: int, timeout: float | None) -> Image.Image:
        frame = story.frames[position]
        try:
            return Image.fromarray(self.processor.image_processor.to_frame(_opened(frame, timeout)))
        except Exception as error:  # whatever the many readers of pictures and the network raise
            found = f"frames: story {story.index}, frame {position}: found {_shown(frame)}"
            raise ValueError(f"{found}, expected a picture: {str(error)[:200]}") from error

    def _forward(self, input_tensors: dict, **forward_parameters) -> dict:
        """Tells one story on, or the batch of stories that the library has gathered."""
        stories = input_tensors["story"]
        batch = stories if isinstance(stories, list) else [stories]
        frames, captions = [story.frames for story in batch], [story.captions for story in batch]
        told = self.model.continue_story(self.processor, frames, captions, **forward_parameters)
        results = [dict(zip(told.keys(), result)) for result in zip(*told.values())]
        return {"told": results if isinstance(stories, list) else results[0]}

    def postprocess(self, model_outputs: dict) -> dict:
        """What was told of one story."""
        return model_outputs["told"]

    def save_pretrained(self, save_directory, **kwargs) -> None:
        """As the library's, with the processor."""
        super().save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory, **kwargs)


def _checked(story, index: int) -> _Story:
    """A story of what was given as one; raises `ValueError` for what is wrong with its form."""
    if not isinstance(story, Mapping):
        raise ValueError(f"stories: story {index}: found {_kind(story)}, expected a dictionary with 'frames'")
    unknown = [name for name in story if name not in FIELDS]
    if unknown or "frames" not in story:
        found = ", ".join(map(repr, unknown or story)) or "none"
        raise ValueError(f"stories: story {index}: found fields {found}, expected 'frames' and, if any, 'captions'")
    frames, captions = story["frames"], story.get("captions")
    if isinstance(frames, (np.ndarray, torch.Tensor)) and frames.ndim == 4:
        frames = list(frames)
    if not isinstance(frames, (list, tuple)):
        raise ValueError(f"frames: story {index}: found {_kind(frames)}, expected a list of pictures")
    if not len(frames):
        raise ValueError(f"frames: story {index}: found no picture, expected at least one")
    if captions is None:
        captions = [None] * len(frames)
    if not isinstance(captions, (list, tuple)):
        raise ValueError(f"captions: story {index}: found {_kind(captions)}, expected a list of texts")
    if len(captions) != len(frames):
        found = f"found {len(captions)} captions for {len(frames)} frames"
        raise ValueError(f"captions: story {index}: {found}, expected one a frame, None where there is none")
    for position, frame in enumerate(frames):
        if not isinstance(frame, PICTURES):
            found = f"frames: story {index}, frame {position}: found {_kind(frame)}"
            raise ValueError(f"{found}, expected a path, URL, bytes, PIL picture, array or tensor")
    for position, caption in enumerate(captions):
        if not isinstance(caption, (str, type(None))):
            found = f"captions: story {index}, caption {position}: found {_kind(caption)}"
            raise ValueError(f"{found}, expected a text or None")
    return _Story(index, list(frames), list(captions))


def _opened(frame, timeout: float | None):
    """The PIL picture or array that `frame` is or names; files and bytes keep their mode, URLs are RGB."""
    if isinstance(frame, os.PathLike):
        frame = os.fspath(frame)
    if isinstance(frame, str) and not os.path.isfile(frame):
        return load_image(frame, timeout=timeout)
    if isinstance(frame, (str, bytes, bytearray)):
        picture = Image.open(frame if isinstance(frame, str) else io.BytesIO(frame))
        picture.load()
        return picture
    if isinstance(frame, Image.Image):
        return frame
    if isinstance(frame, torch.Tensor):
        frame = frame.detach().cpu()
        frame = (frame.float() if frame.is_floating_point() else frame).numpy()
    _check_array(frame)
    return frame


def _check_array(array: np.ndarray) -> None:
    channels = {array.shape[0], array.shape[-1]} & {1, 3, 4} if array.ndim == 3 else array.ndim == 2
    if not (channels and array.size):
        raise ValueError("its shape is none of (H, W), (H, W, C) and (C, H, W) with 1, 3 or 4 channels")
    if array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):  # not a number is neither
            raise ValueError(f"floats of it lie in [{array.min():g}, {array.max():g}], not in [0, 1]")
    elif array.dtype not in (np.uint8, np.uint16):
        raise ValueError("its values are neither uint8 nor uint16 nor floats")


def _kind(value) -> str:
    return f"{type(value).__name__} {value!r}"[:80] if isinstance(value, (str, int, float)) else type(value).__name__


def _shown(frame) -> str:
    """A frame in an error: a path or URL as it is, of others what they are."""
    if isinstance(frame, (bytes, bytearray)):
        return f"{len(frame)} bytes"
    if isinstance(frame, (np.ndarray, torch.Tensor)):
        return f"{type(frame).__name__} {tuple(frame.shape)} of {frame.dtype}"
    if isinstance(frame, (str, os.PathLike)):
        text = repr(os.fspath(frame))
        return text if len(text) <= 200 else f"{text[:200]}..."
    return type(frame).__name__


# Also where this file is the code of a published folder: `pipeline(TASK, model=model)` then knows a model in memory.
if TASK not in PIPELINE_REGISTRY.get_supported_tasks():
    PIPELINE_REGISTRY.register_pipeline(
        TASK, StoryContinuationPipeline, pt_model=AutoModelForMultimodalLM, type=CUSTOM_PIPELINES[TASK]["type"]
    )

__all__ = ["StoryContinuationPipeline"]
