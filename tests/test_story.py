"""A story: its pages, how it is shown and drawn, and the files that it is saved as."""

import base64
import io
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image, ImageFont
from storyattn import Page, Stories, Story, story_drawing
from storyattn.story_drawing import GAP, INK, MARGIN, MAX_ASPECT, PAINTED, draw_page, wrap_text
from storyattn.story_formats import FORMATS

LONG = "She runs after the kite, on and on over the hills and far away, past the mill and the old oak tree. " * 5
SIZE = 96, 64


def picture(shade: int = 0, size: tuple[int, int] = SIZE) -> Image.Image:
    """A picture of one color, but for a pixel in its corner."""
    image = Image.new("RGB", size, (shade, 150, 200))
    image.putpixel((0, 0), (0, 0, 0))
    return image


@pytest.fixture
def story() -> Story:
    """Three given pages, the second without a caption, and two painted ones."""
    maps = [torch.full((number, 2, 4, 6), 1 / 24) for number in (3, 4)]
    frames, captions = (
        [picture(40 * number) for number in range(5)],
        ["A fox.", None, "It naps.", "A bear.", "It ends."],
    )
    return Story(frames, captions, painted=[False] * 3 + [True] * 2, attentions=maps)


def has_colour(image: Image.Image, colour: tuple[int, int, int]) -> bool:
    return bool((np.asarray(image.convert("RGB")) == colour).all(axis=-1).any())


# Pages


def test_a_story_is_a_sequence_of_pages(story):
    assert len(story) == len(list(story)) == len(story.frames) == len(story.captions) == 5
    assert isinstance(story[3], Page) and story[-1].caption == "It ends." and story[1].caption is None
    assert [page.is_painted for page in story] == [page.is_written for page in story] == [False] * 3 + [True] * 2
    assert story[0].attention is None and len(story[4].attention) == 4
    with pytest.raises(IndexError):
        story[5]


def test_slices_are_stories_with_the_marks_of_their_pages(story):
    for part, given, read in ((story[1:4], 2, [3]), (story[::2], 2, [4]), (story[:0], 0, []), (story[3:], 0, [3, 4])):
        assert type(part) is Story and part.num_given == given and [len(maps) for maps in part.attentions] == read
    assert story.continuation.captions == ["A bear.", "It ends."] and story.continuation.num_given == 0
    assert story[:3].continuation.captions == [] and story.num_given == 3
    assert Story.from_pages([*story[:3], *story[4:]]).captions == ["A fox.", None, "It naps.", "It ends."]


def test_attentions_are_none_where_a_page_has_none(story):
    assert Story([picture()] * 2, painted=[False, True]).attentions is None
    assert Story.from_pages([story[3], story[4]._replace(attention=None)]).attentions is None


def test_pictures_of_all_kinds_become_rgb(tmp_path):
    picture().convert("RGBA").save(tmp_path / "page.png")
    story = Story([tmp_path / "page.png", np.zeros((4, 6, 3), np.uint8), Image.new("L", (5, 5))])
    assert [frame.mode for frame in story.frames] == ["RGB"] * 3 and story.frames[0].tobytes() == picture().tobytes()
    assert story.captions == [None] * 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"captions": ["One."]}, "captions: story 0: got 1 captions for 2 frames"),
        ({"captions": ["One.", 2]}, "captions: story 0, caption 1: got int 2, expected a text or None"),
        ({"frames": [picture(), 5]}, "frames: story 0, frame 1: got int 5"),
        ({"frames": [picture(), "nowhere.png"]}, "frames: story 0, frame 1: got 'nowhere.png', expected a picture"),
        ({"painted": [True]}, "painted: got 1, expected 2, one for each frame"),
        ({"written": [True]}, "written: got 1, expected 2, one for each frame"),
        ({"painted": [False, True], "attentions": []}, "attentions: got 0, expected 1, one for each painted frame"),
    ],
)
def test_what_is_no_story_is_refused(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Story(**{"frames": [picture()] * 2, **changes})


# As text


def test_a_printed_story_numbers_captions_and_marks_written_ones(story):
    assert str(story) == "1. A fox.\n2. -\n3. It naps.\n4. (written) A bear.\n5. (written) It ends."
    assert str(Story([picture()], [" Two\nlines. "], written=[True])) == "1. (written) Two lines."
    assert repr(story) == "<Story of 3 given and 2 painted pages>"
    assert str(Stories([story[:1], story[4:]])) == "Story 1\n1. A fox.\n\nStory 2\n1. (written) It ends."
    assert repr(Stories([story])[:1]) == f"[{story!r}]" and type(Stories([story])[:1]) is Stories


# As HTML


class Tags(HTMLParser):
    """The tags of a page with their attributes, its texts, and the tags that were left open."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.texts, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, name: str) -> list[dict]:
        return [attributes for tag, attributes in self.tags if tag == name]


def opened(uri: str) -> Image.Image:
    kind, _, content = uri.partition(";base64,")
    assert kind in ("data:image/png", "data:image/jpeg")
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_cards_have_the_pixels_of_small_frames_and_show_them_large_and_crisp(story):
    page = Tags(story._repr_html_())
    assert page.open == [] and len(page.all("figure")) == len(page.all("img")) == 5
    for image, frame in zip(page.all("img"), story.frames):
        assert opened(image["src"]).tobytes() == frame.tobytes() and image["class"] == "crisp"
    assert "image-rendering: pixelated" in story._repr_html_()
    width = int(re.search(r"width: (\d+)px", page.all("figure")[0]["style"])[1])
    assert (width - 26) % SIZE[0] == 0 and width > 200, "a whole factor"
    assert [card["class"] for card in page.all("figure")] == [""] * 3 + ["painted written"] * 2


def test_large_pictures_are_scaled_down_in_a_card():
    image = Tags(Story([picture(size=(3000, 2000))])._repr_html_()).all("img")[0]
    assert "class" not in image and opened(image["src"]).width < 700 and len(image["src"]) < 100_000


def test_captions_are_escaped():
    hostile = '<script>alert("1")</script> & "quotes" \'here\' {brace}'
    for text in (Story([picture()], [hostile])._repr_html_(), FORMATS[".html"]([Page(picture(), hostile)]).decode()):
        page = Tags(text)
        assert page.all("script") == [] and hostile in page.texts and page.all("img")[0]["alt"] == hostile


def test_several_stories_have_a_row_each(story):
    page = Tags(Stories([story, story[:2]])._repr_html_())
    assert len(page.all("figure")) == 7 and page.open == []
    assert [text for text in page.texts if text.startswith("Story")] == ["Story 1", "Story 2"]


# As a strip


@pytest.mark.parametrize("count, columns", [(1, 1), (2, 2), (5, 5), (6, 3), (7, 4), (8, 4)])
def test_a_strip_is_as_wide_as_its_columns(count, columns):
    strip = Story([picture()] * count, ["A fox."] * count).strip()
    assert strip.width == 2 * MARGIN + columns * 3 * SIZE[0] + (columns - 1) * GAP


def test_small_frames_are_enlarged_without_blur():
    frame = Image.fromarray(np.random.default_rng(0).integers(0, 255, (*SIZE[::-1], 3), np.uint8))
    pixels = np.asarray(Story([frame]).strip())
    enlarged = np.asarray(frame).repeat(3, axis=0).repeat(3, axis=1)
    height, width = enlarged.shape[:2]
    found = [(pixels[top : top + height, MARGIN : MARGIN + width] == enlarged).all() for top in range(MARGIN, 60)]
    assert any(found)


def test_a_strip_grows_with_its_captions_up_to_a_limit():
    heights = [Story([picture()], [text]).strip().height for text in (None, "A fox.", LONG, LONG * 3)]
    assert heights[0] < heights[1] < heights[2] == heights[3]


def test_only_painted_frames_and_written_captions_are_marked(story):
    assert not has_colour(story[:3].strip(), PAINTED)
    marked = np.flatnonzero((np.asarray(story[2:4].strip()) == PAINTED).all(axis=-1).any(axis=0))
    assert marked.min() >= MARGIN + 3 * SIZE[0] + GAP
    frames, captions = [picture()], ["A fox."]
    assert has_colour(Story(frames, captions, written=[True]).strip(), PAINTED)
    assert has_colour(Story(frames, captions, painted=[True], written=[False]).strip(), INK)


@pytest.mark.parametrize("size", [(40, 160), (300, 60), (1, 1), (1200, 900)])
def test_frames_of_any_shape_fit_into_their_column(size):
    frames = [picture(9, size), picture(99)]
    strip = Story(frames, ["a", "b"]).strip(frame_width=100)
    width = (strip.width - 2 * MARGIN - GAP) // 2
    assert 67 <= width <= 150 and has_colour(strip, (9, 150, 200)) == (size != (1, 1))
    assert strip.height < 2 * MARGIN + width * MAX_ASPECT + 60


HARD = ["🦊🪁👩‍👩‍👧", "שועל מוצא עפיפון", "وجد الثعلب طائرة", "狐は赤い凧を見つける", "a\x00b\nc\t", "x" * 400, " "]


@pytest.mark.parametrize("text", HARD)
def test_hard_text_is_drawn(text, tmp_path):
    story = Story([picture()], [text])
    story.strip(title=text)
    for suffix in FORMATS:
        assert story.save(tmp_path / f"story{suffix}").stat().st_size > 100


def test_wrapped_lines_fit_and_lose_no_word_unless_cut():
    font = ImageFont.load_default(16)
    lines = wrap_text(LONG, font, 150, 1000)
    assert " ".join(lines).split() == LONG.split()
    cut = wrap_text(LONG, font, 150, 3)
    assert len(cut) == 3 and cut[-1].endswith("…") and cut[:2] == lines[:2]
    assert all(font.getlength(line) <= 150 for line in [*lines, *cut, *wrap_text("x" * 300, font, 150, 9)])
    assert wrap_text("  ", font, 150, 3) == []


def test_without_matplotlib_pillows_font_is_used(monkeypatch):
    story_drawing.load_font.cache_clear()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    try:
        assert story_drawing.load_font(16).getname() == ImageFont.load_default(16).getname()
        assert has_colour(Story([picture()], ["A fox."]).strip(), INK)
    finally:
        story_drawing.load_font.cache_clear()


# A page of its own


@pytest.mark.parametrize("text", ["A fox.", LONG, LONG * 4, "W" * 900])
def test_a_caption_stays_on_its_page_below_its_picture(text):
    size = 640, 480
    drawn = np.asarray(draw_page(Page(picture(9), text), 1, size, 150))
    is_picture, is_ink = ((drawn == colour).all(axis=-1) for colour in ((9, 150, 200), INK))
    rows, columns = (np.flatnonzero(is_ink.any(axis=axis)) for axis in (1, 0))
    assert is_picture.sum() > 96 * 64 and np.flatnonzero(is_picture.any(axis=1)).max() < rows.min()
    assert rows.max() < size[1] - 10 and columns.min() > 20 and columns.max() < size[0] - 20


def test_a_long_caption_is_made_smaller_before_it_is_cut():
    def drawn(text: str) -> bytes:
        return draw_page(Page(picture(), text), 1, (640, 480), 150).tobytes()

    assert drawn(f"{LONG} End.") != drawn(f"{LONG} Fin."), "the last word is drawn"
    assert drawn(f"{LONG * 9} End.") == drawn(f"{LONG * 9} Fin.")


# Files


def test_a_strip_is_saved_as_png_and_jpg(story, tmp_path):
    saved = story.save(tmp_path / "new" / "folder" / "story.PNG")
    assert np.array_equal(np.asarray(Image.open(saved)), np.asarray(story.strip()))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(story._repr_png_()))), np.asarray(story.strip()))
    with Image.open(story.save(str(tmp_path / "story.jpg"))) as strip:
        assert strip.format == "JPEG" and strip.size == story.strip().size


def test_a_gif_shows_each_page_long_enough_to_read_it(story, tmp_path):
    pages = Story.from_pages([*story, story[0]._replace(caption=LONG)])
    with Image.open(pages.save(tmp_path / "story.gif")) as animation:
        assert animation.n_frames == 6 and animation.info["loop"] == 0
        seconds, sizes = [], set()
        for index in range(6):
            animation.seek(index)
            seconds.append(animation.info["duration"] / 1000)
            sizes.add(animation.convert("RGB").size)
    assert len(sizes) == 1 and seconds[1] == min(seconds) >= 2 and 2.2 < seconds[0] < 4 and 8 < seconds[5] <= 15


def test_a_pdf_has_a_page_of_paper_for_each(story, tmp_path):
    content = story.save(tmp_path / "story.pdf").read_bytes()
    assert content.startswith(b"%PDF") and len(re.findall(rb"/Type\s*/Page\b", content)) == 5
    boxes = {tuple(map(float, box.split())) for box in re.findall(rb"/MediaBox \[([^\]]*)\]", content)}
    (box,) = boxes
    assert box[2:] == pytest.approx((595.4, 419.4), abs=0.1)  # points of A5, landscape


def test_a_web_page_needs_no_other_file(story, tmp_path):
    page = Tags(story.save(tmp_path / "story.html").read_text(encoding="utf-8"))
    assert page.open == [] and len(page.all("img")) == 5
    assert all(image["src"].startswith("data:") for image in page.all("img"))
    assert page.all("script") == page.all("link") == []


def test_what_cannot_be_saved_is_named_in_one_line(story, tmp_path):
    suffixes = ".png, .jpg, .jpeg, .html, .gif, .pdf"
    for name in ("story.txt", "story"):
        with pytest.raises(ValueError, match=f"^path: got '{name}', expected one of {suffixes}$"):
            story.save(name)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"^path: got '.*story.png', expected a file that can be written \(.*\)$"):
        story.save(tmp_path / "file" / "story.png")
    for empty in (story[:0].strip, lambda: story[:0].save(tmp_path / "story.gif")):
        with pytest.raises(ValueError, match="story: got no page"):
            empty()
    assert story[:0]._repr_png_() is None and not (tmp_path / "story.gif").exists()
