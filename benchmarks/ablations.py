"""
Measure what each part of the model and each loss is worth: trainings of one budget that differ in one thing.

    python benchmarks/ablations.py --steps 400 --train_batch_size 4 --max_windows 100 \\
        --seeds 0 1 2 --variant_seeds 0 --output ablations.json

"Everything on" is trained with the seeds of `--seeds`, each variant with those of `--variant_seeds`; all are measured
on `validation`, never on a test split. The numbers of every run are written to `--output` once it is done; runs that
the file has are not trained again, so the command may be broken off and given again. Writes a table (Markdown, beside
the JSON) of means and spreads: the sample standard deviation over the seeds. A part earns its place where a measure
without it is worse by more than the spread of both; a variant with one seed is taken to spread as "everything on".
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from measuring import new_parser, positive, results_table, write_json
from storyattn.configuration_storyattn import DEFAULT_LOSS_WEIGHTS
from storyattn.training.arguments import parse_arguments
from storyattn.training.evaluation.tables import value_at
from storyattn.training.models.config_overrides import apply_overrides
from storyattn.training.models.presets import load_preset
from tqdm.auto import tqdm

ROOT = Path(__file__).parent.parent
FULL = "everything on"
NO_CONTEXT = "no story context"
# The parts of the loss on frames, each for the next frame and for reconstructions, and the rest, one by one.
OF_FRAMES = ("l1", "mse", "perceptual", "edge")
LOSSES = {name: (f"next_frame_{name}", f"reconstruction_{name}") for name in OF_FRAMES}
IN_PAIRS = {part for both in LOSSES.values() for part in both}
LOSSES |= {name: (name,) for name, weight in DEFAULT_LOSS_WEIGHTS.items() if weight and name not in IN_PAIRS}
CHANGES = {
    "no spatial attention": "use_spatial_attention=false",
    **{
        f"temperature {value}, not learned": f"spatial_temperature={value},learn_spatial_temperature=false"
        for value in (0.5, 1.0, 2.0)
    },
    **{f"gamma {value}, not learned": f"spatial_gamma={value},learn_spatial_gamma=false" for value in (0.0, 0.25, 1.0)},
    "no fusion": "use_cross_modal_fusion=false",
    "no joint frame attention": "use_joint_frame_attention=false",
    "no copying": "use_frame_copy=false",
    "no moving": "use_frame_motion=false",
    "with next_frame_objects": "loss_weights.next_frame_objects=0.2",
    **{f"without {name}": ",".join(f"loss_weights.{part}=0" for part in parts) for name, parts in LOSSES.items()},
}
# The flags of train.py that a variant adds.
VARIANTS = {
    FULL: [],
    NO_CONTEXT: ["--baseline", "no_context"],
    "AdamW for Muon": ["--optimizer", "adamw"],
    **{name: ["--config_overrides", change] for name, change in CHANGES.items()},
}
# What two runs must share to stand in one table.
BUDGET = ("recipe", "steps", "train_batch_size", "max_windows", "flags")
# What the table shows: where it stands in results.json, and whether more is better. The windows that are measured are
# spread over stories and positions; files of earlier windows lack some of these measures, and are not added to.
MEASURES = {
    "l1": (("next_frame", "l1"), False),
    "l1_changed": (("next_frame", "l1_changed"), False),
    "l1_changed_per_frame": (("next_frame", "l1_changed_per_frame"), False),
    "exact state": (("state", "caption_given", "exact"), True),
    "edge_ratio": (("next_frame", "edge_ratio"), True),
    "caption loss": (("next_caption", "loss"), False),
    "r1 in story": (("retrieval", "text_to_image", "within_story_r1"), True),
    "pointing game": (("attention", "pointing_game"), True),
}


def main(argv: list[str] | None = None) -> None:
    """Train what is not trained yet, print the table and write it."""
    parser = new_parser(__doc__)
    parser.add_argument("--recipe", default="configuration/recipes/ablations_tiny.yaml", help="what all runs share")
    parser.add_argument("--steps", type=positive, default=400, help="optimizer steps of a run")
    parser.add_argument("--train_batch_size", type=positive, default=4, help="stories of a step")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help=f"a run of {FULL!r} for each")
    parser.add_argument(
        "--variant_seeds", nargs="+", type=int, help="a run of every variant for each; default: --seeds"
    )
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), help="default: all")
    parser.add_argument("--max_windows", type=positive, default=100, help="windows of validation that are measured")
    parser.add_argument("--runs", default="runs/ablations", help="folder of the runs")
    parser.add_argument("--output", default="ablations.json", help="file for the numbers; the table goes beside it")
    parser.add_argument("flags", nargs="*", help="further flags of train.py, after --")
    arguments = parser.parse_args(argv)
    document = {**{name: getattr(arguments, name) for name in BUDGET}, "measures": list(MEASURES)}
    measured = read_measured(arguments.output, document)
    seeds = seeds_of_variants(arguments)
    every = dict.fromkeys(seed for some in seeds.values() for seed in some)
    cases = [(variant, seed) for seed in every for variant in seeds if seed in seeds[variant]]
    missing = [(variant, seed) for variant, seed in cases if seed not in measured.get(variant, {})]
    for variant, seed in tqdm(missing, desc="training", unit="run"):
        measured.setdefault(variant, {})[seed] = measures_of(run(arguments, variant, seed))
        write_json({**document, "seeds": seeds, "measured": measured}, arguments.output)
    runs = {variant: [measured[variant][seed] for seed in seeds[variant]] for variant in seeds}
    rows = [{"variant": variant, "runs": len(done), **summary(done)} for variant, done in runs.items()]
    write_json({**document, "seeds": seeds, "rows": rows, "measured": measured}, arguments.output)
    table = table_of(rows)
    Path(arguments.output).with_suffix(".md").write_text(f"{table}\n", encoding="utf-8")
    budget = f"{arguments.steps} steps of {arguments.train_batch_size} stories"
    print(f"\n{budget}, mean ± spread on validation\n\n{table}\n\nwritten to {arguments.output}")


def seeds_of_variants(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Return the seeds, in digits, of every variant that is asked for."""
    of_variants = arguments.seeds if arguments.variant_seeds is None else arguments.variant_seeds
    return {
        variant: [str(seed) for seed in (arguments.seeds if variant == FULL else of_variants)]
        for variant in arguments.variants
    }


def read_measured(output: str, document: dict) -> dict[str, dict[str, dict[str, float]]]:
    """
    Return the numbers of the runs that the file `output` has, by variant and seed.

    Raises `SystemExit` where they are of another budget than `document`.
    """
    if not Path(output).is_file():
        return {}
    earlier = json.loads(Path(output).read_text(encoding="utf-8"))
    for name, expected in document.items():
        if earlier.get(name) != expected:
            got = f"{earlier.get(name)!r} in {output}"
            raise SystemExit(f"benchmarks/ablations.py: {name}: got {got}, expected {expected!r}; or another --output")
    return earlier["measured"]


def run(arguments: argparse.Namespace, variant: str, seed: str) -> dict:
    """
    Train a variant with a seed; return the metrics of its `results.json`.

    Args:
        arguments: the flags.
        variant: a key of `VARIANTS`.
        seed: the seed, in digits.

    Raises:
        SystemExit: with the last line of a training that fails.
    """
    folder = Path(arguments.runs) / "".join(c if c.isalnum() else "_" for c in variant) / f"seed-{seed}"
    recipe = parse_arguments([str(ROOT / arguments.recipe)])[0]
    config = load_preset(recipe.preset)
    if recipe.config_overrides:
        apply_overrides(config, recipe.config_overrides)
    # As many transitions a step: a window of T frames has T - 1 of them, the pairs of `no_context` one.
    per_story = config.max_frames - 1 if variant == NO_CONTEXT else 1
    command = [sys.executable, ROOT / "train.py", ROOT / arguments.recipe, "--output_dir", folder, "--seed", seed]
    command += ["--max_train_steps", arguments.steps, "--train_batch_size", arguments.train_batch_size * per_story]
    command += ["--test_split", "validation", "--max_test_windows", arguments.max_windows]
    command += ["--max_eval_windows", 8, "--eval_steps", 0, "--save_steps", 0, *VARIANTS[variant], *arguments.flags]
    if recipe.config_overrides and variant in CHANGES:  # which would take the place of the recipe's
        command += ["--config_overrides", f"{recipe.config_overrides},{CHANGES[variant]}"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"benchmarks/ablations.py: {variant}, seed {seed}: {done.stderr.strip().splitlines()[-1]}")
    shutil.rmtree(folder / "checkpoints")
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))["metrics"]


def measures_of(metrics: dict) -> dict[str, float | None]:
    """Return the numbers of the table out of those of `evaluate_model`; `None` for what was not measured."""
    return {name: value_at(metrics, path) for name, (path, _) in MEASURES.items()}


def summary(measured: list[dict[str, float | None]]) -> dict[str, tuple[float, float]]:
    """Return mean and sample standard deviation of what all runs have; a spread of 0 for a single seed."""
    columns = {name: [run.get(name) for run in measured] for name in MEASURES}
    return {
        name: (statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0)
        for name, values in columns.items()
        if None not in values
    }


def table_of(rows: list[dict]) -> str:
    """
    Return means and spreads as Markdown; bold where a variant is worse than `FULL` by more than both spreads.

    A variant of a single run shows no spread, and is compared by twice the spread of `FULL`.
    """
    whole = next((row for row in rows if row["variant"] == FULL), None)

    def show(row: dict, name: str) -> str:
        mean, spread = row[name]
        is_single = row.get("runs") == 1
        text = f"{mean:.4f}" if is_single else f"{mean:.4f} ± {spread:.4f}"
        if whole is None or row is whole:
            return text
        worse = (whole[name][0] - mean) * (1 if MEASURES[name][1] else -1)
        spread = whole[name][1] if is_single else spread
        return f"**{text}**" if worse > spread + whole[name][1] else text

    columns = {"Variant": lambda row: row["variant"]}
    shared = [name for name in MEASURES if all(name in row for row in rows)]
    columns |= {name: lambda row, name=name: show(row, name) for name in shared}
    return results_table(columns, rows)


if __name__ == "__main__":
    main()
