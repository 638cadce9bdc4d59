"""The fixtures of all tests: a model that trains in a moment, its processor, and a folder of drawn stories."""

import contextlib
import io
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PILImage
from PIL import ImageDraw
from storyattn import (
    StoryAttnConfig,
    StoryAttnForConditionalGeneration,
    build_processor,
    vision_encoder,
)
from storyattn.training.models import efficientnet_lite0
from storyattn.training.models.tokenizer import train_tokenizer
from transformers import PreTrainedConfig

SMALL_CONFIG = {
    "model_type": "storyattn",
    "image_size": [32, 48],
    "max_frames": 3,
    "max_caption_length": 16,
    "hidden_size": 32,
    "num_attention_heads": 2,
    "num_story_layers": 1,
    "num_spatial_heads": 2,
    "num_text_tokens": 2,
    "projection_dim": 16,
    "num_frame_layers": 2,
    "use_joint_frame_attention": True,
    "frame_context_captions": 1,
    "frame_channels": [16, 8],
    "vision_config": {
        "model_type": "convnext",
        "num_stages": 3,
        "hidden_sizes": [8, 16, 16],
        "depths": [1, 1, 1],
        "out_features": ["stage1", "stage2", "stage3"],
    },
    "text_config": {
        "model_type": "distilbert",
        "vocab_size": 300,
        "dim": 16,
        "n_layers": 1,
        "n_heads": 2,
        "hidden_dim": 32,
        "dropout": 0.1,
        "max_position_embeddings": 32,
    },
    "decoder_config": {
        "model_type": "llama",
        "vocab_size": 300,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 64,
        "tie_word_embeddings": True,
    },
}


def small_config(**changes) -> StoryAttnConfig:
    """The configuration of the small model with changes."""
    return StoryAttnConfig(**{**SMALL_CONFIG, **changes})


def uneven_model(processor, decoder_context_captions: int, std: float) -> StoryAttnForConditionalGeneration:
    """Return a model whose text decoder is drawn so uneven that it writes something else for each story."""
    config = small_config(decoder_context_captions=decoder_context_captions)
    config.decoder_config.tie_word_embeddings = False
    config.adapt_to_tokenizer(processor.tokenizer)
    torch.manual_seed(2)
    model = StoryAttnForConditionalGeneration(config).eval()
    for weight in model.text_decoder.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=std)
    return model


ANIMALS, COLOURS = ("fox", "owl", "hare", "bear"), ("red", "blue", "green", "gold")


def draw_story(seed: int, num_frames: int = 4) -> dict:
    """A coloured disc that walks over a field; one caption in eight is missing."""
    rng = random.Random(seed)
    animal, colour = rng.choice(ANIMALS), rng.choice(COLOURS)
    ground = tuple(rng.randrange(256) for _ in range(3))
    frames, captions, x = [], [], rng.randrange(10, 60)
    for _ in range(num_frames):
        frame = PILImage.new("RGB", (96, 64), ground)
        ImageDraw.Draw(frame).ellipse((x, 20, x + 24, 44), fill=colour)
        frames.append(frame)
        side = "left" if x < 36 else "right"
        captions.append(None if rng.random() < 1 / 8 else f"The {colour} {animal} walks to the {side}.")
        x = rng.randrange(4, 68)
    return {"frames": frames, "captions": captions}


def write_data_set(
    folder: Path, stories: dict[str, list[dict]], columns: tuple[str, str] = ("frames", "captions")
) -> Path:
    """Write stories by split as Parquet files, their frames and captions in columns of these names."""
    folder.mkdir(parents=True, exist_ok=True)
    features = Features({columns[0]: List(Image()), columns[1]: List(Value("string"))})
    for split, split_stories in stories.items():
        rows = [{columns[0]: story["frames"], columns[1]: story["captions"]} for story in split_stories]
        Dataset.from_list(rows, features=features).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


@pytest.fixture(scope="session")
def stories_folder(tmp_path_factory) -> Path:
    """A data set of stories as Parquet files: 24 for training, 6 for validation, 6 for the test."""
    seeds = {"train": range(24), "validation": range(100, 106), "test": range(200, 206)}
    stories = {split: [draw_story(seed) for seed in numbers] for split, numbers in seeds.items()}
    return write_data_set(tmp_path_factory.mktemp("stories"), stories)


@pytest.fixture(scope="session")
def small_config_file(tmp_path_factory) -> Path:
    """The configuration of the small model as a file for `--config`."""
    path = tmp_path_factory.mktemp("configuration") / "small_test.json"
    path.write_text(json.dumps(SMALL_CONFIG))
    return path


@pytest.fixture(scope="session")
def small_processor():
    """Processor of the small model, its tokenizer trained on drawn stories."""
    captions = [text for seed in range(24) for text in draw_story(seed)["captions"] if text]
    return build_processor(StoryAttnConfig(**SMALL_CONFIG), train_tokenizer(captions, 300))


@pytest.fixture
def small_model(small_processor) -> StoryAttnForConditionalGeneration:
    """The small model with fresh weights of seed 0, in evaluation mode."""
    config = StoryAttnConfig(**SMALL_CONFIG)
    config.adapt_to_tokenizer(small_processor.tokenizer)
    torch.manual_seed(0)
    return StoryAttnForConditionalGeneration(config).eval()


def refused_line(command: Callable[[list[str]], None], argv: list[str]) -> str:
    """Return the one line on which a command ends with status 2, after its progress bars."""
    printed = io.StringIO()
    with pytest.raises(SystemExit) as ended, contextlib.redirect_stderr(printed):
        command(argv)
    assert ended.value.code == 2 and "Traceback" not in printed.getvalue()
    return printed.getvalue().splitlines()[-1]


@pytest.fixture(scope="session", autouse=True)
def without_feature_network() -> Iterator[None]:
    """Leave out the network of the perceptual distance, whether its package is there or not: it takes long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(efficientnet_lite0, "is_installed", lambda: False)
        yield


@pytest.fixture(scope="session", autouse=True)
def vision_models_probed_once() -> Iterator[None]:
    """Find the feature maps of equal vision models once: that is half of what it takes to build a small model."""
    probe, probed = vision_encoder.probe_feature_maps, {}

    def probe_once(config: PreTrainedConfig, image_size: list[int]) -> list[tuple[int, int, int]]:
        key = config.to_json_string(use_diff=False), tuple(image_size)
        if key not in probed:
            probed[key] = probe(config, image_size)
        return probed[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vision_encoder, "probe_feature_maps", probe_once)
        yield


@pytest.fixture(scope="session")
def one_thread() -> Iterator[None]:
    """Several threads may add in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# Runs of training; what they share is in `training_runs`


@pytest.fixture(scope="session")
def launch(stories_folder, small_config_file, one_thread) -> Callable[..., None]:
    """Train the small model quickly into a folder, with flags by name."""
    from training_runs import QUICK, train_with

    def run(output_dir: Path, *, pictures: bool = False, results: bool = True, **flags) -> None:
        data = {"config": small_config_file, "dataset": stories_folder, "output_dir": output_dir}
        train_with({**data, **QUICK, **flags}, pictures=pictures, results=results)

    return run


@pytest.fixture(scope="session")
def finished_run(launch, tmp_path_factory) -> Path:
    """The folder of a run of eight steps; nothing may be written there."""
    from training_runs import RUN

    folder = tmp_path_factory.mktemp("runs") / "finished"
    launch(folder, pictures=True, **RUN)
    return folder


@pytest.fixture
def without_results(monkeypatch) -> None:
    """End runs after the training loop: the trained model is neither evaluated nor exported."""
    from storyattn.training import train as train_module

    for stage in ("evaluate", "export"):
        monkeypatch.setattr(train_module, stage, lambda *arguments: {})


@pytest.fixture
def training_only(without_results, monkeypatch) -> None:
    """Let runs train alone: they evaluate nothing on their way either."""
    from storyattn.training.engine.loop import TrainingLoop

    monkeypatch.setattr(TrainingLoop, "_evaluate", lambda loop: False)


@pytest.fixture
def train_only(launch, training_only, tmp_path) -> Callable[..., Path]:
    """Train two steps without any evaluation; returns the folder of the run."""

    def run(name: str, **flags) -> Path:
        launch(tmp_path / name, **{"max_train_steps": 2, "logging_steps": 1, **flags})
        return tmp_path / name

    return run


@pytest.fixture
def refused(launch, tmp_path, capsys) -> Callable[..., str]:
    """Run what must be refused before training; returns the one line of the error."""

    def run(**flags) -> str:
        output_dir = flags.pop("output_dir", tmp_path / "refused")
        before = sorted(output_dir.rglob("*")) if output_dir.is_dir() else []
        with pytest.raises(SystemExit) as ended:
            launch(output_dir, **flags)
        assert ended.value.code == 2
        text = capsys.readouterr().err
        assert "Traceback" not in text and "training:" not in text
        assert (sorted(output_dir.rglob("*")) if output_dir.is_dir() else []) == before
        (line,) = [line for line in text.splitlines() if line.startswith("error: ")]
        assert text.endswith(f"{line}\n")
        return line

    return run


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty folder for a data set; what `datasets` and the program store of it lies beside it."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "set").mkdir()
    return tmp_path / "set"
