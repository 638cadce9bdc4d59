"""Read picture books from copies of three repositories: Book Dash's books, African Storybook's texts, and its images.

Book Dash: `SLUG/en/index.md` links the image of each page, followed by its text; `_data/meta.yml` has title, creators
and rights. African Storybook: `en/NNNN_title.md` has the pages of a story, split by lines `##`, and the license of its
text; `medium/NNNN/NN.jpg` of the other repository has its images. Image 01 is the cover, so page i belongs to image
i + 1. A table in the `README.md` of the images has their licenses.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from .markup import plain_text, rights_license, story_license

BOOK_DASH, AFRICAN_STORYBOOK = "Book Dash", "African Storybook"
LINK = re.compile(r"!\[([^\]]*)\]\(\s*(?:\{\{[^}]*\}\}/|images/)([^)\s]+)[^)]*\)")
END = re.compile(r"^\s*(?:#{1,6}\s|([-*_])(?:\s*\1){2,}\s*$)", re.MULTILINE)  # a heading or a rule
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
MIN_PAGES = 2


@dataclass
class Page:
    """A page of a story; `number` is that of the story's source."""

    number: int
    image: Path
    caption: str
    description: str | None = None


@dataclass
class Story:
    """A story and the people to credit for it."""

    story_id: str
    title: str
    source: str
    license: str
    text_by: str
    images_by: str
    pages: list[Page]


@dataclass
class Report:
    """Stories and pages that are left out, as pairs of a name and a reason, and notes on odd ones that are kept."""

    stories: list[tuple[str, str]] = field(default_factory=list)
    pages: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)


class Unusable(ValueError):
    """The reason why a story is left out."""


def read_book_dash(repository: Path, report: Report) -> list[Story]:
    """Read the books that have an English edition, in the order of their folders' names.

    A page without text has its description as caption. A page with neither is left out, and so is a page without an
    image file. Text after the last page that follows a heading or a rule is no part of the story.

    Args:
        repository: folder of `bookdash-books`.
        report: gets what is left out.

    Raises:
        ValueError: where `_data/meta.yml` is missing or names no book.
    """
    records = read_meta(repository / "_data" / "meta.yml")
    stories = []
    for path in sorted(repository.glob("*/en/index.md")):
        slug = path.parent.parent.name
        if slug.startswith(("_", ".")):
            continue
        story_id = f"bookdash/{slug}"
        try:
            stories.append(_read_book(path, story_id, records.get(slug), report))
        except Unusable as reason:
            report.stories.append((story_id, str(reason)))
    return stories


def read_african_storybook(texts: Path, images: Path, report: Report) -> list[Story]:
    """Read the English stories whose texts and images are openly licensed, in the order of their numbers.

    A story is kept where it has one or two images more than pages of text; otherwise they do not line up. A page
    without text or without an image file is left out.

    Args:
        texts: folder of `asp-source`.
        images: folder of `asp-imagebank`.
        report: gets what is left out.

    Raises:
        ValueError: where `README.md` of the images has no table of licenses.
    """
    table = read_image_table(images / "README.md")
    stories, seen = [], set()
    for path in sorted((texts / "en").glob("[0-9]*.md")):
        number = re.match(r"\d+", path.name)[0]
        story_id = f"asp/{number}"
        try:
            if number in seen:
                raise Unusable(f"got {path.name}, expected one file with the number {number}")
            seen.add(number)
            stories.append(_read_story(path, story_id, images / "medium" / number, table.get(number), report))
        except Unusable as reason:
            report.stories.append((story_id, str(reason)))
    return stories


def read_meta(path: Path) -> dict[str, dict[str, str]]:
    """Read `title`, `creator` and `rights` of each book in `meta.yml`, by the name of its folder.

    Where the file as a whole is not valid YAML, these three are read line by line.
    """
    text = _read_text(path)
    try:
        titles = (yaml.safe_load(text) or {}).get("titles")
    except (yaml.YAMLError, AttributeError):
        titles = _read_meta_lines(text)
    if not isinstance(titles, dict) or not titles:
        raise ValueError(f"{path}: got no book, expected them under 'titles:'")
    fields = ("title", "creator", "rights")
    books = {str(slug): book for slug, book in titles.items() if isinstance(book, dict)}
    return {slug: {name: str(book.get(name) or "").strip() for name in fields} for slug, book in books.items()}


def read_image_table(path: Path) -> dict[str, tuple[str, str]]:
    """Read illustrators and license of each story's images, by the story's number, from the table in `README.md`."""
    table = {}
    for line in _read_text(path).splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) >= 4 and cells[0].isdigit():
            table[cells[0]] = (plain_text(cells[-2]), cells[-1])
    if not table:
        raise ValueError(f"{path}: got no table of stories, expected rows 'number | title | illustrator | license'")
    return table


def _read_book(path: Path, story_id: str, record: dict | None, report: Report) -> Story:
    if record is None:
        raise Unusable("got no entry in _data/meta.yml, expected its title, creator and rights")
    license = rights_license(record["rights"])
    if license is None:
        raise Unusable(f"got the rights {_short(record['rights'])}, expected CC BY 4.0")
    title, creator = plain_text(record["title"]), plain_text(record["creator"])
    if not title or not creator:
        raise Unusable(f"got title {title!r} and creator {creator!r} in _data/meta.yml, expected both")
    parts = LINK.split(_read_text(path))[1:]  # description, file and text of one link after the other
    pages = []
    for description, name, text in zip(parts[::3], parts[1::3], parts[2::3]):
        if not Path(name).stem.isdigit() or Path(name).suffix.lower() not in IMAGE_SUFFIXES:
            continue  # a cover or a logo: neither it nor its text is a page
        image = path.parent / "images" / Path(name).name
        description = plain_text(description) or None
        pages.append(Page(int(image.stem), image, text, description))
    if pages:
        pages[-1].caption = END.split(pages[-1].caption)[0]
    _note_gaps(story_id, {page.number for page in pages}, report)
    for page in pages:
        page.caption = plain_text(page.caption) or page.description or ""
    return Story(story_id, title, BOOK_DASH, license, creator, creator, _usable_pages(story_id, pages, report))


def _read_story(path: Path, story_id: str, images: Path, row: tuple[str, str] | None, report: Report) -> Story:
    head, *texts = re.split(r"^##[ \t]*$", _read_text(path), flags=re.MULTILINE)
    facts = dict(re.findall(r"^\* ([^:\n]+): *(.*)$", texts.pop(), flags=re.MULTILINE)) if texts else {}
    license = story_license(facts.get("License", ""))
    if license is None:
        raise Unusable(f"got the license {facts.get('License')!r} in {path.name}, expected CC BY")
    if row is None:
        raise Unusable("got no row in the table of images, expected their license")
    if story_license(row[1]) is None:
        raise Unusable(f"got the license {row[1]!r} in the table of images, expected CC BY")
    title, text_by = plain_text(head), plain_text(facts.get("Text", ""))
    images_by = plain_text(facts.get("Illustration", "")) or row[0]
    if not (title and text_by and images_by):
        raise Unusable(f"got title {title!r}, text by {text_by!r}, images by {images_by!r}, expected all three")
    files = {int(file.stem): file for file in images.glob("*") if _is_page_image(file)}
    if len(files) - len(texts) not in (1, 2):
        raise Unusable(f"got {len(files)} images for {len(texts)} pages of text, expected one or two images more")
    _note_gaps(story_id, {0, *files}, report)
    pages = [
        Page(number, files.get(number + 1, images / f"{number + 1:02}.jpg"), plain_text(text))
        for number, text in enumerate(texts, start=1)
    ]
    return Story(
        story_id, title, AFRICAN_STORYBOOK, license, text_by, images_by, _usable_pages(story_id, pages, report)
    )


def _usable_pages(story_id: str, pages: list[Page], report: Report) -> list[Page]:
    """Return the pages that have words and an image file."""
    usable = []
    for page in pages:
        if not page.caption:
            report.pages.append(
                (f"page {page.number} of {story_id}", "got neither text nor description, expected one of them")
            )
        elif not page.image.is_file():
            report.pages.append(
                (f"page {page.number} of {story_id}", f"got no file {page.image.name}, expected its image")
            )
        else:
            usable.append(page)
    if len(usable) < MIN_PAGES:
        raise Unusable(f"got {len(usable)} usable pages, expected at least {MIN_PAGES}")
    return usable


def _note_gaps(story_id: str, numbers: set[int], report: Report) -> None:
    missing = sorted(set(range(min(numbers, default=0), max(numbers, default=0))) - numbers)
    if missing:
        listed = ", ".join(f"{number:02}" for number in missing)
        report.notes.append((story_id, f"its images skip {listed}; pages go by the images' numbers"))


def _is_page_image(path: Path) -> bool:
    return path.stem.isdigit() and path.suffix.lower() in IMAGE_SUFFIXES


def _read_meta_lines(text: str) -> dict[str, dict[str, str]]:
    """Read the books of a file that is not valid YAML: `slug:` is indented by two spaces, its fields by four."""
    books: dict[str, dict[str, str]] = {}
    book: dict[str, str] = {}
    for line in text.partition("\ntitles:")[2].splitlines():
        if slug := re.fullmatch(r" {2}([\w-]+): *(?:#.*)?", line):
            book = books.setdefault(slug[1], {})
        elif entry := re.fullmatch(r" {4}(title|creator|rights): *(.*)", line):
            value = re.sub(r"\s#.*$", "", entry[2]).strip()
            book[entry[1]] = value[1:-1] if value[:1] in ('"', "'") and value[-1:] == value[:1] else value.strip("\"'")
    return books


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise ValueError(f"source: got no file {path}, expected it in the repository")
    return path.read_text(encoding="utf-8-sig", errors="replace").replace("\r\n", "\n")


def _short(text: str, limit: int = 80) -> str:
    return repr(text if len(text) <= limit else f"{text[: limit - 3]}...")
