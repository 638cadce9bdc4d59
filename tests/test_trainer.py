"""The Trainer of transformers: the example of docs/training.md, run on few stories, a small model and few steps."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL_CONFIG, draw_story
from datasets import Dataset
from storyattn import StoryAttnConfig, StoryAttnForConditionalGeneration
from transformers import AutoProcessor, Trainer, TrainingArguments

PAGE = Path(__file__).resolve().parent.parent / "docs" / "training.md"
QUICK = {"max_steps": 24, "per_device_train_batch_size": 4, "eval_steps": 12, "logging_steps": 1, "save_strategy": "no"}
QUICK |= {"learning_rate": 3e-3, "use_cpu": True}
# A step in which nothing is drawn at random, and which averages over stories alone.
PLAIN = {"next_caption_dropout": 0.0, "num_reconstructed_frames": 9, "loss_weights": {"alignment": 0}}
PLAIN["text_config"] = {**SMALL_CONFIG["text_config"], "dropout": 0.0, "attention_dropout": 0.0}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def run_example(monkeypatch, tmp_path):
    """Run the example with a small model, few stories and changed arguments; returns its variables."""

    def run(draw=draw_story, config=None, **changes) -> dict:
        section = PAGE.read_text(encoding="utf-8").split("\n## With the Trainer of transformers\n")[1]
        code = re.search(r"```python\n(.*?)```", section, re.DOTALL).group(1)

        def read_few(name: str, split: str) -> Dataset:
            assert name == "storyworld"
            seeds = {"train": range(16), "validation": range(100, 104)}[split]
            return Dataset.from_list([{"story_id": f"{split}-{seed}", **draw(seed)} for seed in seeds])

        small = {**SMALL_CONFIG, **(config or {})}
        monkeypatch.setattr("storyattn.training.data.sources.read_stories", read_few)
        monkeypatch.setattr("storyattn.training.models.presets.load_preset", lambda name: StoryAttnConfig(**small))
        monkeypatch.setattr(
            "transformers.TrainingArguments", lambda **given: TrainingArguments(**{**given, **QUICK, **changes})
        )
        monkeypatch.chdir(tmp_path)
        torch.manual_seed(0)
        variables = {}
        exec(compile(code, PAGE.name, "exec"), variables)
        return variables

    return run


def logged(trainer, name: str) -> list[float]:
    """Return what was logged by a name, in order."""
    return [line[name] for line in trainer.state.log_history if name in line]


def test_the_example_trains_evaluates_saves_and_loads(run_example, tmp_path):
    variables = run_example()
    losses, measured = logged(variables["trainer"], "loss"), logged(variables["trainer"], "eval_loss")
    assert len(losses) == 24 and sum(losses[-4:]) < 0.8 * sum(losses[:4])
    assert len(measured) == 2 and measured[1] < measured[0]

    folder = tmp_path / "runs" / "trainer"
    assert (folder / "modeling_storyattn.py").is_file()
    model, processor = variables["model"], AutoProcessor.from_pretrained(folder)
    assert isinstance(model, StoryAttnForConditionalGeneration) and model is not variables["trainer"].model
    trained = variables["trainer"].model.state_dict()
    assert all(torch.equal(weight, trained[name]) for name, weight in model.state_dict().items())
    story = draw_story(100, num_frames=2)
    continuation = model.continue_story(processor, story["frames"], story["captions"], max_new_tokens=5)
    assert len(continuation) == 3 and continuation.num_given == 2


def test_bfloat16(run_example):
    plain, half = (run_example(max_steps=12, bf16=bf16)["trainer"] for bf16 in (False, True))
    losses = logged(half, "loss")
    assert losses[0] != logged(plain, "loss")[0] and losses[0] == pytest.approx(logged(plain, "loss")[0], rel=0.01)
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    assert logged(half, "eval_loss")[0] == pytest.approx(logged(plain, "eval_loss")[0], rel=0.05)


def test_accumulated_batches_equal_one_large_batch(run_example):
    """Of stories that are all the same, so that it does not matter which come together."""
    batches = {"per_device_train_batch_size": 4}, {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    whole, accumulated = (
        run_example(lambda seed: draw_story(1, num_frames=3), PLAIN, max_steps=2, **batch)["trainer"]
        for batch in batches
    )
    for name in ("loss", "grad_norm"):
        assert logged(accumulated, name) == pytest.approx(logged(whole, name), rel=1e-4), name


def test_recomputed_activations_change_nothing(run_example):
    new = hasattr(TrainingArguments, "activation_checkpointing")
    flag = "activation_checkpointing" if new else "gradient_checkpointing"
    plain, recomputed = (run_example(max_steps=2, **{flag: on})["trainer"] for on in (False, True))
    layers = {
        type(module).__name__ for module in recomputed.model.modules() if getattr(module, "gradient_checkpointing", 0)
    }
    assert {"FrameDecoderLayer", "SelfAttentionBlock", "CrossModalLayer"} <= layers
    for name in ("loss", "grad_norm"):
        assert logged(recomputed, name) == pytest.approx(logged(plain, name), rel=1e-4), name


def test_metrics_are_computed_over_batches_of_several_sizes(small_model, small_processor, tmp_path):
    """With what the Trainer gathers by itself: embeddings and predicted frames, padded where a story is shorter."""
    stories = [draw_story(seed, num_frames) for seed, num_frames in ((1, 3), (2, 2), (3, 3))]
    for story, caption in zip(stories, ("Owl.", "The red fox walks to the left.", "x")):
        story["captions"] = [caption] * len(story["captions"])
    batches = [small_processor([story["frames"]], [story["captions"]]) for story in stories]
    assert len({batch["input_ids"].shape[-1] for batch in batches}) == 3, "all alike: this would show nothing"
    gathered = []

    def collate(items: list[dict]) -> dict:
        frames, captions = ([item[name] for item in items] for name in ("frames", "captions"))
        return {**small_processor(frames=frames, captions=captions), "return_loss": True}

    def measure(result) -> dict[str, float]:
        gathered.append(result.predictions)
        return {"stories": len(result.predictions[0])}

    options = {"per_device_eval_batch_size": 1, "remove_unused_columns": False, "report_to": [], "use_cpu": True}
    arguments = TrainingArguments(output_dir=str(tmp_path), **options)
    trainer = Trainer(small_model, arguments, collate, eval_dataset=stories, compute_metrics=measure)
    measured = trainer.evaluate()
    assert measured["eval_stories"] == 3 and measured["eval_loss"] > 0
    image_embeds, text_embeds, predicted = gathered[0]
    with torch.no_grad():
        outputs = [small_model(**batch) for batch in batches]
    for index, output in enumerate(outputs):
        length = len(stories[index]["frames"])
        for values, name in ((image_embeds, "image_embeds"), (text_embeds, "text_embeds")):
            assert np.allclose(values[index, :length], output[name][0], atol=1e-5), name
        assert np.allclose(predicted[index, : length - 1], output.predicted_frames[0], atol=1e-5)
        assert (predicted[index, length - 1 :] == -100).all()
