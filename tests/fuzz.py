"""Inputs as people and programs really give them: right, odd and wrong, drawn from a seed.

    python tests/fuzz.py --number 5000 --seed 7

Each input goes through processor, pipeline or model. It must give finite numbers, or a `ValueError` or `TypeError` that
begins with the field that is wrong. Whatever else happens is printed.
"""

import argparse
import base64
import io
import random
import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from conftest import draw_story, small_config
from datasets import Dataset
from PIL import Image
from storyattn import StoryAttnForConditionalGeneration, StoryAttnProcessor, build_processor
from storyattn.training.models.tokenizer import train_tokenizer
from transformers import pipeline

FIELDS = (
    "frames|captions|stories|images|text|pixel_values|frame_mask|input_ids|attention_mask|caption_mask|"
    "next_caption_mask|next_input_ids|next_attention_mask|reconstructed|return_tensors|spatial_temperature|"
    "spatial_gamma|task|num_steps|max_length|min_length|max_new_tokens|temperature|num_beams|num_return_sequences|"
    "repetition_penalty|encoder_repetition_penalty|encoder_no_repeat_ngram_size|length_penalty|pad_token_id"
)
NAMED = re.compile(rf"^`?({FIELDS})\b")
INTEGERS, FLOATS = ("uint8", "uint8", "uint8", "int8", "uint16", "int32", "int64"), ("float16", "float32", "float64")
DTYPES = (*INTEGERS, *FLOATS, "uint64", "complex64", "bool", "object", "U4")
PLAIN_MODES, ODD_MODES = ("RGB", "RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "YCbCr"), ("I", "F", "I;16")
MODES = (*PLAIN_MODES, *ODD_MODES, "HSV", "LAB", "RGBX", "RGBa", "La", "PA")
FORMATS = ("PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP", "PPM")
TEXTS = ("A fox wakes.", "", "  ", "x" * 3000, "Füchse 🦊\n\t", "\x00", "\ud800", "</s><s><pad>", "狐狸醒来了", "٣")
NO_TEXTS = (7, 2.5, float("nan"), b"A fox.", ["A fox."], {"text": "a"}, True, object(), 10**5000)
NO_PICTURES = (
    None,
    7,
    1e400,
    True,
    [],
    [[1, 2]],
    (),
    {},
    {"bytes": None, "path": None},
    {"bytes": 5},
    object(),
    {1, 2},
)
SIZES = ((48, 32), (48, 32), (5, 7), (1, 1), (1, 300), (300, 1), (3, 4), (0, 4), (4, 0))


class Inputs:
    """Draws inputs of one seed; files lie in `folder`."""

    def __init__(self, seed: int, folder: Path):
        self.random, self.numbers, self.folder = random.Random(seed), np.random.default_rng(seed), folder

    def chance(self, share: float) -> bool:
        """Whether something of this share happens."""
        return self.random.random() < share

    # Pictures

    def picture(self) -> object:
        """Draw a picture, or something in its place."""
        kinds = (self.good_picture, self.pillow, self.array, self.tensor, self.file, self.row)
        if self.chance(0.05):
            return self.random.choice(NO_PICTURES)
        return self.random.choices(kinds, weights=(6, 3, 4, 3, 4, 1))[0]()

    def good_picture(self) -> object:
        """Draw an 8-bit picture."""
        pixels = self.numbers.integers(0, 256, (32, 48, 3), dtype=np.uint8)
        return self.random.choice((pixels, Image.fromarray(pixels), torch.from_numpy(pixels)))

    def pillow(self) -> Image.Image:
        """Draw a picture of Pillow of any mode and size."""
        mode, size = self.random.choice(MODES), self.random.choice(SIZES)
        if mode in ("I", "F", "I;16"):
            return Image.fromarray(self.values((size[1], size[0]), {"I": "int32", "F": "float32"}.get(mode, "uint16")))
        picture = Image.new(mode, size, None if mode in ("La", "PA") else 0)
        if mode == "P" and self.chance(0.5):
            picture.info["transparency"] = 0
        return picture

    def values(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """Draw numbers of a type, of some range."""
        if dtype in ("object", "U4"):
            return np.full(shape, "a", dtype=dtype)
        scale = self.random.choice((0, 1, 1, 1, 255, 255, -1, 1000, 1e30))
        numbers = np.asarray(self.numbers.random(shape) * scale)
        if dtype.startswith(("float", "complex")) and self.chance(0.2):
            numbers[self.numbers.random(shape) < 0.3] = self.random.choice((np.nan, np.inf, -np.inf))
        with np.errstate(all="ignore"):
            return numbers.astype(dtype)

    def array(self) -> np.ndarray:
        """Draw an array of any type and shape."""
        width, height = self.random.choice(SIZES)
        channels = self.random.choice((1, 2, 3, 3, 3, 4, 5))
        shapes = ((height, width), (height, width, channels), (channels, height, width), (width,), (), (2, 2, 2, 2))
        shape = self.random.choices(shapes, weights=(3, 6, 4, 1, 1, 1))[0]
        return self.values(shape, self.random.choice(DTYPES))

    def tensor(self) -> torch.Tensor:
        """Draw a tensor of any type and shape."""
        array = self.array()
        while array.dtype.kind in "OU":
            array = self.array()
        tensor = torch.from_numpy(np.ascontiguousarray(array).copy())
        if tensor.is_floating_point() and self.chance(0.5):
            tensor = tensor.to(self.random.choice((torch.bfloat16, torch.float16)))
        return tensor.requires_grad_() if tensor.is_floating_point() and self.chance(0.3) else tensor

    def file(self) -> object:
        """Draw a file: its bytes, its path or base64, whole, cut, damaged or missing."""
        content = self.content()
        if self.chance(0.15):
            return self.random.choice(("nowhere.png", Path("nowhere.png"), str(self.folder), self.folder, "", "a\x00b"))
        if self.chance(0.3):
            return self.random.choice((content, bytearray(content)))
        if self.chance(0.2):
            text = base64.b64encode(content).decode()
            return self.random.choice((text, f"data:image/png;base64,{text}", text[:-3]))
        path = self.folder / f"{self.random.randrange(20)}.img"
        path.write_bytes(content)
        return self.random.choice((path, str(path)))

    def content(self) -> bytes:
        """Draw the bytes of a file."""
        file, picture = io.BytesIO(), self.pillow()
        try:
            picture.save(file, self.random.choice(FORMATS))
        except (OSError, ValueError, KeyError, SystemError, MemoryError):  # a mode or size that a format has not
            Image.new("RGB", (48, 32)).save(file, "PNG")
        content = bytearray(file.getvalue())
        if self.chance(0.2):
            return bytes(content[: self.random.randrange(len(content) + 1)])
        if self.chance(0.2):
            for _ in range(self.random.randrange(1, 20)):
                content[self.random.randrange(len(content))] = self.random.randrange(256)
        return self.random.randbytes(40) if self.chance(0.05) else bytes(content)

    def row(self) -> dict:
        """Draw a picture as data sets hold it."""
        file = self.file()
        name = "bytes" if isinstance(file, (bytes, bytearray)) else "path"
        return {"bytes": None, "path": None, name: file}

    # Stories

    def frames(self) -> object:
        """Draw the frames of a story."""
        number = self.random.choice((1, 2, 2, 3, 5))
        pictures = [self.picture() if self.chance(0.4) else self.good_picture() for _ in range(number)]
        if self.chance(0.08):
            return self.random.choice((None, "page.png", {}, [], 5, self.good_picture(), iter(pictures), [pictures]))
        if self.chance(0.1):
            stacked = self.numbers.integers(0, 256, (number, 32, 48, 3), dtype=np.uint8)
            return self.random.choice((stacked, torch.from_numpy(stacked)))
        return self.random.choice((pictures, tuple(pictures)))

    def texts(self, frames: object) -> object:
        """Draw the captions of a story of these frames."""
        number = len(frames) if isinstance(frames, (list, tuple, np.ndarray, torch.Tensor)) else 1
        if self.chance(0.05):
            number += self.random.choice((-1, 1, 3))
        texts = [self.random.choice(TEXTS) if self.chance(0.8) else None for _ in range(number)]
        if texts and self.chance(0.1):
            texts[self.random.randrange(number)] = self.random.choice(NO_TEXTS)
        if self.chance(0.06):
            return self.random.choice((None, "A fox.", 5, {}, iter(texts)))
        return texts

    def stories(self) -> dict:
        """Draw arguments of the processor: some stories, their captions in the same form or in none."""
        frames = [self.frames() for _ in range(self.random.choice((1, 1, 2, 3)))]
        captions = [self.texts(story) for story in frames]
        if self.chance(0.05):
            captions.append(["one too many"])
        if self.chance(0.08):
            frames = self.random.choice((None, [], "page.png", frames[0], {"a": 1}, 5, iter(frames)))
        elif self.chance(0.05):
            texts = [["A fox."]] * len(frames)
            captions = Dataset.from_dict({"captions": texts})["captions"]
        return {"frames": frames, "captions": None if self.chance(0.2) else captions}

    # Tensors

    def tensors(self, inputs: dict[str, torch.Tensor]) -> dict:
        """Draw what right tensors of the model become under one or two mistakes, or under none."""
        inputs = {name: value.clone() for name, value in inputs.items()}
        for _ in range(self.random.choice((0, 1, 1, 1, 2))):
            name = self.random.choice(list(inputs))
            if isinstance(inputs[name], torch.Tensor):
                inputs[name] = self.random.choice((self.other_values, self.other_form))(inputs[name])
        return inputs

    def other_values(self, tensor: torch.Tensor) -> torch.Tensor:
        """Change values of a tensor, its type and shape stay."""
        tensor = tensor.clone()
        if not tensor.numel():
            return tensor
        fractions = (torch.nan, torch.inf, -torch.inf, 255.0, 1e30, 0.5)
        value = self.random.choice(fractions if tensor.is_floating_point() else (-1, 0, 0, 1, 2, 10**6, -(10**6)))
        kind = self.random.randrange(4)
        if kind == 0:
            tensor.view(-1)[self.random.randrange(tensor.numel())] = value
        elif kind == 1:
            tensor[self.random.randrange(len(tensor))] = value
        elif kind == 2:
            tensor[:, self.random.randrange(tensor.shape[1]) if tensor.dim() > 1 else slice(None)] = value
        else:
            tensor = tensor.flip(self.random.randrange(tensor.dim()))
        return tensor

    def other_form(self, tensor: torch.Tensor) -> object:
        """Change the type or the shape of a tensor."""
        size = tensor.shape[-1]
        forms: tuple[Callable[[], object], ...] = (
            lambda: None,
            lambda: tensor[0],
            lambda: tensor[:0],
            lambda: tensor[:, :0],
            lambda: tensor[..., :0],
            lambda: tensor[None],
            lambda: tensor.transpose(0, -1),
            lambda: tensor[..., : size - 1],
            lambda: torch.cat([tensor] * 20, dim=-1),
            lambda: tensor.float(),
            lambda: tensor.double(),
            lambda: tensor.half(),
            lambda: tensor.bool(),
            lambda: tensor.to(torch.complex64),
            lambda: tensor.to(torch.uint8),
            lambda: tensor.int(),
            lambda: tensor.numpy(),
            lambda: tensor.tolist(),
        )
        return self.random.choice(forms)()

    def options(self, *names: str) -> dict:
        """Draw a few options of a call, most of them right."""
        numbers = (1.0, 0.5, 3, 1e-30, 1e300, 0.0, -1.0, float("nan"), float("inf"), "1", True)
        choices = {
            "spatial_temperature": numbers,
            "spatial_gamma": numbers,
            "task": ("describe", "continue", "paint", None, 5),
            "max_length": (1, 3, 0, -5, 2.5, "3"),
            "min_length": (0, 2, -1, "a"),
            "repetition_penalty": (1.0, 2, 1.5, 0.0, -2.0, float("nan"), 1e-300),
            "encoder_repetition_penalty": (1.0, 2, 0.0, float("inf"), "2"),
            "encoder_no_repeat_ngram_size": (0, 1, 2, -1, 1.5),
            "temperature": (1.0, 0.5, 0.0, 1e-300, float("nan"), -1.0),
            "num_beams": (1, 2, 3, 0, -1, 10**6, 1.5),
            "num_return_sequences": (1, 2, 0, 10**6),
            "length_penalty": (1.0, -1.0, float("nan"), float("inf")),
            "pad_token_id": (0, 5, -1, 10**6),
            "do_sample": (True, False),
            "num_steps": (1, 2, 0, -1, 1.5, "2", None),
            "return_loss": (True, False),
        }
        return {name: self.random.choice(choices[name]) for name in names if self.chance(0.25)}


class Targets:
    """Processor, pipeline and a small model, each called with drawn inputs.

    Args:
        processor: of a model of the size of `small_config`.
    """

    def __init__(self, processor: StoryAttnProcessor):
        config = small_config(decoder_context_captions=1)
        config.adapt_to_tokenizer(processor.tokenizer)
        torch.manual_seed(0)
        self.processor, self.model = processor, StoryAttnForConditionalGeneration(config).eval()
        self.pipeline = pipeline("story-continuation", model=self.model, processor=processor)
        stories = [draw_story(1, 3), draw_story(2, 2)]
        self.inputs = dict(processor(*([story[name] for story in stories] for name in ("frames", "captions"))))

    def call(self, inputs: Inputs) -> object:
        """Call one of the three with drawn inputs."""
        calls = (self.call_processor, self.call_model, self.call_pipeline, self.call_continuation)
        calls += (self.call_generate, self.call_painter)
        return inputs.random.choices(calls, weights=(9, 5, 3, 1, 3, 2))[0](inputs)

    def call_processor(self, inputs: Inputs) -> object:
        """Turn stories into tensors, or pictures alone."""
        if inputs.chance(0.15):
            return self.processor.image_processor([inputs.picture() for _ in range(2)], return_tensors="pt")
        return self.processor(**inputs.stories())

    def call_pipeline(self, inputs: Inputs) -> object:
        """Carry stories on."""
        stories = []
        for _ in range(inputs.random.choice((1, 1, 2))):
            frames = inputs.frames()
            story = {"frames": frames, "captions": inputs.texts(frames)}
            stories.append(
                inputs.random.choice(({}, None, [frames], {"image": frames})) if inputs.chance(0.1) else story
            )
        options = {"max_new_tokens": 2, "do_sample": False, **inputs.options("num_steps", "spatial_gamma")}
        return self.pipeline(stories if inputs.chance(0.8) else stories[0], **options)

    def call_model(self, inputs: Inputs) -> object:
        """Run a pass of the model, with or without its loss."""
        batch, frames = self.inputs["frame_mask"].shape
        masks = {"caption_mask": torch.ones(batch, frames, dtype=torch.long)}
        masks["next_caption_mask"] = torch.ones(batch, frames - 1, dtype=torch.bool)
        masks["reconstructed"] = torch.zeros(batch, 1, dtype=torch.long)
        masks = {name: mask for name, mask in masks.items() if inputs.chance(0.3)}
        options = inputs.options("spatial_temperature", "spatial_gamma", "return_loss")
        model = self.model if inputs.chance(0.7) else self.model.base_model
        return model(**inputs.tensors({**self.inputs, **masks}), **options)

    def call_continuation(self, inputs: Inputs) -> object:
        """Carry stories on without the pipeline."""
        options = {"max_new_tokens": 2, "do_sample": False, **inputs.options("num_steps", "spatial_temperature")}
        return self.model.continue_story(self.processor, **inputs.stories(), **options)

    def call_generate(self, inputs: Inputs) -> object:
        """Write a caption."""
        lengths = inputs.options("task", "max_length", "min_length", "num_beams", "num_return_sequences", "do_sample")
        penalties = inputs.options("repetition_penalty", "temperature", "length_penalty", "spatial_temperature")
        others = inputs.options("encoder_repetition_penalty", "encoder_no_repeat_ngram_size", "pad_token_id")
        options = {"max_length": 2, "do_sample": False, **lengths, **penalties, **others}
        return self.model.generate(**inputs.tensors(self.inputs), **options)

    def call_painter(self, inputs: Inputs) -> object:
        """Paint the next frame."""
        caption = {f"next_{name}": self.inputs[name][:, 0] for name in ("input_ids", "attention_mask")}
        return self.model.predict_next_frame(**inputs.tensors({**self.inputs, **caption}))


ACCEPTED, REFUSED = "accepted", "refused"


def outcome_of(targets: Targets, seed: int, folder: Path) -> str:
    """Say what the inputs of a seed give: `ACCEPTED`, `REFUSED`, or else what is wrong with that."""
    torch.manual_seed(seed)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numpy and Pillow, about what is drawn
            result = targets.call(Inputs(seed, folder))
    except (ValueError, TypeError) as error:
        message = str(error)
        is_named = NAMED.match(message) and "\n" not in message and len(message) <= 600
        return REFUSED if is_named else f"seed {seed}: {type(error).__name__}: {message[:300]!r}"
    except Exception as error:
        return f"seed {seed}: {type(error).__name__}: {str(error)[:300]!r}"
    return ACCEPTED if is_finite(result) else f"seed {seed}: numbers that are not finite"


def is_finite(result: object) -> bool:
    """Whether all floats in a result are numbers."""
    if isinstance(result, torch.Tensor):
        return not result.is_floating_point() or bool(result.isfinite().all())
    if isinstance(result, (str, Image.Image)) or not hasattr(result, "__iter__"):
        return True
    return all(is_finite(value) for value in (result.values() if hasattr(result, "values") else result))


def main() -> None:
    """Draw inputs until the number is reached, and print every problem."""
    parser = argparse.ArgumentParser(description="Tries drawn inputs on processor, pipeline and model.")
    parser.add_argument("--number", type=int, default=500, help="how many inputs")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    arguments = parser.parse_args()
    captions = [text for seed in range(24) for text in draw_story(seed)["captions"] if text]
    targets = Targets(build_processor(small_config(), train_tokenizer(captions, 300)))
    counts = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seed, arguments.seed + arguments.number):
            outcome = outcome_of(targets, seed, Path(folder))
            if outcome not in (ACCEPTED, REFUSED):
                print(outcome, flush=True)
            counts[outcome if outcome in (ACCEPTED, REFUSED) else "wrong"] += 1
    print(dict(counts))


if __name__ == "__main__":
    main()
