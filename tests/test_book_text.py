"""Captions without markup, licenses that are allowed and those that are not, the list of books."""

import pytest
from book_repositories import CC_BY_4, CC_BY_NC_4, META, write
from storyattn.training.picture_books.markup import plain_text, rights_license, story_license
from storyattn.training.picture_books.repositories import read_meta


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CC_BY_4, "CC BY 4.0"),
        ("CC BY 4.0", "CC BY 4.0"),
        (CC_BY_NC_4, None),
        ("licensed CC BY-NC 4.0", None),
        (CC_BY_4.replace("/by/", "/by-nd/"), None),
        (CC_BY_4 + " No derivatives.", None),
        (CC_BY_4.replace("Attribution", "Attribution-ShareAlike"), None),
        (CC_BY_4.replace("4.0", "3.0"), None),
        ("All rights reserved.", None),
        ("", None),
    ],
)
def test_rights(text, expected):
    assert rights_license(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("[CC-BY]", "CC BY"), ("CC BY", "CC BY"), ("[CC-BY](http://x/by/4.0)", "CC BY"), ("cc-by 4.0", "CC BY 4.0")]
    + [(text, None) for text in ("[CC-BY-NC]", "CC BY-ND", "CC-BY-SA 4.0", "CC-BY-NC-ND", "CC0", "", "[CC-BY] NC")],
)
def test_licenses_of_stories(text, expected):
    assert story_license(text) == expected


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("5 < 6 and 2 * 3 * 4 = 24, snake_case_word", "5 < 6 and 2 * 3 * 4 = 24, snake_case_word"),
        ("He was __very__ ***angry***.\n\n> “No!”", "He was very angry. “No!”"),
        ("* one\n* two\n\n---\n- “Three!”", "one two - “Three!”"),
        ("_Let it rain_\n_and rain_", "Let it rain and rain"),
        ("1\\. A \\*star\\* <!-- note --> &ndash; `code`", "1. A *star* – code"),
        (" \n\t ", ""),
    ],
)
def test_markup_is_removed(markdown, text):
    assert plain_text(markdown) == text


def test_meta_that_is_not_valid_yaml_is_read_line_by_line(tmp_path):
    write(tmp_path / "meta.yml", META + '  "broken: [\n')
    broken = read_meta(tmp_path / "meta.yml")
    write(tmp_path / "meta.yml", META)
    assert broken == read_meta(tmp_path / "meta.yml") and len(broken) == 3
    assert broken["the-long-rain"]["title"] == "The Long Rain" and broken["not-for-sale"]["rights"] == CC_BY_NC_4
