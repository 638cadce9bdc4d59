"""The detector of CoDraw's clip art: its targets, that it learns, and that it comes back from its folder."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from codraw_archive import draw_pictures, write_source
from conftest import refused_line
from storyattn.training.cli import codraw_detector as command
from storyattn.training.codraw import detector_training
from storyattn.training.codraw.clip_art import ClipArt, all_pictures
from storyattn.training.codraw.composition import compose_scene
from storyattn.training.codraw.detector import CodrawDetector, DetectorConfig, load_detector
from storyattn.training.codraw.detector_training import (
    TrainingOptions,
    cell_offsets,
    cell_weights,
    constant_scores,
    detection_loss,
    disturb,
    measure_detector,
    scenes_to_batch,
    train_detector,
    visible_detections,
)
from storyattn.training.codraw.object_metrics import Detection
from storyattn.training.codraw.renderer import CanvasRenderer

SIZE = (48, 60)
CONFIG = DetectorConfig(image_size=SIZE, channels=(8, 16, 16, 16))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_source(tmp_path_factory.mktemp("codraw") / "source")


@pytest.fixture(scope="module")
def renderer(source):
    return CanvasRenderer(source / "Pngs", SIZE)


def scenes(renderer: CanvasRenderer, count: int, seed: int = 0) -> list[list[ClipArt]]:
    rng = np.random.default_rng(seed)
    return [compose_scene(rng, renderer, all_pictures()) for _ in range(count)]


def test_composed_scenes_look_like_real_ones(renderer):
    composed = scenes(renderer, 400)
    classes = [[clip_art.class_id for clip_art in scene] for scene in composed]
    assert all(len(set(detected)) == len(detected) for detected in classes)
    assert set().union(*classes) == set(range(58)) and min(map(len, classes)) == 0
    assert 5 < np.mean([len(detected) for detected in classes]) < 10
    sky = [clip_art.y for scene in composed for clip_art in scene if clip_art.group == "s"]
    boys = [clip_art.y for scene in composed for clip_art in scene if clip_art.group == "hb0"]
    assert max(sky) <= 150 and np.mean(sky) + 100 < np.mean(boys)
    assert {clip_art.depth for scene in composed for clip_art in scene} == {0, 1, 2}
    again = scenes(renderer, 400)
    assert again == composed and scenes(renderer, 5, seed=1) != composed[:5]


def test_targets_are_the_visible_clip_art(renderer):
    ball, slide = ClipArt("t", 3, 250, 200, 2, False), ClipArt("p", 1, 250, 200, 0, False)
    edge = ClipArt("s", 3, 505, 100, 1, False)  # a little more than a tenth of it shows
    batch = scenes_to_batch(renderer, [[ball, slide], [edge], []])
    assert batch.pixels.shape == (3, 3, *SIZE) and batch.pixels.min() >= 0 and batch.pixels.max() <= 1
    assert batch.state[0].nonzero().flatten().tolist() == [slide.class_id] and batch.state[2].abs().sum() == 0
    assert batch.places[0, slide.class_id].tolist() == [0.5, 0.5, 0.0]
    assert batch.state[1, edge.class_id] == 1
    (detected,) = visible_detections(renderer.look([ball, slide]))
    assert detected == Detection(slide.class_id, 0.5, 0.5, 0.0)


def test_the_score_of_a_class_peaks_at_its_center():
    places = torch.tensor([[0.5, 0.25, 0.0], [1.2, -0.3, 0.5]])
    weights = cell_weights(places, 12, 15)
    assert weights.sum(dim=(1, 2)) == pytest.approx(1.0)
    assert [divmod(int(index), 15) for index in weights.flatten(1).argmax(dim=1)] == [(2, 7), (0, 14)]
    offsets = cell_offsets(places, 12, 15)
    assert offsets[0, :, 2, 7].tolist() == pytest.approx([0.0, 0.5])
    assert offsets[1, :, 0, 14].tolist() == pytest.approx([18 - 14.5, -3.6 - 0.5])


def test_a_barely_visible_class_is_not_judged(renderer):
    batch = scenes_to_batch(renderer, scenes(renderer, 2))
    scores, geometry = torch.zeros(2, 58, 12, 15), torch.zeros(2, 58, 3, 12, 15)
    batch.state[0, 5] = 0
    judged = detection_loss(scores, geometry, batch)
    batch.state[0, 5] = -1
    assert judged - detection_loss(scores, geometry, batch) == pytest.approx(np.log(12 * 15 + 1) / 2, rel=1e-4)


def test_the_detector_learns_a_few_scenes(renderer, one_thread):
    batch = scenes_to_batch(renderer, scenes(renderer, 4))
    true = [visible_detections(renderer.look(scene)) for scene in scenes(renderer, 4)]
    frames = (batch.pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    torch.manual_seed(0)
    detector = CodrawDetector(CONFIG).train()
    optimizer = torch.optim.Adam(detector.parameters(), lr=1e-2)
    for _ in range(80):
        loss = detection_loss(*detector(batch.pixels), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    accuracy = measure_detector(detector, frames, true)
    assert accuracy["f1"] > 0.95 and accuracy["places_close"] > 0.95 and accuracy["depth_right"] > 0.95
    assert detector.training


def test_a_detector_comes_back_from_its_folder_and_reads_other_sizes(renderer, tmp_path):
    torch.manual_seed(0)
    detector = CodrawDetector(CONFIG).eval()
    torch.nn.init.constant_(detector.head[-1].bias[:58], 0.0)  # so that it finds something
    detector.save(tmp_path / "detector", accuracy={"test": {"f1": 0.5}})
    again = load_detector(tmp_path / "detector")
    pixels = torch.rand(2, 3, *SIZE)
    detected = detector.detect(pixels)
    assert again.detect(pixels) == detected and not again.training and len(detected[0]) == 58
    document = json.loads((tmp_path / "detector" / "config.json").read_text())
    assert document["accuracy"]["test"]["f1"] == 0.5 and document["classes"][18:20] == ["boy", "girl"]
    large = torch.rand(1, 3, 96, 120)
    reduced = torch.nn.functional.interpolate(large, SIZE, mode="bilinear", antialias=True)
    assert detector.detect(large) == detector.detect(reduced)
    for name, content in (("model.safetensors", "broken"), ("config.json", "{}")):
        (tmp_path / "detector" / name).write_text(content)
        with pytest.raises(ValueError, match="detector: .* is no CoDraw detector"):
            load_detector(tmp_path / "detector")
    with pytest.raises(ValueError, match="detector: got no config.json"):
        load_detector(tmp_path)


def test_disturbed_frames_stay_frames():
    rng = np.random.default_rng(0)
    pixels = torch.rand(4, 3, 24, 30)
    disturbed = disturb(pixels, rng)
    assert disturbed.shape == pixels.shape and disturbed.min() >= 0 and disturbed.max() <= 1
    assert 0 < (disturbed - pixels).abs().mean() < 0.1


def test_the_floor_is_the_best_of_one_answer_for_all_frames():
    boy, girl, sun = (Detection(class_id, 0.5, 0.5, 0.0) for class_id in (18, 19, 3))
    scores = constant_scores([[boy, girl], [boy, sun], [boy, girl], [girl]])
    # Boy and girl: f1 of 1, 1/2, 1 and 2/3; boy alone: 2/3, 2/3, 2/3 and 0; all three: 4/5, 4/5, 4/5 and 1/2.
    assert scores == {"precision": 0.75, "recall": 0.875, "f1": pytest.approx(19 / 24), "count": 4}
    assert constant_scores([[], []]) == {"f1": 0.0}


def test_the_command_trains_measures_and_repeats(source, tmp_path, capsys, one_thread, monkeypatch):
    monkeypatch.setattr("storyattn.training.codraw.detector_training.CHECK_SCENES", 4)
    flags = ["--source", str(source), "--image_size", "32", "40", "--steps", "4", "--batch_size", "2"]
    for name in ("one", "two"):
        command.main([*flags, "--check_every", "2", "--output", str(tmp_path / name)])
    printed = capsys.readouterr().out
    assert "true pictures of validation (2): precision" in printed and "true pictures of test (3)" in printed
    files = {path.name for path in (tmp_path / "one").iterdir()}
    assert files == {"README.md", "config.json", "log.jsonl", "model.safetensors"}
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two"}
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]
    log = [json.loads(line) for line in (tmp_path / "one" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [2, 4] and {"loss", "f1"} <= set(log[0])
    document = json.loads((tmp_path / "one" / "config.json").read_text())
    assert document["training"]["steps"] == 4 and set(document["accuracy"]) == {"validation", "test"}
    assert 0 < document["accuracy"]["test"]["floor"]["f1"] <= 1
    message = refused_line(command.main, [*flags, "--output", str(tmp_path / "one")])
    assert "--overwrite replaces it" in message
    message = refused_line(command.main, ["--steps", "0", "--output", str(tmp_path / "three")])
    assert "steps: got 0, expected at least 1" in message


def test_a_killed_training_continues_exactly(renderer, tmp_path, one_thread, monkeypatch):
    monkeypatch.setattr(detector_training, "CHECK_SCENES", 2)
    options = TrainingOptions(steps=6, batch_size=2, check_every=2)
    whole = train_detector(renderer, options, CONFIG, tmp_path / "whole", progress=False).state_dict()
    take_step, taken = detector_training._train_step, []

    def killed(*arguments):
        if len(taken) == 3:
            raise KeyboardInterrupt
        taken.append(arguments[-1])
        return take_step(*arguments)

    monkeypatch.setattr(detector_training, "_train_step", killed)
    with pytest.raises(KeyboardInterrupt):
        train_detector(renderer, options, CONFIG, tmp_path / "part", progress=False)
    monkeypatch.setattr(detector_training, "_train_step", lambda *given: taken.append(given[-1]) or take_step(*given))
    again = train_detector(renderer, options, CONFIG, tmp_path / "part", progress=False).state_dict()
    assert taken == [0, 1, 2, 2, 3, 4, 5]
    assert all((again[name] == value).all() for name, value in whole.items())
    lines = [(tmp_path / name / "log.jsonl").read_text() for name in ("whole", "part")]
    assert [json.loads(line)["step"] for line in lines[1].splitlines()] == [2, 4, 6]
    assert lines[0].splitlines()[0] == lines[1].splitlines()[0]
    taken.clear()  # a training of other options begins anew
    train_detector(renderer, replace(options, seed=1), CONFIG, tmp_path / "part", progress=False)
    assert taken == list(range(6))


def test_a_source_without_clip_art_is_refused(tmp_path):
    draw_pictures(tmp_path / "source" / "Pngs")
    (tmp_path / "source" / "output").mkdir()
    (tmp_path / "source" / "Pngs" / "background.png").unlink()
    message = refused_line(
        command.main, ["--source", str(tmp_path / "source"), "--output", str(tmp_path / "out"), "--steps", "1"]
    )
    assert "got no picture background.png" in message and not (tmp_path / "out").exists()
