"""`storyattn tell`: what is refused, in one line and before a model is loaded."""

import pytest
from conftest import refused_line
from PIL import Image
from storyattn.training.cli import tell


@pytest.fixture
def image_files(tmp_path):
    """Three image files."""
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    for shade, path in enumerate(paths):
        Image.new("RGB", (120, 80), (60 * shade, 100, 200)).save(path)
    return [str(path) for path in paths]


def refusal(*argv: str) -> str:
    message = refused_line(tell.main, ["--model", "/nowhere/model", *argv])
    assert message.startswith("storyattn tell: ")
    return message


def test_a_missing_file_is_named(image_files):
    assert "frames: got '/nowhere/a.png', which does not exist" in refusal("--frames", image_files[0], "/nowhere/a.png")


def test_a_file_that_is_no_image_is_named(image_files, tmp_path):
    text = tmp_path / "text.png"
    text.write_text("no picture")
    assert f"frames: got '{text}', expected an image" in refusal("--frames", image_files[0], str(text))
    assert f"frames: got '{tmp_path}', expected an image" in refusal("--frames", str(tmp_path))


def test_unequal_numbers_are_named(image_files):
    assert "captions: got 1, expected 2" in refusal("--frames", *image_files[:2], "--captions", "A fox.")


@pytest.mark.parametrize("flag", ["--steps", "--num_beams", "--max_new_tokens"])
def test_numbers_below_one_are_refused(image_files, flag):
    assert f"{flag[2:]}: got 0, expected at least 1" in refusal("--frames", image_files[0], flag, "0")


def test_a_missing_model_is_named_before_the_hub_is_asked(image_files):
    assert "model: got '/nowhere/model', expected a folder" in refusal("--frames", *image_files)


def test_a_folder_without_a_model_is_named(image_files, tmp_path):
    assert "without config.json" in refused_line(tell.main, ["--model", str(tmp_path), "--frames", *image_files])


def test_flags_that_contradict_each_other_are_refused(image_files):
    assert "neither of --frames and --dataset" in refusal()
    assert "both of --frames and --dataset" in refusal("--frames", image_files[0], "--dataset", "storyworld")
    assert "--do_sample" in refusal("--frames", image_files[0], "--temperature", "0.7")
    assert "name of an image file" in refusal("--frames", image_files[0], "--output", "story.txt")
