"""Repositories laid out as those of Book Dash and African Storybook, with drawn pictures and their irregularities."""

from pathlib import Path

import numpy as np
from PIL import Image as PILImage

CC_BY_4 = (
    "This work is licensed under a [Creative Commons Attribution 4.0 International License]"
    "(http://creativecommons.org/licenses/by/4.0/). You are free to share it for any purpose, even commercially."
)
CC_BY_NC_4 = CC_BY_4.replace("Attribution 4.0", "Attribution-NonCommercial 4.0").replace("/by/", "/by-nc/")
INDEX = """---
title: The Long Rain
---

# The Long Rain

![The cover.](images/cover.jpg)

A cover's text.

![Clouds over a
hill. ]({{ site.image-set }}/01.jpg)

One **special** day<br/>the _clouds_ came.
{:.first}

“Look!” said Thandi &amp; Sipho.

![Rain on a roof.](images/02.jpg)

![Broken.](images/03.jpg)

This page cannot be seen.

![](images/05.jpg)

{% include line.html %}
## A heading \\
of [this page](http://example.org)

![]({{ site.image-set }}/06.jpg)

![Nowhere.]({{ site.image-set }}/08.jpg)

This image is not there.

![The sun.]({{ site.image-set }}/07.jpg)

The sun came out.

***

Download more books.

## Credits

Written at a Book Dash.

![The logo](images/logo.png)
Somebody's address.
"""
META = f"""# Books
titles:
  the-long-rain:
    title: "The Long Rain" # a title
    creator: "Thandi Dube, Sipho Ndlovu"
    rights: "{CC_BY_4}" # a statement
    translations:
      xh:
        title: "Imvula"
  not-for-sale:
    title: "Not for Sale"
    creator: "Somebody"
    rights: "{CC_BY_NC_4}"
  without-folder:
    title: "Without a folder"
    creator: "Somebody"
    rights: "{CC_BY_4}"
"""


def write_repositories(root: Path) -> Path:
    """Write the three repositories; pictures 0 to 49 are in Book Dash, from 50 on in African Storybook."""
    books, dot = root / "bookdash-books", PILImage.new("RGB", (1, 1))
    write(books / "_data" / "meta.yml", META)
    for slug in ("the-long-rain", "not-for-sale", "not-in-meta"):
        write(books / slug / "en" / "index.md", INDEX)
        for number in (1, 2, 3, 5, 6, 7):
            save(books / slug / "en" / "images" / f"{number:02}.jpg", dot if number == 3 else picture(number))
    save(books / "the-long-rain" / "en" / "images" / "cover.jpg", picture(0))
    write(books / "the-long-rain" / "xh" / "index.md", INDEX)
    storybook, three = AfricanStorybook(root), ["First\npage.", "Second *page*.", "Third page."]
    storybook.add("0001", "Plain", three, [50, 51, 52, 53])
    storybook.add("0002", "Text not free", three, [54, 55, 56, 57], license="CC-BY-NC")
    storybook.add("0003", "Images not free", three, [54, 55, 56, 57], image_license="CC BY-NC")
    storybook.add("0004", "Not aligned", three, [58, 59, 60])
    storybook.add("0005", "Without a row", three, [58, 59, 60, 61], image_license=None)
    storybook.add("0006", "No cover", three, [None, 62, 63, 64, 65])
    storybook.add("0007", "Borrowed picture", three, [66, 67, picture(52, (300, 230)), 68, 69])
    storybook.add("0008", "THE LONG RAIN!", three, [70, 71, 72, 73])
    storybook.add("0009", "Hardly a page", three, [74, 75, dot, dot])
    blank = PILImage.new("RGB", (320, 320), (250, 250, 245))
    storybook.add("0010", "Blank page", [*three, ""], [76, 77, blank, 78, 79])
    storybook.add("0011", "Blank page too", three, [80, 81, blank, 82])
    return root


class AfricanStorybook:
    """Writes stories and their images."""

    def __init__(self, root: Path):
        self.texts, self.images, self.rows = root / "asp-source" / "en", root / "asp-imagebank", []

    def add(
        self,
        number: str,
        title: str,
        texts: list[str],
        pictures: list[int | PILImage.Image | None],
        license: str = "CC-BY",
        image_license: str | None = "CC BY",
    ) -> None:
        """Write a story; `pictures` has each image or its number, `None` leaves one out."""
        facts = f"* License: [{license}]\n* Text: Writer {number}\n* Illustration: Painter {number}\n* Language: en\n"
        pages = "".join(f"##\n{text}\n\n" for text in texts)
        write(self.texts / f"{number}_{title.lower().replace(' ', '-')}.md", f"# {title}\n\n{pages}##\n{facts}")
        for position, shows in enumerate(pictures, start=1):
            if shows is not None:
                image = shows if isinstance(shows, PILImage.Image) else picture(shows)
                save(self.images / "medium" / number / f"{position:02}.jpg", image)
        if image_license is not None:
            self.rows.append(f"{number} | _{title}_ | **Painter {number}** | {image_license}")
        head = "# Images\n\nID# | Title | Illustrator | License\n--- | --- | --- | ---\n"
        write(self.images / "README.md", head + "\n".join(self.rows) + "\n\n## License\n\nCC-BY or CC-BY-NC.\n")


def picture(number: int, size: tuple[int, int] = (320, 240)) -> PILImage.Image:
    """Return a picture that differs from that of any other number."""
    cells = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return PILImage.fromarray(cells).resize(size, PILImage.Resampling.BICUBIC)


def save(path: Path, image: PILImage.Image, **options: object) -> None:
    """Write an image, and create missing folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=85, **options)


def write(path: Path, text: str) -> None:
    """Write a text, and create missing folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def shown(frame: PILImage.Image) -> int:
    """Return the number whose picture a frame shows; -1 for none."""
    small = np.asarray(frame.convert("RGB").resize((32, 24)), dtype=float)
    errors = [np.abs(small - np.asarray(picture(number, (32, 24)), dtype=float)).mean() for number in range(100)]
    return int(np.argmin(errors)) if min(errors) < 15 else -1
