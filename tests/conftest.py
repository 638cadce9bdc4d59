"""A model that trains in a moment, its processor, and a folder of drawn stories; nothing here needs the network."""

import atexit
import os
import shutil
import tempfile

# Before any library of Hugging Face is imported: tests read and leave nothing in the caches of who runs them.
CACHE = tempfile.mkdtemp(prefix="storyattn-tests-")
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_CACHE=f"{CACHE}/datasets", HF_MODULES_CACHE=f"{CACHE}/modules")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)

import contextlib  # noqa: E402
import io  # noqa: E402
import json  # noqa: E402
import random  # noqa: E402
from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
import torch  # noqa: E402
from datasets import Dataset, Features, Image, List, Value  # noqa: E402
from PIL import Image as PILImage  # noqa: E402
from PIL import ImageDraw  # noqa: E402
from storyattn import StoryAttnConfig, StoryAttnForConditionalGeneration, build_processor  # noqa: E402
from storyattn.training.models.tokenizer import train_tokenizer  # noqa: E402

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
    "num_frame_layers": 1,
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


@pytest.fixture(scope="session")
def stories_folder(tmp_path_factory) -> Path:
    """A data set of stories as Parquet files: 24 for training, 6 for validation, 6 for the test."""
    folder = tmp_path_factory.mktemp("stories")
    features = Features({"frames": List(Image()), "captions": List(Value("string"))})
    for split, seeds in (("train", range(24)), ("validation", range(100, 106)), ("test", range(200, 206))):
        stories = Dataset.from_list([draw_story(seed) for seed in seeds], features=features)
        stories.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


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


def training_flags(output_dir: Path, stories_folder: Path, config_file: Path, **flags) -> list[str]:
    """Return the command line of a small training; `flags` are added to it."""
    sizes = {"train_batch_size": 4, "eval_batch_size": 4, "max_eval_windows": 4, "max_test_windows": 4}
    flags = {"config": config_file, "dataset": stories_folder, "output_dir": output_dir, **sizes, **flags}
    return [f"--{name}={value}" for name, value in flags.items()]


def refused_line(command, argv: list[str]) -> str:
    """The one line on which a command ends with status 2, after its progress bars."""
    told = io.StringIO()
    with pytest.raises(SystemExit) as ended, contextlib.redirect_stderr(told):
        command(argv)
    assert ended.value.code == 2 and "Traceback" not in told.getvalue()
    return told.getvalue().splitlines()[-1]


@pytest.fixture(scope="module")
def one_thread():
    """Several threads may add in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
