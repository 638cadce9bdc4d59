"""Flags, recipes and overrides of a configuration: how they are read, their order, and what is refused."""

from dataclasses import fields
from importlib.resources import files

import pytest
from storyattn import StoryAttnConfig, StoryAttnForConditionalGeneration
from storyattn.training.arguments import (
    FLAGS_OF_ONE_MACHINE,
    GROUPS,
    TOPICS,
    Parser,
    parse_arguments,
    write_recipe,
)
from storyattn.training.common.command_line import portable_command
from storyattn.training.models.build import check_parts
from storyattn.training.models.config_overrides import apply_overrides
from storyattn.training.models.presets import load_preset

CONFIGURATION = files("storyattn.configuration")
RECIPES = sorted(path.name for path in (CONFIGURATION / "recipes").iterdir())


def parse(*argv: str) -> dict:
    """Return all flags of the three groups in one dictionary."""
    return {name: value for group in parse_arguments(list(argv)) for name, value in vars(group).items()}


@pytest.fixture
def recipe(tmp_path):
    """Return a function that writes a recipe and returns its path."""

    def write(text: str) -> str:
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return str(path)

    return write


def test_flags_override_the_recipe_which_overrides_the_defaults(recipe):
    path = recipe("seed: 3\nwarmup_steps: 7\n")
    flags = parse(path, "--seed", "4")
    assert (flags["seed"], flags["warmup_steps"], flags["train_batch_size"]) == (4, 7, parse()["train_batch_size"])


def test_recipe_values_mean_what_the_same_flags_mean(recipe):
    path = recipe("learning_rate: 1e-3\nmixed_precision: no\nuse_ema: no\nmax_train_steps: null\noutput_dir: 7\n")
    flags = parse(path)
    assert flags["learning_rate"] == 1e-3 and flags["mixed_precision"] == "no" and flags["use_ema"] is False
    assert flags["max_train_steps"] is None and flags["output_dir"] == "7"


@pytest.mark.parametrize("name", RECIPES)
def test_a_written_recipe_gives_the_same_flags(name, tmp_path):
    flags = [
        "--seed",
        "3",
        "--no_use_ema",
        "--config_overrides",
        "dropout=0.1,loss_weights.edge=0",
        "--output_dir",
        "x",
    ]
    argv = [str(CONFIGURATION / "recipes" / name), *flags, "--learning_rate", "1e-5"]
    write_recipe(parse_arguments(argv), tmp_path / "recipe.yaml")
    assert parse(str(tmp_path / "recipe.yaml"), "--output_dir", "x") == parse(*argv)


@pytest.mark.parametrize("flags", [("--use_ema", "false"), ("--no_use_ema",), ("--use-ema=0",)])
def test_booleans_can_be_switched_off(flags):
    assert parse()["use_ema"] is True and parse("--use_ema")["use_ema"] is True
    assert parse(*flags)["use_ema"] is False


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("--train_batch_size", "0"), "train_batch_size: got 0, expected at least 1"),
        (("--max_train_steps", "0"), "max_train_steps: got 0"),
        (("--max_eval_windows", "0"), "max_eval_windows: got 0"),
        (("--dataloader_num_workers", "-1"), "dataloader_num_workers: got -1"),
        (("--learning_rate", "0"), "learning_rate: got 0.0, expected above 0"),
        (("--ema_decay", "1"), r"ema_decay: got 1.0, expected in \[0, 1\)"),
        (("--warmup_steps", "-1"), "warmup_steps: got -1"),
        (("--augment_crop", "1"), r"augment_crop: got 1.0, expected in \[0, 1\)"),
        (("--caption_dropout", "-0.1"), "caption_dropout: got -0.1"),
        (("--early_stopping_patience", "0"), "early_stopping_patience: got 0, expected at least 1"),
        (
            ("--early_stopping_patience", "2", "--eval_steps", "0"),
            "eval_steps: got 0, expected at least 1 with early",
        ),
        (("--mixed_precision", "fp8"), "mixed_precision.*'fp8'.*'bf16'"),
        (("--lr_scheduler_type", "cosin"), "lr_scheduler_type.*'cosin'.*'cosine'"),
        (("--seed", "x"), "seed.*'x'"),
        (("--lerning_rate", "1"), "'--lerning_rate', .*; did you mean --learning_rate[?]"),
        (("--seed", "1", "runs/tiny"), "'runs/tiny'"),
        (("nowhere.yaml",), "recipe: got 'nowhere.yaml', expected a YAML file of flags that exists"),
    ],
)
def test_a_bad_flag_is_refused(argv, expected):
    with pytest.raises(ValueError, match=expected):
        parse(*argv)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lerning_rate: 1", "got the key 'lerning_rate' in .*mine.yaml'.* such as learning_rate"),
        ("seed: x", "mine.yaml'.*seed.*'x'"),
        ("seed: [1, 2]", "seed: got a list in .*mine.yaml'"),
        ("- seed", "got a list in .*mine.yaml', expected a mapping"),
        ("seed: [", "got .*mine.yaml', expected YAML"),
    ],
)
def test_a_bad_recipe_is_refused_with_its_name(recipe, text, expected):
    with pytest.raises(ValueError, match=expected):
        parse(recipe(text))


def test_every_flag_has_a_topic_of_the_help_and_a_line():
    topics = {group.title: group._group_actions for group in Parser()._action_groups}
    assert set(TOPICS) <= topics.keys() and all(topics[title] for title in TOPICS)
    flags = [action.dest for title in TOPICS for action in topics[title]]
    assert sorted(flags) == sorted(item.name for group in GROUPS for item in fields(group))
    assert all(item.metadata["help"].strip() for group in GROUPS for item in fields(group))


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_of_the_package_can_be_read(name):
    flags = parse(str(CONFIGURATION / "recipes" / name))
    config = load_preset(flags["preset"])
    if flags["config_overrides"]:
        apply_overrides(config, flags["config_overrides"])
    assert flags["output_dir"].startswith("runs/")


def test_overrides_reach_nested_values():
    config = StoryAttnConfig()
    weights = dict(config.loss_weights)
    apply_overrides(config, 'dropout=0.1, image_size=[32,48],loss_weights={"describe":0},vision_config.depths=[1,1,1]')
    assert config.dropout == 0.1 and config.image_size == [32, 48] and config.vision_config.depths == [1, 1, 1]
    assert config.loss_weights == {**weights, "describe": 0}
    apply_overrides(config, "loss_weights.alignment=0,perceptual_model=some/model")
    assert config.loss_weights["alignment"] == 0 and config.perceptual_model == "some/model"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dropot=0.1", "'dropot'.* such as dropout"),
        ("loss_weights.align=0", "'loss_weights.align'.* such as alignment"),
        ("vision_config.depth=[1]", "'vision_config.depth'.* such as depths"),
        ("dropout.rate=1", "'dropout.rate'"),
        ("dropout", "'dropout', expected name=value"),
        ("hidden_size=0", "hidden_size: got 0, expected a multiple of 4 above 0"),
        ("hidden_size=-8", "hidden_size: got -8, expected a multiple of 4 above 0"),
        ("frame_stride=0", "frame_stride: got 0, expected a power of two"),
        ("frame_channels=[0,0]", "frame_channels: got .*, expected .* numbers above 0"),
        ("image_std=[0.0,1.0,1.0]", "image_std: got .*, expected numbers above 0"),
        ("image_mean=[NaN,0.0,0.0]", "image_mean: got .*, expected three numbers"),
        ("spatial_temperature=Infinity", "spatial_temperature: got inf, expected a number above 0"),
        ("logit_scale_init_value=NaN", "logit_scale_init_value: got nan, expected a finite number"),
        ("loss_weights.describe=Infinity", "loss_weights.describe: got inf"),
        ("dropout=2", "dropout: got 2, expected in"),
        ("dropout=much", "dropout: got 'much', expected another value"),
        ("loss_weights.alignment=much", "loss_weights.alignment: got much, expected a number of at least 0"),
        ("vision_config=null", "vision_config: got None, expected names and values"),
    ],
)
def test_a_bad_override_is_refused(text, expected):
    with pytest.raises(ValueError, match=expected):
        apply_overrides(StoryAttnConfig(), text)


@pytest.mark.parametrize(
    "override", ["text_config.n_heads=0", "vision_config.depths=[]", "decoder_config.hidden_size=-8"]
)
def test_parts_that_cannot_be_built_are_refused_in_one_line(override):
    config = StoryAttnConfig()
    apply_overrides(config, override)
    with pytest.raises(
        ValueError, match=r"^config_overrides: got '.*', expected a model that can be built: "
    ) as refused:
        check_parts(config, override)
    assert "\n" not in str(refused.value)


def test_parts_that_can_be_built_are_not_refused():
    config = StoryAttnConfig()
    apply_overrides(config, "hidden_size=64,decoder_config.num_hidden_layers=1")
    check_parts(config, "hidden_size=64")
    assert all(not parameter.is_meta for parameter in StoryAttnForConditionalGeneration(config).parameters())


def test_a_portable_command_makes_the_run_again_elsewhere():
    words = "train.py a.yaml --cache_dir /home/me/x --seed 4 --resume-from-checkpoint=latest --max_train_steps=5"
    assert portable_command(words.split(), FLAGS_OF_ONE_MACHINE) == "train.py a.yaml --seed 4 --max_train_steps=5"
    assert (
        portable_command(["train.py", "--output_dir", "my runs"], FLAGS_OF_ONE_MACHINE)
        == "train.py --output_dir 'my runs'"
    )


def test_a_recipe_has_no_path_of_a_cache(tmp_path):
    write_recipe(parse_arguments(["--cache_dir", str(tmp_path), "--seed", "4"]), tmp_path / "recipe.yaml")
    assert (tmp_path / "recipe.yaml").read_text() == "seed: 4\n"
