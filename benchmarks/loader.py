"""
Measure how fast training gets its frames from the second epoch on, how long it waits, and how much memory it takes.

The speed stands beside that of a data set which decodes every picture of a story at each access and prepares one story
at a time.

    python benchmarks/loader.py --dataset FOLDER --output loader.json
"""

import json
import math
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import psutil
import torch
import torch.nn.functional as F
from datasets import Dataset, disable_progress_bars
from measuring import MB, new_parser, write_json
from storyattn import StoryAttnProcessor, build_processor
from storyattn.training import train
from storyattn.training.data.prepared_stories import prepare_stories
from storyattn.training.data.sources import read_stories
from storyattn.training.data.windows import StoryOrder, TrainingWindows, draw_start, training_loader
from storyattn.training.engine.run_log import METRICS
from storyattn.training.models.presets import load_preset
from storyattn.training.models.tokenizer import train_tokenizer
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

STAND_IN = "no data set given: stories of StoryWorld, drawn at 256x256 and stored as PNG in Parquet"
SIZES = ((64, 96), (128, 128))
WORKERS = (0, 2)
BATCH_SIZE = 16
FASTER = 20  # batches of our loader to one of the other: so many take a time that can be measured
ROUNDS = 3
WARM_UP = 3  # batches before the clock starts
EPOCHS = 3


def main() -> None:
    """Print three tables and write their numbers."""
    parser = new_parser(__doc__)
    parser.add_argument("--dataset", default=None, help="folder or Hub id; default: pages drawn by StoryWorld, as PNG")
    parser.add_argument("--steps", type=int, default=10, help="batches of the other way, and steps of training")
    parser.add_argument("--output", default="loader.json", help="file for the numbers")
    arguments = parser.parse_args()
    disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        dataset = arguments.dataset or draw_stand_in(Path(folder, "stories"))
        cache_dir = str(Path(folder, "frames"))
        document = {
            "dataset": arguments.dataset or STAND_IN,
            "hardware": f"{os.cpu_count()} CPU cores ({platform.machine()})",
            "threads": torch.get_num_threads(),
            **measure_loading(dataset, cache_dir, arguments.steps),
            "waiting_share": waiting_share(dataset, cache_dir, Path(folder, "run"), arguments.steps),
        }
    print_tables(document)
    write_json(document, arguments.output)
    print(f"\nwritten to {arguments.output}")


def draw_stand_in(folder: Path, num_stories: int = 160) -> str:
    """Write stories of StoryWorld as Parquet, in one split that is later divided; return the folder."""
    stories = read_stories(
        "storyworld", "train", max_stories=num_stories, storyworld_options={"image_size": (256, 256)}
    )
    folder.mkdir()
    stories.to_parquet(folder / "train-00000-of-00001.parquet")
    return str(folder)


def measure_loading(dataset: str, cache_dir: str, steps: int) -> dict[str, list[dict]]:
    """
    Measure `memory` and `loading`: a row for each size of the frames and number of workers.

    Args:
        dataset: folder or Hub id.
        cache_dir: folder for the frame cache.
        steps: batches of the other way.
    """
    stories = read_stories(dataset, "train")
    captions = [text for row in stories["captions"] for text in row or () if text]
    memory, loading = [], []
    for size in SIZES:
        config = load_preset("tiny")
        config.image_size = list(size)
        processor = build_processor(config, train_tokenizer(captions, config.vocab_size))
        prepared = prepare_stories(stories, processor.image_processor, "the stories", cache_dir=cache_dir)
        ours = TrainingWindows(prepared, processor, config)
        common = DecodingWindows(stories, processor, config.max_frames)
        case = {"height": size[0], "width": size[1]}
        memory += [{**case, "workers": number, **memory_over_epochs(ours, processor, number)} for number in (0, 1)]
        loading += [{**case, "workers": number, **compare(ours, common, number, steps)} for number in WORKERS]
    return {"loading": loading, "memory": memory}


def compare(ours: TrainingWindows, common: "DecodingWindows", num_workers: int, steps: int) -> dict[str, float]:
    """
    Measure frames a second of both ways and their ratio: medians of rounds in which they take turns.

    Args:
        ours: windows over prepared stories.
        common: windows over the same stories, which it decodes at each access.
        num_workers: processes that load.
        steps: batches of the common way; ours has `FASTER` times as many.
    """
    # Batches of epochs after the first: our frames are in the cache then, the other way stores nothing.
    order = {"batch_size": BATCH_SIZE, "first_batch": math.ceil(len(ours) / BATCH_SIZE), "num_batches": 10**6}
    cached = training_loader(ours, common.processor, num_workers=num_workers, **order)
    sampler = StoryOrder(len(common), **order)
    decoding = DataLoader(common, batch_sampler=sampler, collate_fn=collate, num_workers=num_workers)
    rounds = [(frames_per_second(cached, steps * FASTER), frames_per_second(decoding, steps)) for _ in range(ROUNDS)]
    speed, other_speed = (statistics.median(speeds) for speeds in zip(*rounds))
    return {"frames_per_second": speed, "common_frames_per_second": other_speed, "ratio": speed / other_speed}


class DecodingWindows(TorchDataset):
    """The common way: every access decodes all pictures of a story, of which a window is resized and tokenised."""

    def __init__(self, stories: Dataset, processor: StoryAttnProcessor, num_frames: int):
        self.stories, self.processor, self.num_frames = stories, processor, num_frames

    def __len__(self) -> int:
        return len(self.stories)

    def __getitem__(self, position: tuple[int, int]) -> dict[str, torch.Tensor]:
        epoch, story = position
        row = self.stories[story]
        start = draw_start(len(row["frames"]), self.num_frames, 0, epoch, story)
        window = slice(start, start + self.num_frames)
        return dict(self.processor(frames=[row["frames"][window]], captions=[row["captions"][window]]))


def collate(items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Join single stories, of different numbers of frames and tokens, into a batch."""
    batch = {}
    for name in items[0]:
        sizes = [max(item[name].shape[axis] for item in items) for axis in range(items[0][name].dim())]
        padded = []
        for item in items:
            missing = [size - length for size, length in zip(sizes, item[name].shape)]
            padded.append(F.pad(item[name], [part for number in reversed(missing) for part in (0, number)]))
        batch[name] = torch.cat(padded)
    return batch


def frames_per_second(loader: DataLoader, steps: int) -> float:
    """Measure frames a second, without padding, in `steps` batches; the first batches are not counted."""
    batches = iter(loader)
    for _ in range(WARM_UP):
        next(batches)
    frames, started = 0, time.perf_counter()
    for _ in range(steps):
        frames += int(next(batches)["frame_mask"].sum())
    return frames / (time.perf_counter() - started)


def memory_over_epochs(
    windows: TrainingWindows, processor: StoryAttnProcessor, num_workers: int
) -> dict[str, list[float]]:
    """
    Measure the megabytes of the process that loads, after its first batch and after each epoch.

    Args:
        windows: the windows that are loaded.
        processor: their processor.
        num_workers: processes that load; with 0 this process does.

    Returns:
        `resident` memory in all, and of it `private`, which no other process shares. Pages of the mapped file that were
        read count as resident, and as private only where no other process has mapped them.
    """
    batches = math.ceil(len(windows) / BATCH_SIZE)
    options = {"num_workers": num_workers, "batch_size": BATCH_SIZE, "num_batches": EPOCHS * batches}
    loader = iter(training_loader(windows, processor, **options))
    next(loader)
    process = psutil.Process(loader._workers[0].pid if num_workers else None)
    infos = [process.memory_full_info()]
    for epoch in range(EPOCHS):
        for _ in range(batches - (epoch == 0)):
            next(loader)
        infos.append(process.memory_full_info())
    return {"resident": [info.rss / MB for info in infos], "private": [info.uss / MB for info in infos]}


def waiting_share(dataset: str, cache_dir: str, output_dir: Path, steps: int) -> float:
    """
    Measure the share of its time, in [0, 1], that a training of the tiny model on this machine's CPU waits for data.

    Args:
        dataset: folder or Hub id.
        cache_dir: folder for the frame cache.
        output_dir: folder of the run.
        steps: steps of the training.
    """
    flags = {"dataset": dataset, "cache_dir": cache_dir, "output_dir": output_dir, "max_train_steps": steps}
    flags.update(preset="tiny", train_batch_size=BATCH_SIZE, logging_steps=steps, eval_steps=0, save_steps=0)
    flags.update(max_eval_windows=2, max_test_windows=2)
    train.main([f"--{name}={value}" for name, value in flags.items()])
    lines = map(json.loads, (output_dir / METRICS).read_text(encoding="utf-8").splitlines())
    return next(line["waiting_share"] for line in lines if "waiting_share" in line)


def print_tables(document: dict) -> None:
    """Print the numbers as text."""
    print(f"\n{document['dataset']}; {document['hardware']}, threads of torch: {document['threads']}")
    print(f"\n{'frames/s':<22}{'decoded each time':>20}{'from the cache':>18}{'ratio':>9}")
    for row in document["loading"]:
        cached, decoded = row["frames_per_second"], row["common_frames_per_second"]
        print(f"{label(row):<22}{decoded:>20.0f}{cached:>18.0f}{row['ratio']:>8.1f}x")
    print(f"\n{'MB':<22}{'':<10}{'first batch':>12}" + "".join(f"{f'epoch {n + 1}':>10}" for n in range(EPOCHS)))
    for row in document["memory"]:
        for kind in ("resident", "private"):
            first, *later = row[kind]
            print(f"{label(row):<22}{kind:<10}{first:>12.0f}" + "".join(f"{value:>10.0f}" for value in later))
    print(f"\nwaiting for data in a training of the tiny model: {document['waiting_share']:.2%} of its time")


def label(row: dict) -> str:
    """Return size and workers of a row."""
    return f"{row['height']}x{row['width']}, {row['workers']} workers"


if __name__ == "__main__":
    main()
