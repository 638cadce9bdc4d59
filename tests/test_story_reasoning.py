"""Stories in the format of daniel3303/StoryReasoning: captions from tags and boxes from tables, regular or not."""

import numpy as np
import pytest
from datasets import Dataset, Features, Image, List, Value
from encoded_pictures import ENCODED_IMAGES
from story_reasoning_rows import FEATURES, picture, row, write
from storyattn.training.data import story_reasoning
from storyattn.training.data.sources import read_stories
from storyattn.training.data.story_reasoning import is_story_reasoning, story_reasoning_row
from storyattn.training.data.windows import StoryWindows


def captions(story: str | None, count: int = 3) -> list[str | None]:
    return story_reasoning_row({"story": story, "frame_count": count})["captions"]


def boxes(table: str, heading: str = "## Image 1\n### Characters") -> list[list]:
    """Return entities and boxes of the first of two frames."""
    text = f"{heading}\n| Character ID | Name | Bounding Box |\n|---|:-:|---|\n{table}"
    first, _ = story_reasoning_row({"chain_of_thought": text, "images": [None, None]})["boxes"]
    return [[box["entity"], *box["box"]] for box in first]


def test_a_regular_row():
    story = story_reasoning_row(row(count=3, images=[None] * 3))
    assert story["story_id"] == "a"
    assert story["captions"] == [
        "Mara pushed open the heavy door and stepped into the dim hall.",
        "An old man looked up; they had not met in years.",
        None,
    ]
    assert story["boxes"] == [
        [
            {"entity": "char1", "kind": "character", "box": [20, 10, 60, 90]},
            {"entity": "obj1", "kind": "object", "box": [100, 0, 150, 100]},
        ],
        [
            {"entity": "char2", "kind": "character", "box": [5, 5, 45, 95]},
            {"entity": "char1", "kind": "character", "box": [60, 5, 90, 95]},
        ],
        [],
    ]


IRREGULAR = {
    "out of order": ("<gdi image3>C</gdi><gdi image1>A</gdi><gdi image2>B</gdi>", ["A", "B", "C"]),
    "repeated": (
        "<gdi image1>A.</gdi><gdi image2>B</gdi><gdi image1>D.</gdi><gdi image1>A.</gdi>",
        ["A. D.", "B", None],
    ),
    "one is missing": ("<gdi image1>A</gdi><gdi image3>C</gdi>", ["A", None, "C"]),
    "beyond the images": ("<gdi image4>D</gdi><gdi image0>Z</gdi><gdi image2>B</gdi>", [None, "B", None]),
    "not closed": ("<gdi image1>A\n<gdi image2>B</gdi>\n<gdi image3>C <gdo char1>d", ["A", "B", "C d"]),
    "inner tags not closed": ("<gdi image1><gdo char1>Mara <gda char1>ran</gdi> x", ["Mara ran", None, None]),
    "tags without their end": ("<gdi image1 <gdo char1 obj2 Mara</gdo> ran</gdi", ["Mara ran", None, None]),
    "text outside": ("Once <gdi image1>A</gdi> and <b>then</b> <gdi image2>B</gdi> end", ["A", "B", None]),
    "case and spaces": ("< GDI  Image 1 >< Gdo CHAR1 >A< / GDO >'s</ gdi ><gdi\nimage2>B", ["A's", "B", None]),
    "attributes with values": ('<gdi image1="">A</gdi><gdi image="2"><gdo char1="">B</gdo></gdi>', ["A", "B", None]),
    "no number": ("<gdi image1>A</gdi><gdi>X</gdi><gdi image>Y</gdi><gdi image3>C</gdi>", ["A", None, "C"]),
    "ten or more": ("<gdi image10>J</gdi><gdi image1>A</gdi>", ["A", None, None]),
    "entities of HTML": (
        "<gdi image1>Tom &amp; Ann &lt;3&nbsp;&#39;me&#39; 1 < 2</gdi>",
        ["Tom & Ann <3 'me' 1 < 2", None, None],
    ),
    "no words": ("<gdi image1> <gdo char1> </gdo>\n</gdi><gdi image2></gdi>", [None, None, None]),
    "no blocks": ("Mara went home.", [None, None, None]),
    "no story": (None, [None, None, None]),
}


@pytest.mark.parametrize("case", IRREGULAR)
def test_irregular_stories(case):
    story, expected = IRREGULAR[case]
    assert captions(story) == expected


TABLES = {
    "decimals are rounded outwards": ("| char1 | A | 1.7, 2.2,3.1 ,4 |", [["char1", 1, 2, 4, 4]]),
    "corners are swapped": ("| char1 | A | 60,90,20,10 |", [["char1", 20, 10, 60, 90]]),
    "brackets and marks": ("| **Char1** | A | `[1,2,3,4]` |", [["char1", 1, 2, 3, 4]]),
    "partly outside": ("| char1 | A | -5,-6,30,40 |", [["char1", 0, 0, 30, 40]]),
    "outside": ("| char1 | A | -9,-9,-5,-5 |", []),
    "beyond any image": ("| char1 | A | 10,10,99999999999999999999,20 |", [["char1", 10, 10, 2**31 - 1, 20]]),
    "no area": ("| char1 | A | 5,5,5,9 |", []),
    "malformed": ("| c1 | A | 1,2,3 |\n| c2 | A | 1,2,3,4,5 |\n| c3 | A | n/a |\n| c4 | A | |\n| c5 | A |", []),
    "no id": ("| | A | 1,2,3,4 |", []),
    "a pipe too many": ("| char1 | A | tall | 1,2,3,4 |", [["char1", 1, 2, 3, 4]]),
    "escaped pipes": ("| char1 | A \\| B | 1,2,3,4 |", [["char1", 1, 2, 3, 4]]),
    "an escaped pipe before the id": (
        "| Name | Character ID | Bounding Box |\n|---|---|---|\n| A \\| B | char3 | 1,2,3,4 |",
        [["char3", 1, 2, 3, 4]],
    ),
    "no pipes at the ends": ("char1 | A | 1,2,3,4", [["char1", 1, 2, 3, 4]]),
    "twice the same": ("| char1 | A | 1,2,3,4 |\n| char1 | B | 1,2,3,4 |", [["char1", 1, 2, 3, 4]]),
    "two of an entity": (
        "| char1 | A | 1,2,3,4 |\n| char1 | A | 5,6,7,8 |",
        [["char1", 1, 2, 3, 4], ["char1", 5, 6, 7, 8]],
    ),
    "another head": (
        "| bounding  BOX | object id |\n|---|---|\n| 1,2,3,4 | obj7 |",
        [["obj7", 1, 2, 3, 4]],
    ),
    "the section ends": ("### Setting\n| char1 | A | 1,2,3,4 |", []),
    "a section without a table": ("### Objects\nnone\n| char1 | A | 1,2,3,4 |", []),
    "the next image": ("## Image 2\n### Characters\n| Character ID | Bounding Box |\n| char1 | 1,2,3,4 |", []),
    "no words at all": ("", []),
}


@pytest.mark.parametrize("case", TABLES)
def test_irregular_tables(case):
    table, expected = TABLES[case]
    assert boxes(table) == expected


@pytest.mark.parametrize(
    ("heading", "is_read"),
    [
        ("##  image 1: The hall\n### **CHARACTERS**:", True),
        ("# Image 1\n#### Objects", True),
        ("## Image 3\n### Characters", False),
        ("## Image 0\n### Characters", False),
        ("## Image 1\n### Characters\n## Narrative Structure\n### Characters", False),
        ("### Characters", False),
        ("## Image 1", False),
    ],
)
def test_headings(heading, is_read):
    assert boxes("| char1 | A | 1,2,3,4 |", heading) == ([["char1", 1, 2, 3, 4]] if is_read else [])


def test_a_row_without_texts():
    story = story_reasoning_row({"story_id": "b", "images": [None], "story": None, "chain_of_thought": None})
    assert story == {"story_id": "b", "captions": [None], "boxes": [[]]}


def test_the_format_is_recognized_by_its_columns():
    assert is_story_reasoning(FEATURES) and is_story_reasoning(["images", "story", "chain_of_thought"])
    assert not is_story_reasoning([*FEATURES, "captions"])
    assert not any(is_story_reasoning(set(FEATURES) - {name}) for name in ("images", "story", "chain_of_thought"))


def test_a_data_set_in_the_format(tmp_path):
    rows = [row("a"), row("b", 3, frame_count=9), row("c", story=None, chain_of_thought=None)]
    name = write(tmp_path / "set", "test", rows)
    stories = read_stories(name, "test")
    assert set(stories.column_names) == {"story_id", "frames", "captions", "boxes"}
    assert stories["story_id"] == ["a", "b", "c"]
    for index, given in enumerate(rows):
        expected = story_reasoning_row(given)
        assert stories[index]["captions"] == expected["captions"] and stories[index]["boxes"] == expected["boxes"]
        assert len(stories[index]["frames"]) == len(given["images"])
    item = StoryWindows(stories, 2)[2]
    assert item["frames"][0].size == (200, 100) and item["captions"][1] is None
    assert item["boxes"][0][0]["box"] == [5, 5, 45, 95] and item["boxes"][1] == []


def test_its_columns_may_have_other_captions(tmp_path):
    name = write(tmp_path / "set", "test", [row(texts=["One.", "Two."])], texts=List(Value("string")))
    stories = read_stories(name, "test", frames_column="images", captions_column="texts")
    assert stories["captions"] == [["One.", "Two."]] and "boxes" not in stories.column_names


def test_validation_is_cut_out_of_train(tmp_path):
    name = write(tmp_path / "set", "train", [row(f"film-{number}", 1) for number in range(60)])
    write(tmp_path / "set", "test", [row(f"other-{number}", 1) for number in range(5)])
    splits = {split: set(read_stories(name, split)["story_id"]) for split in ("train", "validation", "test")}
    assert len(splits["test"]) == 5 and len(splits["train"]) > 50 and splits["validation"]
    assert splits["train"] | splits["validation"] == {f"film-{number}" for number in range(60)}
    assert not splits["train"] & splits["validation"]


def test_boxes_follow_a_film_frame_that_is_cropped(tmp_path, small_processor):
    story = read_stories(write(tmp_path / "set", "test", [row()]), "test")[0]
    frame, (_, door) = story["frames"][0], story["boxes"][0]
    assert door["entity"] == "obj1" and frame.size == (200, 100)
    # 100 rows become 32, so 200 columns 64, of which the 48 in the middle are kept: x * 0.32 - 8.
    processor = small_processor.image_processor
    boxes = processor.transform_boxes([box["box"] for box in story["boxes"][0]], (frame.height, frame.width))
    assert np.allclose(boxes, [[0, 3.2, 11.2, 28.8], [24, 0, 40, 32]])
    bright = processor(frame, return_tensors="pt")["pixel_values"][0, 0, 16] > 0
    assert bright.nonzero().flatten().tolist() == list(range(24, 40))


def test_images_are_neither_decoded_nor_copied(tmp_path):
    broken = [{"bytes": b"none" * 50_000, "path": None}]
    dataset = Dataset.from_list([row(images=broken)], features=Features({**FEATURES, "images": ENCODED_IMAGES}))
    converted = story_reasoning.convert_story_reasoning(dataset, "set")
    assert converted.column_names == ["images", "story_id", "captions", "boxes"]
    before, after = (data.data.column("images").chunk(0).buffers() for data in (dataset, converted))
    assert any(part is not None and part.size >= 200_000 for part in before)
    assert [part and part.address for part in before] == [part and part.address for part in after]


def test_texts_are_read_once(tmp_path, monkeypatch):
    name = write(tmp_path / "set", "test", [row("once")])
    first = read_stories(name, "test")
    monkeypatch.setattr(story_reasoning, "story_reasoning_row", lambda row: pytest.fail("read again"))
    again = read_stories(name, "test")
    assert again["captions"] == first["captions"] and again["boxes"] == first["boxes"]


def test_a_column_of_another_type_is_refused(tmp_path):
    name = write(tmp_path / "set", "test", [row(story=7)], story=Value("int32"))
    with pytest.raises(ValueError, match="column 'story' of '.*set': got Value.*int32.*expected text"):
        read_stories(name, "test")
    name = write(tmp_path / "single", "test", [row(images=picture())], images=Image())
    with pytest.raises(ValueError, match="column 'images' of '.*single': got Image.*expected a list"):
        read_stories(name, "test")
