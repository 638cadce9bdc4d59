"""Errors of libraries that load something become one line that names the field."""

import pytest
from storyattn.training.common.loading import expecting, one_line_reason


def test_an_error_becomes_one_line_with_field_value_and_reason():
    line = "model: got 'a/b', expected a folder: first line second line$"
    with pytest.raises(ValueError, match=line) as error, expecting("model", "a/b", "a folder"):
        raise RuntimeError("first line\n  second line")
    assert isinstance(error.value.__cause__, RuntimeError)


def test_only_the_errors_that_are_named_are_turned():
    options = {"catch": OSError, "raises": FileNotFoundError}
    with pytest.raises(FileNotFoundError, match="model: got 'x'"), expecting("model", "x", "a folder", **options):
        raise OSError("gone")
    with pytest.raises(KeyError), expecting("model", "x", "a folder", **options):
        raise KeyError("bug")


def test_a_reason_is_never_empty_and_never_long():
    assert one_line_reason(ValueError()) == "ValueError"
    assert len(one_line_reason(ValueError("word " * 1000))) == 300
