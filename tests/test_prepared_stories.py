"""Stories as training reads them: frames from the cache, bad stories left out or refused, odd pictures read."""

import os
import pickle
import re
import shutil
import signal
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import draw_story, small_config
from datasets import Dataset, DatasetDict, Features, Image, List, Value
from encoded_pictures import ENCODED_IMAGES, encode, encoded_frame, plain_picture
from PIL import Image as PILImage
from storyattn import build_processor
from storyattn.training.common.errors import one_line
from storyattn.training.data import frame_cache
from storyattn.training.data.prepared_stories import prepare_stories
from storyattn.training.data.sources import read_stories
from storyattn.training.data.windows import TrainingCollator, TrainingWindows

FRAME = encoded_frame(plain_picture())


def frame(data: bytes | None = None, path: str | None = None) -> dict:
    return {"bytes": data, "path": path}


def bomb() -> bytes:
    """Return a PNG of a few bytes whose header says 20000x20000 pixels."""
    head = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def noisy_jpeg() -> bytes:
    return encode(PILImage.effect_noise((64, 64), 90), "JPEG")


@pytest.fixture
def save(tmp_path):
    """Return a function that writes stories, good or bad, and returns the name of the data set."""

    def write(stories: list[dict], name: str = "set") -> str:
        optional = {"story_id": Value("string"), "descriptions": List(Value("string"))}
        columns = {column: feature for column, feature in optional.items() if column in stories[0]}
        features = Features({"frames": ENCODED_IMAGES, "captions": List(Value("string")), **columns})
        written = Dataset.from_list(stories, features=features)
        DatasetDict(dict.fromkeys(("train", "validation", "test"), written)).save_to_disk(tmp_path / name)
        return str(tmp_path / name)

    return write


@pytest.fixture
def prepare(small_processor, tmp_path):
    """Return a function that prepares the training split of a data set, with a cache of the test."""

    def run(name: str, processor=small_processor, **options):
        options = {"cache_dir": tmp_path / "cache", **options}
        return prepare_stories(read_stories(name, "train"), processor.image_processor, "the stories", **options)

    return run


@pytest.fixture
def warnings(monkeypatch) -> list[str]:
    """The warnings about bad stories."""
    lines = []
    monkeypatch.setattr("storyattn.training.data.prepared_stories.logger.warning", lines.append)
    return lines


def entries(tmp_path) -> list:
    return sorted((tmp_path / "cache").iterdir())


# The cache


def test_batches_equal_those_of_the_processor(prepare, small_processor, stories_folder):
    stories = prepare(str(stories_folder))
    windows = TrainingWindows(stories, small_processor, small_config())
    items = [windows[0, story] for story in range(6)]
    batch = TrainingCollator(small_processor)(items)
    drawn = [draw_story(seed) for seed in range(6)]
    cuts = [slice(item["start"], item["start"] + 3) for item in items]
    expected = small_processor(
        frames=[story["frames"][cut] for story, cut in zip(drawn, cuts)],
        captions=[story["captions"][cut] for story, cut in zip(drawn, cuts)],
    )
    assert batch.keys() == expected.keys() | {"next_caption_mask", "reconstructed", "caption_mask"}
    assert all(torch.equal(batch[name], expected[name]) for name in expected)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs a list of mapped files")
def test_pixels_are_a_view_of_the_mapped_file(prepare, stories_folder, tmp_path):
    pixels = prepare(str(stories_folder)).pixels(3)
    address = pixels.__array_interface__["data"][0]
    mapped = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines()]
    ranges = [(*(int(edge, 16) for edge in parts[0].split("-")), parts[-1]) for parts in mapped]
    (file,) = [name for start, end, name in ranges if start <= address < end]
    assert Path(file) == entries(tmp_path)[0] / "frames.arrow"
    assert not pixels.flags.writeable


def test_another_process_gets_no_copy_of_the_pixels(prepare, stories_folder):
    stories = prepare(str(stories_folder))
    sent = pickle.dumps(stories)
    assert len(sent) < sum(stories.pixels(story).nbytes for story in range(24)) / 4
    received = pickle.loads(sent)
    assert all(np.array_equal(received.pixels(story), stories.pixels(story)) for story in range(24))
    assert received[5]["captions"] == stories[5]["captions"]


def test_pictures_are_decoded_once(prepare, small_processor, stories_folder, monkeypatch):
    first = prepare(str(stories_folder))
    monkeypatch.setattr(frame_cache, "decode_frame", lambda story, index: pytest.fail("decoded again"))
    again = prepare(str(stories_folder))
    assert len(again) == len(first) == 24
    assert all(np.array_equal(again.pixels(story), first.pixels(story)) for story in range(24))


def test_another_size_is_another_entry(prepare, small_model, small_processor, stories_folder, tmp_path):
    prepare(str(stories_folder))
    config = type(small_model.config).from_dict({**small_model.config.to_dict(), "image_size": [64, 64]})
    stories = prepare(str(stories_folder), build_processor(config, small_processor.tokenizer))
    assert stories.pixels(0).shape == (4, 64, 64, 3) and len(entries(tmp_path)) == 2


def test_a_picture_that_was_replaced_is_read_again(prepare, save, tmp_path):
    page = tmp_path / "set" / "page.png"
    page.parent.mkdir()
    page.write_bytes(encode(plain_picture((10, 20, 30))))
    name = save([{"frames": [frame(path=str(page))] * 2, "captions": ["One.", "Two."]}])
    assert prepare(name).pixels(0)[0, 0, 0].tolist() == [10, 20, 30]
    page.write_bytes(encode(plain_picture((90, 80, 70), (50, 40))))
    assert prepare(name).pixels(0)[1, 5, 5].tolist() == [90, 80, 70]


def test_what_a_broken_off_run_left_is_written_anew(prepare, stories_folder, tmp_path):
    prepare(str(stories_folder))
    (entry,) = entries(tmp_path)
    (file,) = entry.glob("*.arrow")
    file.rename(entry / "tmp_half")
    (entry / "tmp_half").write_bytes((entry / "tmp_half").read_bytes()[:1000])
    assert len(prepare(str(stories_folder))) == 24 and file.is_file()


def test_the_cache_stays_below_its_limit(prepare, save, tmp_path, monkeypatch):
    names = [save([{"frames": [FRAME] * 2, "captions": [f"Of {k}."] * 2}], f"set{k}") for k in range(3)]
    for name in names[:2]:
        prepare(name)
    first, second = entries(tmp_path)
    prepare(names[0])  # used again: now the other one is the oldest
    oldest = min((first, second), key=lambda path: path.stat().st_mtime)
    size = sum(file.stat().st_size for entry in (first, second) for file in entry.iterdir())
    monkeypatch.setattr(frame_cache, "IN_USE", set())  # as in another process
    prepare(names[2], cache_limit_gb=(size + 1000) / 1e9)
    assert oldest not in entries(tmp_path) and len(entries(tmp_path)) == 2


def test_what_a_run_reads_stays_in_the_cache(prepare, save, tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(frame_cache.logger, "warning", warnings.append)
    names = [save([{"frames": [FRAME] * 2, "captions": [f"Of {k}."] * 2}], f"set{k}") for k in range(2)]
    for name in names:
        prepare(name, cache_limit_gb=1e-6)
    assert len(entries(tmp_path)) == 2 and "cache_limit_gb: the frames of this run take" in warnings[-1]


def test_a_cache_that_cannot_be_written_is_refused(prepare, stories_folder, tmp_path):
    (tmp_path / "file").write_text("")
    message = r"cache_dir: got .*cache', expected a folder that can be written \(Not a directory\); --cache_dir names"
    with pytest.raises(ValueError, match=message):
        prepare(str(stories_folder), cache_dir=tmp_path / "file" / "cache")


def test_a_full_disk_is_refused(prepare, stories_folder, monkeypatch):
    monkeypatch.setattr(frame_cache.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(ValueError, match="cache_dir: got 0.0 GB free .* --cache_dir names another place"):
        prepare(str(stories_folder))


def test_several_processes_write_what_one_does(prepare, stories_folder, tmp_path, monkeypatch):
    alone = prepare(str(stories_folder))
    monkeypatch.setattr(frame_cache, "PARALLEL_FROM", 1)
    monkeypatch.setattr(frame_cache.os, "cpu_count", lambda: 2)
    together = prepare(str(stories_folder), cache_dir=tmp_path / "other")
    assert len(list((tmp_path / "other").glob("*/*.arrow"))) == 2
    assert all(np.array_equal(together.pixels(story), alone.pixels(story)) for story in range(24))


def rewritten(file: Path) -> None:
    """Change a byte in the middle, of the pixels."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)


# By name: what happens to the file of an entry, and what is then said of it.
DAMAGES = {
    "truncated": (lambda file: os.truncate(file, file.stat().st_size // 2), "got [0-9]+ bytes, expected [0-9]+"),
    "emptied": (lambda file: file.write_bytes(b""), "got 0 bytes"),
    "rewritten": (rewritten, "got another content than was written"),
    "of zeros": (lambda file: file.write_bytes(bytes(file.stat().st_size)), "got another content than was written"),
    "no manifest": (
        lambda file: (os.truncate(file, 1000), (file.parent / "manifest.json").unlink()),
        "got no file of frames",
    ),
    "manifest": (lambda file: (file.parent / "manifest.json").write_text("{"), "manifest.json: got no JSON"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_entry_is_named_and_made_anew(case, prepare, save, tmp_path, caplog):
    damage, message = DAMAGES[case]
    name = save([{"frames": [FRAME, FRAME], "captions": ["One.", "Two."]}])
    expected = prepare(name).pixels(0).copy()
    (file,) = (tmp_path / "cache").glob("*/frames.arrow")
    copied = shutil.copytree(file.parent, tmp_path / "other" / file.parent.name)  # the file above is mapped
    damage(copied / file.name)
    assert np.array_equal(prepare(name, cache_dir=tmp_path / "other").pixels(0), expected)
    (line,) = [record.message for record in caplog.records]
    assert re.fullmatch(f"cache_dir: {copied}/.*{message}.*; the frames are decoded anew", line)
    assert np.array_equal(prepare(name, cache_dir=tmp_path / "other").pixels(0), expected) and len(caplog.records) == 1


def test_an_entry_that_was_copied_is_read_as_it_is(prepare, save, tmp_path, monkeypatch):
    name = save([{"frames": [FRAME, FRAME], "captions": ["One.", "Two."]}])
    expected = prepare(name).pixels(0)
    shutil.copytree(tmp_path / "cache", tmp_path / "other", copy_function=shutil.copyfile)  # with other times
    monkeypatch.setattr(frame_cache, "decode_frame", lambda story, index: pytest.fail("decoded again"))
    assert np.array_equal(prepare(name, cache_dir=tmp_path / "other").pixels(0), expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are forked")
def test_control_c_while_several_processes_decode_prints_nothing_of_them(prepare, stories_folder, monkeypatch, capfd):
    """A terminal sends it to all of them."""
    parent = os.getpid()

    def interrupted(story, index):
        os.kill(parent, signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)

    monkeypatch.setattr(frame_cache, "decode_frame", interrupted)
    monkeypatch.setattr(frame_cache, "PARALLEL_FROM", 1)
    monkeypatch.setattr(frame_cache.os, "cpu_count", lambda: 2)
    with pytest.raises(SystemExit) as ended, one_line("storyattn"):
        prepare(str(stories_folder))
    assert ended.value.code == 130
    lines = [line for line in capfd.readouterr().err.splitlines() if line and "decoding and resizing" not in line]
    assert lines == ["storyattn: stopped by control-C"]


def test_boxes_lie_in_the_resized_frames(small_processor, tmp_path):
    entity = {"entity": "char1", "kind": "character", "box": [100, 20, 200, 100]}
    place = {"entity": Value("string"), "kind": Value("string"), "box": List(Value("int32"))}
    features = {"frames": List(Image()), "captions": List(Value("string")), "boxes": List(List(place))}
    wide = {"frames": [plain_picture(size=(400, 100))] * 2, "captions": ["a", "b"], "boxes": [[entity], []]}
    Dataset.from_list([wide], features=Features(features)).save_to_disk(tmp_path / "set")
    stories = prepare_stories(read_stories(str(tmp_path / "set"), "train"), small_processor.image_processor, "films")
    # 400x100 becomes 128x32, of which the 48 columns in the middle are kept: 40 are cut off on the left.
    assert stories[0]["boxes"] == [[{**entity, "box": pytest.approx([0, 6.4, 24, 32])}], []]
    assert stories[0]["frames"][0].size == (48, 32)


# Bad stories

BAD = {
    "an empty story": ({"frames": [], "captions": []}, "frames: got none, expected at least one image"),
    "unequal numbers": ({"captions": ["One."]}, "captions: got 1 for 2 frames, expected as many"),
    "no captions": ({"captions": None}, "captions: got none, expected one for each of 2 frames"),
    "fewer descriptions": ({"descriptions": ["A fox."]}, "descriptions: got 1 for 2 frames, expected as many"),
    "a missing image": ({"frames": [FRAME, None]}, "frame 1: got none, expected an image"),
    "no image": (
        {"frames": [FRAME, frame(b"GIF?", "b.gif")]},
        r"frame 1 \(b.gif\): got no image that Pillow can read",
    ),
    "an empty file": ({"frames": [frame(b""), FRAME]}, "frame 0: got no image that Pillow can read"),
    "a truncated JPEG": ({"frames": [FRAME, frame(noisy_jpeg()[:900])]}, "frame 1: image file is truncated"),
    "a truncated PNG": ({"frames": [frame(encode(plain_picture())[:70]), FRAME]}, "frame 0: .*(truncated|broken)"),
    "one pixel": (
        {"frames": [FRAME, frame(encode(plain_picture(size=(1, 1))))]},
        "frame 1: got 1x1 pixels, .* 8 a side",
    ),
    "a bomb": ({"frames": [FRAME, frame(bomb())]}, "frame 1: Image size .* could be decompression bomb"),
    "a file that is gone": (
        {"frames": [FRAME, frame(path="/gone/a.png")]},
        r"frame 1 \(/gone/a.png\): got no such file",
    ),
}


def good_stories(count: int) -> list[dict]:
    return [
        {"frames": [FRAME, FRAME], "captions": ["One.", "Two."], "story_id": f"good-{k}", "descriptions": None}
        for k in range(count)
    ]


@pytest.mark.parametrize("case", BAD)
def test_bad_stories_are_skipped_and_named_or_refused(case, save, prepare, warnings):
    changes, message = BAD[case]
    good = good_stories(20)
    bad = {**good[0], "story_id": "bad", **changes}
    name = save([*good[:7], bad, *good[7:]])
    stories = prepare(name)
    assert stories["story_id"] == [story["story_id"] for story in good]
    (line,) = warnings
    assert line.startswith("the stories: 1 of 21 stories are bad and left out: story 'bad': ")
    refused = f"^the stories: got 1 bad of 21 stories, expected none: story 'bad': {message}"
    with pytest.raises(ValueError, match=refused) as error:
        prepare(name, on_bad_story="raise")
    assert "\n" not in str(error.value)


def test_the_first_five_bad_ones_are_named(save, prepare, warnings):
    bad = [{**story, "story_id": f"bad-{k}", "captions": ["One."]} for k, story in enumerate(good_stories(7))]
    assert len(prepare(save(good_stories(133) + bad))) == 133
    (line,) = warnings
    assert "7 of 140 stories are bad" in line and line.endswith("and 2 more")
    assert "'bad-4'" in line and "'bad-5'" not in line


def test_too_many_bad_ones_stop_and_the_first_five_are_named(save, prepare):
    bad = [{**story, "story_id": f"bad-{k}", "captions": ["One."]} for k, story in enumerate(good_stories(7))]
    with pytest.raises(ValueError, match="got 7 bad of 127 .*: .*'bad-0'.*'bad-4'.*; and 2 more$"):
        prepare(save(good_stories(120) + bad))


def test_an_unknown_policy_is_refused(save, prepare):
    with pytest.raises(ValueError, match="on_bad_story: got 'keep', expected one of skip, raise"):
        prepare(save(good_stories(1)), on_bad_story="keep")


# Odd pictures and captions that are good


def animation() -> bytes:
    return encode(plain_picture((10, 200, 30)), "GIF", save_all=True, append_images=[plain_picture((200, 10, 30))])


def turned() -> bytes:
    """Return a picture, red above blue, that is stored lying on its side."""
    upright = plain_picture((250, 0, 0))
    upright.paste((0, 0, 250), (0, 16, 48, 32))
    exif = PILImage.Exif()
    exif[274] = 6  # turn clockwise to see it
    return encode(upright.rotate(90, expand=True), "JPEG", exif=exif, quality=95)


def see_through() -> bytes:
    palette = PILImage.new("P", (48, 32), 0)
    palette.putpalette([200, 0, 0, 0, 0, 200])
    return encode(palette, "PNG", transparency=0)


ODD = {
    "animated GIF": (animation(), (10, 200, 30)),
    "CMYK": (encode(PILImage.new("CMYK", (48, 32), (0, 255, 255, 0)), "JPEG", quality=95), (254, 0, 0)),
    "16-bit grey": (encode(PILImage.fromarray(np.full((32, 48), 40_000, np.uint16))), (156, 156, 156)),
    "palette with transparency": (see_through(), (255, 255, 255)),
    "turned by EXIF": (turned(), (250, 0, 0)),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_pictures_are_read_as_they_look(case, save, prepare):
    data, colour = ODD[case]
    stories = prepare(save([{"frames": [frame(data), FRAME], "captions": ["One.", "Two."]}]))
    shown = stories.pixels(0)[0, 4, 24].astype(int)
    assert np.abs(shown - colour).max() <= 6, shown


def test_captions_of_any_kind_are_tokenised(save, prepare, small_processor):
    captions = [None, "", "word " * 2000, "tab\tand \x07bell\x00", "שלום עולם", "🦊 meets 🐻", "One."]
    stories = prepare(save([{"frames": [FRAME] * len(captions), "captions": captions}]))
    windows = TrainingWindows(stories, small_processor, small_config(max_frames=len(captions)))
    ids = [list(caption) for caption in windows[0, 0]["caption_ids"]]
    assert ids == small_processor.encode_captions(captions)
    assert ids[0] == ids[1] == [] and len(ids[2]) == small_processor.max_caption_length
    assert small_processor.decode(ids[4][1:-1]).startswith("שלום"[:2])
