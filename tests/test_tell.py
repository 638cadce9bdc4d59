"""`storyattn tell`: what is refused, in one line and before a model is loaded."""

import pytest
from conftest import refused_line
from PIL import Image
from storyattn.training import telling
from storyattn.training.cli import tell
from storyattn.training.common.excerpts import quoted


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
    assert f"frames: got '{text}', expected a picture" in refusal("--frames", image_files[0], str(text))
    assert f"frames: got the folder '{tmp_path}', expected its image files" in refusal("--frames", str(tmp_path))


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
    assert "output: got 'story.txt', expected the name of a file in .png, .jpg" in refusal(
        "--frames", image_files[0], "--output", "story.txt"
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--seed", "-1"), "seed: got -1, expected a whole number from 0 to 4294967295"),
        (("--seed", str(2**32)), "seed: got 4294967296"),
        (("--temperature", "nan", "--do_sample"), "temperature: got nan"),
        (("--temperature", "inf", "--do_sample"), "temperature: got inf"),
        (("--temperature", "1e-300", "--do_sample"), "temperature: got float 1e-300, expected a number of at least"),
        (("--num_beams", "999999"), "num_beams: got 999999, expected at most 256"),
        (("--steps", "999999999"), "steps: got 999999999, expected at most 1000"),
    ],
)
def test_numbers_that_cannot_work_are_refused(image_files, flags, message):
    assert message in refusal("--frames", image_files[0], *flags)


def test_an_output_that_cannot_be_written_is_named_first(image_files, tmp_path):
    below_a_file = f"{image_files[0]}/new/story.png"
    assert f"output: got {quoted(below_a_file)}, expected a file that can be written (" in refusal(
        "--frames", "/nowhere/a.png", "--output", below_a_file
    )
    (tmp_path / "folder.png").mkdir()
    assert "output: got the folder" in refusal("--frames", image_files[0], "--output", str(tmp_path / "folder.png"))
    refusal("--frames", image_files[0], "--output", str(tmp_path / "new" / "newer" / "story.png"))
    assert not (tmp_path / "new").exists(), "nothing is left of the attempt"


def test_a_truncated_file_is_named(image_files, tmp_path):
    cut = tmp_path / "cut.png"
    cut.write_bytes((tmp_path / "a.png").read_bytes()[:90])
    message = refusal("--frames", image_files[0], str(cut))
    assert f"frames: got '{cut}', expected a picture: " in message


def test_what_generation_refuses_is_one_line(image_files, small_model, small_processor, monkeypatch, tmp_path):
    monkeypatch.setattr(telling, "load_model", lambda *arguments: (small_model, small_processor))
    output = tmp_path / "story.png"
    message = refusal("--frames", image_files[0], "--max_new_tokens", "999999999", "--output", str(output))
    assert "max_new_tokens: got int 999999999, expected at most " in message and not output.exists()


def test_described_pictures_and_new_ones_are_printed_and_saved(
    image_files, small_model, small_processor, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(telling, "load_model", lambda *arguments: (small_model, small_processor))
    argv = ["--model", "small", "--frames", *image_files[:2], "--steps", "2", "--max_new_tokens", "3"]
    tell.main([*argv, "--output", str(tmp_path / "new" / "story.gif")])
    *_, note, first, second, third, fourth, last = capsys.readouterr().out.splitlines()
    assert note.startswith("note: no captions given") and last == f"saved to {tmp_path / 'new' / 'story.gif'}"
    for number, line in enumerate((first, second, third, fourth), start=1):
        assert line.startswith(f"{number}. (written) ")
    assert Image.open(tmp_path / "new" / "story.gif").n_frames == 4
    tell.main([*argv, "--captions", "A fox.", "It naps.", "--output", str(tmp_path / "story.pdf")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["1. A fox.", "2. It naps."] and lines[2].startswith("3. (written) ")
