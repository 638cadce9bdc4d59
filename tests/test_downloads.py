"""Downloads over a network with faults, imitated by a server on this machine, and archives that are damaged."""

import io
import random
import zipfile
from pathlib import Path

import pytest
from faulty_server import FaultyServer
from storyattn.training.picture_books import downloads
from storyattn.training.picture_books.downloads import download, unpack

CONTENT = random.Random(0).randbytes(400_000)


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """The waits between attempts in seconds, recorded instead of waited for."""
    seconds = []
    monkeypatch.setattr(downloads.time, "sleep", seconds.append)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return seconds


def fetch(folder: Path, faults: tuple = (), part: bytes | None = None) -> tuple[bytes, list[str | None]]:
    """Download `CONTENT` through faults; return the bytes of the file, and the Range of each request."""
    path = folder / "cache" / "books.zip"
    if part is not None:
        path.parent.mkdir()
        path.with_name("books.zip.part").write_bytes(part)
    with FaultyServer({"books": CONTENT}, faults) as server:
        assert download(f"{server.url}/books", path) == path
    assert [file.name for file in path.parent.iterdir()] == ["books.zip"]
    return path.read_bytes(), [span for _, span in server.requests]


def archive(path: Path, names: list[str]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in names:
            file.writestr(name, f"content of {name}")


def test_a_download_without_faults_is_one_request(tmp_path, waits):
    content, spans = fetch(tmp_path)
    assert content == CONTENT and spans == [None] and waits == []


def test_a_broken_connection_is_resumed_where_it_broke(tmp_path, waits):
    content, spans = fetch(tmp_path, ("drop", "drop"))
    assert content == CONTENT and len(waits) == 2
    starts = [int(span.removeprefix("bytes=").removesuffix("-")) for span in spans[1:]]
    assert spans[0] is None and 100_000 < starts[0] < starts[1] < len(CONTENT)


def test_a_server_that_ignores_range_is_started_over(tmp_path):
    content, spans = fetch(tmp_path, ("drop", "whole"))
    assert content == CONTENT and len(spans) == 2 and spans[1] is not None


def test_a_transient_status_is_tried_again(tmp_path, waits):
    content, spans = fetch(tmp_path, (500, 503))
    assert content == CONTENT and len(spans) == 3 and waits == [1, 2]


def test_the_part_of_an_earlier_run_is_not_downloaded_again(tmp_path):
    content, spans = fetch(tmp_path, part=CONTENT[:300_000])
    assert content == CONTENT and spans == ["bytes=300000-"]


def test_a_part_that_is_complete_is_used(tmp_path):
    content, spans = fetch(tmp_path, part=CONTENT)
    assert content == CONTENT and spans == [f"bytes={len(CONTENT)}-"]


def test_a_part_longer_than_the_file_is_started_over(tmp_path):
    content, spans = fetch(tmp_path, part=CONTENT + b"more")
    assert content == CONTENT and spans[1] is None


def test_progress_starts_the_count_of_failures_again(tmp_path, waits):
    content, _ = fetch(tmp_path, (500, 500, 500, "drop", 500, 500, 500))
    assert content == CONTENT and waits == [1, 2, 4, 1, 2, 4, 8]


def test_it_fails_in_the_end_and_keeps_the_part(tmp_path, waits):
    with (
        FaultyServer({"books": CONTENT}, ("drop", *[500] * 9)) as server,
        pytest.raises(OSError, match=r"/books: got 5 failures in a row, expected the archive: .*status 500"),
    ):
        download(f"{server.url}/books", tmp_path / "books.zip")
    assert len(server.requests) == 5 and waits == [1, 2, 4, 8]
    assert not (tmp_path / "books.zip").exists()
    part = (tmp_path / "books.zip.part").read_bytes()
    assert part and CONTENT.startswith(part)


def test_a_missing_file_is_not_tried_again(tmp_path, waits):
    with FaultyServer({}) as server, pytest.raises(OSError, match=r"/books: could not be downloaded: 404"):
        download(f"{server.url}/books", tmp_path / "books.zip")
    assert len(server.requests) == 1 and waits == []


def test_unpack_returns_the_top_folder_and_does_so_once(tmp_path):
    archive(tmp_path / "a.zip", ["asp-source-master/README.md", "asp-source-master/en/0001_a.md"])
    top = unpack(tmp_path / "a.zip", tmp_path / "a")
    assert top == tmp_path / "a" / "asp-source-master"
    assert (top / "en" / "0001_a.md").read_text() == "content of asp-source-master/en/0001_a.md"
    (top / "README.md").write_text("changed")
    assert unpack(tmp_path / "a.zip", tmp_path / "a") == top and (top / "README.md").read_text() == "changed"


@pytest.mark.parametrize("name", ["top/../../outside.md", "/outside.md", "..\\outside.md", "C:/outside.md"])
def test_names_that_lead_out_of_the_folder_are_refused(name, tmp_path):
    (tmp_path / "in").mkdir()
    archive(tmp_path / "a.zip", ["top/README.md", name])
    with pytest.raises(ValueError, match="outside.md.*expected names inside"):
        unpack(tmp_path / "a.zip", tmp_path / "in" / "a")
    assert not list(tmp_path.rglob("*.md"))


def test_two_top_folders_are_refused(tmp_path):
    archive(tmp_path / "a.zip", ["one/a.md", "two/a.md"])
    with pytest.raises(ValueError, match="got 2 top folders, expected one"):
        unpack(tmp_path / "a.zip", tmp_path / "a")


@pytest.mark.parametrize("broken", ["cut", "flipped", "page"])
def test_a_damaged_archive_is_removed_and_nothing_unpacked(broken, tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as members:
        members.writestr("top/README.md", CONTENT)
    content = bytearray(file.getvalue())
    if broken == "cut":
        del content[len(content) // 2 :]
    elif broken == "flipped":
        content[len(content) // 2] ^= 255
    else:
        content = b"<html>rate limit</html>"
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ValueError, match="a.zip: got a damaged file .*, which is removed, expected a ZIP archive"):
        unpack(tmp_path / "a.zip", tmp_path / "a")
    assert not (tmp_path / "a.zip").exists() and not (tmp_path / "a").exists()
