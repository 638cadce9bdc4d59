"""The baselines: what each learns and reads, that it comes back from a folder, and that the common commands hold."""

import json
import math

import pytest
import torch
from conftest import SMALL_CONFIG, draw_story, refused_line, small_config
from PIL import Image as PILImage
from safetensors.torch import load_file
from storyattn.training import evaluate_cli, tell
from storyattn.training import train as train_module
from storyattn.training.arguments import Baseline, ModelArguments
from storyattn.training.baselines import BASELINES, NoContextModel, NotebookModel, build_baseline, story_config
from storyattn.training.checkpoints import list_checkpoints
from storyattn.training.evaluation import evaluate_model
from storyattn.training.loading import load_model
from storyattn.training.prepared_stories import prepare_stories
from storyattn.training.sources import read_stories
from torch.testing import assert_close
from transformers import BertConfig, BertModel, ConvNextConfig, ConvNextModel, ViTConfig, ViTModel

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = {"train_batch_size": 4, "eval_batch_size": 4, "warmup_steps": 2, "max_eval_windows": 4, "max_test_windows": 4}


@pytest.fixture(scope="module")
def encoders(tmp_path_factory, small_processor) -> dict[str, str]:
    """Folders of a tiny vision model and a tiny text encoder with its tokenizer, as a Hub id would give."""
    torch.manual_seed(0)
    vision, text = (tmp_path_factory.mktemp(name) for name in ("vision", "text"))
    widths = {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2}
    ConvNextModel(ConvNextConfig(image_size=32, **widths)).save_pretrained(vision)
    (vision / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.1, 0.2, 0.3]}))
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    tokenizer = small_processor.tokenizer
    BertModel(BertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(text)
    tokenizer.save_pretrained(text)
    return {"vision": str(vision), "text": str(text)}


@pytest.fixture
def built(small_processor, encoders):
    """Builds a baseline of the small model with fresh weights, in evaluation mode."""

    def build(name: str, **changes):
        config = small_config(**changes)
        config.adapt_to_tokenizer(small_processor.tokenizer)
        given = encoders if name == "projection" else {}
        config = story_config(name, config, given.get("vision"))
        torch.manual_seed(0)
        return build_baseline(name, config, **given).eval()

    return build


def batch_of(processor, seeds, num_frames=3) -> dict[str, torch.Tensor]:
    """Stories as tensors, the last one a frame shorter."""
    stories = [draw_story(seed, num_frames) for seed in seeds]
    stories[-1] = {name: values[:-1] for name, values in stories[-1].items()}
    names = ("frames", "captions")
    return dict(processor(**{name: [story[name] for story in stories] for name in names}))


@pytest.fixture
def batch(small_processor) -> dict[str, torch.Tensor]:
    return batch_of(small_processor, range(4))


def changed(batch: dict, name: str, frame: int) -> dict[str, torch.Tensor]:
    """The batch with other pictures, or other words, at a frame of every story."""
    values = batch[name].clone()
    if name == "pixel_values":
        values[:, frame] = -values[:, frame]
    else:
        words = values[:, frame, 1:]  # the start token stays
        values[:, frame, 1:] = torch.where(words > 2, 3 + (words + 7) % 200, words)
    return {**batch, name: values}


# What each learns and reads


@pytest.mark.parametrize("name", BASELINES)
def test_the_loss_falls_on_a_few_stories(built, batch, name):
    model = built(name).train()
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=5e-3)
    losses = []
    for _ in range(30):
        output = model(**batch, return_loss=True)
        assert set(output.loss_parts) == {part for part, weight in model.config.loss_weights.items() if weight}
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(output.loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("name", BASELINES)
def test_a_batch_counts_what_its_loss_is_divided_by(built, small_processor, name):
    """Half the sum of two batches' losses, each divided by the mean of their counts, is the loss of both together."""
    model = built(name, next_caption_dropout=0)
    if name == "projection":
        pytest.skip("negatives are those of one batch")
    parts = [batch_of(small_processor, seeds) for seeds in (range(2), range(4, 7))]
    whole = batch_of(small_processor, range(4))
    del whole
    counts = [model.loss_counts(**part) for part in parts]
    mean = {kind: (counts[0][kind] + counts[1][kind]) / 2 for kind in counts[0]}
    losses = [model(**part, return_loss=True, loss_counts=mean).loss_parts for part in parts]
    own = [model(**part, return_loss=True).loss_parts for part in parts]
    kinds = {"context": "next_frame", "next_frame_l1": "next_frame", "next_caption": "next_caption"}
    for part in set(losses[0]) & set(kinds):
        numbers = [count[kinds[part]] for count in counts]
        expected = sum(loss[part] * number for loss, number in zip(own, numbers)) / sum(numbers)
        assert_close(sum(loss[part] for loss in losses) / 2, expected)
