"""Check the story that a user gives, and run a published model on it."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoModelForMultimodalLM, AutoProcessor


def read_story(gallery: list | None, text: str | None) -> tuple[list, list[str | None]]:
    """Return the frames of a story, and a caption or `None` for each.

    Args:
        gallery: the frames as pairs of a path or picture and a label.
        text: the captions, a line for each frame; an empty line where a frame has none, an empty text where none has.

    Raises:
        ValueError: there is no frame, or the numbers of lines and of frames differ.
    """
    frames = [picture for picture, _ in gallery or []]
    if not frames:
        raise ValueError("frames: got none, expected at least one picture; upload some or pick an example")
    if not (text or "").strip():
        return frames, [None] * len(frames)
    lines = [line.strip() or None for line in text.split("\n")]
    while len(lines) > len(frames) and lines[-1] is None:
        lines.pop()
    if len(lines) != len(frames):
        count = f"{len(lines)} {'line' if len(lines) == 1 else 'lines'}"
        raise ValueError(
            f"captions: got {count}, expected {len(frames)}, one for each frame (an empty one for no caption)"
        )
    return frames, lines


class Storyteller:
    """A published model and its processor.

    Args:
        name: folder or Hub id, loaded by the code that was published with it.

    Raises:
        ValueError: `name` looks like a folder that does not exist.
    """

    def __init__(self, name: str):
        is_path = name.startswith((".", "/", "~")) or name.count("/") > 1
        if is_path and not Path(name).expanduser().is_dir():
            raise ValueError(
                f"model: got {name!r}, which does not exist, expected a published model; set --model or STORYATTN_MODEL"
            )
        name = os.path.expanduser(name)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.processor = AutoProcessor.from_pretrained(name, trust_remote_code=True)
        self.model = AutoModelForMultimodalLM.from_pretrained(name, trust_remote_code=True).eval().to(device)

    def open_frames(self, pictures: list) -> list[Image.Image]:
        """Open pictures or paths as the model reads them, RGB and upright; raise `ValueError` that names the frame."""
        open_picture = self.processor.image_processor.open_picture
        return [open_picture(picture, f"frames: frame {number}") for number, picture in enumerate(pictures, start=1)]

    @property
    def temperature(self) -> float:
        """The temperature of the spatial attention, as it was learned or configured."""
        return self._learned("temperature")

    @property
    def gamma(self) -> float:
        """The gamma of the spatial attention, as it was learned or configured."""
        return self._learned("gamma")

    def _learned(self, name: str) -> float:
        attention = self.model.base_model.spatial_attention
        logarithm = getattr(attention, f"log_{name}")
        return getattr(attention, name) if logarithm is None else logarithm.exp().item()

    def continue_story(
        self, frames: list[Image.Image], captions: list[str | None], num_steps: int
    ) -> Iterator[tuple[Image.Image, str]]:
        """Yield the next frame and its caption, `num_steps` times; each reads those before it."""
        frames, captions = list(frames), list(captions)
        for _ in range(num_steps):
            new = self.model.continue_story(self.processor, frames, captions)[-1]
            frames.append(new.frame)
            captions.append(new.caption.strip())
            yield new.frame, captions[-1]

    def describe(self, frames: list[Image.Image], captions: list[str | None]) -> Iterator[str]:
        """Yield a caption for each frame, from its picture and the frames and captions given before it."""
        limit = self.model.config.max_frames
        for end in range(1, len(frames) + 1):
            start = max(0, end - limit)
            captions_before = [*captions[start : end - 1], None]
            inputs = self.processor(frames=[frames[start:end]], captions=[captions_before]).to(self.model.device)
            ids = self.model.generate(**inputs, task="describe")
            yield self.processor.batch_decode(ids, skip_special_tokens=True)[0].strip()

    @torch.no_grad()
    def attention_gates(
        self, frames: list[Image.Image], temperature: float, gamma: float
    ) -> tuple[list[Image.Image], torch.Tensor]:
        """Return the frames as the model sees them, and the gates of its spatial attention.

        Args:
            frames: the pictures.
            temperature: of the attention maps `A`; low: few places.
            gamma: of the gates `(A / max A) ** gamma`; high: a hard cut.

        Returns:
            The `N` pictures in the size of the model, and the gates `(N, heads, h, w)` in [0, 1].
        """
        inputs = self.processor(frames=[[frame] for frame in frames]).to(self.model.device)
        maps = self.model.base_model(**inputs, spatial_temperature=temperature).spatial_attentions[:, 0]
        gates = (maps / maps.amax(dim=(-2, -1), keepdim=True)) ** gamma
        pictures = self.processor.postprocess_frames(self.model.unnormalize(inputs["pixel_values"][:, 0]))
        return pictures, gates.cpu()

    @torch.no_grad()
    def similarity(self, frames: list[Image.Image], captions: list[str]) -> torch.Tensor:
        """Return the cosines `(frames, captions)` in the space that pictures and texts share."""
        pictures = self.processor(frames=[[frame] for frame in frames]).to(self.model.device)
        texts = self.processor(frames=[[frames[0]]] * len(captions), captions=[[caption] for caption in captions])
        image_embeds = self.model.base_model(**pictures).image_embeds[:, 0]
        text_embeds = self.model.base_model(**texts.to(self.model.device)).text_embeds[:, 0]
        return (image_embeds @ text_embeds.T).cpu()
