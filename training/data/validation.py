"""Check single stories and decide what happens to bad ones."""

from collections.abc import Callable

import datasets
from PIL import Image, UnidentifiedImageError
from storyattn.pictures import open_picture

from ..common.defaults import BAD_STORY_POLICIES
from ..common.excerpts import MAX_PROBLEM, excerpt, listed, quoted
from ..common.loading import one_line_reason

MIN_FRAME_SIDE = 8  # pixels; a smaller picture is a placeholder or a broken export
REFERENCES_COLUMN = "references"  # of each frame all captions, where some frame has several
PROBLEM_COLUMN = "read_problem"  # what was wrong with a story when it was read, null where nothing was
PER_FRAME_COLUMNS = (
    *("captions", "training_captions", "descriptions", "boxes", "events", "clip_art", "states"),
    REFERENCES_COLUMN,
)
MAX_BAD_SHARE = 0.05  # of the stories; with more, the data set as a whole is wrong


def story_problem(story: dict) -> str | None:
    """Return why the frames, captions and other columns of a story do not fit together, or `None`."""
    frames, captions = story["frames"], story["captions"]
    if story.get(PROBLEM_COLUMN) is not None:
        return story[PROBLEM_COLUMN]
    if not isinstance(frames, (list, type(None))):
        return f"frames: got a {type(frames).__name__}, expected a list of images"
    if not frames:
        return "frames: got none, expected at least one image"
    if captions is None:
        return f"captions: got none, expected one for each of {len(frames)} frames"
    wrong = [text for text in captions if not isinstance(text, (str, type(None)))]
    if isinstance(captions, str) or wrong:
        value = quoted(wrong[0]) if wrong else "a string"
        return f"captions: got {value}, expected one string or null for each frame"
    for column in PER_FRAME_COLUMNS:
        values = story.get(column)
        if values is not None and len(values) != len(frames):
            return f"{column}: got {len(values)} for {len(frames)} frames, expected as many as frames"
    return None


def name_problem(story_id: object, problem: str) -> str:
    """Return the line that says which story has a problem."""
    return f"story {quoted(story_id)}: {problem}"


def decode_frame(story: dict, index: int) -> Image.Image:
    """Decode frame `index` of a story whose frames are stored as `{"bytes", "path"}`.

    Returns:
        The whole picture as the model reads it (see `storyattn.pictures`), upright and RGB; of an animation the first
        frame. Its `info["mode"]` is the mode that it had, `info["range"]` that of its numbers.

    Raises:
        ValueError: naming the frame, where there is none, where a side has fewer than `MIN_FRAME_SIDE` pixels, and for
            a file that is broken, has numbers of an unknown range, or more pixels than Pillow allows.
    """
    picture, file = story["frames"][index], ""
    try:
        if picture is None:
            raise ValueError("got none, expected an image")
        if isinstance(picture, dict):
            path = picture.get("path") or ""
            file = f" ({excerpt(path)})" if path else ""
            if picture.get("bytes") is None and "://" in path:
                picture = datasets.Image().decode_example(picture)
        picture = open_picture(picture)
        if min(picture.size) < MIN_FRAME_SIDE:
            size = f"{picture.width}x{picture.height} pixels"
            raise ValueError(f"got {size}, expected at least {MIN_FRAME_SIDE} a side")
    except FileNotFoundError as error:
        raise ValueError(f"frame {index}{file}: got no such file, expected an image") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"frame {index}{file}: got no image that Pillow can read, expected one") from error
    except Exception as error:  # the type that Pillow raises for a broken file depends on the format
        raise ValueError(f"frame {index}{file}: {one_line_reason(error)}") from error
    return picture


def judge_bad_stories(
    problems: list[str],
    num_stories: int,
    name: str,
    on_bad_story: str,
    warn: Callable[[str], None],
    *,
    min_stories: int = 0,
    new_problems: list[str] | None = None,
) -> None:
    """Warn of bad stories or refuse them; see `prepare_stories`.

    Args:
        problems: a line for each bad story.
        num_stories: how many stories were read, good and bad.
        name: what messages call the stories.
        on_bad_story: "skip" or "raise".
        warn: called with the warning.
        min_stories: with fewer stories than this, no share of bad ones is refused.
        new_problems: those of `problems` that the warning describes; by default all.

    Raises:
        ValueError: for an unknown `on_bad_story`, for any bad story with "raise", and for a share of bad stories above
            `MAX_BAD_SHARE`.
    """
    if on_bad_story not in BAD_STORY_POLICIES:
        raise ValueError(f"on_bad_story: got {on_bad_story!r}, expected one of {', '.join(BAD_STORY_POLICIES)}")
    if not problems:
        return
    if on_bad_story == "raise":
        raise ValueError(f"{name}: got {len(problems)} bad of {num_stories} stories, expected none: {_first(problems)}")
    if num_stories >= min_stories and len(problems) > MAX_BAD_SHARE * num_stories:
        raise ValueError(
            f"{name}: got {len(problems)} bad of {num_stories} stories, expected at most {MAX_BAD_SHARE:.0%}: "
            f"{_first(problems)}"
        )
    described = _first(problems if new_problems is None else new_problems)
    warn(f"{name}: {len(problems)} of {num_stories} stories are bad and left out: {described}")


def _first(problems: list[str]) -> str:
    return listed(problems, separator="; ", length=MAX_PROBLEM)
