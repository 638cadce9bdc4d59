"""The benchmarks of the model: each with its smallest settings, and what they measure with."""

import argparse
import importlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from conftest import refused_line
from storyattn import StoryAttnOutput
from storyattn.training.models.presets import load_preset

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
MB = 1_000_000


@pytest.fixture
def load(monkeypatch) -> Callable[[str], ModuleType]:
    """Import a benchmark by its name."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


def options(**flags) -> argparse.Namespace:
    """Return flags as the benchmarks parse them, for what is run in this process."""
    common = {"device": "cpu", "threads": torch.get_num_threads(), "repeats": 1, "caption_length": 8}
    return argparse.Namespace(**{"compile": False, "gradient_checkpointing": False, **common, **flags})


@pytest.fixture
def smallest(tmp_path) -> list[str]:
    """The flags that both benchmarks take."""
    output = str(tmp_path / "numbers.json")
    return ["--caption_length", "8", "--repeats", "1", "--threads", "1", "--device", "cpu", "--output", output]


def test_training_measures_every_combination(load, smallest, small_config_file, capsys):
    settings = ["--num_frames", "1", "3", "--batch_sizes", "2"]
    load("training").main(["--presets", str(small_config_file), *settings, *smallest])
    document = json.loads(Path(smallest[-1]).read_text())
    hardware, rows = document["hardware"], document["rows"]
    assert hardware["threads"] == 1 and hardware["torch"] == torch.__version__ and hardware["cpu"]
    assert [(row["num_frames"], row["batch_size"]) for row in rows] == [(1, 2), (3, 2)]
    for row in rows:
        assert row["stories_per_second"] == pytest.approx(row["batch_size"] / row["seconds_per_step"])
        speed = row["flops_per_step"] / row["seconds_per_step"]
        assert row["share_of_matmul_peak"] == pytest.approx(speed / row["matmul_flops_per_second"])
        assert row["peak_memory_mb"] > 0
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(rows) and len({line.count("|") for line in table}) == 1


@pytest.mark.parametrize("factor, verdict", [(1, "agree"), (3, "DISAGREE")])
def test_training_compares_the_compiled_model(load, small_config_file, monkeypatch, capsys, factor, verdict):
    """A stand-in for the compiler, which takes its minutes, multiplies the loss."""
    training = load("training")

    def multiply(model: torch.nn.Module) -> None:
        forward = model.forward

        def multiplied(**inputs) -> StoryAttnOutput:
            output = forward(**inputs)
            output.loss = factor * output.loss
            return output

        model.forward = multiplied

    monkeypatch.setattr(training, "compile_blocks", multiply)
    monkeypatch.setitem(training.MATMUL_SIZES, "cpu", (64,))
    with torch._inductor.config.patch(fallback_random=False):  # what `measure` sets ends here
        row = training.measure(options(compile=True), str(small_config_file), "fp32", num_frames=2, batch_size=2)
    assert row["loss_difference"] == pytest.approx(factor - 1, abs=1e-5)
    assert row["gradient_difference"] == pytest.approx(factor - 1, abs=1e-5)
    assert row["eager_over_compiled"] == pytest.approx(row["seconds_per_step"] / row["compiled_seconds_per_step"])
    document = {"hardware": {"gpu": None, "cpu": "", "threads": 1, "torch": ""}, "rows": [row]}
    assert training.print_table(document, True) == (factor == 1)
    assert f"eager and compiled {verdict}," in capsys.readouterr().out


def test_training_counts_the_work_of_a_step(load, small_config_file):
    """Twice the stories are twice the work, but for the contrastive loss, and checkpoints are computed twice."""
    training, config = load("training"), load_preset(str(small_config_file))
    one, two = (training.TrainingStep(options(), config, "fp32", (number, 2, 8)).flops() for number in (1, 2))
    assert two == pytest.approx(2 * one, rel=0.001)
    again = training.TrainingStep(options(gradient_checkpointing=True), config, "fp32", (1, 2, 8)).flops()
    assert one < again < 2 * one


def test_one_pass_is_compared_with_single_transitions(load, smallest, small_config_file, capsys):
    settings = ["--preset", str(small_config_file), "--num_frames", "3", "--batch_size", "2", "--caption_length", "8"]
    threads = torch.get_num_threads()
    load("supervision").main([*settings, "--repeats", "1", "--threads", "1", "--output", smallest[-1]])
    torch.set_num_threads(threads)
    speeds = json.loads(Path(smallest[-1]).read_text())["transitions_per_second"]
    assert len(speeds) == 3 and min(speeds.values()) > 0
    assert capsys.readouterr().out.count("\n| ") == 4


def test_generation_fills_three_tables(load, smallest, small_config_file, capsys):
    settings = ["--new_tokens", "5", "--batch_sizes", "1", "2", "--num_frames", "2", "4"]
    load("generation").main(["--preset", str(small_config_file), *settings, *smallest])
    document = json.loads(Path(smallest[-1]).read_text())
    assert [row["batch_size"] for row in document["captions"]] == [1, 2]
    for row in document["captions"]:
        assert row["same_tokens"] == 1
        assert row["ratio"] == pytest.approx(row["cached_tokens_per_second"] / row["uncached_tokens_per_second"])
    (step,) = document["steps"]
    parts = [step[f"{name}_seconds"] for name in ("encoding", "caption", "painting", "rest")]
    assert sum(parts) == pytest.approx(step["total_seconds"]) and min(parts) > 0
    first, second = document["growth"]
    assert (first["num_frames"], second["num_frames"]) == (2, 4)
    for name in ("seconds", "reading_seconds"):
        assert first[f"{name}_ratio"] == 1 and second[f"{name}_ratio"] == pytest.approx(second[name] / first[name])
    assert capsys.readouterr().out.count("| --- |") == 3


def test_words_of_the_benchmark_are_tokens(load):
    tokenizer = load("generation").word_tokenizer(50)
    ids = [7, 49, 3, 3]
    assert len(tokenizer) == 50 and tokenizer(tokenizer.decode(ids))["input_ids"] == ids


def test_memory_is_that_of_the_process_alone(load):
    """The memory of this process does not count, and memory that is given back does."""
    ours = torch.ones(100 * MB)  # 400 MB
    grown = load("measuring").in_separate_process(growth_of, 50 * MB)
    assert 200 <= grown < 250 and len(ours)


def growth_of(numbers: int) -> float:
    """Return the megabytes that memory grows by where so many numbers of 4 bytes come and go."""
    memory = importlib.import_module("measuring").PeakMemory("cpu")
    torch.ones(numbers)
    return memory.megabytes()


def test_a_process_that_the_system_ends_is_reported(load):
    with pytest.raises(ValueError, match="memory: .*killed"):
        load("measuring").in_separate_process(end_process)


def end_process() -> None:
    """Do what the system does where memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    "name, flags, message",
    [
        ("training", ["--precisions", "fp16"], "precisions: got fp16 on a CPU, expected fp32 or bf16"),
        ("training", ["--caption_length", "99"], "caption_length: got 99, expected 3 to 48 for tiny"),
        ("generation", ["--new_tokens", "115"], "new_tokens: got 115, expected at most 114, "),
    ],
)
def test_settings_that_do_not_fit_are_refused(load, tmp_path, name, flags, message):
    argv = [*flags, "--device", "cpu", "--output", str(tmp_path / "numbers.json")]
    assert refused_line(load(name).main, argv).startswith(f"benchmarks/{name}.py: {message}")
    assert not Path(argv[-1]).exists()


def test_the_state_reader_reads_all_splits_and_a_wrong_reading_is_noticed(load, monkeypatch, capsys):
    benchmark = load("state_reader")
    flags = ["--num_stories", "2", "--height", "32", "--width", "48"]
    benchmark.main(flags)
    lines = [line for line in capsys.readouterr().out.splitlines() if "100.00%" in line]
    assert [line.split()[1] for line in lines] == list(benchmark.SPLITS)
    monkeypatch.setattr(benchmark.PictureState, "from_json", lambda text: None)
    with pytest.raises(SystemExit):
        benchmark.main(flags)
