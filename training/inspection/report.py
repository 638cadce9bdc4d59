"""Report on a data set: the numbers of each split, a table of them, and a sheet of pictures."""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
from datasets import Dataset

from ..common.captions import has_text
from ..common.excerpts import quoted
from ..common.tables import text_table
from ..figures import story_sheet
from .overlap import SharedStory
from .survey import Survey
from .token_coverage import TokenNumbers

STORIES_SHOWN, FRAMES_SHOWN, PAIRS_SHOWN = 3, 8, 3
LISTED_PAIRS = 100
TABLE_ROWS = {  # title and number
    "stories": lambda numbers: numbers["stories"],
    "bad stories": lambda numbers: numbers["bad_stories"],
    "with unequal numbers": lambda numbers: numbers["unequal_numbers"],
    "unreadable images": lambda numbers: numbers["unreadable_images"],
    "duplicate ids": lambda numbers: len(numbers["duplicate_ids"]),
    "frames": lambda numbers: numbers["frames"],
    "frames a story, min/median/max": lambda numbers: _slashed(numbers["frames_per_story"]),
    "shorter than num_frames": lambda numbers: numbers["stories_shorter_than_num_frames"],
    "of one frame": lambda numbers: numbers["stories_of_one_frame"],
    "repeated frames": lambda numbers: numbers["repeated_frames"],
    "most frequent size": lambda numbers: _sized(numbers["picture_sizes"], "most_frequent"),
    "smallest picture": lambda numbers: _sized(numbers["picture_sizes"], "min"),
    "largest picture": lambda numbers: _sized(numbers["picture_sizes"], "max"),
    "smaller than image_size": lambda numbers: numbers["smaller_than_image_size"],
    "cut off by cropping, median": lambda numbers: f"{numbers['share_cut_off']:.0%}",
    "modes": lambda numbers: ", ".join(f"{mode} {count}" for mode, count in numbers["modes"].items()) or "-",
    "captions": lambda numbers: numbers["captions"],
    "empty captions": lambda numbers: numbers["empty_captions"],
    "tokens, median/95%/99%/max": lambda numbers: _slashed(numbers["caption_tokens"]),
    "cut captions": lambda numbers: numbers["cut_captions"],
    "unknown tokens": lambda numbers: _share(numbers["unknown_tokens"], numbers["tokens"]),
    "spelled by letters or bytes": lambda numbers: _share(numbers["spelled_tokens"], numbers["tokens"]),
}


def split_numbers(survey: Survey, tokens: TokenNumbers, options: argparse.Namespace) -> dict:
    """Return the numbers of a split, by their names in `report.json`.

    Numbers of frames, pictures and captions are those of good stories; sizes are `[width, height]` in pixels.

    Args:
        survey: survey of the split.
        tokens: what a tokenizer makes of its captions that are not empty.
        options: flags of the command: `max_caption_length`, `num_frames`, `image_size`.
    """
    return {
        "stories": survey.num_stories,
        "bad_stories": len(survey.bad),
        "bad": survey.bad,
        "unequal_numbers": survey.unequal,
        "unreadable_images": survey.unreadable_images,
        "duplicate_ids": survey.duplicate_ids.most_common(),
        **length_numbers(survey.frames, options.num_frames),
        "repeated_frames": len(survey.repeated),
        **_picture_numbers(survey.sizes, *options.image_size),
        "modes": dict(survey.modes.most_common()),
        "number_ranges": survey.ranges,
        **caption_numbers(survey.captions, tokens, options.max_caption_length),
    }


def caption_numbers(stories: list[list[str | None]], tokens: TokenNumbers, max_caption_length: int) -> dict:
    """Return the numbers of captions, by their names in `report.json`.

    Args:
        stories: captions of each story.
        tokens: what a tokenizer makes of those that are not empty.
        max_caption_length: tokens at which captions are cut.
    """
    captions = [text for story in stories for text in story]
    return {
        "captions": len(captions),
        "empty_captions": sum(not has_text(text) for text in captions),
        "captions_with_text": len(tokens.lengths),
        "caption_tokens": _spread(tokens.lengths, {"median": 50, "95%": 95, "99%": 99, "max": 100}),
        "cut_captions": sum(length > max_caption_length for length in tokens.lengths),
        "tokens": tokens.tokens,
        "unknown_tokens": tokens.unknown,
        "spelled_tokens": tokens.spelled,
    }


def length_numbers(frames: list[int], num_frames: int) -> dict:
    """Return the numbers of frames, by their names in `report.json`.

    Args:
        frames: frames of each story.
        num_frames: frames of a window.
    """
    return {
        "frames": sum(frames),
        "frames_per_story": _spread(frames, {"min": 0, "median": 50, "max": 100}),
        "stories_shorter_than_num_frames": sum(count < num_frames for count in frames),
        "stories_of_one_frame": frames.count(1),
    }


def overlap_numbers(
    first: str,
    second: str,
    shared: list[SharedStory],
    surveys: dict[str, Survey],
    titles: dict[str, dict[str, str]],
) -> dict:
    """Return what two splits have in common, with the first pairs of stories by name.

    Args:
        first: name of the one split.
        second: name of the other.
        shared: pairs of stories of the two, from `shared_stories`.
        surveys: survey of each split.
        titles: titles of stories by split and name, as far as the data set has any.
    """
    pictures = {(pair.second_row, position) for pair in shared for _, position in pair.frames}
    pairs = []
    for pair in shared[:LISTED_PAIRS]:
        same = [name for name in ("pictures", "captions") if getattr(pair, f"same_{name}")]
        named = {first: pair.first_row, second: pair.second_row}
        named = {split: _named(surveys[split].names[row], titles.get(split, {})) for split, row in named.items()}
        pairs.append({**named, "same": same, "frames": pair.frames, "captions": pair.num_captions})
    same_stories = sum(pair.is_same for pair in shared)
    return {
        "splits": [first, second],
        "same_stories": same_stories,
        "sharing_pairs": len(shared) - same_stories,
        "shared_pictures": len(pictures),
        "pictures": sum(surveys[second].frames),
        "pairs": pairs,
    }


def format_table(splits: dict[str, dict]) -> str:
    """Format the numbers of `split_numbers` as a table, one column a split."""
    rows = [[title, *(str(number(numbers)) for numbers in splits.values())] for title, number in TABLE_ROWS.items()]
    return text_table(["", *splits], rows)


def draw_sheet(stories: dict[str, Dataset], surveys: dict[str, Survey], shared: list[SharedStory], path: Path) -> int:
    """Draw a sheet of stories of each split, spread evenly, then of pairs that two splits share, side by side.

    Args:
        stories: stories of each split.
        surveys: survey of each split.
        shared: pairs of stories, from `shared_stories`.
        path: image file that is written.

    Returns:
        The number of rows of the sheet; with 0 no file is written.
    """
    rows = []
    for split, survey in surveys.items():
        count = min(STORIES_SHOWN, len(survey.rows))
        for row in (survey.rows[number * len(survey.rows) // count] for number in range(count)):
            story = stories[split][row]
            rows.append({**story, "story_id": f"{split}: {story['story_id']}"})
    rows += [_pair_row(pair, stories) for pair in _pairs_to_show(shared)]
    if rows:
        story_sheet(rows, path, num_stories=len(rows))
    return len(rows)


def _pairs_to_show(shared: list[SharedStory]) -> list[SharedStory]:
    """Return the first pair of each two splits, then others: the same story first, then those with `train`."""
    ordered = sorted(shared, key=lambda pair: (not pair.is_same, "train" not in (pair.first, pair.second)))
    firsts: dict[tuple[str, str], SharedStory] = {}
    for pair in ordered:
        firsts.setdefault((pair.first, pair.second), pair)
    chosen = [*firsts.values()]
    return [*chosen, *(pair for pair in ordered if all(pair is not other for other in chosen))][:PAIRS_SHOWN]


def _pair_row(pair: SharedStory, stories: dict[str, Dataset]) -> dict:
    """Return a row of the sheet in which frames that show the same stand side by side."""
    one, other = stories[pair.first][pair.first_row], stories[pair.second][pair.second_row]
    frames, captions = [], []
    for positions in (pair.frames or [(0, 0), (1, 1)])[: FRAMES_SHOWN // 2]:
        for split, story, position in zip((pair.first, pair.second), (one, other), positions):
            if position < len(story["frames"]):
                frames.append(story["frames"][position])
                captions.append(f"[{split}, frame {position + 1}] {story['captions'][position] or ''}")
    names = f"{pair.first}: {one['story_id']} and {pair.second}: {other['story_id']}"
    return {"story_id": f"in two splits, {names}", "frames": frames, "captions": captions}


def _picture_numbers(sizes: Counter, height: int, width: int) -> dict:
    if not sizes:
        return {"picture_sizes": {}, "smaller_than_image_size": 0, "share_cut_off": 0.0}
    ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    lost = [1 - min(w / h, width / height) / max(w / h, width / height) for w, h in sizes for _ in range(sizes[w, h])]
    return {
        "picture_sizes": {
            "most_frequent": list(sizes.most_common(1)[0][0]),
            "min": list(ordered[0]),
            "max": list(ordered[-1]),
        },
        "smaller_than_image_size": sum(count for (w, h), count in sizes.items() if w < width or h < height),
        "share_cut_off": round(float(np.median(lost)), 4),
    }


def _spread(values: list[int], percentiles: dict[str, int]) -> dict:
    if not values:
        return {}
    return {
        name: float(np.percentile(values, p)) if name == "median" else int(np.percentile(values, p, method="higher"))
        for name, p in percentiles.items()
    }


def _named(name: str, titles: dict[str, str]) -> str:
    return f"{quoted(name)} ({quoted(titles[name])})" if titles.get(name) else quoted(name)


def _slashed(values: dict) -> str:
    return " / ".join(f"{value:g}" for value in values.values()) or "-"


def _share(number: int, total: int) -> str:
    return f"{number / total:.1%}" if total else "-"


def _sized(sizes: dict, name: str) -> str:
    return "x".join(map(str, sizes[name])) if sizes else "-"
