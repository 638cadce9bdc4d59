"""Build a data set of picture books from the public repositories of Book Dash and African Storybook.

    storyattn data picture-books --output books
    storyattn data picture-books --output books --source repositories

The folder is then read like any other: `storyattn train --dataset books`. The command prints what it leaves out, and
why.
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

from ..common.dataset_folder import check_output
from ..common.defaults import CACHES
from ..common.downloads import download, unpack
from ..common.files import sha256_of_file
from ..data.near_duplicates import group_stories, picture_hash, split_groups
from .dataset_folder import FILES, MARK, write_books
from .repositories import MIN_PAGES, Report, Story, read_african_storybook, read_book_dash

ARCHIVES = {  # repository's name: archive of the branch that is published
    "bookdash-books": "https://codeload.github.com/bookdash/bookdash-books/zip/refs/heads/gh-pages",
    "asp-source": "https://codeload.github.com/global-asp/asp-source/zip/refs/heads/master",
    "asp-imagebank": "https://codeload.github.com/global-asp/asp-imagebank/zip/refs/heads/master",
}
BRANCH_SUFFIXES = ("", "-master", "-gh-pages")  # that GitHub appends to a folder's name
MIN_IMAGE_SIDE = 16  # pixels; a smaller image shows nothing
JPEG_QUALITY = 90


@dataclass
class Pictures:
    """The images of a story as JPEG files and their hashes, one per page."""

    files: list[bytes] = field(default_factory=list)
    hashes: list[np.ndarray | None] = field(default_factory=list)


def check_arguments(arguments: argparse.Namespace) -> None:
    """Refuse flags out of range, and an output folder that holds something else.

    Raises:
        ValueError: for the first of them.
    """
    if arguments.max_side < MIN_IMAGE_SIDE:
        raise ValueError(f"max_side: got {arguments.max_side}, expected at least {MIN_IMAGE_SIDE}")
    shares = (arguments.validation_share, arguments.test_share)
    if not (min(shares) >= 0 and sum(shares) < 1):
        raise ValueError(f"validation_share and test_share: got {shares}, expected 0 or more, below 1 together")
    if arguments.source is not None and arguments.download_dir is not None:
        raise ValueError("download_dir: got --download_dir with --source, expected one of them")
    check_output(Path(arguments.output).expanduser(), arguments.overwrite, MARK, FILES)


def make_books(arguments: argparse.Namespace) -> None:
    """Read or download the repositories, write the data set, and print what is kept and what is left out.

    Raises:
        ValueError: where a repository lacks a part that it should have, or no story is left.
        OSError: where a download fails.
    """
    if arguments.source is not None:
        repositories = find_repositories(Path(arguments.source).expanduser())
    else:
        repositories = download_repositories(Path(arguments.download_dir or CACHES["picture-books"]).expanduser())
    report = Report()
    stories = [
        *read_book_dash(repositories["bookdash-books"], report),
        *read_african_storybook(repositories["asp-source"], repositories["asp-imagebank"], report),
    ]
    stories, pictures = prepare_pictures(stories, arguments.max_side, report)
    print("\n".join(report_lines(report)))
    if not stories:
        raise ValueError("source: got no story that can be kept, expected at least one")
    groups = group_stories([story.title for story in stories], [images.hashes for images in pictures])
    splits = split_groups(groups, arguments.validation_share, arguments.test_share, arguments.seed)
    output = Path(arguments.output).expanduser()
    files = [images.files for images in pictures]
    write_books(output, stories, files, splits, arguments.max_side, arguments.overwrite)
    print("\n".join(summary_lines(stories, groups, splits, report)))
    print(f"written to {output}")


def find_repositories(source: Path) -> dict[str, Path]:
    """Return the folders of the repositories in `source`, with or without a branch in their names.

    Raises:
        ValueError: where a repository has no folder, or several.
    """
    repositories = {}
    for name in ARCHIVES:
        folders = [source / f"{name}{suffix}" for suffix in BRANCH_SUFFIXES if (source / f"{name}{suffix}").is_dir()]
        if len(folders) != 1:
            listed = " and ".join(folder.name for folder in folders) or "none"
            raise ValueError(f"source: got {listed} in {source}, expected one folder {name} or {name}-BRANCH")
        repositories[name] = folders[0]
    return repositories


def download_repositories(folder: Path) -> dict[str, Path]:
    """Return the folders of the repositories, downloaded into `folder` unless they are in it already.

    Prints the SHA-256 of each archive.
    """
    repositories = {}
    for name, url in ARCHIVES.items():
        archive = folder / f"{name}.zip"
        if not archive.is_file():
            download(url, archive)
        digest = sha256_of_file(archive)
        print(f"{archive}: sha256 {digest}")
        repositories[name] = unpack(archive, folder / f"{name}-{digest[:12]}")
    return repositories


def prepare_pictures(stories: list[Story], max_side: int, report: Report) -> tuple[list[Story], list[Pictures]]:
    """Read the images of stories and leave out pages whose image is broken, and stories without enough pages.

    Args:
        stories: stories from the repositories; their `pages` are replaced by the pages that are kept.
        max_side: longest side of an image, in pixels.
        report: gets what is left out.

    Returns:
        The stories that are kept and, for each, its images.
    """
    complete, pictures = [], []
    for story in tqdm(stories, desc="reading images", unit="story", disable=None):
        images, pages = Pictures(), []
        for page in story.pages:
            try:
                image = read_image(page.image, max_side)
            except ValueError as reason:
                report.pages.append((f"page {page.number} of {story.story_id}", str(reason)))
                continue
            file = io.BytesIO()
            image.save(file, "JPEG", quality=JPEG_QUALITY)
            images.files.append(file.getvalue())
            images.hashes.append(picture_hash(image))
            pages.append(page)
        story.pages = pages
        if len(pages) < MIN_PAGES:
            reason = f"got {len(pages)} pages with a readable image, expected at least {MIN_PAGES}"
            report.stories.append((story.story_id, reason))
        else:
            complete.append(story)
            pictures.append(images)
    return complete, pictures


def read_image(path: Path, max_side: int) -> Image.Image:
    """Read an image: upright by its EXIF data, RGB on white, its longest side at most `max_side` pixels.

    Raises:
        ValueError: for a file that Pillow cannot read, and for an image that is too small.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about metadata that is dropped
            upright = open_picture(path)
    except Exception as error:  # the type that Pillow raises for a broken file depends on the format
        raise ValueError(f"{path.name}: got no image that Pillow can read, expected one: {error}") from error
    if min(upright.size) < MIN_IMAGE_SIDE:
        size = f"{upright.width}x{upright.height}"
        raise ValueError(f"{path.name}: got {size} pixels, expected at least {MIN_IMAGE_SIDE} a side")
    upright.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return upright


def report_lines(report: Report) -> list[str]:
    """Return a line for each story and page that is left out, and each note."""
    lines = [f"left out {what}: {reason}" for what, reason in [*report.stories, *report.pages]]
    return lines + [f"note on {what}: {note}" for what, note in report.notes]


def summary_lines(
    stories: list[Story], groups: list[list[int]], splits: dict[str, list[int]], report: Report
) -> list[str]:
    """Return lines that say how much is kept and left out, and how it is split.

    Args:
        stories: the stories that are kept.
        groups: groups of their numbers, from `group_stories`.
        splits: numbers of the stories of each split.
        report: what is left out.
    """
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
