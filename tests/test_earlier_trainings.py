"""A training whose recipe names the recipe of the model that it goes on from: one command trains both."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from forked_programs import fork_processes, train_program, wait_for_all
from safetensors.torch import load_file
from storyattn.training import train as train_module
from storyattn.training.arguments import parse_arguments
from storyattn.training.earlier_trainings import earlier_trainings
from storyattn.training.engine.accelerator import forget_accelerator
from training_runs import QUICK, last_weights, read_log, same_tensors

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS = {"max_train_steps": 2, "eval_steps": 0, "logging_steps": 1, **QUICK}


@pytest.fixture
def chain(stories_folder, small_config_file, tmp_path) -> Iterator[dict[str, Path]]:
    """Write recipes of two trainings, `first` and `second`, which goes on from it; returns their files by name."""
    flags = {**STEPS, "config": str(small_config_file), "dataset": str(stories_folder)}
    second = {**flags, "config": None} | {
        "model_name_or_path": str(tmp_path / "first"),
        "model_recipe": str(tmp_path / "first.yaml"),
    }
    recipes = {"first": flags | {"mixed_precision": "bf16"}, "second": second}
    for name, values in recipes.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(values | {"output_dir": str(tmp_path / name)}))
        recipes[name] = path
    forget_accelerator()
    yield recipes
    forget_accelerator()


def change(recipe: Path, **flags) -> None:
    """Write other flags into a recipe."""
    recipe.write_text(yaml.safe_dump(yaml.safe_load(recipe.read_text()) | flags))


def test_one_command_trains_both_and_later_only_the_second(chain, tmp_path, capsys):
    train_module.main([str(chain["second"])])
    facts = [json.loads((tmp_path / name / "results.json").read_text())["facts"] for name in ("first", "second")]
    assert [fact["training"]["precision"] for fact in facts] == ["bf16", "fp32"]
    assert "first.yaml" in facts[0]["command"] and "second.yaml" in facts[1]["command"]
    assert facts[1]["pretrained"] == {"all": "first, trained before"}
    weights = load_file(tmp_path / "first" / "model.safetensors")
    train_module.main([str(chain["second"]), "--output_dir", str(tmp_path / "again")])
    assert same_tensors(last_weights(tmp_path / "second"), last_weights(tmp_path / "again"))
    assert same_tensors(weights, load_file(tmp_path / "first" / "model.safetensors"))
    assert not list((tmp_path / "first").glob("earlier-*"))  # nothing was trained there again


@pytest.mark.usefixtures("without_results")
def test_a_first_training_that_was_broken_off_goes_on(chain, tmp_path):
    change(chain["first"], save_steps=1)
    train_module.main([str(chain["first"])])  # as if it was broken off before its evaluation: there are no weights
    flags = parse_arguments([str(chain["second"]), "--resume_from_checkpoint", "latest", "--cache_dir", "elsewhere"])
    [(recipe, (_, data_args, args))] = earlier_trainings(flags).items()
    assert (recipe, args.resume_from_checkpoint, data_args.cache_dir) == (str(chain["first"]), "latest", "elsewhere")
    with pytest.raises(SystemExit):  # no weights come of it here, so that the second one has nothing to go on from
        train_module.main([str(chain["second"]), "--resume_from_checkpoint", "latest"])
    assert [line["step"] for line in read_log(tmp_path / "first") if "loss" in line] == [1, 2]


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch has no gloo here")
def test_two_processes_train_both(chain, tmp_path):
    flags = yaml.safe_load(chain["second"].read_text()) | {"output_dir": tmp_path / "second"}
    with fork_processes(2, train_program, flags, False, True, log=tmp_path / "log") as programs:
        assert wait_for_all(programs) == [0, 0], (tmp_path / "log").read_text()[-3000:]
    assert (tmp_path / "first" / "model.safetensors").is_file() and (tmp_path / "second" / "README.md").is_file()
    assert (tmp_path / "log").read_text().count("2 processes") == 2


def test_recipes_that_do_not_fit_are_refused_before_anything_is_trained(chain, tmp_path):
    flags = parse_arguments([str(chain["second"])])
    change(chain["first"], output_dir=str(tmp_path / "third"))
    with pytest.raises(
        ValueError, match="model_recipe: got .*first.yaml.*whose output_dir is .*third.*, expected that"
    ):
        earlier_trainings(flags)
    change(chain["first"], output_dir=str(tmp_path / "first"), model_name_or_path=str(tmp_path / "second"), config=None)
    change(chain["first"], model_recipe=str(chain["second"]))
    with pytest.raises(ValueError, match="model_recipe: got .* twice, expected recipes that end with one from nothing"):
        earlier_trainings(flags)
    with pytest.raises(ValueError, match="model_recipe: got x.yaml, expected none without --model_name_or_path"):
        parse_arguments(["--model_recipe", "x.yaml"])
    assert not (tmp_path / "first").exists()
