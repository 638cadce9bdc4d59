"""The output folder of a run."""

import hashlib
from itertools import count
from pathlib import Path

from transformers.utils import logging

from ..data.augmentation import augmentation_of
from .checkpoints import FOLDER, read_state, step_folders
from .loop import METRICS, stories_per_step
from .optimizer import PARTS

logger = logging.get_logger(__name__)


def describe_run(config, processor, data_args, args, accelerator, num_train_stories: int | None) -> dict:
    """What a checkpoint must share with the run that continues it: `config`, and `run` with the order of the data."""
    layout = args.train_batch_size, args.gradient_accumulation_steps, accelerator.num_processes
    vocabularies = {
        f"{kind}tokenizer_sha256": hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode("utf-8")).hexdigest()
        for kind, tokenizer in processor.tokenizers.items()
    }
    return {
        "config": config.to_dict(),
        "run": {
            "dataset": data_args.dataset,
            "train_split": data_args.train_split,
            "num_train_stories": num_train_stories,
            # What decides the order of a stream; that of stories at hand depends on none of them.
            "stream": [data_args.shuffle_buffer, data_args.dataloader_num_workers, *layout]
            if data_args.streaming
            else None,
            **vocabularies,
            "seed": args.seed,
            "stories_per_step": stories_per_step(args, accelerator),
            "use_ema": args.use_ema,
            "augmentation": augmentation_of(args).changes(),
            # The optimizer's state has these, and restoring it would quietly undo a change.
            "learning_rate": args.learning_rate,
            "weight_decay": args.weight_decay,
            "adam_beta1": args.adam_beta1,
            "adam_beta2": args.adam_beta2,
            **{flag: getattr(args, flag) for flag in ("lr_scheduler_type", "warmup_steps", *PARTS)},
        },
    }


def put_earlier_run_aside(output_dir: str | Path, checkpoint: Path | None) -> None:
    """
    Keeps in `earlier-N` what a new run in the folder of an earlier one would write over, and what a run that goes on
    from one of its checkpoints has left behind: later ones.
    """
    output_dir, steps = Path(output_dir), step_folders(output_dir)
    if checkpoint is not None and checkpoint.resolve() in [step.resolve() for step in steps]:
        number = read_state(checkpoint)["step"]
        moved = [step for step in steps if int(step.name.rpartition("-")[2]) > number]
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
