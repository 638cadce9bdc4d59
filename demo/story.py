"""A story as it was given, and what a published model makes of it."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoModelForMultimodalLM, AutoProcessor


def read_story(gallery: list | None, text: str | None) -> tuple[list[Image.Image], list[str | None]]:
    """Frames, and a caption or `None` for each, of a gallery's `(picture, label)` and a text with a line a frame.

    An empty text means that no frame has a caption, an empty line that its frame has none. Raises `ValueError` where
    there is no frame, or another number of lines than frames.
    """
    frames = [picture for picture, _ in gallery or []]
    if not frames:
        raise ValueError("frames: found none, expected at least one picture; upload some or pick an example")
    if not (text or "").strip():
        return frames, [None] * len(frames)
    lines = [line.strip() or None for line in text.split("\n")]
    while len(lines) > len(frames) and lines[-1] is None:
        lines.pop()
    if len(lines) != len(frames):
        found = f"found {len(lines)} {'line' if len(lines) == 1 else 'lines'}"
        raise ValueError(f"captions: {found}, expected {len(frames)}, one for each frame (an empty one for no caption)")
    return frames, lines


class Storyteller:
    """A published model and its processor.

    Args:
        name (`str`): folder or Hub id, loaded by the code that was published with it.

    Raises `ValueError` for what looks like a folder and is none.
    """

    def __init__(self, name: str):
        is_path = name.startswith((".", "/", "~")) or name.count("/") > 1
        if is_path and not Path(name).expanduser().is_dir():
            raise ValueError(
                f"model: found no folder {name!r}, expected a published model; give --model or STORYATTN_MODEL"
            )
        name = os.path.expanduser(name)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.processor = AutoProcessor.from_pretrained(name, trust_remote_code=True)
        self.model = AutoModelForMultimodalLM.from_pretrained(name, trust_remote_code=True).eval().to(device)

    @property
    def temperature(self) -> float:
        """Temperature of the spatial attention, as it was learned or configured."""
        return self._learned("temperature")

    @property
    def gamma(self) -> float:
        """Gamma of the spatial attention, as it was learned or configured."""
        return self._learned("gamma")

    def _learned(self, name: str) -> float:
        attention = self.model.base_model.spatial_attention
        logarithm = getattr(attention, f"log_{name}")
        return getattr(attention, name) if logarithm is None else logarithm.exp().item()

    def continue_story(self, frames, captions, num_steps: int) -> Iterator[tuple[Image.Image, str]]:
        """Yields the next frame and its caption, `num_steps` times; each reads those before it."""
        frames, captions = list(frames), list(captions)
        for _ in range(num_steps):
            told = self.model.continue_story(self.processor, [frames], [captions])
            frames.append(told.frames[0][0])
            captions.append(told.captions[0][0].strip())
            yield frames[-1], captions[-1]

    def describe(self, frames, captions) -> Iterator[str]:
        """Yields a caption for each frame, from its picture and the frames and captions given before it."""
        limit = self.model.config.max_frames
        for end in range(1, len(frames) + 1):
            start = max(0, end - limit)
            read = [*captions[start : end - 1], None]
            inputs = self.processor(frames=[frames[start:end]], captions=[read]).to(self.model.device)
            ids = self.model.generate(**inputs, task="describe")
            yield self.processor.batch_decode(ids, skip_special_tokens=True)[0].strip()

    @torch.no_grad()
    def look(self, frames, temperature: float, gamma: float) -> tuple[list[Image.Image], torch.Tensor]:
        """The frames as the model sees them, and the gates `(A / max A) ** gamma` `(N, heads, h, w)` in [0, 1]."""
        inputs = self.processor(frames=[[frame] for frame in frames]).to(self.model.device)
        maps = self.model.base_model(**inputs, spatial_temperature=temperature).spatial_attentions[:, 0]
        gates = (maps / maps.amax(dim=(-2, -1), keepdim=True)) ** gamma
        pictures = self.processor.postprocess_frames(self.model.unnormalize(inputs["pixel_values"][:, 0]))
        return pictures, gates.cpu()

    @torch.no_grad()
    def similarity(self, frames, captions: list[str]) -> torch.Tensor:
        """Cosines `(frames, captions)` in the space that pictures and texts share."""
        pictures = self.processor(frames=[[frame] for frame in frames]).to(self.model.device)
        texts = self.processor(frames=[[frames[0]]] * len(captions), captions=[[caption] for caption in captions])
        image_embeds = self.model.base_model(**pictures).image_embeds[:, 0]
        text_embeds = self.model.base_model(**texts.to(self.model.device)).text_embeds[:, 0]
        return (image_embeds @ text_embeds.T).cpu()
