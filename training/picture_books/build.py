"""
Makes a data set of picture books from the public repositories of Book Dash and African Storybook:

    storyattn data picture-books --output books
    storyattn data picture-books --output books --source repositories

The folder then reads as any other: `storyattn train --dataset books`. What is left out, and why, is printed.
"""

import argparse
import io
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from storyattn.pictures import open_picture
from tqdm.auto import tqdm

from ..common.files import sha256_of_file
from ..data.near_duplicates import group_stories, picture_hash, split_groups
from .dataset_folder import check_output, write_books
from .downloads import download, unpack
from .repositories import FEWEST_PAGES, Report, Story, read_african_storybook, read_book_dash

ARCHIVES = {  # repository's name: archive of the branch that is published
    "bookdash-books": "https://codeload.github.com/bookdash/bookdash-books/zip/refs/heads/gh-pages",
    "asp-source": "https://codeload.github.com/global-asp/asp-source/zip/refs/heads/master",
    "asp-imagebank": "https://codeload.github.com/global-asp/asp-imagebank/zip/refs/heads/master",
}
BRANCHES = ("", "-master", "-gh-pages")  # what GitHub appends to a folder's name
CACHE = "~/.cache/storyattn/picture-books"
SMALLEST_SIDE = 16  # pixels; what is smaller shows nothing
JPEG_QUALITY = 90


@dataclass
class Pictures:
    """What is kept of a story's images: JPEG files and their hashes, one per page."""

    files: list[bytes] = field(default_factory=list)
    hashes: list[np.ndarray | None] = field(default_factory=list)


def make_books(arguments: argparse.Namespace) -> None:
    """
    Reads or downloads the repositories, writes the data set and prints what was kept and what was left out.

    Raises `ValueError` where a repository lacks what belongs into it or no story is left, `OSError` where a download
    fails.
    """
    if arguments.source is not None:
        repositories = find_repositories(Path(arguments.source).expanduser())
    else:
        repositories = download_repositories(Path(arguments.download_dir or CACHE).expanduser())
    report = Report()
    stories = [
        *read_book_dash(repositories["bookdash-books"], report),
        *read_african_storybook(repositories["asp-source"], repositories["asp-imagebank"], report),
    ]
    stories, pictures = prepare_pictures(stories, arguments.max_side, report)
    print("\n".join(report_lines(report)))
    if not stories:
        raise ValueError("found no story that can be kept, expected at least one")
    groups = group_stories([story.title for story in stories], [kept.hashes for kept in pictures])
    splits = split_groups(groups, arguments.validation_share, arguments.test_share, arguments.seed)
    output = Path(arguments.output).expanduser()
    write_books(output, stories, [kept.files for kept in pictures], splits, arguments.max_side, arguments.overwrite)
    print("\n".join(summary_lines(stories, groups, splits, report)))
    print(f"written to {output}")


def find_repositories(source: Path) -> dict[str, Path]:
    """The folders of the repositories in `source`, with or without a branch in their names; raises `ValueError`."""
    found = {}
    for name in ARCHIVES:
        folders = [source / f"{name}{branch}" for branch in BRANCHES if (source / f"{name}{branch}").is_dir()]
        if len(folders) != 1:
            listed = " and ".join(folder.name for folder in folders) or "none"
            raise ValueError(f"source: found {listed} in {source}, expected one folder {name} or {name}-BRANCH")
        found[name] = folders[0]
    return found


def download_repositories(folder: Path) -> dict[str, Path]:
    """The repositories, downloaded into `folder` where they are not there; prints each archive's SHA-256."""
    found = {}
    for name, url in ARCHIVES.items():
        archive = folder / f"{name}.zip"
        if not archive.is_file():
            download(url, archive)
        digest = sha256_of_file(archive)
        print(f"{archive}: sha256 {digest}")
        found[name] = unpack(archive, folder / f"{name}-{digest[:12]}")
    return found


def prepare_pictures(stories: list[Story], max_side: int, report: Report) -> tuple[list[Story], list[Pictures]]:
    """
    The stories with their images as JPEG; a page whose image is broken is left out, and a story without enough pages.
    """
    kept, pictures = [], []
    for story in tqdm(stories, desc="reading images", unit="story", disable=None):
        prepared, pages = Pictures(), []
        for page in story.pages:
            try:
                image = read_image(page.image, max_side)
            except ValueError as reason:
                report.pages.append((f"page {page.number} of {story.story_id}", str(reason)))
                continue
            file = io.BytesIO()
            image.save(file, "JPEG", quality=JPEG_QUALITY)
            prepared.files.append(file.getvalue())
            prepared.hashes.append(picture_hash(image))
            pages.append(page)
        story.pages = pages
        if len(pages) < FEWEST_PAGES:
            reason = f"found {len(pages)} pages with a readable image, expected at least {FEWEST_PAGES}"
            report.stories.append((story.story_id, reason))
        else:
            kept.append(story)
            pictures.append(prepared)
    return kept, pictures


def read_image(path: Path, max_side: int) -> Image.Image:
    """The image, turned as its EXIF data says, RGB on white, at most `max_side` pixels long; raises `ValueError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about metadata that is not kept
            upright = open_picture(path)
    except Exception as error:  # what a broken file makes Pillow raise depends on its format
        raise ValueError(f"{path.name} is no image that Pillow can read: {error}") from error
    if min(upright.size) < SMALLEST_SIDE:
        size = f"{upright.width}x{upright.height}"
        raise ValueError(f"{path.name} is {size} pixels, expected at least {SMALLEST_SIDE} each")
    upright.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return upright


def report_lines(report: Report) -> list[str]:
    """A line for each story and page that was left out, and each note."""
    lines = [f"left out {what}: {reason}" for what, reason in [*report.stories, *report.pages]]
    return lines + [f"note on {what}: {note}" for what, note in report.notes]


def summary_lines(
    stories: list[Story], groups: list[list[int]], splits: dict[str, list[int]], report: Report
) -> list[str]:
    """How much was kept and left out, and how it was split."""
    pages = sum(len(story.pages) for story in stories)
    joined = [group for group in groups if len(group) > 1]
    lines = [
        f"kept {len(stories)} stories with {pages} pages; "
        f"left out {len(report.stories)} whole stories and {len(report.pages)} single pages",
        f"{len(joined)} groups of stories share a title or a picture, the largest {max(map(len, groups))} stories",
    ]
    for name, chosen in splits.items():
        count = sum(len(stories[index].pages) for index in chosen)
        lines.append(f"{name}: {len(chosen)} stories, {count} pages" + ("" if chosen else "; no file is written"))
    return lines


def _check(arguments: argparse.Namespace) -> None:
    """Refuses flags that mean nothing, and an output folder of something else; raises `ValueError`."""
    if arguments.max_side < SMALLEST_SIDE:
        raise ValueError(f"max_side: found {arguments.max_side}, expected at least {SMALLEST_SIDE}")
    shares = (arguments.validation_share, arguments.test_share)
    if not (min(shares) >= 0 and sum(shares) < 1):
        raise ValueError(f"validation_share and test_share: found {shares}, expected 0 or more, below 1 together")
    if arguments.source is not None and arguments.download_dir is not None:
        raise ValueError("download_dir: found --download_dir with --source, expected one of them")
    check_output(Path(arguments.output).expanduser(), arguments.overwrite)
