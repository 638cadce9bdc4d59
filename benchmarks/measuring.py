"""What the benchmarks of the model share: random stories, clocks, memory, processes of their own, tables and files."""

import argparse
import json
import multiprocessing
import platform
import re
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import psutil
import torch
from storyattn import StoryAttnConfig
from storyattn.training.common.tables import markdown_table
from storyattn.training.models.presets import load_preset

MB = 1e6
# Runs through all that larger models run through: libraries load what they need, and next to nothing else stays.
SMALLEST = {
    "image_size": (32, 32),
    "hidden_size": 32,
    "frame_channels": (8, 8),
    "projection_dim": 8,
    "vision_config": {
        "model_type": "convnext",
        "num_stages": 2,
        "hidden_sizes": [8, 8],
        "depths": [1, 1],
        "out_features": ["stage1", "stage2"],
    },
    "text_config": {
        "model_type": "distilbert",
        "vocab_size": 64,
        "dim": 8,
        "n_layers": 1,
        "n_heads": 1,
        "hidden_dim": 8,
    },
    "decoder_config": {
        "model_type": "llama",
        "vocab_size": 64,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 8,
    },
}


def add_common_flags(parser: argparse.ArgumentParser, output: str) -> None:
    """The flags that all benchmarks of the model take; the numbers go to the file `output` by default."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--caption_length", type=positive, default=32, help="tokens of a caption that is read")
    parser.add_argument("--repeats", type=positive, default=5, help="rounds, of which the fastest counts")
    parser.add_argument("--threads", type=positive, default=torch.get_num_threads(), help="threads of torch on the CPU")
    parser.add_argument("--device", choices=("cpu", "cuda"), default=device, help="where the model runs")
    parser.add_argument("--output", default=output, help="file for the numbers (JSON)")


def positive(text: str) -> int:
    """A number of at least 1, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {number}, expected at least 1")
    return number


def checked_preset(name: str, caption_length: int) -> StoryAttnConfig:
    """The configuration of a preset; raises `ValueError` as `load_preset` does, and where it reads no such captions."""
    config = load_preset(name)
    if not 3 <= caption_length <= config.max_caption_length:
        raise ValueError(
            f"caption_length: found {caption_length}, expected 3 to {config.max_caption_length} for {name}"
        )
    return config


def hardware(device: str, threads: int) -> dict[str, str | int | None]:
    """What the numbers were measured on."""
    return {
        "cpu": cpu_name(),
        "threads": threads,
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "torch": torch.__version__,
    }


def cpu_name() -> str:
    """The model of the processor as the system tells it."""
    path = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", path.read_text(), re.MULTILINE) if path.is_file() else None
    return found[1] if found else platform.processor() or platform.machine()


def random_stories(config: StoryAttnConfig, batch: int, num_frames: int, length: int, device: str) -> dict:
    """What the model reads of `batch` stories: frames of noise, captions of `length` random tokens."""
    noise = torch.Generator().manual_seed(0)
    mean, std = (torch.tensor(values)[:, None, None] for values in (config.image_mean, config.image_std))
    pixels = (torch.rand(batch, num_frames, 3, *config.image_size, generator=noise) - mean) / std
    ids = torch.randint(3, config.vocab_size, (batch, num_frames, length), generator=noise)
    ids[..., 0], ids[..., -1] = config.bos_token_id, config.eos_token_id
    inputs = {
        "pixel_values": pixels,
        "frame_mask": torch.ones(batch, num_frames, dtype=torch.long),
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
    }
    return {name: value.to(device) for name, value in inputs.items()}


def take_turns(works: dict[str, Callable], repeats: int, device: str) -> dict[str, list[float]]:
    """Seconds of each of `works` in `repeats` rounds in which they take turns: what slows the machine hits all alike.

    A round before these is not counted.
    """
    seconds = {name: [] for name in works}
    for _ in range(repeats + 1):
        for name, work in works.items():
            seconds[name].append(timed(work, device))
    return {name: found[1:] for name, found in seconds.items()}


def timed(work: Callable, device: str) -> float:
    """Seconds that `work()` takes, what it leaves to the GPU included."""
    synchronize(device)
    started = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - started


def synchronize(device: str) -> None:
    """Waits for the GPU."""
    if device == "cuda":
        torch.cuda.synchronize()


class PeakMemory:
    """How far memory has grown since this was made: what tensors take on a GPU, what the process takes on a CPU.

    Nothing that the process did before may have taken more.
    """

    def __init__(self, device: str):
        self.device = device
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
        else:
            self.before = psutil.Process().memory_info().rss

    def megabytes(self) -> float:
        """The most so far, less what there was."""
        if self.device == "cuda":
            peak = torch.cuda.max_memory_allocated()
        else:
            unit = 1 if sys.platform == "darwin" else 1024
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        return (peak - self.before) / MB


def in_own_process(work: Callable, *arguments):
    """What `work(*arguments)` returns in a process that does nothing else.

    It is forked from a server that has loaded the libraries: the peak of a process that is spawned begins with that of
    the one that spawns it. Raises `ValueError` where the system ends the process.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "storyattn"])
    with ProcessPoolExecutor(1, context) as pool:
        try:
            return pool.submit(work, *arguments).result()
        except BrokenProcessPool as error:
            raise ValueError(
                "memory: found too little, as it seems, for the process was killed; expected more, or smaller settings"
            ) from error


def results_table(columns: dict[str, Callable[[dict], str]], rows: list[dict]) -> str:
    """Return `rows` as a Markdown table; `columns` has the headers and what stands below them."""
    return markdown_table(columns, [[show(row) for show in columns.values()] for row in rows])


def write_json(document: dict, output: str) -> None:
    """Writes the numbers to the file `output`."""
    Path(output).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
