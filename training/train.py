"""
Trains a StoryAttn model, evaluates it and leaves a Hub-ready folder:

    accelerate launch train.py configuration/recipes/storyworld_tiny.yaml --output_dir runs/tiny
    accelerate launch -m storyattn.training.train --preset tiny --dataset FOLDER_OR_HUB_ID --output_dir runs/mine
    python train.py --help
"""

import shlex
import sys
from functools import partial
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import (
    set_seed,
)
from storyattn import build_image_processor, build_processor
from transformers.utils import logging

from .arguments import apply_overrides, parse_arguments, write_recipe
from .common.errors import one_line
from .common.interruption import Interrupted, Interruption
from .data.loaders import check_streaming, load_splits, make_loader, prepare_splits
from .engine.accelerator import build_accelerator, leave
from .engine.alignment_fit import check_alignment, fit_alignment
from .engine.checkpoints import check_same, find_checkpoint, read_state
from .engine.compilation import checkpoint_activations, compile_blocks
from .engine.distributed import decided_by_main_process
from .engine.loop import TrainingLoop
from .engine.malloc import keep_freed_memory
from .engine.run_folder import describe_run, put_earlier_run_aside
from .engine.trackers import start_trackers
from .evaluation.evaluate import evaluate_model
from .evaluation.pictures import evaluation_picture
from .evaluation.results import results_document
from .evaluation.scone_metrics import check_max_frames
from .evaluation.terminal import format_metrics
from .models.baselines import story_config, write_baseline
from .models.build import base_config, build_model, build_tokenizers, check_perceptual_model, pretrained_parts
from .models.finetune import tune_parts
from .models.provenance import part_fingerprints, part_summaries
from .models.weights import round_weights, store_weights
from .publishing.card_facts import RECIPE_FILE, published_facts, write_example
from .publishing.export import training_facts, write_hub_folder
from .publishing.publish import hub_repository, push_to_hub

logger = logging.get_logger(__name__)

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
    for stories in splits.values():
        check_max_frames(stories, config)
    tokenizers = build_tokenizers(model_args, splits["train"]["captions"], config)
    config.adapt_to_tokenizer(*tokenizers, pretrained=pretrained_parts(model_args))
    processor = build_processor(config, *tokenizers)
    num_stories = None if data_args.streaming else len(splits["train"])
    set_seed(training_args.seed)
    model = build_model(model_args, config)
    run_state = describe_run(config, processor, data_args, training_args, accelerator, num_stories)
    if model_args.baseline:
        run_state["run"] |= {"baseline": model_args.baseline, **baseline}
    else:
        run_state["run"]["parts"] = part_fingerprints(model, model_args)
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
        write_recipe((model_args, data_args, training_args), Path(training_args.output_dir) / RECIPE_FILE)
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
                facts = training_facts(loop, splits, data_args, training_args, command, part_summaries(model_args))
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
