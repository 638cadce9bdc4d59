"""Wrong input is refused before training, on one line that says what it is and what was expected."""

from pathlib import Path

import pytest
from conftest import write_data_set
from PIL import Image as PILImage
from training_runs import RUN

pytestmark = pytest.mark.usefixtures("one_thread")


def write_single_story(folder: Path, frames: list, captions: list[str], **columns) -> Path:
    """Write a data set with the same single story in every split."""
    story = {"frames": frames, "captions": captions}
    return write_data_set(folder, dict.fromkeys(("train", "validation", "test"), [story]), **columns)


def test_unknown_names_are_refused(refused, small_config_file):
    line = refused(config=None, preset="giant")
    assert "'giant'" in line and "tiny" in line
    line = refused(dataset="storyworl")
    assert "'storyworl'" in line and "storyworld" in line
    line = refused(train_split="training")
    assert "'training'" in line and "train, " in line
    line = refused(tokenizer_name="./nowhere")
    assert "'./nowhere'" in line
    line = refused(config_overrides="perceptual_model=./nowhere")
    assert "perceptual_model: got './nowhere', expected a vision model" in line
    line = refused(config_overrides="hiden_size=3")
    assert "'hiden_size'" in line and "hidden_size" in line
    line = refused(report_to="paper")
    assert "paper" in line


def test_a_data_set_without_the_columns_is_refused(refused, tmp_path):
    picture = PILImage.new("RGB", (8, 8))
    folder = write_single_story(tmp_path / "other", [picture], ["A fox."], columns=("pages", "texts"))
    line = refused(dataset=folder)
    assert "pages, texts" in line and "'frames'" in line
    line = refused(dataset=folder, frames_column="pages")
    assert "pages, texts" in line and "'captions'" in line


@pytest.mark.parametrize(
    ("frames", "captions", "expected"),
    [
        (2, 3, ["'train-0'", "captions: got 3 for 2 frames"]),
        (0, 0, ["'train-0'", "frames: got none"]),
        (1, 1, ["'train-0'", "frame 0", "got no image"]),
    ],
    ids=["unequal", "empty", "no image"],
)
def test_stories_that_cannot_be_read_are_refused(frames, captions, expected, refused, tmp_path):
    picture = {"bytes": b"no picture", "path": None} if frames == 1 else PILImage.new("RGB", (8, 8))
    folder = write_single_story(tmp_path / "bad", [picture] * frames, ["A fox."] * captions)
    line = refused(dataset=folder)
    assert all(part in line for part in expected), line


def test_a_checkpoint_that_is_not_there_is_refused(refused, tmp_path):
    line = refused(resume_from_checkpoint="latest")
    assert "no checkpoint" in line and "step-N" in line
    line = refused(resume_from_checkpoint=tmp_path / "step-3")
    assert "state.json" in line and "'latest'" in line


def test_a_checkpoint_of_another_run_is_refused(refused, finished_run, tmp_path):
    checkpoint = finished_run / "checkpoints" / "step-4"
    line = refused(**RUN, resume_from_checkpoint=checkpoint, config_overrides="projection_dim=8")
    assert "another configuration: projection_dim: got 16, expected 8" in line
    line = refused(**RUN, resume_from_checkpoint=checkpoint, seed=9)
    assert "another run: seed: got 0, expected 9" in line
    line = refused(**RUN, resume_from_checkpoint=checkpoint, learning_rate=0.5)
    assert "another run: learning_rate: got 0.001, expected 0.5" in line
    line = refused(**RUN, resume_from_checkpoint=checkpoint, augment_crop=0.2)
    assert "another run: augmentation.crop: got None, expected 0.2" in line
    line = refused(**{**RUN, "max_train_steps": 3}, resume_from_checkpoint=checkpoint)
    assert "step 4" in line and "max_train_steps" in line


def test_an_output_dir_that_is_a_file_is_refused(refused, tmp_path):
    (tmp_path / "file").write_text("")
    assert "expected a folder" in refused(output_dir=tmp_path / "file")
