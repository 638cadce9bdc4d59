"""What paintings of CoDraw show: whole stories painted by a stand-in, and measures worked out by hand."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from codraw_archive import write_source
from conftest import refused_line
from PIL import Image
from storyattn.training.cli import evaluate
from storyattn.training.codraw.build import BuildOptions, build_dataset
from storyattn.training.codraw.detector import CodrawDetector, DetectorConfig
from storyattn.training.codraw.object_metrics import Detection
from storyattn.training.data.prepared_stories import prepare_stories
from storyattn.training.data.sources import read_stories
from storyattn.training.evaluation.closed_loop import paint_stories
from storyattn.training.evaluation.codraw_objects import annotated, measure_objects
from storyattn.training.evaluation.evaluate import evaluate_model
from storyattn.training.evaluation.tables import main_results, result_tables
from storyattn.training.evaluation.terminal import format_metrics

STEP = 10  # by which the stand-in brightens the last frame that it sees


class Brightener:
    """Paints the last frame `STEP` levels brighter, or as it is where there is no caption for the next one."""

    device = torch.device("cpu")
    config = SimpleNamespace(max_frames=3)

    def __init__(self, image_processor):
        self.mean, self.std = (
            torch.tensor(values).view(3, 1, 1) for values in (image_processor.image_mean, image_processor.image_std)
        )
        self.num_shown = []

    def predict_next_frame(self, pixel_values, frame_mask, next_attention_mask, **_):
        self.num_shown += frame_mask.sum(dim=1).tolist()
        last = pixel_values[torch.arange(len(pixel_values)), frame_mask.sum(dim=1) - 1]
        captioned = next_attention_mask.any(dim=1).float().view(-1, 1, 1, 1)
        return last * self.std + self.mean + captioned * STEP / 255


class LevelReader:
    """Finds class n in a frame of level 10 n, at a place that the level gives; nothing in a black one."""

    def detect(self, pixels):
        levels = (pixels.mean(dim=(1, 2, 3)) * 25.5).round().int().tolist()
        return [[Detection(level, level / 10, 0.5, 0.1 * level)] if level else [] for level in levels]


def story(*levels: int, captions: tuple | None = None) -> dict:
    """A story of frames of one gray each; what they show is annotated in the far left."""
    frames = [Image.new("RGB", (48, 32), (level,) * 3) for level in levels]
    objects = [[{"class_id": level // 10, "x": 0, "y": 0, "depth": 2, "visible": 1.0}] for level in levels]
    captions = captions or (None, *("the sun" for _ in levels[1:]))
    return {"frames": frames, "captions": list(captions), "clip_art": objects}


def levels(paintings: list[list[Image.Image]]) -> list[list[int]]:
    return [[round(float(np.asarray(picture).mean())) for picture in story] for story in paintings]


@pytest.fixture
def painter(small_processor):
    return Brightener(small_processor.image_processor)


def test_the_loop_is_closed_by_the_own_paintings(painter, small_processor):
    stories = [story(0, 50, 100, 150), story(200, 0)]
    closed = paint_stories(painter, small_processor, stories, closed=True)
    assert levels(closed) == [[10, 20, 30], [210]]
    assert sorted(painter.num_shown) == [1, 1, 2, 2]  # of three frames before the last one two are read
    opened = paint_stories(painter, small_processor, stories, closed=False)
    assert levels(opened) == [[10, 60, 110], [210]]


def test_a_frame_without_a_caption_is_painted_without(painter, small_processor):
    stories = [story(0, 0, 0, captions=(None, None, "the sun"))]
    assert levels(paint_stories(painter, small_processor, stories, closed=True)) == [[0, 10]]


def test_fewer_frames_can_be_shown(painter, small_processor):
    paint_stories(painter, small_processor, [story(0, 0, 0)], closed=True, context_frames=1)
    assert painter.num_shown == [1, 1]


def test_objects_are_measured_against_the_true_picture_and_the_annotation(painter, small_processor):
    stories = [story(0, 10, 20, 30), story(0, 10, 30)]
    metrics = measure_objects(painter, small_processor, stories, [0, 1], LevelReader(), batch_size=1, progress=False)
    for scores in metrics.values():
        f1 = {name: scored["f1"] for name, scored in {**scores, **scores["floors"]}.items() if name != "floors"}
        assert f1.pop("detector", 1.0) == 1.0
        assert f1 == {
            "closed_loop": 0.8,  # 10, 20, 30 and 10, 20
            "from_true_pictures": 0.8,
            "empty_canvas": 0.0,
            "last_true_frame": 0.0,
        }
    closed = metrics["against_detections"]["closed_loop"]
    assert closed["count"] == 5 and closed["rsim"] == closed["rsim_whole_depths"] == 0.8
    # Against the annotation: x on the same side of the center, the depth (found: near, annotated: far) never.
    assert metrics["against_annotation"]["closed_loop"]["rsim"] == pytest.approx(0.4)


@pytest.fixture(scope="module")
def codraw_folder(tmp_path_factory):
    """A small copy of CoDraw, at the size of the small model."""
    folder = tmp_path_factory.mktemp("codraw")
    options = {"output": folder / "data", "source": str(write_source(folder / "source")), "image_size": (32, 48)}
    build_dataset(BuildOptions(**options))
    return folder / "data"


@pytest.fixture(scope="module")
def codraw_stories(codraw_folder):
    return read_stories(str(codraw_folder), "test")


def test_an_evaluation_of_codraw_has_objects(small_model, small_processor, codraw_stories):
    torch.manual_seed(0)
    detector = CodrawDetector(DetectorConfig(image_size=(32, 48), channels=(8, 8, 8, 8))).eval()
    torch.nn.init.constant_(detector.head[-1].bias[:58], 0.0)  # so that it finds everything
    stories = prepare_stories(codraw_stories, small_processor.image_processor, "test")
    metrics = evaluate_model(small_model, small_processor, stories, detector=detector, progress=False)
    closed = metrics["objects"]["against_annotation"]["closed_loop"]
    assert closed["count"] == 3 and closed["recall"] == 1.0 and closed["precision"] == pytest.approx(2 / 58)
    assert metrics["objects"]["against_detections"]["floors"]["empty_canvas"]["f1"] == 1.0
    rows = {row["name"]: row for row in main_results(metrics)}
    assert rows["objects, closed loop: F1"]["floor"] == 1.0 and not rows["objects, closed loop: F1"]["beaten"]
    for text in (format_metrics(metrics), result_tables(metrics)):
        assert all(
            row in text.lower() for row in ("objects against detections", "closed loop", "detector, true pictures")
        )


def test_without_a_detector_there_are_no_objects(small_model, small_processor, codraw_stories):
    metrics = evaluate_model(small_model, small_processor, codraw_stories, progress=False)
    assert "objects" not in metrics and any("no detector" in note for note in metrics["notes"])
    assert "objects" not in format_metrics(metrics).split("no detector")[0]


def test_a_folder_without_a_detector_is_refused(tmp_path):
    flags = ["--model", "none", "--dataset", "none", "--codraw_detector", str(tmp_path)]
    assert "detector: got no config.json" in refused_line(evaluate.main, flags)


def test_a_training_refuses_a_folder_without_a_detector(refused, tmp_path):
    assert "detector: got no config.json" in refused(codraw_detector=tmp_path)


def test_a_training_ends_with_objects(launch, codraw_folder, tmp_path):
    CodrawDetector(DetectorConfig(image_size=(32, 48), channels=(8, 8, 8, 8))).save(tmp_path / "detector")
    flags = {"max_train_steps": 1, "train_batch_size": 1, "eval_steps": 0, "codraw_detector": tmp_path / "detector"}
    launch(tmp_path / "run", dataset=codraw_folder, **flags)
    metrics = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]
    assert metrics["objects"]["against_annotation"]["closed_loop"]["count"] == 3
    assert "objects, closed loop: F1" in (tmp_path / "run" / "README.md").read_text()


def test_only_measured_stories_count(painter, small_processor):
    stories = [story(0, 10), story(0, 30)]
    options = {"batch_size": 4, "progress": False}
    metrics = measure_objects(painter, small_processor, stories, [1], LevelReader(), **options)
    assert metrics["against_detections"]["closed_loop"] == {
        **dict.fromkeys(("precision", "recall", "f1", "rsim", "rsim_whole_depths"), 0.0),
        "count": 1,
    }


def test_hidden_clip_art_is_not_asked_for():
    seen = {"class_id": 3, "x": 250.0, "y": 100.0, "depth": 1, "visible": 0.5}
    assert annotated([seen, {**seen, "visible": 0.1}]) == [Detection(3, 0.5, 0.25, 0.5)]
