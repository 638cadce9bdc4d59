"""
Write the tables of README.md and docs/*.md, and the cards of checkpoints/, from the committed results files.

    python docs/tables.py            # as `make tables` does
    python docs/tables.py --check    # writes nothing; exit status 1 where a file is stale

A table stands between `<!-- table: NAME -->` and `<!-- end table -->`; `TABLES` has the names.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import torch
from storyattn import StoryAttnForConditionalGeneration
from storyattn.training.common.tables import LEFT, markdown_table
from storyattn.training.evaluation.tables import MAIN_RESULTS, main_table, result_tables
from storyattn.training.models.provenance import seconds_of
from storyattn.training.publishing.model_card import dataset_title, make_card, read_config, read_results

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))  # whose files are scripts, not a package

from ablations import table_of  # noqa: E402

CHECKPOINTS = ROOT / "checkpoints"
BLOCK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end table -->)", re.DOTALL)
# The rows of the README's table, among those of `MAIN_RESULTS`.
HEADLINE = {
    ("next_frame", "l1"),
    ("next_frame", "l1_changed"),
    ("state", "caption_given", "exact"),
    ("wordings", "gain_kept", "l1_changed"),
    ("next_frame", "ssim"),
    ("next_frame_alone", "l1"),
    ("next_caption", "bits_per_byte"),
    ("next_caption", "event", "all"),
    ("retrieval", "text_to_image", "r1"),
    ("attention", "pointing_game"),
}


def models_table() -> str:
    """Return a row for each folder of checkpoints/: its size, its data, its training, and SSIM beside copying."""
    rows = []
    for path in sorted(CHECKPOINTS.glob("*/results.json")):
        folder, config, results = path.parent, read_config(path.parent), read_results(path.parent)
        with torch.device("meta"):
            parameters = StoryAttnForConditionalGeneration(config).num_parameters()
        facts, frames = results["facts"], results["metrics"]["next_frame"]
        training = facts["training"]
        minutes = seconds_of(training) / 60
        took = f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
        row = {
            "Model": f"[{folder.name}](checkpoints/{folder.name})",
            "Parameters": f"{parameters / 1e6:.1f} million",
            "Frames": "x".join(map(str, config.image_size)),
            "Trained on": f"{dataset_title(facts['dataset'])}, {training['training stories']} stories",
            "Training": f"{took}, {training['hardware']}",
            "SSIM of the next frame": f"{frames['ssim']:.4f} (copy: {frames['floors']['copy_last']['ssim']:.4f})",
            "License": facts["license"],
        }
        rows.append((parameters, row))
    rows = [row for _, row in sorted(rows, key=lambda pair: pair[0])]
    return markdown_table(rows[0], [row.values() for row in rows], [LEFT] * len(rows[0]))


def headline_table() -> str:
    """Return the rows `HEADLINE` of the main table of storyattn-tiny."""
    names = {name for name, path, *_ in MAIN_RESULTS if path in HEADLINE}
    head, rule, *rows = tiny_table().splitlines()
    return "\n".join([head, rule, *(row for row in rows if row.split("|")[1].strip() in names)])


def tiny_table() -> str:
    """Return the main table of storyattn-tiny, as its card has it."""
    results = read_results(CHECKPOINTS / "storyattn-tiny")
    return main_table(results["metrics"], results["split"], results["test_unseen"])


def make_train_table() -> str:
    """Return the main table of what `make train` makes, and how its captions depend on the pictures."""
    results = json.loads((ROOT / "docs" / "make_train.json").read_text(encoding="utf-8"))
    caption = results["metrics"]["next_caption"]
    ratio = caption["loss"] / caption["loss_shuffled_frames"]
    row = f"| next caption: loss, over that with other stories' pictures | {ratio:.4f} | - | 1.0000 | no look |"
    return f"{main_table(results['metrics'], results['split'], results['test_unseen'])}\n{row}"


def detector_table() -> str:
    """Return how well the detector of CoDraw's clip art reads true pictures, a row for each split."""
    config = json.loads((CHECKPOINTS / "codraw-detector" / "config.json").read_text(encoding="utf-8"))
    head = ["Split", "Pictures", "Precision", "Recall", "F1", "Floor of F1", "Places within 5% of width", "Depth right"]
    names = "precision", "recall", "f1", "floor", "places_close", "depth_right"
    measured = {split: scores | {"floor": scores["floor"]["f1"]} for split, scores in config["accuracy"].items()}
    rows = [
        [f"`{split}`", f"{scores['count']:,}", *(f"{scores[name]:.4f}" for name in names)]
        for split, scores in measured.items()
    ]
    return markdown_table(head, rows)


def ablations_table() -> str:
    """Return the table of the ablations."""
    return table_of(json.loads((ROOT / "docs" / "ablations.json").read_text(encoding="utf-8"))["rows"])


def all_numbers(name: str, split: str = "metrics") -> str:
    """Return all tables of a split of the checkpoint `name`."""
    return result_tables(read_results(CHECKPOINTS / name)[split])


TABLES = {
    "models": models_table,
    "headline": headline_table,
    "storyattn-tiny": tiny_table,
    "storyattn-tiny-test": lambda: all_numbers("storyattn-tiny"),
    "storyattn-tiny-test-unseen": lambda: all_numbers("storyattn-tiny", "test_unseen"),
    "make-train": make_train_table,
    "codraw-detector": detector_table,
    "ablations": ablations_table,
}


def fill(text: str) -> str:
    """Return a page with its tables written anew; raises `KeyError` for the name of a table that does not exist."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{TABLES[block[2]]()}\n\n{block[3]}", text)


def fresh_files() -> dict[Path, str]:
    """Return what README.md, the pages and the cards should hold, by path."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    texts = {path: fill(path.read_text(encoding="utf-8")) for path in pages}
    for path in sorted(CHECKPOINTS.glob("*/results.json")):
        texts[path.parent / "README.md"] = str(make_card(path.parent))
    return texts


def main(argv: list[str] | None = None) -> None:
    """Write the stale files, or name them with `--check`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 where a file is stale")
    check = parser.parse_args(argv).check
    stale = {path: text for path, text in fresh_files().items() if path.read_text(encoding="utf-8") != text}
    for path, text in stale.items():
        print(f"{path.relative_to(ROOT)}: {'stale; make tables writes it anew' if check else 'written anew'}")
        if not check:
            path.write_text(text, encoding="utf-8")
    if stale and check:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
