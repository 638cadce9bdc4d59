"""The client's side of the test Hub: reach it, publish on it, and a folder to publish that needs no training."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from conftest import refused_line, small_config
from hub_server import HubServer
from PIL import Image
from safetensors.torch import load_file, save_file
from sample_results import FACTS, RESULTS
from storyattn import StoryAttnForConditionalGeneration, StoryAttnProcessor
from storyattn.training import cli
from storyattn.training.publishing import publish as publish_module
from storyattn.training.publishing.export import write_hub_folder


@contextmanager
def reachable_hub() -> Iterator[HubServer]:
    """Start a Hub that the client in this process talks to, with a token that may write to `user/`."""
    with HubServer() as server, pytest.MonkeyPatch.context() as patch:
        constants = {"ENDPOINT": server.url, "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True}
        constants["HUGGINGFACE_CO_URL_TEMPLATE"] = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        for name, value in constants.items():
            patch.setattr(f"huggingface_hub.constants.{name}", value)
        # The client of the module-level functions reads ENDPOINT at its import, which may have been before.
        patch.setattr("huggingface_hub.hf_api.api.endpoint", server.url)
        patch.setattr("transformers.utils.hub._hf_api", None, raising=False)  # made at its first use
        patch.setenv("HF_TOKEN", "hf_write")
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        yield server


def publish(folder: Path, *arguments: str) -> None:
    """Publish a folder by the command; the first argument is the repository."""
    repo_id, *flags = arguments
    cli.main(["publish", str(folder), "--repo_id", repo_id, *flags])


def refused(folder: Path, *arguments: str) -> str:
    """Return the one line with which publishing is refused."""
    return refused_line(lambda argv: publish(folder, *argv), list(arguments))


def skip_checks(patch: pytest.MonkeyPatch) -> None:
    """Publish without the fresh process that loads the folder, and without waiting before a request is repeated."""
    patch.setattr(publish_module, "check_loads", lambda files: None)
    patch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)


def copy_with_other_weights(folder: Path, target: Path) -> Path:
    """Copy a published folder to `target`; its file of weights is another one, so that it must be uploaded."""
    shutil.copytree(folder, target)
    weights = target / "model.safetensors"
    save_file(load_file(weights), weights, {"format": "pt", "of": target.parent.name})
    return target


def write_release(folder: Path, processor: StoryAttnProcessor) -> Path:
    """Write a folder such as training leaves, with the weights of a fresh model and a figure; return it."""
    config = small_config()
    config.adapt_to_tokenizer(processor.tokenizer)
    torch.manual_seed(0)
    (folder / "figures").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "figures" / "evaluation.png")
    return write_hub_folder(StoryAttnForConditionalGeneration(config), processor, folder, RESULTS, FACTS)
