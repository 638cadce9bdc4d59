"""One picture has one reading: in the processor, the pipeline, the frame cache, the data check, `tell` and the demo."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import draw_story
from datasets import Dataset, Features, List, Value
from encoded_pictures import ENCODED_IMAGES, encode, encoded_frame, plain_picture
from PIL import Image
from storyattn.story_inputs import check_story, open_frame
from storyattn.training import telling
from storyattn.training.data import prepared_stories
from storyattn.training.data.frame_cache import prepare_story
from storyattn.training.data.prepared_stories import prepare_stories
from storyattn.training.data.stream_source import open_stream
from storyattn.training.data.streaming import StoryStream
from storyattn.training.inspection.survey import survey_split

sys.path.append(str(Path(__file__).parents[1] / "demo"))
from story import Storyteller  # noqa: E402

RAMP = np.linspace(0, 1, 48 * 32, dtype=np.float32).reshape(32, 48)


def tiff(values: np.ndarray) -> bytes:
    return encode(Image.fromarray(values), "TIFF")


def clear() -> Image.Image:
    return Image.new("RGBA", (48, 32), (0, 0, 0, 0))


def readers(processor) -> dict:
    """What the places that read pictures make of the bytes of a file, as numbers of a frame."""
    images = processor.image_processor
    teller = Storyteller.__new__(Storyteller)
    teller.processor = processor

    def values(path: Path, pixel_values: torch.Tensor) -> np.ndarray:
        return np.asarray(processor.postprocess_frames(pixel_values.reshape(1, 3, 32, 48) / 2 + 0.5)[0])

    def cached(path: Path) -> np.ndarray:
        row = prepare_story({"frames": [{"bytes": path.read_bytes(), "path": None}], "captions": [None]}, images)
        if row["problem"]:
            raise ValueError(row["problem"])
        return np.frombuffer(row["pixels"], np.uint8).reshape(32, 48, 3)

    return {
        "processor": lambda path: values(path, processor([[path]])["pixel_values"]),
        "image processor": lambda path: values(path, images(path, return_tensors="pt")["pixel_values"]),
        "pipeline": lambda path: open_frame(check_story([path], None, 0), 0, images),
        "frame cache": cached,
        "tell": lambda path: images.to_frame(telling._open_image(str(path))),
        "demo": lambda path: images.to_frame(teller.open_frames([str(path)])[0]),
    }


FILES = {
    "PNG": (encode(Image.fromarray((RAMP * 255).round().astype(np.uint8))), (RAMP * 255).round()),
    "floats from 0 to 1": (tiff(RAMP), (RAMP * 255).round()),
    "floats from 0 to 255": (tiff(RAMP * 255), RAMP * 255),
    "16 bits": (encode(Image.fromarray((RAMP * 65535).astype(np.uint16))), RAMP * 255),
    "32 bits": (tiff((RAMP * 65535).astype(np.int32)), RAMP * 255),
    "transparent": (encode(clear()), np.full_like(RAMP, 255)),
    "transparent grey": (encode(clear().convert("LA")), np.full_like(RAMP, 255)),
}


@pytest.mark.parametrize("kind", FILES)
def test_all_places_read_the_same(small_processor, tmp_path, kind):
    content, expected = FILES[kind]
    path = tmp_path / "page"
    path.write_bytes(content)
    frames = {name: read(path) for name, read in readers(small_processor).items()}
    for name, frame in frames.items():
        assert np.abs(frame - expected[..., None]).max() <= 1, name
        assert np.array_equal(frame, frames["processor"]), name


NOISE = encode(Image.effect_noise((64, 64), 90), "JPEG")
REFUSED = {
    "truncated": (NOISE[:900], "truncated"),
    "no picture": (b"Once upon a time", "expected"),
    "empty": (b"", "expected"),
    "a bomb": (encode(Image.new("1", (14_000, 14_000))), "196000000 pixels"),
    "floats from -1 to 1": (tiff(RAMP * 2 - 1), r"floats lie in \[-1, 1\]"),
    "floats up to 1000": (tiff(RAMP * 1000), r"floats lie in \[0, 1000\]"),
    "not a number": (tiff(np.where(RAMP > 0.5, np.nan, RAMP)), r"floats lie in \[.*, (nan|inf)\], not in"),
    "infinity": (tiff(np.where(RAMP > 0.5, np.inf, RAMP)), r"floats lie in \[.*, (nan|inf)\], not in"),
    "negative whole numbers": (tiff(np.full((32, 48), -5, np.int32)), r"whole numbers lie in \[-5, -5\]"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_all_places_refuse_the_same_by_name(small_processor, tmp_path, kind):
    content, reason = REFUSED[kind]
    path = tmp_path / "page"
    path.write_bytes(content)
    for name, read in readers(small_processor).items():
        with pytest.raises(ValueError, match=r"^(frames|images|frame 0).*: .*" + reason) as refused:
            read(path)
        assert len(str(refused.value)) < 500 and "\n" not in str(refused.value), name


ARRAYS = {
    "floats up to 255": (np.full((4, 4, 3), 200.0), r"floats lie in \[200, 200\]"),
    "floats from -1": (np.linspace(-1, 1, 48).reshape(4, 4, 3), r"floats lie in \[-1, 1\]"),
    "infinity": (np.full((4, 4), np.inf), r"floats lie in \[inf, inf\], not in"),
    "large whole numbers": (np.full((4, 4), 70_000), r"whole numbers lie in \[70000, 70000\]"),
    "negative ones": (np.full((4, 4, 3), -1, np.int8), r"whole numbers lie in \[-1, -1\]"),
    "complex": (np.full((4, 4, 3), 0.5 + 0.5j), "neither whole numbers nor floats"),
    "text": (np.full((4, 4, 3), "a"), "neither whole numbers nor floats"),
    "no pixels": (np.zeros((4, 0, 3), np.uint8), "shape"),
    "tensor of no pixels": (torch.zeros(3, 0, 4), "shape"),
    "a picture without pixels": (Image.new("RGB", (0, 4)), "0x4 pixels"),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_out_of_range_are_refused(small_processor, kind):
    array, reason = ARRAYS[kind]
    for call in (lambda: small_processor([[array]]), lambda: small_processor.image_processor([array])):
        with pytest.raises(ValueError, match=rf"^(frames: story 0, frame 0|images: picture 0): got .*{reason}"):
            call()


def test_whole_numbers_booleans_and_tensors_are_pictures(small_processor):
    array = np.asarray(draw_story(1, 1)["frames"][0])
    expected = small_processor([[array]])["pixel_values"]
    tensor = torch.from_numpy(array.copy())
    kinds = {
        "int64": array.astype(np.int64),
        "requires grad": (tensor / 255).requires_grad_(),
        "bfloat16 that requires grad": (tensor / 255).bfloat16().requires_grad_(),
        "not contiguous": np.asfortranarray(array)[::-1][::-1],
    }
    for kind, picture in kinds.items():
        apart = (small_processor([[picture]])["pixel_values"] - expected).abs().max()
        assert apart <= (0.02 if "bfloat16" in kind else 1e-6), kind
    white = small_processor([[np.ones((4, 4), bool)]])["pixel_values"]
    assert (white == 1).all()


def test_columns_of_a_data_set_are_stories(small_processor):
    stories = [draw_story(seed, 2) for seed in (1, 2)]
    rows = Dataset.from_list([{"frames": story["frames"], "captions": story["captions"]} for story in stories])
    expected = small_processor([story["frames"] for story in stories], [story["captions"] for story in stories])
    inputs = small_processor(rows["frames"], rows["captions"])
    assert all(torch.equal(inputs[name], expected[name]) for name in expected)
    inputs = small_processor([rows[0]["frames"]], [rows[0]["captions"]])
    assert torch.equal(inputs["pixel_values"], expected["pixel_values"][:1])


# A data set has one range of numbers


@pytest.fixture
def prepare(small_processor, tmp_path):
    """Return a function that prepares stories of one frame each, given as bytes, by `story_id`."""

    def run(**files: bytes):
        rows = [
            {"story_id": story_id, "frames": [{"bytes": content, "path": None}], "captions": ["One."]}
            for story_id, content in files.items()
        ]
        features = {"story_id": Value("string"), "frames": ENCODED_IMAGES, "captions": List(Value("string"))}
        stories = Dataset.from_list(rows, features=Features(features))
        return prepare_stories(stories, small_processor.image_processor, "pages", cache_dir=tmp_path / "cache")

    return run


def test_floats_of_one_range_are_scaled_and_said_once(prepare, monkeypatch):
    lines, logger = [], prepared_stories.logger
    type(logger).warning_once.cache_clear()
    monkeypatch.setattr(logger, "warning", lines.append)
    stories = prepare(first=tiff(RAMP), second=tiff(RAMP * 0.5), black=tiff(RAMP * 0))
    assert [stories.pixels(number).max() for number in range(3)] == [255, 128, 0]
    prepare(first=tiff(RAMP), second=tiff(RAMP * 0.5))
    assert lines == ["frames: got floats from 0 to 1, which are taken for black to white"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a": tiff(RAMP * 255), "b": tiff(RAMP)}, "floats from 0 to 255 in story 'a' and floats from 0 to 1 in .*'b'"),
        ({"a": tiff(RAMP), "b": tiff(RAMP - 0.5)}, "floats from 0 to 1 in story 'a' and floats of no known range"),
        ({"a": tiff(RAMP - 0.5), "b": tiff(RAMP * 2 - 1)}, "2 bad of 2 stories.*'a': frame 0: its floats lie in"),
        (
            {"a": tiff((RAMP * 65535).astype(np.int32)), "b": tiff((RAMP * 200).astype(np.int32))},
            "whole numbers from 0 to 65535 in story 'a' and whole numbers from 0 to 255",
        ),
    ],
)
def test_several_ranges_and_unknown_ones_are_refused(prepare, files, message):
    with pytest.raises(ValueError, match=f"^pages: .*got {message}"):
        prepare(**files)


def test_ranges_are_held_in_a_stream_and_found_by_the_data_check(small_processor, small_model, tmp_path):
    frames = [encoded_frame(plain_picture()), {"bytes": tiff(RAMP * 255), "path": None}]
    dark = {"bytes": tiff(RAMP), "path": None}
    rows = [{"frames": frames, "captions": ["One."] * 2}, {"frames": [dark] * 2, "captions": ["One."] * 2}]
    features = Features({"frames": ENCODED_IMAGES, "captions": List(Value("string"))})
    Dataset.from_list(rows, features=features).to_parquet(tmp_path / "train.parquet")
    stream = StoryStream(open_stream(str(tmp_path), "train"), small_processor, small_model.config, 2, num_batches=1)
    ((batch, ((_, message),), _),) = list(stream)
    assert batch is None and "expected one range in all stories" in message
    survey = survey_split(Dataset.from_list([{"story_id": str(n), **row} for n, row in enumerate(rows)]), "train")
    assert survey.ranges == {"floats from 0 to 255": "0", "floats from 0 to 1": "1"}
