"""Write a Hub-ready folder: weights, configuration, processor and code, `results.json`, a model card; no pickle."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..common.files import write_results
from ..data.augmentation import augmentation_of
from ..engine.loop import stories_per_step
from ..engine.optimizer import describe_optimizer
from ..models.provenance import TIME_BEFORE, TRAINING_TIME
from .model_card import example_captions, find_template, write_card
from .release_files import RESULTS
from .story_strips import draw_strips

if TYPE_CHECKING:
    from storyattn import StoryAttnForConditionalGeneration, StoryAttnProcessor

    from ..arguments import DataArguments, TrainingArguments
    from ..data.prepared_stories import PreparedStories
    from ..engine.loop import TrainingLoop


def write_hub_folder(
    model: StoryAttnForConditionalGeneration,
    processor: StoryAttnProcessor,
    output_dir: str | Path,
    results: dict,
    facts: dict,
) -> Path:
    """Write the folder that `push_to_hub` or `hf upload` publishes as it is.

    Args:
        model: the trained model; adapters are merged into the weights.
        processor: its processor.
        output_dir: folder to write to; the card shows the figures that are in its `figures/`.
        results: document of `results_document`, where `test_unseen` may hold further metrics. It is written as
            `results.json`.
        facts: how the model was trained, written under the key `facts`: `dataset`, `split` (of the results), `command`,
            `training` (a table of the card: steps, batch, seconds, hardware, ...), and where they are known those of
            `published_facts` and `example` (see `write_example`).

    Returns:
        `output_dir`.

    Raises:
        FileNotFoundError: where the template of the card cannot be found.
    """
    output_dir = Path(output_dir)
    find_template()
    model.save_pretrained(output_dir)
    processor.save_pretrained(output_dir)
    if captions := example_captions(facts):
        facts = {**facts, "strips": draw_strips(model, processor, output_dir, captions)}
    write_results({**results, "facts": facts}, output_dir / RESULTS)
    write_card(output_dir)
    return output_dir


def training_facts(
    loop: TrainingLoop,
    splits: dict[str, PreparedStories],
    data_args: DataArguments,
    args: TrainingArguments,
    command: str,
    parts: dict[str, str],
    before: float,
) -> dict:
    """Return what the model card says of the training.

    Args:
        loop: training loop that has ended.
        splits: stories by split; of a stream, `train` is a sample.
        data_args: flags of the data.
        args: flags of the training.
        command: command line of the run.
        parts: what `part_summaries` says of pretrained parts.
        before: seconds of the trainings before this one, see `seconds_of`.
    """
    accelerator, best = loop.accelerator, args.load_best_model_at_end and loop.best
    changes = augmentation_of(args).changes()
    on_gpu = accelerator.device.type == "cuda"
    device = torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} threads"
    return {
        "dataset": data_args.dataset,
        "split": data_args.test_split,
        "command": command,
        "training": {
            **{f"pretrained {name}": summary for name, summary in parts.items()},
            "steps": loop.step,
            "stories per step": stories_per_step(args, accelerator),
            "training stories": "streamed" if data_args.streaming else len(splits["train"]),
            TRAINING_TIME: f"{loop.seconds:.0f} s",
            **({TIME_BEFORE: f"{before:.0f} s"} if before else {}),
            "hardware": f"{accelerator.num_processes} x {device} ({platform.machine()})",
            "precision": {"no": "fp32"}.get(accelerator.mixed_precision, accelerator.mixed_precision),
            "optimizer": describe_optimizer(args),
            "augmentation": ", ".join(f"{name} {value}" for name, value in changes.items()) or "none",
            "early stopping": loop.early_stop or "none",
            "weights": f"the best by {loop.best['metric']}, of step {loop.best['step']}" if best else "the last",
            "moving average of weights": f"decay {args.ema_decay:g}" if args.use_ema else "none",
            "seed": args.seed,
        },
    }
