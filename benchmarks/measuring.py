"""What the benchmarks share: flags, random stories, clocks, memory, separate processes, tables and files."""

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
from typing import TypeVar

import psutil
import torch
from storyattn import StoryAttnConfig
from storyattn.training.common.tables import markdown_table
from storyattn.training.models.presets import load_preset

Result = TypeVar("Result")

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


def new_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser whose help is the text of a benchmark, with its line breaks."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_common_flags(parser: argparse.ArgumentParser, output: str) -> None:
    """Add the flags that all benchmarks of the model take; the numbers go to the file `output` by default."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--caption_length", type=positive, default=32, help="tokens of a caption that is read")
    parser.add_argument("--repeats", type=positive, default=5, help="rounds, of which the fastest counts")
    parser.add_argument("--threads", type=positive, default=torch.get_num_threads(), help="threads of torch on the CPU")
    parser.add_argument("--device", choices=("cpu", "cuda"), default=device, help="where the model runs")
    parser.add_argument("--output", default=output, help="file for the numbers (JSON)")


def positive(text: str) -> int:
    """Return a number of at least 1, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"got {number}, expected at least 1")
    return number


def checked_preset(name: str, caption_length: int) -> StoryAttnConfig:
    """Return the configuration of a preset; raise `ValueError` as `load_preset`, and where captions do not fit it."""
    config = load_preset(name)
    if not 3 <= caption_length <= config.max_caption_length:
        raise ValueError(f"caption_length: got {caption_length}, expected 3 to {config.max_caption_length} for {name}")
    return config


def hardware(device: str, threads: int) -> dict[str, str | int | None]:
    """Return what the numbers are measured on."""
    return {
        "cpu": cpu_name(),
        "threads": threads,
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "torch": torch.__version__,
    }


def describe_hardware(measured_on: dict[str, str | int | None]) -> str:
    """Return one line of what `hardware` returned."""
    return f"{measured_on['gpu'] or measured_on['cpu']}, {measured_on['threads']} threads, torch {measured_on['torch']}"


def cpu_name() -> str:
    """Return the model of the processor as the system names it."""
    path = Path("/proc/cpuinfo")
    match = re.search(r"^model name\s*: (.+)$", path.read_text(), re.MULTILINE) if path.is_file() else None
    return match[1] if match else platform.processor() or platform.machine()


def take_turns(works: dict[str, Callable], repeats: int, device: str) -> dict[str, list[float]]:
    """
    Time calls in rounds in which they take turns, so that what slows the machine slows all alike.

    Args:
        works: what is called, by name.
        repeats: how many rounds; one before these is not counted.
        device: `cpu` or `cuda`.

    Returns:
        The seconds of each round, by name.
    """
    seconds = {name: [] for name in works}
    for _ in range(repeats + 1):
        for name, work in works.items():
            seconds[name].append(timed(work, device))
    return {name: taken[1:] for name, taken in seconds.items()}


def timed(work: Callable, device: str) -> float:
    """Return the seconds that `work()` takes, with what it leaves to the GPU."""
    synchronize(device)
    started = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - started


def synchronize(device: str) -> None:
    """Wait for the GPU."""
    if device == "cuda":
        torch.cuda.synchronize()


class PeakMemory:
    """
    Measure how far memory has grown since this was created: that of tensors on a GPU, of the process on a CPU.

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
        """Return the peak so far, less what was in use at the start."""
        if self.device == "cuda":
            peak = torch.cuda.max_memory_allocated()
        else:
            unit = 1 if sys.platform == "darwin" else 1024
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        return (peak - self.before) / MB


def in_separate_process(work: Callable[..., Result], *arguments: object) -> Result:
    """
    Return what `work(*arguments)` returns in a process that does nothing else.

    It is forked from a server that has loaded the libraries: the peak of a process that is spawned begins with that of
    the one that spawns it. Raises `ValueError` where the system ends the process.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "transformers.modeling_utils", "transformers.processing_utils"])
    with ProcessPoolExecutor(1, context) as pool:
        try:
            return pool.submit(work, *arguments).result()
        except BrokenProcessPool as error:
            raise ValueError(
                "memory: got too little, as it seems, for the process was killed; expected more, or smaller settings"
            ) from error


def results_table(columns: dict[str, Callable[[dict], str]], rows: list[dict]) -> str:
    """Return `rows` as a Markdown table; `columns` has the headers, and how a row fills each."""
    return markdown_table(columns, [[show(row) for show in columns.values()] for row in rows])


def write_json(document: dict, output: str) -> None:
    """Write the numbers to the file `output`."""
    Path(output).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
