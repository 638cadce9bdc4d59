"""Build the accelerator of a run."""

import os
import sys
from datetime import timedelta
from pathlib import Path

from accelerate import Accelerator, PartialState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    GradientAccumulationPlugin,
    InitProcessGroupKwargs,
    ProjectConfiguration,
)
from torch.distributed.fsdp import MixedPrecisionPolicy

from .trackers import tracker_names

# Evaluations on the main process alone may take longer than a process group waits by default.
PATIENCE = timedelta(hours=6)


def leave(status: int) -> None:
    """
    Ends a process of several at once: at the end of an interpreter torch may wait for threads of gloo for ever. One
    that is alone ends by itself, with `SystemExit` for a status other than 0.
    """
    if PartialState().num_processes > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    if status:
        raise SystemExit(status)


def build_accelerator(args) -> Accelerator:
    """Processes, precision, accumulation and trackers; makes the output folder."""
    trackers = tracker_names(args.report_to)
    output_dir = Path(args.output_dir)
    if output_dir.exists() and not output_dir.is_dir():
        raise ValueError(f"output_dir: found a file at {args.output_dir!r}, expected a folder or nothing")
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        found = f"{args.output_dir!r}, which cannot be written: {error.strerror}"
        raise ValueError(f"output_dir: found {found}, expected a folder that can be") from error
    launched = int(os.environ.get("WORLD_SIZE", 1))
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
            InitProcessGroupKwargs(timeout=PATIENCE),
        ],
    )
    if accelerator.num_processes != launched:
        raise ValueError(
            f"processes: found {launched} that do not know of one another, expected a GPU for each, or "
            "ACCELERATE_USE_CPU=true in their environment"
        )
    if accelerator.is_fsdp2:
        keep_full_precision(accelerator.state.fsdp_plugin)
    return accelerator


def keep_full_precision(plugin) -> None:
    """
    Lets FSDP2 hand on what the model reads and gives as it is. By itself it casts frames, and with them what they are
    compared with, to the lower precision; autocast lowers what may be lowered, as it does without shards.
    """
    plugin.mixed_precision_policy = MixedPrecisionPolicy(cast_forward_inputs=False)
