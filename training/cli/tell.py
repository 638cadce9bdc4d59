"""
Continues a picture story and draws it as a strip:

    storyattn tell --model runs/tiny --frames a.png b.png --captions "..." "..." --steps 3 --output story.png
    storyattn tell --model runs/tiny --dataset storyworld --split test --story 0 --given 3 --output story.png

Without --captions the pictures are described first.
"""

import argparse
from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError
from storyattn.image_processing_storyattn import to_rgb
from transformers import set_seed

from ..common.errors import one_line
from ..data.sources import read_stories
from ..data.validation import decode_frame, story_problem
from ..figures import story_strip
from ..models.baselines import BaselineModel
from ..models.load import load_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `storyattn tell`."""
    parser.add_argument("--model", required=True, help="folder or Hub id of the model")
    parser.add_argument("--frames", nargs="+", default=None, help="image files, in the order of the story")
    parser.add_argument("--captions", nargs="+", default=None, help="one caption per frame; left out: described")
    parser.add_argument("--dataset", default=None, help="take the frames from a story of this data set instead")
    parser.add_argument("--split", default="test", help="split of the data set")
    parser.add_argument("--frames_column", default="frames", help="column of the data set that holds the frames")
    parser.add_argument("--captions_column", default="captions", help="column that holds the captions")
    parser.add_argument("--story", type=int, default=0, help="number of the story in the split, from 0")
    parser.add_argument("--given", type=int, default=3, help="how many frames of that story are given")
    parser.add_argument("--steps", type=int, default=3, help="how many captions and frames to add")
    parser.add_argument("--output", default="story.png", help="image file for the strip")
    parser.add_argument("--num_beams", type=int, default=1, help="beams of the search for captions")
    parser.add_argument("--do_sample", action="store_true", help="draw captions instead of taking the likeliest")
    parser.add_argument("--temperature", type=float, default=1.0, help="of drawing captions; needs --do_sample")
    parser.add_argument("--max_new_tokens", type=int, default=None, help="longest caption; default: the model's")
    parser.add_argument("--seed", type=int, default=0, help="of drawing captions")
    parser.add_argument("--device", default=None, help="cpu, cuda, ...; by default a GPU where there is one")


def main(argv: list[str] | None = None) -> None:
    """Runs the command; a mistake in what it was given ends it with one line and exit status 2."""
    parser = argparse.ArgumentParser(prog="storyattn tell", description="Continues a picture story.")
    add_arguments(parser)
    arguments = parser.parse_args(argv)
    with one_line("storyattn tell"):
        _check(arguments)
        frames, captions = _given_story(arguments)
        model, processor = load_model(arguments.model, arguments.device)
        if isinstance(model, BaselineModel):
            found = f"the baseline {model.config.model_type}"
            raise ValueError(f"model: found {found} in {arguments.model!r}, expected a model that tells on")
    strip, lines = tell(model, processor, frames, captions, arguments.steps, seed=arguments.seed, **_options(arguments))
    output = Path(arguments.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    strip.save(output)
    print("\n".join([*lines, f"drawn to {output}"]))


def tell(
    model,
    processor,
    frames: list[Image.Image],
    captions: list[str | None] | None,
    num_steps: int,
    *,
    seed: int = 0,
    **generation_kwargs,
) -> tuple[Image.Image, list[str]]:
    """
    Continues a story by `num_steps` frames; the strip of the whole story, and lines that tell it.

    Where `captions` is `None`, each frame is described first. Of a story longer than the model was trained to read
    (`config.max_frames` - 1) it reads the last frames; the strip shows all. `generation_kwargs` go to `generate`.
    """
    set_seed(seed)
    limit = model.config.max_frames - 1
    lines = []
    if len(frames) > limit:
        lines.append(f"note: the model reads the last {limit} of {len(frames)} frames")
    described = captions is None
    if described:
        lines.append("note: no captions given, the pictures are described by the model")
        captions = describe_frames(model, processor, frames, **generation_kwargs)
    with torch.no_grad():
        told = model.continue_story(processor, [frames[-limit:]], [captions[-limit:]], num_steps, **generation_kwargs)
    new_frames, new_captions = told.frames[0], told.captions[0]
    painted = [False] * len(frames) + [True] * len(new_frames)
    written = [described] * len(frames) + [True] * len(new_frames)
    story = [*captions, *new_captions]
    for number, (text, is_written) in enumerate(zip(story, written), start=1):
        lines.append(f"{number}. {'(written) ' if is_written else ''}{text or ''}")
    return story_strip([*frames, *new_frames], story, painted, written), lines


def describe_frames(model, processor, frames: list[Image.Image], **generation_kwargs) -> list[str]:
    """A caption for each frame, written from its picture and the frames and written captions before it."""
    limit = model.config.max_frames
    captions: list[str] = []
    for end in range(1, len(frames) + 1):
        start = max(0, end - limit)
        inputs = processor(frames=[frames[start:end]], captions=[[*captions[start:], None]], return_tensors="pt")
        ids = model.generate(**inputs.to(model.device), task="describe", **generation_kwargs)
        captions.append(processor.batch_decode(ids, skip_special_tokens=True)[0].strip())
    return captions


def _check(arguments: argparse.Namespace) -> None:
    """Refuses flags that do not go together; raises `ValueError`."""
    for name in ("steps", "given", "num_beams", "max_new_tokens"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ValueError(f"{name}: found {value}, expected at least 1")
    if (arguments.frames is None) == (arguments.dataset is None):
        found = "neither" if arguments.frames is None else "both"
        raise ValueError(f"frames: found {found} of --frames and --dataset, expected one of them")
    if arguments.dataset is not None and arguments.captions is not None:
        raise ValueError("captions: found --captions with --dataset, expected them only with --frames")
    if arguments.captions is not None and len(arguments.captions) != len(arguments.frames):
        raise ValueError(
            f"found {len(arguments.captions)} captions and {len(arguments.frames)} frames, expected as many"
        )
    if arguments.temperature <= 0 or (arguments.temperature != 1.0 and not arguments.do_sample):
        raise ValueError(f"temperature: found {arguments.temperature}, expected above 0 and together with --do_sample")
    suffix = Path(arguments.output).suffix
    if Image.registered_extensions().get(suffix.lower()) not in Image.SAVE:
        raise ValueError(f"output: found {arguments.output!r}, expected the name of an image file such as story.png")


def _given_story(arguments: argparse.Namespace) -> tuple[list[Image.Image], list[str | None] | None]:
    if arguments.frames is not None:
        return [_open_image(path) for path in arguments.frames], arguments.captions
    columns = {"frames_column": arguments.frames_column, "captions_column": arguments.captions_column}
    stories = read_stories(arguments.dataset, arguments.split, **columns)
    if not 0 <= arguments.story < len(stories):
        raise ValueError(f"story: found {arguments.story}, expected 0 to {len(stories) - 1} in {arguments.split}")
    (story,) = stories.with_format("arrow")[arguments.story].to_pylist()
    problem = story_problem(story)
    if problem is not None:
        raise ValueError(f"story {story['story_id']!r}: {problem}")
    captions = story["captions"][: arguments.given]
    try:
        return [to_rgb(decode_frame(story, index)) for index in range(len(captions))], captions
    except ValueError as error:
        raise ValueError(f"story {story['story_id']!r}: {error}") from error


def _open_image(path: str) -> Image.Image:
    try:
        with Image.open(path) as image:
            return to_rgb(image)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"frames: found no file {path!r}, expected an image") from error
    except (UnidentifiedImageError, IsADirectoryError) as error:
        raise ValueError(f"frames: {path!r} is no image that Pillow can read") from error


def _options(arguments: argparse.Namespace) -> dict:
    """The flags that `generate` understands."""
    options = {"num_beams": arguments.num_beams, "do_sample": arguments.do_sample}
    if arguments.do_sample:
        options["temperature"] = arguments.temperature
    if arguments.max_new_tokens is not None:
        options["max_new_tokens"] = arguments.max_new_tokens
    return options
