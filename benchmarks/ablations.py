"""
What each part of the model and each loss is worth: trainings of one budget that differ in one thing, with three seeds:

    python benchmarks/ablations.py --steps 800 --seeds 0 1 2

Measured on `validation`, never on a test split. A run that is done already (its `results.json` is in the folder of
`--runs`) is not made again, so the command may be broken off and given again. Writes a table (Markdown, beside the JSON
of `--output`) of means and spreads: the sample standard deviation over the seeds. A part earns its place where a
measure without it is worse by more than the spread of both.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from measuring import markdown_table, positive, write_json
from storyattn.configuration_storyattn import DEFAULT_LOSS_WEIGHTS
from storyattn.training.arguments import parse_arguments
from tqdm.auto import tqdm

ROOT = Path(__file__).parent.parent
FULL = "everything on"
CHANGES = {
    "no spatial attention": "use_spatial_attention=false",
    **{
        f"temperature {value}, not learned": f"spatial_temperature={value},learn_spatial_temperature=false"
        for value in (0.5, 1.0, 2.0)
    },
    **{f"gamma {value}, not learned": f"spatial_gamma={value},learn_spatial_gamma=false" for value in (0.0, 0.25, 1.0)},
    "no fusion": "use_cross_modal_fusion=false",
    "no copying": "use_frame_copy=false",
    "no moving": "use_frame_motion=false",
    **{f"without {name}": f"loss_weights.{name}=0" for name in DEFAULT_LOSS_WEIGHTS},
}
# The flags of train.py that a variant adds.
VARIANTS = {
    FULL: [],
    "no story context": ["--baseline", "no_context", "--train_batch_size", "32"],  # transitions of 8 windows of 5
    **{name: ["--config_overrides", change] for name, change in CHANGES.items()},
}
# What the table shows: where it stands in results.json, and whether more is better.
MEASURES = {
    "l1": (("next_frame", "l1"), False),
    "l1_changed": (("next_frame", "l1_changed"), False),
    "edge_ratio": (("next_frame", "edge_ratio"), True),
    "caption loss": (("next_caption", "loss"), False),
    "r1 in story": (("retrieval", "text_to_image", "within_story_r1"), True),
    "pointing game": (("attention", "pointing_game"), True),
}


def main(argv: list[str] | None = None) -> None:
    """Trains what is not trained yet, prints the table and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="configuration/recipes/storyworld_tiny.yaml", help="what all runs share")
    parser.add_argument("--steps", type=positive, default=800, help="optimizer steps of a run")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="a run of every variant for each")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), help="default: all")
    parser.add_argument("--max_windows", type=positive, default=400, help="windows of validation that are measured")
    parser.add_argument("--runs", default="runs/ablations", help="folder of the runs")
    parser.add_argument("--output", default="ablations.json", help="file for the numbers; the table goes beside it")
    parser.add_argument("flags", nargs="*", help="further flags of train.py, after --")
    arguments = parser.parse_args(argv)
    cases = [(variant, seed) for seed in arguments.seeds for variant in arguments.variants]
    found: dict[str, list[dict]] = {variant: [] for variant in arguments.variants}
    for variant, seed in tqdm(cases, desc="training", unit="run"):
        found[variant].append(measures_of(run(arguments, variant, seed)))
    rows = [{"variant": variant, **summary(measured)} for variant, measured in found.items()]
    document = {name: value for name, value in vars(arguments).items() if name not in ("runs", "output")}
    write_json({**document, "rows": rows, "measured": found}, arguments.output)
    table = table_of(rows)
    Path(arguments.output).with_suffix(".md").write_text(f"{table}\n", encoding="utf-8")
    print(f"\n{arguments.steps} steps, seeds {arguments.seeds}, mean ± spread on validation\n\n{table}")
    print(f"\nwritten to {arguments.output}")


def run(arguments, variant: str, seed: int) -> dict:
    """The results of a variant, trained with a seed where that has not been done."""
    folder = Path(arguments.runs) / "".join(c if c.isalnum() else "_" for c in variant) / f"seed-{seed}"
    results = folder / "results.json"
    if not results.is_file():
        command = [sys.executable, ROOT / "train.py", ROOT / arguments.recipe, "--output_dir", folder]
        command += ["--max_train_steps", arguments.steps, "--seed", seed, "--test_split", "validation"]
        command += ["--max_test_windows", arguments.max_windows, "--eval_steps", 0, "--save_steps", 0]
        command += [*VARIANTS[variant], *arguments.flags]
        own = parse_arguments([str(ROOT / arguments.recipe)])[0].config_overrides
        if own and variant in CHANGES:  # which would take the place of the recipe's
            command += ["--config_overrides", f"{own},{CHANGES[variant]}"]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"benchmarks/ablations.py: {variant}, seed {seed}: {done.stderr.strip().splitlines()[-1]}")
        shutil.rmtree(folder / "checkpoints")
    document = json.loads(results.read_text(encoding="utf-8"))
    if f"--max_train_steps {arguments.steps} " not in document["command"]:
        found = f"{folder} of another number of steps"
        raise SystemExit(f"benchmarks/ablations.py: runs: found {found}, expected {arguments.steps}; or another folder")
    return document["metrics"]


def measures_of(metrics: dict) -> dict[str, float]:
    """The numbers of the table out of those of `evaluate_model`."""
    found = {}
    for name, (path, _) in MEASURES.items():
        value = metrics
        for key in path:
            value = value[key]
        found[name] = value
    return found


def summary(measured: list[dict[str, float]]) -> dict[str, tuple[float, float]]:
    """Mean and sample standard deviation of every measure; a spread of 0 where there is one seed."""
    columns = {name: [run[name] for run in measured] for name in MEASURES}
    return {
        name: (statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0)
        for name, values in columns.items()
    }


def table_of(rows: list[dict]) -> str:
    """Means and spreads as Markdown; bold where a variant is worse than everything on by more than both spreads."""
    whole = next((row for row in rows if row["variant"] == FULL), None)

    def show(row: dict, name: str) -> str:
        mean, spread = row[name]
        text = f"{mean:.4f} ± {spread:.4f}"
        if whole is None or row is whole:
            return text
        worse = (whole[name][0] - mean) * (1 if MEASURES[name][1] else -1)
        return f"**{text}**" if worse > spread + whole[name][1] else text

    columns = {"Variant": lambda row: row["variant"]}
    columns |= {name: lambda row, name=name: show(row, name) for name in MEASURES}
    return markdown_table(columns, rows)


if __name__ == "__main__":
    main()
