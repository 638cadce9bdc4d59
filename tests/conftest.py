"""Where tests find their caches, the order of their files, and their fixtures, which lie in `shared_fixtures`."""

import atexit
import gc
import importlib
import os
import shutil
import tempfile
from typing import Any

import pytest

# Before any library of Hugging Face is imported: tests read and leave nothing in the caches of who runs them.
CACHE = tempfile.mkdtemp(prefix="storyattn-tests-")
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_CACHE=f"{CACHE}/datasets", HF_MODULES_CACHE=f"{CACHE}/modules")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)

# Files that take longest: workers that share the tests begin with them, so as to end together.
LONGEST = ("test_processes", "test_health", "test_sources_matrix", "test_compile", "test_contract", "test_hub")
LONGEST += ("test_demo", "test_training", "test_best_model", "test_hub_faults", "test_part_tuning", "test_resuming")
LONGEST += ("test_export", "test_lazy_package", "test_kills", "test_finetune", "test_notebooks")


def pytest_configure(config: pytest.Config) -> None:
    """Load the fixtures, but for the process of pytest-xdist that hands out tests to others: it would take long."""
    if config.getoption("dist", "no") == "no" or config.getoption("collectonly"):
        gc.disable()  # a third of what imports take: they leave hardly any garbage
        importlib.import_module("forked_programs").start_server()
        config.pluginmanager.import_plugin("shared_fixtures")


def pytest_collection_finish() -> None:
    """Leave what is loaded by now out of all later searches for garbage, each of which would take half a second."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # of pytest-xdist
        ranks = {name: rank for rank, name in enumerate(LONGEST)}
        items.sort(key=lambda item: ranks.get(item.path.stem, len(ranks)))


def __getattr__(name: str) -> Any:
    """Find what tests import from here in `shared_fixtures`."""
    if name.startswith(("pytest", "_")):
        raise AttributeError(name)
    return getattr(importlib.import_module("shared_fixtures"), name)
