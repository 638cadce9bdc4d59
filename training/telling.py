"""Continue a picture story, and describe its pictures first where they have no captions."""

import argparse
import os
from pathlib import Path

from PIL import Image
from storyattn import Stories, Story, StoryAttnForConditionalGeneration, StoryAttnProcessor
from storyattn.generation_options import MOST, SMALLEST_TEMPERATURE
from storyattn.input_checks import check_factor
from storyattn.pictures import read_picture
from storyattn.story_formats import FORMATS
from storyattn.story_memory import pages_to_read
from transformers import set_seed

from .common.access_flags import access_of
from .common.columns import columns_of
from .common.errors import check_seed
from .common.files import check_file
from .data.sources import read_stories
from .data.validation import decode_frame, name_problem, story_problem
from .models.baselines import BaselineModel
from .models.load import load_model

MOST_STEPS = 1000


def tell(arguments: argparse.Namespace) -> list[str]:
    """Continue a story as the flags of `storyattn tell` say, save it, and return notes and its captions in lines.

    Raises:
        ValueError, OSError: for flags that do not go together, and for frames and models that cannot be read.
    """
    _check(arguments)
    frames, captions = _first_frames(arguments)
    references = [_open_image(path, "reference_frames") for path in arguments.reference_frames or ()]
    model, processor = load_model(arguments.model, arguments.device)
    if isinstance(model, BaselineModel):
        baseline = f"the baseline {model.config.model_type}"
        raise ValueError(f"model: got {baseline} in {arguments.model!r}, expected a model that continues stories")
    options = {"seed": arguments.seed, "next_captions": arguments.next_captions, **_generation_options(arguments)}
    num_steps = arguments.steps or len(arguments.next_captions or ()) or 3
    options["frame_options"] = _frame_options(arguments)
    if references:
        shown = {"reference_frames": references, "reference_captions": arguments.reference_captions}
        options["frame_options"] |= shown
    story, notes = tell_story(model, processor, frames, captions, num_steps, **options)
    for future, path in zip([story] if isinstance(story, Story) else story, output_files(arguments)):
        future.save(path)
    return [*notes, str(story)]


def output_files(arguments: argparse.Namespace) -> list[Path]:
    """Return the file of each future: the output, or with several futures a numbered one beside it for each."""
    output = Path(arguments.output)
    if arguments.futures == 1:
        return [output]
    return [output.with_stem(f"{output.stem}-{number}") for number in range(1, arguments.futures + 1)]


def tell_story(
    model: StoryAttnForConditionalGeneration,
    processor: StoryAttnProcessor,
    frames: list[Image.Image],
    captions: list[str | None] | None,
    num_steps: int,
    *,
    seed: int = 0,
    next_captions: list[str] | None = None,
    frame_options: dict[str, object] | None = None,
    **generation_kwargs: object,
) -> tuple[Story | Stories, list[str]]:
    """
    Continue a story, and describe its pictures first where they have no captions.

    Args:
        model: the model.
        processor: its processor.
        frames: the first pictures of the story.
        captions: their captions; `None` lets the model describe each picture first.
        num_steps: how many captions and frames to add.
        seed: the seed of sampling.
        next_captions: texts to paint, one a step, in place of the first captions that the model would write.
        frame_options: options of `continue_story` alone, such as `num_frame_steps` and `reference_frames`.
        generation_kwargs: options of `generate`.

    Returns:
        The whole story, or its futures, and notes, a line each.
    """
    set_seed(seed)
    notes = []
    is_described = captions is None
    if is_described:
        notes.append("note: no captions given, the pictures are described by the model")
        (captions,) = describe_stories(model, processor, [frames], **generation_kwargs)
    given = Story(frames, captions, written=[is_described] * len(frames))
    options = {"num_steps": num_steps, "next_captions": next_captions, **generation_kwargs, **(frame_options or {})}
    return model.continue_story(processor, given, **options), notes


def describe_stories(
    model: StoryAttnForConditionalGeneration,
    processor: StoryAttnProcessor,
    stories: list[list[Image.Image]],
    **generation_kwargs: object,
) -> list[list[str]]:
    """
    Write a caption for each frame, from its picture and the frames and written captions before it.

    Args:
        model: the model.
        processor: its processor.
        stories: the frames of each story, read as one batch.
        generation_kwargs: options of `generate`.

    Returns:
        The captions of each story, one a frame.
    """
    limit, num_memory = model.config.max_frames, model.config.num_memory_frames
    captions: list[list[str]] = [[] for _ in stories]
    for end in range(1, max(map(len, stories)) + 1):
        read = pages_to_read(end, limit, num_memory)
        reached = [number for number, frames in enumerate(stories) if len(frames) >= end]
        inputs = processor(
            frames=[[stories[number][page] for page in read] for number in reached],
            captions=[[*(captions[number][page] for page in read[:-1]), None] for number in reached],
            return_tensors="pt",
        )
        ids = model.generate(**inputs.to(model.device), task="describe", **generation_kwargs)
        for number, caption in zip(reached, processor.batch_decode(ids, skip_special_tokens=True)):
            captions[number].append(caption.strip())
    return captions


def _check(arguments: argparse.Namespace) -> None:
    """Refuse flags that do not go together; raise `ValueError`."""
    for name, most in (
        ("steps", MOST_STEPS),
        ("given", None),
        ("num_beams", MOST["num_beams"]),
        ("max_new_tokens", None),
        ("futures", MOST["num_beams"]),
    ):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ValueError(f"{name}: got {value}, expected at least 1")
        if value is not None and most is not None and value > most:
            raise ValueError(f"{name}: got {value}, expected at most {most}")
    if (arguments.frames is None) == (arguments.dataset is None):
        given = "neither" if arguments.frames is None else "both"
        raise ValueError(f"frames: got {given} of --frames and --dataset, expected one of them")
    if arguments.dataset is not None and arguments.captions is not None:
        raise ValueError("captions: got --captions with --dataset, expected them only with --frames")
    if arguments.captions is not None and len(arguments.captions) != len(arguments.frames):
        raise ValueError(f"captions: got {len(arguments.captions)}, expected {len(arguments.frames)}, one per frame")
    number = len(arguments.reference_frames or ())
    if arguments.reference_captions is not None and len(arguments.reference_captions) != number:
        got = f"reference_captions: got {len(arguments.reference_captions)}"
        raise ValueError(f"{got}, expected {number}, one per reference frame")
    if not 0 < arguments.temperature < float("inf") or (arguments.temperature != 1.0 and not arguments.do_sample):
        raise ValueError(f"temperature: got {arguments.temperature}, expected above 0 and together with --do_sample")
    check_factor("temperature", arguments.temperature, least=SMALLEST_TEMPERATURE, includes_least=True)
    check_seed(arguments.seed)
    if Path(arguments.output).suffix.lower() not in FORMATS:
        raise ValueError(f"output: got {arguments.output!r}, expected the name of a file in {', '.join(FORMATS)}")
    for path in output_files(arguments):
        check_file("output", str(path))
    if arguments.rank_by is not None and arguments.futures == 1:
        raise ValueError(f"rank_by: got {arguments.rank_by!r} with one future, expected --futures of 2 or more")


def _first_frames(arguments: argparse.Namespace) -> tuple[list[Image.Image], list[str | None] | None]:
    """Return the frames that the story starts with, and their captions where there are any."""
    if arguments.frames is not None:
        return [_open_image(path) for path in arguments.frames], arguments.captions
    stories = read_stories(arguments.dataset, arguments.split, **columns_of(arguments), **access_of(arguments))
    if not 0 <= arguments.story < len(stories):
        raise ValueError(f"story: got {arguments.story}, expected 0 to {len(stories) - 1} in {arguments.split}")
    (story,) = stories.with_format("arrow")[arguments.story].to_pylist()
    problem = story_problem(story)
    if problem is not None:
        raise ValueError(name_problem(story["story_id"], problem))
    captions = story["captions"][: arguments.given]
    try:
        return [decode_frame(story, index) for index in range(len(captions))], captions
    except ValueError as error:
        raise ValueError(name_problem(story["story_id"], str(error))) from error


def _open_image(path: str, field: str = "frames") -> Image.Image:
    if not os.path.exists(path):
        raise FileNotFoundError(f"{field}: got {path!r}, which does not exist, expected an image file")
    if os.path.isdir(path):
        raise IsADirectoryError(f"{field}: got the folder {path!r}, expected its image files, one after the other")
    return read_picture(Path(path), field)


def _frame_options(arguments: argparse.Namespace) -> dict[str, object]:
    """Return the flags that `continue_story` understands beside those of `generate`."""
    names = ("num_frame_steps", "frame_guidance_scale", "rank_by")
    options = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    if arguments.futures > 1:
        options["num_return_sequences"] = arguments.futures
        options["do_sample"] = arguments.do_sample or arguments.num_beams == 1
    return options


def _generation_options(arguments: argparse.Namespace) -> dict[str, object]:
    """Return the flags that `generate` understands."""
    options = {"num_beams": arguments.num_beams, "do_sample": arguments.do_sample}
    if arguments.do_sample:
        options["temperature"] = arguments.temperature
    if arguments.max_new_tokens is not None:
        options["max_new_tokens"] = arguments.max_new_tokens
    return options
