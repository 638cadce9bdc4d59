"""Tables as text, to the letter."""

from storyattn.training.common.tables import LEFT, RIGHT, format_number, markdown_table, text_table

HEADER, ROWS = ["animal", "legs", "weight in kg"], [["fox", "4", "6.5000"], ["harvest mouse", "4", "-"]]


def test_markdown_has_the_first_column_left_and_numbers_right():
    assert markdown_table(HEADER, ROWS).splitlines() == [
        "| animal | legs | weight in kg |",
        "| --- | ---: | ---: |",
        "| fox | 4 | 6.5000 |",
        "| harvest mouse | 4 | - |",
    ]
    assert markdown_table(["a", "b"], [], [RIGHT, LEFT]) == "| a | b |\n| ---: | --- |"


def test_columns_of_text_are_as_wide_as_their_widest_cell_or_wider():
    assert text_table(HEADER, ROWS).splitlines() == [
        "animal         legs  weight in kg",
        "fox               4        6.5000",
        "harvest mouse     4             -",
    ]
    assert text_table(["a", "b"], [["1", "2"]], min_widths=[3, 4]) == "a       b\n1       2"


def test_text_on_the_left_leaves_no_spaces_at_the_ends_of_lines():
    assert text_table(["name", "problem"], [["x", "-"]], alignments=[LEFT, LEFT]) == "name  problem\nx     -"
    assert text_table(["a"], []) == "a"


def test_numbers_have_four_decimals_and_a_missing_one_is_a_dash():
    assert [format_number(value) for value in (0.25, 7, None)] == ["0.2500", "7", "-"]
