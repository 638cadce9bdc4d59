"""The recipe of StoryReasoning from end to end: made-up rows of its format, tiny models of the same classes."""

import json
import math
from importlib.resources import files
from pathlib import Path

import pytest
from pretrained_folders import save_decoder, save_text, save_vision
from story_reasoning_rows import row, write
from storyattn.training import train as train_module
from transformers import AutoModelForMultimodalLM, AutoProcessor

RECIPE = str(files("storyattn.configuration") / "recipes" / "story_reasoning.yaml")
QUICK = {"max_train_steps": 2, "train_batch_size": 2, "eval_batch_size": 4, "eval_steps": 2, "save_steps": 2}
QUICK |= {"warmup_steps": 1, "dataloader_num_workers": 0, "mixed_precision": "no", "lora_rank": 2}
SMALL = "image_size=[32,64],max_caption_length=24"


@pytest.fixture(scope="module")
def run(small_config_file, tmp_path_factory) -> Path:
    """The folder of a run of two steps."""
    folder = tmp_path_factory.mktemp("story reasoning")
    for split, count in (("train", 6), ("test", 2)):
        write(folder / "stories", split, [row(f"{split} {number}", count=4) for number in range(count)])
    parts = {
        "vision": save_vision(folder / "vision", "efficientnet"),
        "text": save_text(folder / "text", "bert"),
        "decoder": save_decoder(folder / "decoder", "llama"),
    }
    flags = {"dataset": folder / "stories", "output_dir": folder / "run", "config_overrides": SMALL}
    flags["config"] = small_config_file
    flags |= {f"pretrained_{name}": path for name, path in parts.items()} | QUICK
    train_module.main([RECIPE, *(f"--{name}={value}" for name, value in flags.items())])
    return folder / "run"


def test_all_that_its_papers_measure_is_measured(run):
    metrics = json.loads((run / "results.json").read_text())["metrics"]
    numbers = [metrics["next_caption"][name] for name in ("meteor", "rouge_l", "bleu4")]
    numbers += [metrics["retrieval"][way][name] for way in ("text_to_image", "image_to_text") for name in ("r1", "r10")]
    numbers += [metrics["grounding"][name] for name in ("precision", "recall", "f1", "map")]
    numbers += [metrics["next_frame"]["floors"][name]["l1"] for name in ("copy_last", "oracle_input", "train_median")]
    assert all(math.isfinite(number) for number in numbers)
    assert set(metrics["grounding"]["floors"]) == {"whole_frame", "middle"}


def test_the_folder_tells_of_its_parts_and_loads(run):
    card = (run / "README.md").read_text()
    assert "| boxes around what is looked at | precision | recall | f1 | map |" in card.lower()
    assert "frozen" in card and "lora" in card.lower()
    model = AutoModelForMultimodalLM.from_pretrained(run, trust_remote_code=True)
    assert model.config.decoder_config.model_type == "llama" and model.config.image_size == [32, 64]
    assert AutoProcessor.from_pretrained(run, trust_remote_code=True).decoder_tokenizer is not None
