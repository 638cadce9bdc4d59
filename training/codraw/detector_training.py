"""Train the detector on scenes composed at random, and measure it on frames whose clip art is known."""

import json
import math
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

from .clip_art import CANVAS_HEIGHT, CANVAS_WIDTH, NUM_CLASSES, ClipArt, all_pictures
from .composition import compose_scene
from .detector import CodrawDetector, DetectorConfig
from .detector_checkpoint import load_checkpoint, save_checkpoint
from .detector_options import TrainingOptions
from .object_metrics import FARTHEST, Detection, mean_scores
from .renderer import CanvasRenderer, Sighting

BARELY_VISIBLE = (0.05, 0.25)  # shares between which a class is neither asked for nor refused in training
SPREAD = 0.7  # cells: standard deviation of the place that the scores shall have
DEPTH_WEIGHT = 2.0  # of the error in depth beside those in x and y
WARMUP_SHARE = 0.03  # of the steps
MAX_GRADIENT = 20.0
CHECK_SCENES = 256  # composed scenes on which training is watched
CLOSE = 0.05  # of the frame's width: a place that counts as right
LOG_FILE, CHECKPOINT_FILE = "log.jsonl", "checkpoint.safetensors"


@dataclass
class SceneBatch:
    """
    Frames and what is in them.

    `pixels (B, 3, H, W)` in [0, 1]; `state (B, 58)`: 1 where a class shows, 0 where it does not, -1 where barely;
    `places (B, 58, 3)`: x and y of its center as shares of the width and the height, and its depth in [0, 1].
    """

    pixels: torch.Tensor
    state: torch.Tensor
    places: torch.Tensor


def train_detector(
    renderer: CanvasRenderer, options: TrainingOptions, config: DetectorConfig, folder: Path, progress: bool = True
) -> CodrawDetector:
    """
    Return a detector trained on composed scenes; a function of the clip art, the options and the configuration.

    Args:
        renderer: draws the scenes, at the size of `config`.
        options: steps, rates and the seed.
        config: sizes of the network.
        folder: gets the log, a line of JSON for each measurement, and a checkpoint, from which a killed training of
            the same options continues.
        progress: whether to show a progress bar.
    """
    torch.manual_seed(options.seed)
    detector = CodrawDetector(config).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(detector.parameters(), weight_decay=options.weight_decay)
    folder.mkdir(parents=True, exist_ok=True)
    kind = {**asdict(options), **asdict(config)}
    first = load_checkpoint(folder / CHECKPOINT_FILE, detector, optimizer, kind)
    check = check_scenes(renderer, options.seed)
    losses: list[float] = []
    bar = tqdm(total=options.steps, initial=first, desc="training", disable=not progress)
    with (folder / LOG_FILE).open("a" if first else "w", encoding="utf-8") as log:
        for step in range(first, options.steps):
            losses.append(_train_step(detector, optimizer, renderer, options, step))
            bar.update()
            if (step + 1) % options.check_every == 0 or step + 1 == options.steps:
                numbers = {"step": step + 1, "loss": float(np.mean(losses)), **measure_detector(detector, *check)}
                log.write(json.dumps(numbers) + "\n")
                log.flush()
                save_checkpoint(folder / CHECKPOINT_FILE, detector, optimizer, step + 1, kind)
                bar.set_postfix(loss=f"{numbers['loss']:.3f}", f1=f"{numbers['f1']:.4f}")
                losses.clear()
    bar.close()
    return detector.eval()


def _train_step(
    detector: CodrawDetector,
    optimizer: torch.optim.Optimizer,
    renderer: CanvasRenderer,
    options: TrainingOptions,
    step: int,
) -> float:
    """Take one step, whose batch is a function of the seed and the step's number, and return the loss."""
    rng = np.random.default_rng((options.seed, 0, step))
    batch = draw_batch(rng, renderer, options.batch_size)
    pixels = disturb(batch.pixels, rng).to(memory_format=torch.channels_last)
    for group in optimizer.param_groups:
        group["lr"] = options.learning_rate * _rate(step, options.steps)
    optimizer.zero_grad(set_to_none=True)
    loss = detection_loss(*detector(pixels), batch)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(detector.parameters(), MAX_GRADIENT)
    optimizer.step()
    return loss.item()


def draw_batch(rng: np.random.Generator, renderer: CanvasRenderer, size: int) -> SceneBatch:
    """Return `size` composed scenes as they are drawn."""
    pictures = all_pictures()
    scenes = [compose_scene(rng, renderer, pictures) for _ in range(size)]
    return scenes_to_batch(renderer, scenes)


def scenes_to_batch(renderer: CanvasRenderer, scenes: list[list[ClipArt]]) -> SceneBatch:
    """Return scenes as a batch for training."""
    pixels = np.stack([renderer.draw(scene) for scene in scenes])
    state = torch.zeros(len(scenes), NUM_CLASSES, dtype=torch.long)
    places = torch.zeros(len(scenes), NUM_CLASSES, 3)
    for row, scene in enumerate(scenes):
        for sighting in renderer.look(scene):
            class_id = sighting.clip_art.class_id
            least, enough = BARELY_VISIBLE
            state[row, class_id] = 1 if sighting.share >= enough else -1 if sighting.share >= least else 0
            detected = to_detection(sighting.clip_art)
            places[row, class_id] = torch.tensor([detected.x, detected.y, detected.depth])
    return SceneBatch(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255, state, places)


def to_detection(clip_art: ClipArt) -> Detection:
    """Return a piece of clip art as a perfect detector would give it."""
    x, y = clip_art.x / CANVAS_WIDTH, clip_art.y / CANVAS_HEIGHT
    return Detection(clip_art.class_id, x, y, clip_art.depth / FARTHEST)


def visible_detections(sightings: list[Sighting]) -> list[Detection]:
    """Return what a perfect detector would find in a frame."""
    return [to_detection(sighting.clip_art) for sighting in sightings if sighting.is_visible]


def disturb(pixels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Return frames `(B, 3, H, W)` with brightness and contrast changed a little, some blurred, some with noise."""
    batch = len(pixels)
    gain = torch.from_numpy(rng.uniform(0.9, 1.1, (batch, 3, 1, 1))).float()
    shift = torch.from_numpy(rng.uniform(-0.05, 0.05, (batch, 3, 1, 1))).float()
    changed = (pixels - 0.5) * gain + 0.5 + shift
    amount = torch.from_numpy(rng.uniform(0, 1, (batch, 1, 1, 1)) * (rng.random((batch, 1, 1, 1)) < 0.4)).float()
    blurred = F.avg_pool2d(F.pad(changed, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    changed = changed + amount * (blurred - changed)
    level = 0.04 * rng.random((batch, 1, 1, 1)) * (rng.random((batch, 1, 1, 1)) < 0.4)
    noise = torch.from_numpy(rng.standard_normal(tuple(pixels.shape), dtype=np.float32) * level.astype(np.float32))
    return (changed + noise).clamp(0, 1)


def detection_loss(scores: torch.Tensor, geometry: torch.Tensor, batch: SceneBatch) -> torch.Tensor:
    """
    Return the loss of a batch, a sum over classes and a mean over frames.

    Scores: cross-entropy over the cells and "nowhere", for a class that shows against a Gaussian around its center.
    Geometry: L1 of those cells, weighted by the same Gaussian.

    Args:
        scores: `(B, 58, h, w)`.
        geometry: `(B, 58, 3, h, w)`.
        batch: what is in the frames.
    """
    totals = F.softplus(scores.flatten(2).logsumexp(dim=2))  # (B, 58): minus the log of "nowhere"
    rows, classes = (batch.state == 1).nonzero(as_tuple=True)
    height, width = scores.shape[-2:]
    places = batch.places[rows, classes]  # (n, 3)
    offsets = cell_offsets(places, height, width)  # (n, 2, h, w)
    weights = cell_weights(places, height, width)  # (n, h, w)
    matching = (weights * scores[rows, classes]).sum()
    chosen = geometry[rows, classes]  # (n, 3, h, w)
    errors = (chosen[:, :2] - offsets).abs().sum(dim=1)
    errors = errors + DEPTH_WEIGHT * (chosen[:, 2] - places[:, 2, None, None]).abs()
    presence = totals[batch.state >= 0].sum() - matching
    return (presence + (weights * errors).sum()) / len(scores)


def cell_offsets(places: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return how far `places (n, 3)` lie from the center of each cell, `(n, 2, h, w)`, x and y in cells."""
    columns = torch.arange(width) + 0.5
    rows = torch.arange(height) + 0.5
    x = (places[:, 0, None] * width - columns)[:, None, :].expand(-1, height, -1)
    y = (places[:, 1, None] * height - rows)[:, :, None].expand(-1, -1, width)
    return torch.stack([x, y], dim=1)


def cell_weights(places: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return a Gaussian over the cells `(n, h, w)`, sum 1, around `places (n, 3)`, those outside moved to the edge."""
    sides = torch.tensor([width, height])
    inside = (places[:, :2] * sides).clamp(min=torch.tensor(0.5), max=sides - 0.5) / sides
    offsets = cell_offsets(inside, height, width)
    return torch.softmax((-offsets.square().sum(dim=1) / (2 * SPREAD**2)).flatten(1), dim=1).unflatten(1, (height, -1))


def check_scenes(renderer: CanvasRenderer, seed: int) -> tuple[torch.Tensor, list[list[Detection]]]:
    """Return composed frames that training does not show, and what is in them."""
    rng = np.random.default_rng((seed, 1))
    scenes = [compose_scene(rng, renderer, all_pictures()) for _ in range(CHECK_SCENES)]
    pixels = np.stack([renderer.draw(scene) for scene in scenes])
    return torch.from_numpy(pixels), [visible_detections(renderer.look(scene)) for scene in scenes]


def measure_detector(
    detector: CodrawDetector, frames: torch.Tensor, true: list[list[Detection]], batch_size: int = 64
) -> dict[str, float]:
    """
    Return how well a detector reads frames.

    Args:
        detector: left in the mode it had.
        frames: `(n, H, W, 3)`, uint8.
        true: what each of them shows.
        batch_size: frames at once.

    Returns:
        `precision`, `recall`, `f1` and `rsim` as `mean_scores`; over the classes found that are there, `place_error`:
        the mean distance of the places as a share of the frame's width, `places_close`: the share of places that lie
        within 5% of the width, `depth_right`: the share of depths that are right once rounded.
    """
    was_training = detector.training
    detector.eval()
    detected = []
    for start in range(0, len(frames), batch_size):
        pixels = frames[start : start + batch_size].permute(0, 3, 1, 2).float() / 255
        detected += detector.detect(pixels.contiguous(memory_format=torch.channels_last))
    detector.train(was_training)
    return {**mean_scores(zip(detected, true)), **_place_scores(detected, true, frames.shape[1] / frames.shape[2])}


def constant_scores(true: list[list[Detection]]) -> dict[str, float]:
    """
    Return the best scores of one answer for all frames, the floor of a detector that looks at them.

    The answers that are tried are the most frequent classes of the frames themselves: one, two, and so on.

    Args:
        true: what each frame shows.

    Returns:
        `precision`, `recall` and `f1`, and the `count` of frames.
    """
    frequency = Counter(detection.class_id for detections in true for detection in detections)
    answer, best = [], {"f1": 0.0}
    for class_id, _ in frequency.most_common():
        answer.append(Detection(class_id, 0.5, 0.5, 0.5))
        best = max(best, mean_scores((answer, detections) for detections in true), key=lambda scores: scores["f1"])
    return {name: score for name, score in best.items() if name != "rsim"}


def _place_scores(detected: list[list[Detection]], true: list[list[Detection]], aspect: float) -> dict[str, float]:
    """Return how far places are off; `aspect` is the height of the frames over their width."""
    distances, depths = [], []
    for detections, expected in zip(detected, true):
        places = {detection.class_id: detection for detection in expected}
        for detection in detections:
            place = places.get(detection.class_id)
            if place is not None:
                distances.append(math.hypot(detection.x - place.x, (detection.y - place.y) * aspect))
                depths.append(abs(detection.depth - place.depth) < 0.5 / FARTHEST)
    if not distances:
        return {}
    close = float(np.mean(np.array(distances) <= CLOSE))
    return {"place_error": float(np.mean(distances)), "places_close": close, "depth_right": float(np.mean(depths))}


def _rate(step: int, steps: int) -> float:
    """Return the learning rate of a step as a share of the highest: linear warmup, then a cosine to zero."""
    warmup = max(1, round(WARMUP_SHARE * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))
