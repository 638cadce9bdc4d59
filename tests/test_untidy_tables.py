"""Tables and text files as programs and people write them are read as they are meant, or refused by name."""

import pytest
from story_form_files import content, number_of, write_csv, write_lines, write_pictures
from storyattn.training.data.forms import frame_rows
from storyattn.training.data.sources import open_source, read_stories

EXPECTED = {"fox": ([1, 2], ["A, b", "C"])}
LINES = ["story,position,image,caption", 'fox,2,2.png,"C"', 'fox,1,1.png,"A, b"']
TABLES = {
    "semicolons": "\n".join(LINES).replace('"A, b"', "A# b").replace(",", ";").replace("#", ","),
    "bars": "\n".join(LINES).replace('"A, b"', "A# b").replace(",", "|").replace("#", ","),
    "tabs": "\n".join(LINES).replace('"A, b"', "A# b").replace(",", "\t").replace("#", ","),
    "a byte order mark and the ends of lines of Windows": "\ufeff" + "\r\n".join(LINES),
    "spaces behind the commas": "\n".join(LINES).replace(",", ", ").replace("A,  b", "A, b"),
    "the index of pandas": "\n".join(f"{name},{line}" for name, line in zip(["", "0", "1"], LINES)),
    "an empty column": "\n".join(f"{line},{end}" for line, end in zip(LINES, ["note", "", ""])),
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_csv_file(folder, kind):
    write_pictures(folder, 1, 2)
    (folder / "stories.csv").write_text(TABLES[kind], encoding="utf-8", newline="")
    assert content(folder) == EXPECTED


def test_numbers_in_a_csv_file_are_the_texts_that_they_are(folder):
    write_pictures(folder, 1, 2, 3)
    rows = [
        {"story": story, "image": f"{k}.png", "caption": text} for k, story, text in ((1, "007", "1984"), (2, "7", ""))
    ]
    write_csv(folder / "stories.csv", [*rows, {"story": "7", "image": "3.png", "caption": "1.50"}])
    assert content(folder) == {"007": ([1], ["1984"]), "7": ([2, 3], [None, "1.50"])}


@pytest.mark.parametrize("text", ["", "\n", "story,image\nfox,1.png,A,B\n", "story,image\nfox,1.png\nfox,1.png,A"])
def test_a_csv_file_that_is_none_is_refused_by_name(folder, text):
    write_pictures(folder, 1)
    (folder / "stories.csv").write_text(text)
    with pytest.raises(ValueError, match=r"^dataset: '.*' could not be read .*: file '.*stories.csv': [A-Zf]"):
        open_source(str(folder))


def test_cells_of_mixed_types_in_json(folder):
    write_pictures(folder, 1, 2, 3)
    rows = [("10", 3, ["x", "y"]), (9, 2, "b"), ("1", 1, None)]
    lines = [{"story": "fox", "position": place, "image": f"{k}.png", "caption": text} for place, k, text in rows]
    write_lines(folder / "stories.jsonl", lines)
    (story,) = read_stories(str(folder), "train")
    assert story["captions"] == [None, "b", "x"] and story["references"] == [[], ["b"], ["x", "y"]]
    write_lines(
        folder / "stories.jsonl", [{**line, "caption": cell} for line, cell in zip(lines, (float("nan"), "b", 7))]
    )
    assert content(folder) == {"fox": ([1, 2, 3], ["7", "b", None])}


def test_captions_that_are_numbers_and_captions_without_a_name(folder, monkeypatch):
    write_pictures(folder, 1, 2)
    lines = [{"story": "fox", "image": f"{k}.png", "caption": k + 0.5} for k in (1, 2)]
    write_lines(folder / "stories.jsonl", lines)
    assert content(folder) == {"fox": ([1, 2], ["1.5", "2.5"])}
    warnings = []
    monkeypatch.setattr(frame_rows.logger, "warning_once", warnings.append)
    write_lines(folder / "stories.jsonl", [{"story": "fox", "image": "1.png", "words": "A."}])
    assert content(folder) == {"fox": ([1], [None])}
    assert warnings == [
        "captions: got none of the columns story, image, words, expected one; --caption_column names it"
    ]


def test_urls_of_files_are_their_paths(folder):
    write_pictures(folder / "a b", 1, 2)
    urls = [f"file://{folder}/a%20b/1.png", f"FILE://localhost{folder}/a b/2.png"]
    write_lines(folder / "stories.jsonl", [{"story_id": "fox", "frames": urls, "captions": ["A.", "B."]}])
    (story,) = read_stories(str(folder), "train")
    assert [number_of(frame) for frame in story["frames"]] == [1, 2]


def test_text_files_in_other_encodings(folder):
    write_pictures(folder, 1, 2)
    (folder / "1.txt").write_bytes("\ufeffA b\r\n".encode("utf-16-le"))
    (folder / "2.TXT").write_bytes(b"\xef\xbb\xbfC\r\n")
    assert content(folder) == {"set": ([1, 2], ["A b", "C"])}
    (folder / "1.txt").write_bytes("été".encode("latin-1"))
    (problem,) = open_source(str(folder))["train"]["read_problem"]
    assert problem.startswith("captions: got '") and "1.txt', expected text in UTF-8: " in problem
