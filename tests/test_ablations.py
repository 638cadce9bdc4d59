"""The ablations: which trainings are run, and what their table makes of the numbers."""

import importlib
import json
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
from storyattn import StoryAttnConfig
from storyattn.training.arguments import parse_arguments
from storyattn.training.models.config_overrides import apply_overrides
from storyattn.training.models.presets import load_preset


@pytest.fixture
def ablations(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return importlib.import_module("ablations")


@pytest.fixture
def trainings(monkeypatch, ablations) -> list[list[str]]:
    """The command lines of train.py that were run; each leaves results that differ by its seed."""
    lines = []

    def train(command: list[str], **options) -> subprocess.CompletedProcess:
        _, data, training = parse_arguments(command[2:])  # the flags are those of training
        lines.append(command)
        assert data.test_split == "validation"
        value = training.seed + 1.0
        metrics = {
            "next_frame": {"l1": value, "l1_changed": value, "l1_changed_per_frame": value, "edge_ratio": value},
            "state": {"caption_given": {"exact": value}},
            "next_caption": {"loss": value},
        }
        metrics |= {"retrieval": {"text_to_image": {"within_story_r1": value}}, "attention": {"pointing_game": value}}
        assert 0 <= training.seed <= 1, "a seed that fails"
        folder = Path(training.output_dir)
        (folder / "checkpoints").mkdir(parents=True)
        document = {"command": " ".join(command), "metrics": metrics}
        (folder / "results.json").write_text(json.dumps(document))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(ablations.subprocess, "run", train)
    return lines


def flags(tmp_path, *more: str) -> list[str]:
    folders = ["--runs", str(tmp_path / "runs"), "--output", str(tmp_path / "numbers.json")]
    return [*folders, "--seeds", "0", "1", "--variants", "everything on", "no fusion", *more]


def test_every_change_is_of_one_thing(ablations):
    recipe = parse_arguments([str(ablations.ROOT / "configuration/recipes/ablations_tiny.yaml")])[0]

    def config_with(*changes: str) -> StoryAttnConfig:
        config = load_preset(recipe.preset)
        for change in (recipe.config_overrides, *changes):
            apply_overrides(config, change)
        return config

    whole = config_with().to_dict()
    for name, change in ablations.CHANGES.items():
        config = config_with(change)
        differ = [key for key, value in config.to_dict().items() if value != whole[key]]
        assert 1 <= len(differ) <= 2, name
    for name, flags in ablations.VARIANTS.items():
        assert bool(flags) == (name != ablations.FULL)
        parse_arguments(flags)


def test_a_run_that_is_done_is_not_repeated(ablations, trainings, tmp_path, capsys):
    ablations.main(flags(tmp_path))
    changed = [parse_arguments(line[2:])[0].config_overrides for line in trainings]
    overrides = parse_arguments([trainings[0][2]])[0].config_overrides
    assert changed == [overrides, f"{overrides},use_cross_modal_fusion=false"] * 2
    rows = json.loads((tmp_path / "numbers.json").read_text())["rows"]
    assert rows[0]["l1"] == [1.5, pytest.approx(0.5**0.5)]
    assert "| no fusion | 1.5000 ± 0.7071 |" in (tmp_path / "numbers.md").read_text()
    assert not list(tmp_path.glob("runs/*/*/checkpoints"))
    ablations.main(flags(tmp_path))
    assert len(trainings) == 4
    with pytest.raises(SystemExit, match="steps: got 400 in .*, expected 5; or another --output"):
        ablations.main(flags(tmp_path, "--steps", "5"))


def test_runs_from_before_it_broke_off_are_not_repeated(ablations, trainings, tmp_path):
    with pytest.raises(AssertionError, match="a seed that fails"):
        ablations.main(flags(tmp_path, "--seeds", "1", "2"))
    assert len(trainings) == 3
    ablations.main(flags(tmp_path, "--seeds", "0", "1"))
    seeds = [parse_arguments(line[2:])[2].seed for line in trainings]
    assert seeds == [1, 1, 2, 0, 0]
    assert json.loads((tmp_path / "numbers.json").read_text())["rows"][0]["l1"][0] == 1.5


def test_variants_have_seeds_of_their_own(ablations, trainings, tmp_path):
    """One run of each variant beside several of the whole: the table shows no spread that was not measured."""
    ablations.main(flags(tmp_path, "--variant_seeds", "1"))
    names = [Path(parse_arguments(line[2:])[2].output_dir).parts[-2:] for line in trainings]
    assert names == [("everything_on", "seed-0"), ("everything_on", "seed-1"), ("no_fusion", "seed-1")]
    table = (tmp_path / "numbers.md").read_text()
    assert "| everything on | 1.5000 ± 0.7071 |" in table and "| no fusion | 2.0000 |" in table


def test_without_story_context_a_step_has_as_many_transitions(ablations, trainings, tmp_path):
    ablations.main(flags(tmp_path, "--variants", ablations.FULL, ablations.NO_CONTEXT, "--train_batch_size", "3"))
    sizes = [parse_arguments(line[2:])[2].train_batch_size for line in trainings]
    assert sizes == [3, 15] * 2
    assert [parse_arguments(line[2:])[0].baseline for line in trainings] == [None, "no_context"] * 2


def test_a_recipe_that_is_missing_is_named(ablations, tmp_path):
    with pytest.raises((SystemExit, ValueError), match="recipe: .*nothing.yaml"):
        ablations.main(flags(tmp_path, "--recipe", "nothing.yaml"))


def test_bold_is_what_is_worse_by_more_than_both_spreads(ablations):
    names = list(ablations.MEASURES)
    whole = {"variant": ablations.FULL, **dict.fromkeys(names, (0.5, 0.1))}
    near = {"variant": "near", **dict.fromkeys(names, (0.55, 0.1))}
    far = {"variant": "far", **dict.fromkeys(names, (0.9, 0.1))}
    lines = ablations.table_of([whole, near, far]).splitlines()
    assert "**" not in lines[2] + lines[3]
    for mean, is_bold in ((0.69, False), (0.71, True)):  # a single run counts as spread as the whole
        single = {"variant": "single", "runs": 1, **dict.fromkeys(names, (0.5, 0.0)), "l1": (mean, 0.0)}
        line = ablations.table_of([whole, single]).splitlines()[3]
        assert line.split("|")[2].strip() == (f"**{mean:.4f}**" if is_bold else f"{mean:.4f}")
    less_is_better = [not better for _, better in ablations.MEASURES.values()]
    assert ["**" in cell for cell in lines[4].split("|")[2:-1]] == less_is_better


def test_numbers_of_earlier_measures_are_shown_and_not_added_to(ablations, trainings, tmp_path):
    """A file from before a measure existed: its table has what it has, and new runs do not mix with it."""
    rows = [{"variant": ablations.FULL, "l1": (0.5, 0.1), "edge_ratio": (0.9, 0.0)}]
    assert ablations.table_of(rows).splitlines()[0] == "| Variant | l1 | edge_ratio |"
    ablations.main(flags(tmp_path))
    earlier = json.loads((tmp_path / "numbers.json").read_text())
    del earlier["measures"]
    (tmp_path / "numbers.json").write_text(json.dumps(earlier))
    with pytest.raises(SystemExit, match="measures: got None in .*, expected .*; or another --output"):
        ablations.main(flags(tmp_path))
