"""Estimate what a training needs before it starts: parameters, memory, and hours on a device."""

import argparse
import math
import time
from dataclasses import dataclass

import torch
from storyattn import StoryAttnForConditionalGeneration
from tqdm.auto import tqdm

from .arguments import DataArguments, ModelArguments, TrainingArguments
from .common.defaults import NUM_STORIES, TIMED_DEVICES
from .common.tables import text_table
from .data.sources import STORYWORLD
from .engine.compilation import checkpoint_activations
from .engine.cpu_attention import attend_in_float32
from .engine.optimizer import build_optimizer
from .engine.step_cost import StepCost, count_step, stories_of_noise
from .model_kinds import model_kind

GB = 1e9
BYTES = 4  # of a weight, of its gradient, and of each number that is kept for it
MOMENTS = 2  # numbers that AdamW keeps for a weight
MIXED_ACTIVATIONS = 0.6  # of their bytes in fp32: products are kept in two bytes, norms and losses in four
SECONDS_A_CALL = 15e-6  # of an operator on a GPU, however small: `tiny` on an H200
TIMED_STEPS = 3


@dataclass(frozen=True)
class Device:
    """A device of the table.

    Attributes:
        mixed: dense operations a second in half precision, as its maker states them.
        single: those in fp32.
        memory: bytes.
    """

    mixed: float
    single: float
    memory: float


DEVICES = {
    "t4": Device(65e12, 8.1e12, 16 * GB),
    "l4": Device(121e12, 30.3e12, 24 * GB),
    "a10g": Device(70e12, 31.2e12, 24 * GB),
    "rtx4090": Device(165e12, 82.6e12, 24 * GB),
    "a100": Device(312e12, 19.5e12, 80 * GB),
    "h100": Device(989e12, 67e12, 80 * GB),
    "h200": Device(989e12, 67e12, 141 * GB),
}


def estimate(
    arguments: argparse.Namespace, model_args: ModelArguments, data_args: DataArguments, args: TrainingArguments
) -> str:
    """Return the tables for a training.

    Args:
        arguments: flags of this command.
        model_args: what is trained.
        data_args: what it is trained on.
        args: how it is trained.

    Raises:
        ValueError: for a baseline, for flags that give no model, and where the number of steps is unknown.
    """
    _check(arguments)
    if model_args.baseline is not None:
        raise ValueError(f"baseline: got {model_args.baseline!r}, expected none: estimates are of the model alone")
    num_steps = _count_steps(arguments, data_args, args)
    model = _build_model(model_args, args)
    config = model.config
    on = torch.device(arguments.device if arguments.device in TIMED_DEVICES else "cpu")
    with tqdm(total=2, desc="counting a step", unit="part") as bar:
        cost = count_step(model.to(on), config.max_frames, config.max_caption_length)
        bar.update()
        seconds = _seconds_of_a_step(model, args) if arguments.device in TIMED_DEVICES else None
        bar.update()
    stories = args.train_batch_size * args.gradient_accumulation_steps * arguments.num_devices
    size = "x".join(map(str, config.image_size))
    memory = _memory(model, cost, args)
    lines = [
        text_table(("part", "parameters", "trained"), _part_rows(model)),
        f"a step: {stories} stories of {config.max_frames} frames of {size} pixels and "
        f"captions of {config.max_caption_length} tokens, {stories * cost.flops / 1e12:.3g} TFLOP",
        text_table(("memory of a device", "GB"), [[name, f"{size / GB:.3g}"] for name, size in memory.items()]),
    ]
    if seconds is not None:
        lines.append(
            f"{arguments.device} here: {seconds:.2f} s a step, {num_steps * seconds / 3600:.2f} h of {num_steps} steps"
        )
    else:
        lines.append(_device_table(arguments, args, cost, memory["all"], num_steps))
    return "\n\n".join(lines)


def _build_model(model_args: ModelArguments, args: TrainingArguments) -> StoryAttnForConditionalGeneration:
    """Return the model with fresh weights, frozen, adapted and checkpointed as the flags say."""
    kind = model_kind(model_args)
    model = StoryAttnForConditionalGeneration(kind.config())
    kind.tune(model)
    if args.gradient_checkpointing:
        checkpoint_activations(model)
    return model


def _check(arguments: argparse.Namespace) -> None:
    """Refuse values out of range; raise `ValueError`."""
    for name in ("num_devices", "num_stories"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ValueError(f"{name}: got {value}, expected at least 1")
    if not 0 < arguments.utilization <= 1:
        raise ValueError(f"utilization: got {arguments.utilization}, expected above 0 and at most 1")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: got 'cuda', expected a GPU that PyTorch finds; --device h100 and others need none")


def _count_steps(arguments: argparse.Namespace, data_args: DataArguments, args: TrainingArguments) -> int:
    """Return how many optimizer steps the training has."""
    if args.max_train_steps is not None:
        return args.max_train_steps
    stories = arguments.num_stories or data_args.max_train_stories
    if stories is None and data_args.dataset == STORYWORLD:
        stories = NUM_STORIES["train"]
    if stories is None:
        raise ValueError("num_stories: got none, expected a number: the recipe has no max_train_steps")
    per_step = args.train_batch_size * args.gradient_accumulation_steps * arguments.num_devices
    return math.ceil(args.num_train_epochs * stories / per_step)


def _part_rows(model: StoryAttnForConditionalGeneration) -> list[list[str]]:
    """Return name, parameters and trained parameters of each part."""
    parts = {**{f"{name} model": part for name, part in model.parts.items()}, "frame decoder": model.frame_decoder}
    counts = {name: _counts(list(part.parameters())) for name, part in parts.items()}
    total = _counts(list(model.parameters()))
    rest = (whole - sum(count[place] for count in counts.values()) for place, whole in enumerate(total))
    rows = {**counts, "attention, fusion, story": tuple(rest), "all": total}
    return [[name, *(f"{count:,}" for count in row)] for name, row in rows.items()]


def _counts(weights: list[torch.nn.Parameter]) -> tuple[int, int]:
    return sum(w.numel() for w in weights), sum(w.numel() for w in weights if w.requires_grad)


def _memory(model: StoryAttnForConditionalGeneration, cost: StepCost, args: TrainingArguments) -> dict[str, float]:
    """Return the bytes of a device by what they hold, and of all together."""
    weights, trained = _counts(list(model.parameters()))
    activations = args.train_batch_size * cost.activation_bytes
    parts = {
        "weights": BYTES * weights,
        "gradients": BYTES * trained,
        "moments of AdamW": MOMENTS * BYTES * trained,
        "moving average": BYTES * trained if args.use_ema else 0,
        "activations": activations * (MIXED_ACTIVATIONS if _is_mixed(args) else 1),
    }
    return {**parts, "all": sum(parts.values())}


def _is_mixed(args: TrainingArguments) -> bool:
    return args.mixed_precision in ("bf16", "fp16")


def _device_table(
    arguments: argparse.Namespace, args: TrainingArguments, cost: StepCost, needed: float, num_steps: int
) -> str:
    """Return the table of memory and time on GPUs."""
    names = [arguments.device] if arguments.device else list(DEVICES)
    rows = []
    for name in names:
        device = DEVICES[name]
        peak = device.mixed if _is_mixed(args) else device.single
        work = args.train_batch_size * cost.flops / (peak * arguments.utilization)
        seconds = args.gradient_accumulation_steps * max(work, cost.calls * SECONDS_A_CALL)
        fits = "yes" if needed < device.memory else "no"
        numbers = f"{device.memory / GB:.0f}", fits, f"{seconds:.3f}", f"{num_steps * seconds / 3600:.2f}"
        rows.append([f"{arguments.num_devices} x {name}", *numbers])
    return text_table(("device", "GB", "fits", "s a step", f"h of {num_steps} steps"), rows)


def _seconds_of_a_step(model: StoryAttnForConditionalGeneration, args: TrainingArguments) -> float:
    """Return the seconds of the fastest of some optimizer steps of one process, on the device of the model."""
    optimizer = build_optimizer(model, args, args.mixed_precision or "no")
    if model.device.type == "cpu" and args.mixed_precision == "bf16":
        attend_in_float32()
    config = model.config
    batch = stories_of_noise(config, args.train_batch_size, config.max_frames, config.max_caption_length, model.device)
    seconds = []
    for _ in range(TIMED_STEPS):
        started = time.perf_counter()
        for _ in range(args.gradient_accumulation_steps):
            with torch.autocast(model.device.type, _dtype(args), enabled=_is_mixed(args)):
                loss = model(**batch, return_loss=True).loss
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if model.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _dtype(args: TrainingArguments) -> torch.dtype:
    return torch.float16 if args.mixed_precision == "fp16" else torch.bfloat16
