"""
Measures a model on a split of a data set, beside floors:

    storyattn evaluate --model runs/tiny --dataset storyworld --split test --output results.json
"""

import argparse
import shlex
import sys

from .evaluation import evaluate_model, results_document, write_results
from .frame_cache import DEFAULT_LIMIT_GB
from .loading import load_model
from .mistakes import one_line
from .prepared_stories import POLICIES, prepare_stories
from .sources import read_stories

EVENT_FRAME_COLUMNS = ("l1_changed", "copy_last_l1_changed", "placement", "count")
FRAME_COLUMNS = ("l1", "l1_changed", "psnr", "ssim", "perceptual", "edge_ratio")
TEXT_COLUMNS = ("loss", "bits_per_byte", "bleu4", "rouge_l", "chrf", "cider", "distinct2")
EVENT_COLUMNS = ("character", "action", "place", "all")
NAME_COLUMNS = ("precision", "recall", "f1")
RECALL_COLUMNS = ("r1", "r5", "r10", "within_story_r1")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `storyattn evaluate`."""
    parser.add_argument("--model", required=True, help="folder or Hub id of the model")
    parser.add_argument("--dataset", required=True, help="storyworld, a folder or a Hub id with frames and captions")
    parser.add_argument("--split", default="test", help="split to measure on")
    parser.add_argument("--train_split", default="train", help="split for the training floors; '' leaves them out")
    parser.add_argument("--output", default="results.json", help="file for the numbers")
    parser.add_argument("--batch_size", type=int, default=16, help="windows per batch")
    parser.add_argument("--max_windows", type=int, default=None, help="measure this many windows, evenly spread")
    parser.add_argument(
        "--context_frames", type=int, default=None, help="show at most this many frames before the measured one"
    )
    parser.add_argument("--seed", type=int, default=0, help="draws which captions and frames are exchanged")
    parser.add_argument("--device", default=None, help="cpu, cuda, ...; by default a GPU where there is one")
    parser.add_argument("--frames_column", default="frames", help="column of the data set that holds the frames")
    parser.add_argument("--captions_column", default="captions", help="column that holds the captions")
    parser.add_argument("--on_bad_story", choices=POLICIES, default="skip", help="what to do with broken stories")
    parser.add_argument(
        "--cache_dir", default=None, help="where resized frames are kept; default: beside the data sets"
    )
    parser.add_argument("--cache_limit_gb", type=float, default=DEFAULT_LIMIT_GB, help="what that may hold at most")


def main(argv: list[str] | None = None) -> None:
    """Runs the command; a mistake in what it was given ends it with one line and exit status 2."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(prog="storyattn evaluate", description="Measures a model beside floors.")
    add_arguments(parser)
    arguments = parser.parse_args(argv)
    with one_line("storyattn evaluate"):
        metrics = _measure(arguments)
    document = results_document(
        metrics,
        dataset=arguments.dataset,
        split=arguments.split,
        model=arguments.model,
        seed=arguments.seed,
        command=f"storyattn evaluate {shlex.join(argv)}",
    )
    write_results(document, arguments.output)
    print(format_metrics(document["metrics"]))
    print(f"\nwritten to {arguments.output}")


def _measure(arguments: argparse.Namespace) -> dict:
    for name in ("batch_size", "max_windows", "context_frames"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ValueError(f"{name}: found {value}, expected at least 1")
    columns = {"frames_column": arguments.frames_column, "captions_column": arguments.captions_column}
    names = {"stories": arguments.split, "train_stories": arguments.train_split}
    read = {key: read_stories(arguments.dataset, split, **columns) for key, split in names.items() if split}
    model, processor = load_model(arguments.model, arguments.device)
    options = {name: getattr(arguments, name) for name in ("on_bad_story", "cache_dir", "cache_limit_gb")}
    prepared = {
        key: prepare_stories(
            stories, processor.image_processor, f"split {names[key]!r} of {arguments.dataset}", **options
        )
        for key, stories in read.items()
    }
    return evaluate_model(
        model,
        processor,
        **prepared,
        batch_size=arguments.batch_size,
        max_windows=arguments.max_windows,
        context_frames=arguments.context_frames,
        seed=arguments.seed,
    )


def format_metrics(metrics: dict) -> str:
    """The numbers of `evaluate_model` as tables of plain text, the model's beside the floors'."""
    frames = metrics["next_frame"]
    sections = [
        _table(
            "next frame",
            FRAME_COLUMNS,
            {
                "model, next caption given": frames,
                "model, shuffled caption": frames["shuffled_caption"],
                "model, no next caption": metrics["next_frame_alone"],
                **frames["floors"],
                "reconstruction": metrics["reconstruction"],
            },
        )
    ]
    if "by_event" in frames:
        sections.append(_table("next frame by event", EVENT_FRAME_COLUMNS, frames["by_event"]))
    sections += [_table(*section) for section in caption_sections(metrics)]
    for direction in ("text_to_image", "image_to_text"):
        recalls = metrics["retrieval"][direction]
        chance = {name: recalls[f"chance_{name}"] for name in RECALL_COLUMNS}
        sections.append(_table(f"retrieval, {direction}", RECALL_COLUMNS, {"model": recalls, "chance": chance}))
    if "attention" in metrics:
        attention, names = metrics["attention"], ("pointing_game", "mass_over_area")
        chance = {name: attention[f"chance_{name}"] for name in names}
        sections.append(_table("spatial attention", names, {"model": attention, "chance": chance}))
    counts = f"{metrics['num_windows']} windows of {metrics['num_stories']} stories"
    return "\n\n".join([counts, *sections, *metrics["notes"]])


def caption_sections(metrics: dict) -> list[tuple[str, tuple[str, ...], dict[str, dict]]]:
    """Title, columns and rows of the tables of both captions; numbers by row and column."""
    sections = []
    for task in ("next_caption", "describe"):
        found = metrics[task]
        shuffled = {column: found.get(f"{column}_shuffled_frames") for column in ("loss", "bits_per_byte")}
        rows = {"model": found, "model, shuffled frames": shuffled, **found["floors"]}
        sections.append((task, TEXT_COLUMNS, rows))
        if "event" in found:
            rows = {"model": found["event"], "floor": found["event"].get("floor", {})}
            sections.append((f"{task}, event", EVENT_COLUMNS, rows))
            names = found["named_characters"]
            sections.append((f"{task}, characters", NAME_COLUMNS, {"model": names, **names["floors"]}))
    return sections


def _table(title: str, columns: tuple[str, ...], rows: dict[str, dict]) -> str:
    name_width = max(len(title), *map(len, rows), 26)
    widths = [max(len(column), 8) for column in columns]
    lines = [f"{title:<{name_width}}  " + "  ".join(f"{name:>{width}}" for name, width in zip(columns, widths))]
    for name, values in rows.items():
        numbers = (f"{_number(values.get(column)):>{width}}" for column, width in zip(columns, widths))
        lines.append(f"{name:<{name_width}}  " + "  ".join(numbers))
    return "\n".join(lines)


def _number(value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4f}"
