"""
Trains a StoryAttn model, evaluates it and leaves a Hub-ready folder:

    accelerate launch train.py configuration/recipes/storyworld_tiny.yaml --output_dir runs/tiny
    accelerate launch -m storyattn.training.train --preset tiny --dataset FOLDER_OR_HUB_ID --output_dir runs/mine
    python train.py --help
"""

import hashlib
import os
import platform
import shlex
import sys
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    GradientAccumulationPlugin,
    InitProcessGroupKwargs,
    ProjectConfiguration,
    set_seed,
)
from datasets import Dataset
from storyattn import build_image_processor, build_processor
from torch.distributed.fsdp import MixedPrecisionPolicy
from transformers.utils import logging

from .alignment_fit import check_alignment, fit_alignment
from .arguments import apply_overrides, parse_arguments, write_recipe
from .augmentation import Augmentation
from .baselines import build_baseline, story_config, write_baseline
from .card_facts import RECIPE, published_facts, write_example
from .checkpoints import FOLDER, check_same, decided_by_main_process, find_checkpoint, read_state, step_folders
from .compilation import checkpoint_activations, compile_blocks
from .data import TrainingWindows, training_loader
from .evaluate_cli import format_metrics
from .evaluation import evaluate_model, results_document
from .figures import evaluation_picture
from .heap import keep_freed_memory
from .interruption import Interrupted, Interruption, leave_signals_to_parent
from .loop import METRICS, TrainingLoop, stories_per_step
from .mistakes import one_line
from .optimizer import PARTS
from .parts import (
    base_config,
    build_tokenizers,
    describe_parts,
    kept_parts,
    load_weights,
    tell_parts,
    tune_parts,
)
from .prepared_stories import PreparedStories, prepare_stories
from .publish_run import hub_repository, push_to_hub
from .publishing import round_weights, store_weights, write_hub_folder
from .sources import STORYWORLD, read_stories
from .stream_source import first_stories, open_stream
from .streaming import StoryStream, stream_loader
from .trackers import start_trackers, tracker_names

logger = logging.get_logger(__name__)

# Evaluations on the main process alone may take longer than a process group waits by default.
PATIENCE = timedelta(hours=6)
# Of a stream, for the tokenizer, the floors and the test, where no number is given.
STREAMED_SAMPLE = 1000
DOCUMENT_KEYS = ("dataset", "split", "model", "seed", "command")


def main(argv: list[str] | None = None) -> None:
    """
    Trains as the flags say. A mistake in what was given ends it with one line and exit status 2; a signal, once the
    step is finished and saved, with the command to go on and 128 + the signal's number.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        with one_line("error"):
            train(*parse_arguments(argv), command=shlex.join(["train.py", *argv]))
    except Interrupted as interrupted:
        if PartialState().is_main_process:
            print(interrupted, file=sys.stderr)
        leave(128 + interrupted.number)
    leave(0)


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


def train(model_args, data_args, training_args, command: str) -> dict:
    """
    Loads everything, trains, evaluates on the test split and writes `training_args.output_dir`.

    Returns what `results.json` holds. Raises `ValueError` or `FileNotFoundError` for a mistake in the arguments, the
    data or the checkpoint, before training starts.
    """
    check_streaming(data_args, training_args)
    config = base_config(model_args)
    if model_args.config_overrides:
        apply_overrides(config, model_args.config_overrides)
    if training_args.fit_alignment:
        check_alignment(config, model_args.baseline)
    baseline = {"vision": model_args.baseline_vision, "text": model_args.baseline_text}
    if model_args.baseline:
        config = story_config(model_args.baseline, config, model_args.baseline_vision)
    accelerator = build_accelerator(training_args)
    repo_id = decided_by_main_process(accelerator, hub_repository, model_args, training_args)
    if accelerator.device.type == "cpu":
        keep_freed_memory()
    checkpoint = None
    if training_args.resume_from_checkpoint:
        resume = training_args.resume_from_checkpoint
        checkpoint = decided_by_main_process(accelerator, find_checkpoint, resume, training_args.output_dir)
    with accelerator.main_process_first():
        splits = prepare_splits(load_splits(data_args, config), build_image_processor(config), data_args)
    tokenizers = build_tokenizers(model_args, splits["train"]["captions"], config)
    config.adapt_to_tokenizer(*tokenizers, pretrained=kept_parts(model_args))
    processor = build_processor(config, *tokenizers)
    num_stories = None if data_args.streaming else len(splits["train"])
    set_seed(training_args.seed)
    model = build_model(model_args, config)
    run_state = describe_run(config, processor, data_args, training_args, accelerator, num_stories)
    if model_args.baseline:
        run_state["run"] |= {"baseline": model_args.baseline, **baseline}
    else:
        run_state["run"]["parts"] = describe_parts(model, model_args)
    state = None
    if checkpoint is not None:
        state = read_state(checkpoint)
        # One from before the configuration, or that of a part, had a value was trained with what is its default now.
        known = type(config).from_dict(state["config"]).to_dict()
        check_same("configuration", checkpoint, known, run_state["config"])
        check_same("run", checkpoint, state["run"], run_state["run"])

    check_perceptual_model(model)
    if not model_args.baseline:
        tune_parts(model, model_args)
    if training_args.gradient_checkpointing:
        checkpoint_activations(model)
    if training_args.compile:
        compile_blocks(model)
    set_seed(training_args.seed, device_specific=True)  # other dropout in each process, the same weights
    loop = TrainingLoop(
        accelerator,
        model,
        processor,
        partial(make_loader, splits["train"], processor, config, data_args, training_args, accelerator),
        splits["eval"],
        training_args,
        num_stories=num_stories,
        max_eval_windows=data_args.max_eval_windows,
    )
    if checkpoint is not None:
        loop.resume(checkpoint, state)
    decided_by_main_process(accelerator, put_earlier_run_aside, training_args.output_dir, checkpoint)
    if accelerator.is_main_process:
        write_recipe((model_args, data_args, training_args), Path(training_args.output_dir) / RECIPE)
        published = {} if model_args.baseline else published_facts(model_args, data_args)
    start_trackers(accelerator, model_args, data_args, training_args)
    results = {}
    try:
        with Interruption() as interruption:
            loop.run({**run_state, "command": interruption.command}, interruption)
            model = loop.best_model() if training_args.load_best_model_at_end else loop.published_model()
            stood = f"stopped after training, whose {loop.step} steps are saved, before all was measured"
            interruption.finished(f"{stood}; to go on:\n{interruption.command}")
            if accelerator.is_main_process:
                facts = training_facts(loop, splits, data_args, training_args, command, tell_parts(model_args))
                if model_args.baseline:
                    write = write_baseline
                else:
                    first, shown = splits["test"][0], config.max_frames - 1
                    example = write_example(first["frames"], first["captions"], Path(training_args.output_dir), shown)
                    write = partial(write_hub_folder, facts={**facts, **published, "example": example})
                    model.merge_adapters()
                if training_args.fit_alignment:
                    fitted = fit_alignment(model, processor, splits["train"], splits["eval"])
                    facts["training"] |= {f"alignment: {name}": value for name, value in fitted.items()}
                results = finish(model, processor, splits, data_args, training_args, facts, write)
    finally:
        accelerator.end_training()
    if repo_id is not None and accelerator.is_main_process:
        push_to_hub(training_args, repo_id)
    return results


def build_model(args, config):
    """The model or the baseline that the flags name. Raises `ValueError` as `build_baseline` and `load_weights` do."""
    if args.baseline:
        return build_baseline(args.baseline, config, args.baseline_vision, args.baseline_text)
    return load_weights(args, config)


def check_perceptual_model(model) -> None:
    """Raises `ValueError` where the network of the perceptual loss cannot be loaded, or gives no maps."""
    if model.config.perceptual_model is None:
        return
    try:
        picture = torch.zeros(1, 3, *model.config.image_size)
        model.perceptual_distance(picture, picture)
    except Exception as error:  # whatever a folder of something else makes the libraries raise
        name, reason = model.config.perceptual_model, " ".join(str(error).split())[:300]
        raise ValueError(
            f"perceptual_model: found {name!r}, expected a vision model, a folder or a Hub id: {reason}"
        ) from error


def check_streaming(data_args, args) -> None:
    """Refuses flags that go with stories at hand alone; raises `ValueError`."""
    if not data_args.streaming:
        return
    if args.max_train_steps is None:
        raise ValueError("max_train_steps: found none with --streaming, expected one: a stream has no known length")
    if data_args.max_train_stories is not None:
        found = data_args.max_train_stories
        raise ValueError(f"max_train_stories: found {found} with --streaming, expected stories at hand")


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


def load_splits(args, config) -> dict[str, Dataset]:
    """The stories by `train`, `eval`, `test` and, on StoryWorld, `test_unseen`; no picture is looked at."""
    columns, names = source_options(args, config), split_names(args)
    if args.streaming:
        counts = {"train": STREAMED_SAMPLE, "eval": args.max_eval_windows}
        return {
            key: first_stories(
                open_stream(args.dataset, split, **columns),
                counts.get(key, args.max_test_windows or STREAMED_SAMPLE),
                f"split {split!r} of {args.dataset!r}",
            )
            for key, split in names.items()
        }
    limits = {"train": args.max_train_stories}
    return {
        key: read_stories(args.dataset, split, max_stories=limits.get(key), **columns) for key, split in names.items()
    }


def split_names(args) -> dict[str, str]:
    """What the data set calls the splits that training reads; `test_unseen` goes with the `test` of StoryWorld."""
    names = {"train": args.train_split, "eval": args.eval_split, "test": args.test_split}
    unseen = args.dataset == STORYWORLD and args.test_split == "test"
    return {**names, "test_unseen": "test_unseen"} if unseen else names


def source_options(args, config) -> dict:
    """How `read_stories` and `open_stream` read the data set."""
    columns = {"frames_column": args.frames_column, "captions_column": args.captions_column}
    if args.dataset == STORYWORLD:
        columns["storyworld_options"] = {"image_size": tuple(config.image_size)}
    return columns


def prepare_splits(stories: dict[str, Dataset], image_processor, args) -> dict[str, PreparedStories]:
    """The good stories of each split, their frames as the model reads them."""
    options = {"cache_dir": args.cache_dir, "cache_limit_gb": args.cache_limit_gb, "on_bad_story": args.on_bad_story}
    names = split_names(args)
    return {
        key: prepare_stories(split, image_processor, f"split {names[key]!r} of {args.dataset}", **options)
        for key, split in stories.items()
    }


def make_loader(stories, processor, config, data_args, args, accelerator, first_batch: int, num_batches: int):
    """The batches of this process from `first_batch` of the run on."""
    order = {
        "batch_size": args.train_batch_size,
        "seed": args.seed,
        "process": accelerator.process_index,
        "num_processes": accelerator.num_processes,
        "first_batch": first_batch,
        "num_batches": num_batches,
    }
    augmentation = augmentation_of(args)
    workers = {
        "num_workers": data_args.dataloader_num_workers,
        "pin_memory": accelerator.device.type == "cuda",
        "worker_init_fn": leave_signals_to_parent,
    }
    if not data_args.streaming:
        windows = TrainingWindows(stories, processor, config, args.seed, augmentation)
        return training_loader(windows, processor, **workers, **order)
    rows = open_stream(data_args.dataset, data_args.train_split, **source_options(data_args, config))
    options = {"buffer_size": data_args.shuffle_buffer, "augmentation": augmentation}
    stream = StoryStream(rows, processor, config, **options, **order)
    name = f"split {data_args.train_split!r} of {data_args.dataset}"
    return stream_loader(stream, name, on_bad_story=data_args.on_bad_story, warn=logger.warning, **workers)


def augmentation_of(args) -> Augmentation:
    """What the flags change about the windows of training; evaluations see stories as they are."""
    return Augmentation(args.augment_crop, args.augment_colour, args.augment_flip, args.caption_dropout)


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


def finish(model, processor, splits, data_args, args, facts, write) -> dict:
    """
    Evaluates the trained model on the test splits, and lets `write(model, processor, output_dir, results)` write what
    is left of it; returns the results. Both are of the weights as `save_dtype` stores them.
    """
    round_weights(model, args.save_dtype)
    options = {
        "train_stories": splits["train"],
        "batch_size": args.eval_batch_size,
        "max_windows": data_args.max_test_windows,
        "seed": args.seed,
    }
    results = results_document(
        evaluate_model(model, processor, splits["test"], **options),
        dataset=data_args.dataset,
        split=data_args.test_split,
        model=args.output_dir,
        seed=args.seed,
        command=facts["command"],
    )
    if "test_unseen" in splits:
        unseen = evaluate_model(model, processor, splits["test_unseen"], **options)
        document = results_document(unseen, **{key: results[key] for key in DOCUMENT_KEYS})
        results["test_unseen"] = document["metrics"]
    output_dir = Path(args.output_dir)
    evaluation_picture(model, processor, splits["test"], output_dir / "figures" / "evaluation.png")
    write(model, processor, output_dir, results)
    store_weights(output_dir, args.save_dtype)
    print(format_metrics(results["metrics"]))
    print(f"\nthe model and results.json are in {output_dir}")
    return results


if __name__ == "__main__":
    main()
