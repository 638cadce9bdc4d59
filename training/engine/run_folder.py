"""The output folder of a run: what identifies the run, and what an earlier one has left there."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

from accelerate import Accelerator
from storyattn import StoryAttnConfig, StoryAttnProcessor
from transformers.utils import logging

from ..arguments import DataArguments, TrainingArguments
from ..common.folder_lock import locked_folder
from ..data.augmentation import augmentation_of
from .checkpoints import FOLDER, check_same, read_state, step_folders, step_number
from .distributed import decided_by_main_process
from .loop import stories_per_step
from .optimizer import LEARNING_RATE_PARTS
from .run_log import METRICS

logger = logging.get_logger(__name__)


def describe_run(
    config: StoryAttnConfig,
    processor: StoryAttnProcessor,
    data_args: DataArguments,
    args: TrainingArguments,
    accelerator: Accelerator,
    num_train_stories: int | None,
) -> dict:
    """
    Return what a checkpoint must share with the run that continues it.

    Args:
        config: the configuration by which stories are read.
        processor: the processor, with its tokenizers.
        data_args: which data are read, and how.
        args: how the model is trained.
        accelerator: that of the run.
        num_train_stories: how many stories there are to train on; `None` for a stream.

    Returns:
        `config`, and `run` with what decides the order of the data and the optimizer's course.
    """
    return {
        "config": config.to_dict(),
        "run": {
            "dataset": data_args.dataset,
            "train_split": data_args.train_split,
            "num_train_stories": num_train_stories,
            "stream": _stream_order(data_args, args, accelerator),
            **_vocabularies(processor),
            "seed": args.seed,
            "stories_per_step": stories_per_step(args, accelerator),
            "use_ema": args.use_ema,
            "augmentation": augmentation_of(args).changes(),
            # The optimizer's state has these, and restoring it would quietly undo a change.
            "optimizer": args.optimizer,
            "learning_rate": args.learning_rate,
            "muon_learning_rate": args.muon_learning_rate,
            "weight_decay": args.weight_decay,
            "adam_beta1": args.adam_beta1,
            "adam_beta2": args.adam_beta2,
            **{flag: getattr(args, flag) for flag in ("lr_scheduler_type", "warmup_steps", *LEARNING_RATE_PARTS)},
        },
    }


def read_same_run(checkpoint: Path | None, config: StoryAttnConfig, run_state: dict) -> dict | None:
    """
    Return the `state.json` of a checkpoint that a run resumes from; `None` without one.

    Args:
        checkpoint: the folder of the checkpoint, if there is one.
        config: the configuration of this run.
        run_state: what describes this run: `config` and `run`, see `describe_run`.

    Raises:
        ValueError: where the checkpoint is of another configuration or another run.
    """
    if checkpoint is None:
        return None
    state = read_state(checkpoint)
    # A checkpoint from before the configuration, or that of a part, had a value was trained with its present default.
    saved_config = type(config).from_dict(state["config"]).to_dict()
    check_same("configuration", checkpoint, saved_config, run_state["config"])
    check_same("run", checkpoint, {"optimizer": "adamw", **state["run"]}, run_state["run"])  # older ones lack it
    return state


@contextmanager
def locked_run_folder(accelerator: Accelerator, output_dir: str | Path) -> Iterator[None]:
    """
    Keep other trainings out of `output_dir`, which the main process locks, until the end of the block.

    Raises `ValueError`, in every process, where another training uses it.
    """
    with ExitStack() as stack:
        decided_by_main_process(accelerator, stack.enter_context, locked_folder("output_dir", output_dir))
        yield


def put_earlier_run_aside(output_dir: str | Path, checkpoint: Path | None) -> None:
    """
    Move into `earlier-N` what an earlier run in the folder has left.

    A new run moves all that it would overwrite; one that resumes from `checkpoint` of this folder moves later ones.
    """
    output_dir, steps = Path(output_dir), step_folders(output_dir)
    if checkpoint is not None and checkpoint.resolve() in [step.resolve() for step in steps]:
        last = read_state(checkpoint)["step"]
        moved = [step for step in steps if step_number(step) > last]
    else:
        moved = [output_dir / name for name in (FOLDER, METRICS, "figures")] if steps else []
    if not moved:
        return
    aside = next(path for n in count(1) if not (path := output_dir / f"earlier-{n}").exists())
    for path in moved:
        if path.exists():
            target = aside / path.relative_to(output_dir)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
    logger.warning(f"what an earlier run has left is now in {aside}: {', '.join(path.name for path in moved)}")


def _stream_order(data_args: DataArguments, args: TrainingArguments, accelerator: Accelerator) -> list[int] | None:
    """Return what decides the order of a stream; `None` for prepared stories, whose order depends on none of it."""
    if not data_args.streaming:
        return None
    layout = args.train_batch_size, args.gradient_accumulation_steps, accelerator.num_processes
    return [data_args.shuffle_buffer, data_args.dataloader_num_workers, *layout]


def _vocabularies(processor: StoryAttnProcessor) -> dict[str, str]:
    """Return the SHA-256 of each tokenizer of `processor`, whatever it has cut or padded last."""
    hashes = {}
    for kind, tokenizer in processor.tokenizers.items():
        state = json.loads(tokenizer.backend_tokenizer.to_str()) | {"truncation": None, "padding": None}
        hashes[f"{kind}tokenizer_sha256"] = hashlib.sha256(json.dumps(state).encode("utf-8")).hexdigest()
    return hashes
