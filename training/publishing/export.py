"""
Writes a Hub-ready folder: weights, configuration, processor and code, `results.json`, a model card.

Nothing in it is a pickle.
"""

import platform
from pathlib import Path

import torch

from ..common.files import write_results
from ..data.augmentation import augmentation_of
from ..engine.loop import stories_per_step
from .model_card import find_template, write_card


def write_hub_folder(model, processor, output_dir: str | Path, results: dict, facts: dict) -> Path:
    """
    Writes the folder that `push_to_hub` or `hf upload` publishes as it is; returns it.

    Adapters are merged into the weights. `results` is a document of `results_document`; its key `test_unseen`, where
    there is one, holds further metrics. `facts` tell how the model was trained: `dataset`, `split` (of the results),
    `command`, `training`, a dictionary of what else the card shows as a table (steps, batch, seconds, hardware, ...),
    and where they are known those of `published_facts` and `example` (see `write_example`). Both are written as
    `results.json`, `facts` under that key. The card shows figures that already lie in `output_dir/figures`.

    Raises `FileNotFoundError` where the template of the card cannot be found.
    """
    output_dir = Path(output_dir)
    find_template()
    model.save_pretrained(output_dir)
    processor.save_pretrained(output_dir)
    write_results({**results, "facts": facts}, output_dir / "results.json")
    write_card(output_dir)
    return output_dir


def training_facts(loop, splits, data_args, args, command: str, parts: dict[str, str]) -> dict:
    """What the model card tells about the training; `parts` as `tell_parts` gives them."""
    accelerator, best = loop.accelerator, args.load_best_model_at_end and loop.best
    changes = augmentation_of(args).changes()
    on_gpu = accelerator.device.type == "cuda"
    device = torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} threads"
    return {
        "dataset": data_args.dataset,
        "split": data_args.test_split,
        "command": command,
        "training": {
            **{f"pretrained {name}": told for name, told in parts.items()},
            "steps": loop.step,
            "stories per step": stories_per_step(args, accelerator),
            "training stories": "streamed" if data_args.streaming else len(splits["train"]),
            "time of training and its evaluations": f"{loop.seconds:.0f} s",
            "hardware": f"{accelerator.num_processes} x {device} ({platform.machine()})",
            "precision": {"no": "fp32"}.get(accelerator.mixed_precision, accelerator.mixed_precision),
            "optimizer": f"AdamW, learning rate {args.learning_rate:g}, {args.lr_scheduler_type} schedule",
            "augmentation": ", ".join(f"{name} {value}" for name, value in changes.items()) or "none",
            "early stopping": loop.early_stop or "none",
            "weights": f"the best by {loop.best['metric']}, of step {loop.best['step']}" if best else "the last",
            "moving average of weights": f"decay {args.ema_decay:g}" if args.use_ema else "none",
            "seed": args.seed,
        },
    }
