"""Check the story that a user gives, and run a published model on it."""

import importlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

try:  # before torch, whose CUDA it replaces on ZeroGPU
    from spaces import GPU as on_gpu
except ImportError:

    def on_gpu(function: Callable) -> Callable:
        """Return the function as it is: there is no GPU to ask a Space for."""
        return function


import torch
from PIL import Image
from transformers import AutoModelForMultimodalLM, AutoProcessor

if TYPE_CHECKING:
    from storyattn import Story

MAX_PAGES = 24
MAX_STEPS = 6
NUM_FUTURES = 3
# Softmax temperatures of the captions: "More like this" stays close to the likeliest ones, "Another future" less.
LIKE_TEMPERATURE, FUTURE_TEMPERATURE = 0.8, 1.2


def check_count(name: str, count: int, most: int) -> None:
    """Raise `ValueError` for a count that is not from 1 to `most`."""
    if not 1 <= count <= most:
        raise ValueError(f"{name}: got {count}, expected 1 to {most}")


def check_captions(captions: list | None, num_frames: int) -> list[str | None]:
    """Check that there is a caption or `None` for each frame.

    Args:
        captions: texts; `None` and an empty list mean that no frame has one.
        num_frames: how many there must be.

    Returns:
        the captions without white space around them, `None` for blank ones.

    Raises:
        ValueError: for a wrong number or kind of captions.
    """
    captions = captions if captions or not isinstance(captions, (list, type(None))) else [None] * num_frames
    if not isinstance(captions, list) or not all(text is None or isinstance(text, str) for text in captions):
        raise ValueError("captions: got something else, expected a list with a text or null for each frame")
    if len(captions) != num_frames:
        raise ValueError(f"captions: got {len(captions)}, expected {num_frames}, one for each frame (null for none)")
    return [(text or "").strip() or None for text in captions]


def check_texts(texts: list | None) -> None:
    """Raise `ValueError` for what is no list of texts to search for."""
    if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError("texts: got something else, expected a list of texts, none of them blank")
    check_count("texts", len(texts), MAX_PAGES)


class Storyteller:
    """A published model and its processor; a ZeroGPU Space lends its GPU to what runs the model.

    Args:
        name: folder or Hub id, loaded by the code that was published with it.
        frame_options: `num_frame_steps` and `frame_guidance_scale` of a model with a generative frame decoder.

    Raises:
        ValueError: `name` looks like a folder that does not exist, and for options that the model does not have.
    """

    def __init__(self, name: str, **frame_options: float):
        is_path = name.startswith((".", "/", "~")) or name.count("/") > 1
        if is_path and not Path(name).expanduser().is_dir():
            raise ValueError(
                f"model: got {name!r}, which does not exist, expected a published model; set --model or STORYATTN_MODEL"
            )
        self.name = os.path.expanduser(name)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.processor = AutoProcessor.from_pretrained(self.name, trust_remote_code=True)
        self.model = AutoModelForMultimodalLM.from_pretrained(self.name, trust_remote_code=True).eval().to(device)
        self.frame_options = {option: value for option, value in frame_options.items() if value is not None}
        if self.frame_options and getattr(self.model.config, "frame_decoder_type", None) != "flow":
            option, value = next(iter(self.frame_options.items()))
            raise ValueError(f"{option}: got {value} for {name!r}, expected a model with frame_decoder_type 'flow'")
        # The arguments of such a function go to another process; the model must not be one of them.
        for method in ("continue_story", "futures", "paint_again", "describe", "attention_maps", "similarity"):
            setattr(self, method, on_gpu(getattr(self, method)))

    def open_frames(self, pictures: list, names: list[str] | None = None) -> list[Image.Image]:
        """Open pictures as the model reads them, RGB and upright.

        Args:
            pictures: paths, bytes of files or pictures.
            names: what errors call each; by default its number.

        Raises:
            ValueError: for no picture, for too many, and for pictures that cannot be read, with all their names.
        """
        if not pictures:
            raise ValueError("frames: got none, expected at least one picture")
        check_count("frames", len(pictures), MAX_PAGES)
        names = names or [f"frames: frame {number}" for number in range(1, len(pictures) + 1)]
        opened = [self._open(picture, name) for picture, name in zip(pictures, names)]
        if problems := [str(frame) for frame in opened if isinstance(frame, ValueError)]:
            raise ValueError("\n".join(problems))
        return opened

    def _open(self, picture: object, name: str) -> Image.Image | ValueError:
        """Open a picture, or return why it cannot be read."""
        try:
            return self.processor.image_processor.open_picture(picture, name)
        except ValueError as error:
            return error

    def open_files(self, paths: list[str]) -> list[Image.Image]:
        """Open uploaded pictures; `ValueError` calls each that cannot be read by the name of its file."""
        return self.open_frames([Path(path).read_bytes() for path in paths], [Path(path).name for path in paths])

    @property
    def story_class(self) -> type:
        """The class `Story` of the code that the model was published with."""
        return importlib.import_module(f"{type(self.model).__module__.rpartition('.')[0]}.story").Story

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
        self, story: "Story", num_steps: int, temperature: float | None = None, seed: int | None = None
    ) -> Iterator["Story"]:
        """Yield the story with one more page, `num_steps` times.

        Args:
            story: the pages so far.
            num_steps: pages to add.
            temperature: of the words that are sampled; by default the likeliest are taken.
            seed: of the sampling; by default a fresh one.
        """
        options = {} if temperature is None else {"do_sample": True, "temperature": temperature}
        options |= self.frame_options
        _set_seed(seed)
        for _ in range(num_steps):
            story = self.model.continue_story(self.processor, story, **options)
            yield story

    def futures(self, story: "Story", num_steps: int) -> list["Story"]:
        """Return `NUM_FUTURES` stories that begin with this one and have `num_steps` pages more."""
        _set_seed(None)
        options = {"do_sample": True, "temperature": FUTURE_TEMPERATURE, "num_return_sequences": NUM_FUTURES}
        options |= {"num_steps": num_steps, **self.frame_options}
        return list(self.model.continue_story(self.processor, story, **options))

    def paint_again(self, story: "Story", index: int) -> "Story":
        """Return the story with the frame of page `index`, from 1, painted from its caption and the pages before."""
        before = story[max(0, index + 1 - self.model.config.max_frames) : index]
        inputs = self.processor(frames=[before.frames], captions=[before.captions]).to(self.model.device)
        caption = self.processor.tokenize_captions([[story[index].caption]]).to(self.model.device)
        painted = self.model.predict_next_frame(
            **inputs,
            next_input_ids=caption["input_ids"][:, 0],
            next_attention_mask=caption["attention_mask"][:, 0],
            **self.frame_options,
        )
        page = story[index]._replace(frame=self.processor.postprocess_frames(painted)[0], attention=None)
        return self.story_class.from_pages([*story[:index], page, *story[index + 1 :]])

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
    def attention_maps(self, frames: list[Image.Image], temperature: float) -> tuple[list[Image.Image], torch.Tensor]:
        """Return the frames as the model sees them, and the maps of its spatial attention.

        Args:
            frames: the pictures.
            temperature: of the maps; low: few places.

        Returns:
            The `N` pictures in the size of the model, and the maps `(N, heads, h, w)`, which sum to 1 over h and w.
        """
        inputs = self.processor(frames=[[frame] for frame in frames]).to(self.model.device)
        maps = self.model.base_model(**inputs, spatial_temperature=temperature).spatial_attentions[:, 0]
        pictures = self.processor.postprocess_frames(self.model.unnormalize(inputs["pixel_values"][:, 0]))
        return pictures, maps.float().cpu()

    @torch.no_grad()
    def similarity(self, frames: list[Image.Image], captions: list[str]) -> torch.Tensor:
        """Return the cosines `(frames, captions)` in the space that pictures and texts share."""
        pictures = self.processor(frames=[[frame] for frame in frames]).to(self.model.device)
        texts = self.processor(frames=[[frames[0]]] * len(captions), captions=[[caption] for caption in captions])
        image_embeds = self.model.base_model(**pictures).image_embeds[:, 0]
        text_embeds = self.model.base_model(**texts.to(self.model.device)).text_embeds[:, 0]
        return (image_embeds @ text_embeds.T).cpu()


def _set_seed(seed: int | None) -> None:
    """Set the seed of torch, by default to a fresh one."""
    torch.seed() if seed is None else torch.manual_seed(seed)
