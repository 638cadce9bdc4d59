"""Nothing is fetched or read that was not asked for: what frames, cards and archives of a data set may name."""

import gzip
import json
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from conftest import refused_line
from datasets import Dataset, DatasetDict, Features, List, Value
from encoded_pictures import ENCODED_IMAGES, encode, encoded_frame, plain_picture
from storyattn.training.cli import main
from storyattn.training.common import archives
from storyattn.training.data.frame_access import FrameAccess, frame_access
from storyattn.training.data.sources import read_stories
from storyattn.training.data.stream_source import first_stories, open_stream

DATA = encode(plain_picture())
CAPTIONS = List(Value("string"))
READERS = {
    "stories": lambda name, **access: read_stories(name, "train", **access),
    "stream": lambda name, **access: first_stories(open_stream(name, "train", **access), 100, "the stream"),
}


@pytest.fixture
def requests() -> Iterator[tuple[str, list[str]]]:
    """The address of a picture on a server, and the paths that were requested there."""
    paths = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(DATA)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(DATA)

        do_HEAD = do_GET

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/page.png", paths
    server.shutdown()
    server.server_close()


@pytest.fixture
def private(tmp_path) -> str:
    """A picture outside of every data set."""
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "page.png").write_bytes(DATA)
    return str(tmp_path / "private" / "page.png")


def write_set(folder: Path, path: str, kind: str = "parquet") -> str:
    """Write five good stories, and one whose second frame is `path`."""
    good = {"frames": [encoded_frame(plain_picture())] * 2, "captions": ["One.", "Two."]}
    rows = [{**good, "story_id": f"good-{k}"} for k in range(5)]
    rows.append({**good, "frames": [good["frames"][0], {"bytes": None, "path": path}], "story_id": "stranger"})
    folder.mkdir(exist_ok=True)
    if kind == "jsonl":
        rows = [{**row, "frames": [frame["path"] or "none.png" for frame in row["frames"]]} for row in rows]
        (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(folder)
    features = Features({"frames": ENCODED_IMAGES, "captions": CAPTIONS, "story_id": Value("string")})
    dataset = Dataset.from_list(rows, features=features)
    if kind == "saved":
        DatasetDict({"train": dataset}).save_to_disk(folder)
    else:
        dataset.to_parquet(folder / "train.parquet")
    return str(folder)


REMOTE = ("{url}", "zip://a.png::{url}", "simplecache::{url}", "HTTPS://127.0.0.1/a.png", "s3://bucket/a.png")
REMOTE += ("hf://datasets/some/other/a.png", "ftp://127.0.0.1/a.png", "zip://a.png::simplecache::{url}")


@pytest.mark.parametrize("path", REMOTE[:2])
@pytest.mark.parametrize("reader", READERS)
def test_an_address_is_refused_and_not_fetched(reader, path, requests, tmp_path):
    url, requested = requests
    name = write_set(tmp_path / "set", path.format(url=url))
    expected = "^dataset: .*story 'stranger': frame 1: got the address '.*allow_remote_frames"
    with pytest.raises(ValueError, match=expected) as error:
        READERS[reader](name, allow_local_paths=True)
    assert requested == [] and "\n" not in str(error.value)


LOCAL = ("{path}", "file://{path}", "../private/page.png", "zip://a.png::{path}", "{folder}/set/../private/page.png")


@pytest.mark.parametrize("path", LOCAL[:2])
@pytest.mark.parametrize("kind", ["parquet", "jsonl", "saved"])
def test_a_file_outside_of_the_data_set_is_refused(kind, path, private, tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    monkeypatch.chdir(tmp_path / "set")
    name = write_set(tmp_path / "set", path.format(path=private, folder=tmp_path), kind)
    for read in READERS.values():
        with pytest.raises(ValueError, match="story 'stranger': frame 1: got the file .*allow_local_paths"):
            read(name, allow_remote_frames=True)
        assert len(read(name, allow_local_paths=True)) > 0


def test_every_form_of_an_address_and_of_a_path_is_refused(private, tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    monkeypatch.chdir(tmp_path / "set")
    for path in REMOTE:
        access = frame_access(str(tmp_path / "set"), allow_local_paths=True)
        assert "allow_remote_frames" in access.refusal(path.format(url="http://127.0.0.1/a.png"))
    for path in LOCAL:
        access = frame_access(str(tmp_path / "set"), allow_remote_frames=True)
        assert "allow_local_paths" in access.refusal(path.format(path=private, folder=tmp_path))


def test_a_file_in_the_data_set_is_read(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "page.png").write_bytes(DATA)
    (tmp_path / "linked").symlink_to(tmp_path / "set")
    write_set(tmp_path / "set", str(tmp_path / "set" / "page.png"))
    for name in ("set", "linked"):
        for read in READERS.values():
            read(str(tmp_path / name))


def test_only_the_own_repository_of_the_hub_is_read():
    access = frame_access("some/set")
    allowed = ("hf://datasets/some/set@main/a.png", "zip://a.png::hf://datasets/some/set/pages.zip")
    assert [access.refusal(path) for path in allowed] == [None, None]
    refused = ("hf://datasets/some/set-2/a.png", "hf://datasets/some/set/../other/a.png", "hf://some/set/a.png")
    assert all("allow_remote_frames" in access.refusal(path) for path in refused)
    assert FrameAccess((), None, allow_remote_frames=True).refusal("https://127.0.0.1/a.png") is None


@pytest.mark.parametrize("command", ["train", "stream", "evaluate", "data check", "tell"])
def test_every_command_refuses_by_name(command, requests, private, tmp_path, refused, small_model, small_processor):
    url, requested = requests
    small_model.save_pretrained(tmp_path / "model")
    small_processor.save_pretrained(tmp_path / "model")
    for path, flag in ((url, "allow_remote_frames"), (private, "allow_local_paths")):
        name = write_set(tmp_path / flag, path)
        if command in ("train", "stream"):
            options = {"streaming": True, "max_train_steps": 2} if command == "stream" else {}
            line = refused(dataset=name, **options)
        elif command == "data check":
            line = refused_line(main, ["data", "check", name, f"--output={tmp_path / 'report'}"])
        else:
            flags = [f"--model={tmp_path / 'model'}", f"--dataset={name}", "--split=train"]
            line = refused_line(main, [command, *flags, f"--output={tmp_path / 'output.png'}"])
        assert "story 'stranger': frame 1: got the " in line and f"--{flag}" in line
    assert requested == []


def test_an_address_is_fetched_where_it_is_allowed(requests, tmp_path):
    url, requested = requests
    stories = read_stories(write_set(tmp_path / "set", url), "train", allow_remote_frames=True)
    (row,) = [row for row, name in enumerate(stories["story_id"]) if name == "stranger"] or [None]
    assert row is not None and stories[row]["frames"][1].size == plain_picture().size
    assert set(requested) == {"/page.png"}


# Folders of frames


def write_folder(folder: Path, file_name: str = "a.png") -> str:
    folder.mkdir(exist_ok=True)
    (folder / "metadata.jsonl").write_text(json.dumps({"file_name": file_name, "story_id": "s", "caption": "One."}))
    return str(folder)


def test_a_link_out_of_a_frame_folder_is_refused(private, tmp_path):
    name = write_folder(tmp_path / "set")
    os.symlink(private, tmp_path / "set" / "a.png")
    for read in READERS.values():
        with pytest.raises(ValueError, match="story 's': frame 0: got the file '.*a.png' outside .*allow_local_paths"):
            read(name)
    assert len(read_stories(name, "train", allow_local_paths=True)) == 1


def test_a_linked_folder_in_a_frame_folder_is_refused(private, tmp_path):
    name = write_folder(tmp_path / "set", "pages/page.png")
    os.symlink(Path(private).parent, tmp_path / "set" / "pages")
    with pytest.raises(ValueError, match="got the file '.*pages/page.png' outside of the data set"):
        read_stories(name, "train")


def test_links_within_the_folder_and_of_the_cache_of_the_hub_are_read(tmp_path):
    snapshot = tmp_path / "datasets--a--b" / "snapshots" / "0123"
    (tmp_path / "datasets--a--b" / "blobs").mkdir(parents=True)
    (tmp_path / "datasets--a--b" / "blobs" / "4567").write_bytes(DATA)
    snapshot.parent.mkdir()
    name = write_folder(snapshot)
    os.symlink("../../blobs/4567", snapshot / "a.png")
    assert len(read_stories(name, "train")) == 1


# Files that a card or a saved data set lists


@pytest.mark.parametrize(
    ("card", "pattern"),
    [("README.md", "{url}"), ("README.md", "{path}"), (".huggingface.yaml", "../private/*.parquet")],
)
def test_a_card_that_lists_other_files_is_refused(card, pattern, requests, private, tmp_path):
    url, requested = requests
    name = write_set(tmp_path / "set", "none.png")
    pattern = pattern.format(url=url, path=private)
    text = json.dumps({"configs": [{"config_name": "default", "data_files": {"train": [pattern]}}]})
    (tmp_path / "set" / card).write_text(f"---\n{text}\n---\n" if card == "README.md" else text)
    for read in READERS.values():
        with pytest.raises(
            ValueError, match=f"^dataset: '.*{card}': data_files: got '.*, expected files in its folder"
        ):
            read(name)
    assert requested == []


def test_a_saved_data_set_that_lists_other_files_is_refused(tmp_path):
    write_set(tmp_path / "other", "none.png", "saved")
    name = write_set(tmp_path / "set", "none.png", "saved")
    state = tmp_path / "set" / "train" / "state.json"
    (file,) = (tmp_path / "other" / "train").glob("*.arrow")
    state.write_text(json.dumps(json.loads(state.read_text()) | {"_data_files": [{"filename": str(file)}]}))
    with pytest.raises(ValueError, match="^dataset: files of '.*set': got the file '.*arrow' outside of the data set"):
        read_stories(name, "train")


# Archives


def write_zip(file: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)


COMPRESSIONS = {".gz": "gz", ".tgz": "gz", ".bz2": "bz2", ".tbz2": "bz2", ".xz": "xz", ".txz": "xz"}


def write_tar(file: Path, files: dict[str, bytes]) -> None:
    compression = COMPRESSIONS.get(file.suffix, "")
    with tarfile.open(file, f"w:{compression}") as archive:
        for name, data in files.items():
            path = file.parent / "member"
            path.write_bytes(data)
            archive.add(path, name)
            path.unlink()


def write_lines(file: Path, files: dict[str, bytes]) -> None:
    file.write_bytes(gzip.compress(b"".join(files.values())))


TARS = ("pages.tar", "pages.tar.gz", "pages.tgz", "pages.tar.bz2", "pages.tbz2", "pages.tar.xz", "pages.txz")
ARCHIVES: dict[str, Callable] = {
    "pages.zip": write_zip,
    **dict.fromkeys(TARS, write_tar),
    "pages.jsonl.gz": write_lines,
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_unpacks_to_too_much_is_refused(name, tmp_path, monkeypatch):
    ARCHIVES[name](tmp_path / name, {"a.png": bytes(200_000), "b.png": bytes(200_000)})
    archives.check_archive(tmp_path / name)
    with pytest.raises(ValueError, match=f"^dataset: got the archive '.*{name}' of .* GB, which unpacks to more than"):
        archives.check_archive(tmp_path / name, max_gb=0.0003)
    if name != "pages.tar":  # a tar alone does not shrink
        monkeypatch.setattr(archives, "SMALL_BYTES", 1000)
        with pytest.raises(ValueError, match="unpacks to more than"):
            archives.check_archive(tmp_path / name)


def test_a_damaged_archive_is_refused_by_name(tmp_path):
    write_tar(tmp_path / "pages.tar.gz", {"a.png": os.urandom(9999)})
    data = (tmp_path / "pages.tar.gz").read_bytes()
    (tmp_path / "pages.tar.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="^dataset: got the damaged archive '.*pages.tar.gz', expected a whole one"):
        archives.check_archive(tmp_path / "pages.tar.gz")


@pytest.mark.parametrize("reader", READERS)
def test_a_data_set_in_an_archive_is_read_or_refused_by_its_size(reader, tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    row = {"frames_file_names": ["a.png", "b.png"], "captions": ["One.", "Two."], "story_id": "s"}
    files = {"a.png": DATA, "b.png": DATA, "metadata.jsonl": json.dumps(row).encode()}
    write_zip(tmp_path / "set" / "train.zip", files)
    with monkeypatch.context() as patch:
        patch.setattr(archives, "MAX_GROWTH", 0)
        patch.setattr(archives, "SMALL_BYTES", 10)
        with pytest.raises(ValueError, match="^dataset: got the archive '.*train.zip' of .* unpacks to more than"):
            READERS[reader](str(tmp_path / "set"))
    stories = READERS[reader](str(tmp_path / "set"))
    assert [frame.size for frame in stories[0]["frames"]] == [plain_picture().size] * 2
