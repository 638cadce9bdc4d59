"""Files are written whole or not at all, and their sums are those of their bytes."""

import hashlib
import random

import pytest
from storyattn.training.common.files import CHUNK_BYTES, replaced_at_end, sha256_of_file, write_text


def test_a_file_is_replaced_at_the_end(tmp_path):
    path = tmp_path / "new" / "file.txt"
    write_text("one", path)
    with replaced_at_end(path) as partial:
        partial.write_text("two")
        assert path.read_text() == "one" and partial.parent == path.parent and partial.name.startswith(".")
    assert path.read_text() == "two" and list(path.parent.iterdir()) == [path]


def test_an_error_leaves_a_file_as_it_was(tmp_path):
    path = tmp_path / "file.txt"
    write_text("one", path)
    with pytest.raises(RuntimeError), replaced_at_end(path) as partial:
        partial.write_text("two")
        raise RuntimeError
    assert path.read_text() == "one" and list(tmp_path.iterdir()) == [path]


def test_the_sum_of_a_file_of_several_chunks(tmp_path):
    content, chunks = random.Random(0).randbytes(CHUNK_BYTES + 5), []
    (tmp_path / "file").write_bytes(content)
    assert sha256_of_file(tmp_path / "file", chunks.append) == hashlib.sha256(content).hexdigest()
    assert chunks == [CHUNK_BYTES, 5]
