"""Check single stories, and say what happens to bad ones."""

import os
from collections.abc import Callable

import datasets
from PIL import UnidentifiedImageError
from storyattn.pictures import open_picture

SMALLEST_SIDE = 8  # pixels; anything less is a placeholder or a broken export
PER_FRAME_COLUMNS = ("captions", "descriptions", "boxes", "events")
POLICIES = ("skip", "raise")
BAD_SHARE = 0.05  # of the stories: more of them bad, and something else is wrong
NAMED = 5


def story_problem(story: dict) -> str | None:
    """What is wrong with the numbers of a story's frames, captions and the rest, or `None`."""
    frames, captions = story["frames"], story["captions"]
    if not isinstance(frames, (list, type(None))):
        return f"frames is a {type(frames).__name__}, expected a list of images"
    if not frames:
        return "frames is empty, expected at least one image"
    if captions is None:
        return f"captions is missing, expected one for each of {len(frames)} frames"
    wrong = [text for text in captions if not isinstance(text, (str, type(None)))]
    if isinstance(captions, str) or wrong:
        found = f"{wrong[0]!r} in captions" if wrong else "a string as captions"
        return f"found {found}, expected one string or nothing for each frame"
    for column in PER_FRAME_COLUMNS:
        values = story.get(column)
        if values is not None and len(values) != len(frames):
            return f"found {len(frames)} frames and {len(values)} {column}, expected as many"
    return None


def decode_frame(story: dict, index: int):
    """
    Frame `index`, kept as `{"bytes", "path"}`, as the model reads pictures: whole, upright and RGB; see
    `storyattn.pictures`. Its `info["mode"]` is the mode that it had.

    Raises `ValueError` that names the frame, for none, for one of less than `SMALLEST_SIDE` pixels a side, and for what
    `open_picture` refuses: broken files, numbers of an unknown range, and files of too many pixels.
    """
    picture, of = story["frames"][index], ""
    try:
        if picture is None:
            raise ValueError("is missing, expected an image")
        if isinstance(picture, dict):
            of = f" ({picture['path']})" if picture.get("path") else ""
            if picture.get("bytes") is None and of:
                if _is_missing_file(picture["path"]):
                    raise ValueError("found no such file")
                if "://" in picture["path"]:
                    picture = datasets.Image().decode_example(picture)
        picture = open_picture(picture)
        if min(picture.size) < SMALLEST_SIDE:
            found = f"{picture.width}x{picture.height} pixels"
            raise ValueError(f"found {found}, expected at least {SMALLEST_SIDE} a side")
    except UnidentifiedImageError as error:
        raise ValueError(f"frame {index}{of}: is no image that Pillow can read") from error
    except Exception as error:  # what a broken file makes Pillow raise depends on its format
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"frame {index}{of}: {reason}") from error
    return picture


def _is_missing_file(path: str) -> bool:
    return "://" not in path and not os.path.isfile(path)


def judge_bad_stories(
    bad: list[str],
    number: int,
    name: str,
    on_bad_story: str,
    warn: Callable[[str], None],
    *,
    few: int = 0,
    named: list[str] | None = None,
) -> None:
    """
    Tells by `warn`, or refuses, `bad` ones (a line for each) among `number` stories of `name`; see `prepare_stories`.

    Of fewer stories than `few` no share of bad ones is refused. `named` are those to tell of; by default all.
    """
    if on_bad_story not in POLICIES:
        raise ValueError(f"on_bad_story: found {on_bad_story!r}, expected one of {', '.join(POLICIES)}")
    if not bad:
        return
    found = f"{name}: {len(bad)} of {number} stories are bad"
    if on_bad_story == "raise":
        raise ValueError(f"{found}: {_first(bad)}")
    if number >= few and len(bad) > BAD_SHARE * number:
        raise ValueError(f"{found}, expected at most {BAD_SHARE:.0%} to be left out: {'; '.join(bad)}")
    warn(f"{found} and left out: {_first(bad if named is None else named)}")


def _first(bad: list[str]) -> str:
    more = f"; and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
    return "; ".join(bad[:NAMED]) + more
