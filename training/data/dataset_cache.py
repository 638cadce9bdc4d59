"""Where `datasets` keeps its own files: beside the resized frames where the user's home cannot be written."""

from pathlib import Path

import datasets
from transformers.utils import logging

from ..common.files import check_folder

logger = logging.get_logger(__name__)


def use_writable_cache(cache_dir: str | None) -> None:
    """Let `datasets` write into `cache_dir/datasets` in this process where its own folder cannot be written."""
    if cache_dir is None:  # the frames lie in the same folder then, and the frame cache says what is wrong
        return
    try:
        check_folder("HF_DATASETS_CACHE", datasets.config.HF_DATASETS_CACHE)
    except ValueError as error:
        datasets.config.HF_DATASETS_CACHE = Path(cache_dir, "datasets").expanduser().absolute()
        logger.warning(f"{error}; {datasets.config.HF_DATASETS_CACHE} is used instead")
