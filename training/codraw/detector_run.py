"""
Make the detector of CoDraw's clip art and say how well it reads true pictures:

    storyattn data codraw-detector --output codraw-detector
"""

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from ..common.atomic_folder import aside
from ..common.dataset_folder import CARD_FILE, check_output, replaced_folder
from ..common.folder_lock import locked_folder
from .detector import CONFIG_FILE, WEIGHTS_FILE, CodrawDetector, DetectorConfig
from .detector_options import TrainingOptions
from .detector_training import LOG_FILE, constant_scores, measure_detector, train_detector, visible_detections
from .dialogues import SPLITS, find_dialogues, merge_turns, read_dialogue
from .object_metrics import Detection
from .renderer import CanvasRenderer
from .source import DIALOGUES, PICTURES, open_source
from .stories import LICENSE, LICENSE_NAME

MARK = "Made by `storyattn data codraw-detector`."  # a line of the card, by which an earlier result is recognized
CARD = f"""\
---
license: {LICENSE}
---
# Detector of CoDraw's clip art

{MARK}

A small convolutional network that says which of the 58 classes of clip art a picture of CoDraw shows, where, and at
which depth. It was trained on scenes composed at random, never on a picture that a person or a model made.
`config.json` has its options and its accuracy on true pictures.

The clip art is that of Abstract Scenes (C. Lawrence Zitnick and Devi Parikh, 2013) as used in CoDraw (Jin-Hwa Kim et
al., 2019), {LICENSE_NAME}.
"""


@dataclass
class DetectorRun:
    """
    What to train, and what to measure.

    Args:
        output: folder for the detector.
        source: folder or archive that has the dialogues and the pictures; `None`: downloaded.
        download_dir: where downloads are kept; `None`: the default.
        config: sizes of the network.
        training: how it is trained.
        splits: whose true pictures it is measured on; training does not see them.
        overwrite: whether an earlier result in `output` may be replaced.
    """

    output: Path
    source: str | None = None
    download_dir: str | None = None
    config: DetectorConfig = field(default_factory=DetectorConfig)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    splits: tuple[str, ...] = ("validation", "test")
    overwrite: bool = False


def make_detector(run: DetectorRun) -> dict[str, dict]:
    """
    Train a detector, write it to its folder, and return its accuracy by split, see `measure_detector`.

    What is unfinished lies in a hidden folder beside `output`; the same command, run again, continues there.

    Raises `ValueError` for options that mean nothing, for a source that is not as expected and where another process
    trains the same, `OSError` where the download fails.
    """
    _check(run)
    unfinished = aside(run.output.resolve(), "training")
    with open_source(run.source, run.download_dir) as root:
        renderer = CanvasRenderer(root / PICTURES, run.config.image_size)
        unfinished.mkdir(parents=True, exist_ok=True)
        with locked_folder("output", unfinished):
            detector = train_detector(renderer, run.training, run.config, unfinished)
        accuracy = {split: measure_split(detector, root / DIALOGUES, renderer, split) for split in run.splits}
    with replaced_folder(run.output) as folder:
        detector.save(folder, training=asdict(run.training), accuracy=accuracy, license=LICENSE)
        (folder / CARD_FILE).write_text(CARD, encoding="utf-8")
        shutil.copy(unfinished / LOG_FILE, folder)
    shutil.rmtree(unfinished)
    return accuracy


def measure_split(detector: CodrawDetector, dialogues: Path, renderer: CanvasRenderer, split: str) -> dict:
    """Return the accuracy of a detector on the true pictures of a split, and as `floor` that of `constant_scores`."""
    frames, true = true_pictures(dialogues, renderer, split)
    return {**measure_detector(detector, torch.from_numpy(frames), true), "floor": constant_scores(true)}


def true_pictures(dialogues: Path, renderer: CanvasRenderer, split: str) -> tuple[np.ndarray, list[list[Detection]]]:
    """
    Return the pictures of all steps of a split and what they show.

    Args:
        dialogues: the folder with the files of the dialogues.
        renderer: draws the pictures.
        split: "train", "validation" or "test".

    Returns:
        frames `(n, height, width, 3)`, uint8, and for each the visible clip art.
    """
    frames, true = [], []
    beginning = {name: start for start, name in SPLITS.items()}[split]
    files = [path for path in find_dialogues(dialogues) if path.stem.startswith(f"{beginning}_")]
    for path in tqdm(files, desc=f"drawing {split}", unit="story", disable=None):
        for step in merge_turns(read_dialogue(path).turns):
            frames.append(renderer.draw(step.canvas))
            true.append(visible_detections(renderer.look(step.canvas)))
    if not frames:
        raise ValueError(f"source: got no picture in split {split!r} of {dialogues}, expected at least one")
    return np.stack(frames), true


def _check(run: DetectorRun) -> None:
    for name in ("steps", "batch_size", "check_every"):
        value = getattr(run.training, name)
        if value < 1:
            raise ValueError(f"{name}: got {value}, expected at least 1")
    if run.source is not None and run.download_dir is not None:
        raise ValueError("download_dir: got one together with a source, expected one of them")
    check_output(run.output, run.overwrite, MARK, (CONFIG_FILE, WEIGHTS_FILE, LOG_FILE))
