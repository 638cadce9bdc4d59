"""Build the accelerator of a run."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    FullyShardedDataParallelPlugin,
    GradientAccumulationPlugin,
    InitProcessGroupKwargs,
    ProjectConfiguration,
)
from torch.distributed.fsdp import MixedPrecisionPolicy

from ..arguments import TrainingArguments
from ..common.files import check_folder
from .cpu_attention import attend_in_float32
from .malloc import keep_freed_memory
from .trackers import tracker_names

# Evaluations on the main process alone may take longer than a process group waits by default.
PROCESS_GROUP_TIMEOUT = timedelta(hours=6)


def build_accelerator(args: TrainingArguments) -> Accelerator:
    """
    Return the accelerator of a run: its processes, precision, accumulation and trackers. Create the output folder.

    Raises `ValueError` for trackers that are not installed, an output folder that cannot be written, and processes
    that were launched without a process group.
    """
    trackers = tracker_names(args.report_to)
    output_dir = _created_folder(args.output_dir)
    accelerator = Accelerator(
        mixed_precision=args.mixed_precision,
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=args.gradient_accumulation_steps, sync_with_dataloader=False
        ),
        log_with=trackers,
        project_config=ProjectConfiguration(project_dir=str(output_dir), logging_dir=str(output_dir / "logs")),
        kwargs_handlers=[
            # A batch without captions leaves the text parts unused.
            DistributedDataParallelKwargs(find_unused_parameters=True),
            InitProcessGroupKwargs(timeout=PROCESS_GROUP_TIMEOUT),
        ],
    )
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if accelerator.num_processes != launched:
        raise ValueError(
            f"processes: got {launched} without a process group, expected a GPU for each, or ACCELERATE_USE_CPU=true "
            "in their environment"
        )
    if accelerator.is_fsdp2:
        keep_full_precision(accelerator.state.fsdp_plugin)
    if accelerator.device.type == "cpu":
        keep_freed_memory()
        if accelerator.mixed_precision == "bf16":
            attend_in_float32()
    return accelerator


def forget_accelerator() -> None:
    """Forget the accelerator of a run that has ended, not its processes: the next may have another precision."""
    AcceleratorState._reset_state()
    GradientState._reset_state()


@contextmanager
def process_group_ended() -> Iterator[None]:
    """End the process group, if there is one, at the end."""
    try:
        yield
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            PartialState().destroy_process_group()


def keep_full_precision(plugin: FullyShardedDataParallelPlugin) -> None:
    """
    Make FSDP2 pass the inputs and outputs of the model on as they are.

    By itself it casts frames to the lower precision, and with them the targets they are compared with. Autocast lowers
    what may be lowered, as it does without shards.
    """
    plugin.mixed_precision_policy = MixedPrecisionPolicy(cast_forward_inputs=False)


def leave(status: int) -> None:
    """
    End one of several processes at once, a single one with `SystemExit` where `status` is not 0.

    At the end of an interpreter torch may wait for threads of gloo for ever.
    """
    if PartialState().num_processes > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    if status:
        raise SystemExit(status)


def _created_folder(name: str) -> Path:
    check_folder("output_dir", name)
    Path(name).mkdir(parents=True, exist_ok=True)
    return Path(name)
