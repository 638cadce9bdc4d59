"""
Train a StoryAttn model, evaluate it and write a folder that is ready for the Hub.

    accelerate launch train.py configuration/recipes/storyworld_tiny.yaml --output_dir runs/tiny
    accelerate launch -m storyattn.training.train --preset tiny --dataset FOLDER_OR_HUB_ID --output_dir runs/mine
    python train.py --help
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from accelerate import Accelerator, PartialState
from accelerate.utils import set_seed
from storyattn import StoryAttnConfig, StoryAttnProcessor, build_image_processor, build_processor
from transformers import PreTrainedModel
from transformers.utils import logging

from .arguments import (
    FLAGS_OF_ONE_MACHINE,
    DataArguments,
    ModelArguments,
    TrainingArguments,
    parse_arguments,
    write_recipe,
)
from .codraw.detector import open_detector
from .common.command_line import portable_command
from .common.errors import one_line
from .common.interruption import Interrupted, Interruption
from .common.tables import text_table
from .data.dataset_cache import use_writable_cache
from .data.loaders import check_streaming, load_splits, make_loader, prepare_splits
from .data.object_maps import set_object_names
from .data.prepared_stories import PreparedStories
from .data.sources import STORYWORLD
from .earlier_trainings import train_after_earlier
from .engine.accelerator import build_accelerator, leave, process_group_ended
from .engine.alignment_fit import fit_alignment
from .engine.checkpoints import find_checkpoint
from .engine.compilation import checkpoint_activations, compile_blocks
from .engine.distributed import decided_by_main_process
from .engine.loop import TrainingLoop
from .engine.run_folder import describe_run, locked_run_folder, put_earlier_run_aside, read_same_run
from .engine.run_summary import print_processes, print_training
from .engine.trackers import start_trackers
from .evaluation.comparison import BEFORE, COMPARISON_COLUMNS, comparison_rows
from .evaluation.evaluate import evaluate_model
from .evaluation.instruments import load_instruments
from .evaluation.pictures import BEFORE_AFTER, before_after_picture, evaluation_picture
from .evaluation.results import drop_examples, results_document
from .evaluation.scone_metrics import check_max_frames
from .evaluation.terminal import format_metrics
from .evaluation.wording_metrics import measure_wordings
from .inspection.harm import harm_line
from .model_kinds import ModelKind, model_kind
from .models.build import build_tokenizers, check_perceptual_model, pretrained_parts
from .models.provenance import earlier_facts, part_summaries, seconds_of
from .models.weights import round_weights, store_weights
from .needs import check_measurable, check_needs, check_space
from .publishing.card_facts import RECIPE_FILE
from .publishing.export import training_facts
from .publishing.publish import push_to_hub

logger = logging.get_logger(__name__)


def main(argv: list[str] | None = None, command: list[str] | None = None) -> None:
    """
    Train as the flags say.

    Wrong input ends the program with one line and exit status 2. A signal ends it, once the step is finished and saved,
    with the command that resumes it and exit status 128 + the signal's number.

    Args:
        argv: the flags; by default those of the program.
        command: the words of the command line, for the results; by default those of `train.py`.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        with process_group_ended(), one_line("error"):
            command = portable_command(command or ["train.py", *argv], FLAGS_OF_ONE_MACHINE)
            train_after_earlier(train, parse_arguments(argv), command)
    except Interrupted as interrupted:
        if PartialState().is_main_process:
            print(interrupted, file=sys.stderr)
        leave(128 + interrupted.number)
    leave(0)


def train(model_args: ModelArguments, data_args: DataArguments, args: TrainingArguments, command: str) -> dict:
    """
    Train, evaluate and export; return what `results.json` holds, in the main process.

    Args:
        model_args: what is trained.
        data_args: what it is trained and measured on.
        args: how it is trained.
        command: the command line, for the results.

    Raises:
        ValueError, OSError: where flags, data or checkpoint are wrong, before training starts.
    """
    check_streaming(data_args, args)
    if args.compare_with_start and model_args.model_name_or_path is None:
        raise ValueError("compare_with_start: got true without --model_name_or_path, expected a model to start from")
    kind = model_kind(model_args)
    config = kind.config(args.fit_alignment)

    # ------------------------------------------------------------------------------------------------ accelerator
    accelerator = build_accelerator(args)
    with locked_run_folder(accelerator, args.output_dir):
        return _train_in_folder(accelerator, kind, config, (model_args, data_args, args), command)


def _train_in_folder(
    accelerator: Accelerator,
    kind: ModelKind,
    config: StoryAttnConfig,
    flags: tuple[ModelArguments, DataArguments, TrainingArguments],
    command: str,
) -> dict:
    """Train in the output folder, which no other run uses; return what `train` returns."""
    model_args, data_args, args = flags
    print_processes(accelerator, args)
    repo_id = check_needs(accelerator, model_args, data_args, args)
    checkpoint = decided_by_main_process(accelerator, find_checkpoint, args.resume_from_checkpoint, args.output_dir)

    # ------------------------------------------------------------------------------------------------------- data
    splits, processor = _load_data(accelerator, config, model_args, data_args)

    # ------------------------------------------------------------------------------------------------------ model
    model, run_state = _build_model(accelerator, kind, config, splits, processor, data_args, args)
    state = read_same_run(checkpoint, config, run_state)
    _prepare_model(model, kind, args)

    # ------------------------------------------------------------------------------------------------------- loop
    loop = _build_loop(accelerator, model, config, splits, processor, data_args, args)
    check_space(loop)
    card_facts = _begin(loop, kind, checkpoint, state, flags)
    with _ended(accelerator), Interruption() as interruption:
        model = _run_loop(loop, run_state, interruption)
        if model is None:
            return {}
        # ----------------------------------------------------------------------------------------------- evaluate
        earlier = earlier_facts(model_args.model_name_or_path)
        parts, before = part_summaries(model_args, earlier), seconds_of(earlier.get("training", {}))
        facts = training_facts(loop, splits, data_args, args, command, parts, before) | card_facts
        results = evaluate(model, kind, processor, splits, facts, data_args, args)
        # ------------------------------------------------------------------------------------------------- export
        example = splits["test"][0]
        if not data_args.publish_stories:
            example = kind.painted_example(model, processor, example["frames"][0])
        export(model, kind, processor, example, results, facts, args)
    if repo_id is not None:
        push_to_hub(args, repo_id)
    return results


def _load_data(
    accelerator: Accelerator, config: StoryAttnConfig, model_args: ModelArguments, data_args: DataArguments
) -> tuple[dict[str, PreparedStories], StoryAttnProcessor]:
    """Return the prepared stories of each split, and the processor; `config` is adapted to its tokenizers."""
    use_writable_cache(data_args.cache_dir)
    with accelerator.main_process_first():
        splits = prepare_splits(load_splits(data_args, config), build_image_processor(config), data_args)
    for stories in splits.values():
        check_max_frames(stories, config)
    check_measurable(splits)
    set_object_names(config, splits["train"])
    tokenizers = build_tokenizers(model_args, splits["train"]["captions"], config)
    config.adapt_to_tokenizer(*tokenizers, pretrained=pretrained_parts(model_args))
    processor = build_processor(config, *tokenizers)
    if accelerator.is_main_process and data_args.dataset != STORYWORLD:
        _warn_of_harm(splits, processor, config)
    return splits, processor


def _warn_of_harm(splits: dict[str, PreparedStories], processor: StoryAttnProcessor, config: StoryAttnConfig) -> None:
    """Say in one line what in the data would hurt the training."""
    line = harm_line(splits, processor.tokenizers, config.max_frames, config.max_caption_length)
    if line is not None:
        logger.warning(line)


def _build_model(
    accelerator: Accelerator,
    kind: ModelKind,
    config: StoryAttnConfig,
    splits: dict[str, PreparedStories],
    processor: StoryAttnProcessor,
    data_args: DataArguments,
    args: TrainingArguments,
) -> tuple[PreTrainedModel, dict]:
    """Return the model to train, and what a checkpoint must share with the run that continues it."""
    set_seed(args.seed)
    model = kind.build(config)
    num_stories = _count_stories(splits, data_args)
    run_state = describe_run(config, processor, data_args, args, accelerator, num_stories)
    run_state["run"] |= kind.describe(model)
    return model, run_state


def _prepare_model(model: PreTrainedModel, kind: ModelKind, args: TrainingArguments) -> None:
    """Freeze, adapt, checkpoint and compile as the flags say; seed what the model draws while it is trained."""
    check_perceptual_model(model)
    kind.tune(model)
    if args.gradient_checkpointing:
        checkpoint_activations(model)
    if args.compile:
        compile_blocks(model)
    set_seed(args.seed, device_specific=True)  # other dropout in each process, the same weights


def _build_loop(
    accelerator: Accelerator,
    model: PreTrainedModel,
    config: StoryAttnConfig,
    splits: dict[str, PreparedStories],
    processor: StoryAttnProcessor,
    data_args: DataArguments,
    args: TrainingArguments,
) -> TrainingLoop:
    """Return the loop over batches of the training stories; `config` is that by which stories are read."""
    return TrainingLoop(
        accelerator,
        model,
        processor,
        partial(make_loader, splits["train"], processor, config, data_args, args, accelerator),
        splits["eval"],
        args,
        num_stories=_count_stories(splits, data_args),
        max_eval_windows=data_args.max_eval_windows,
    )


def _begin(
    loop: TrainingLoop,
    kind: ModelKind,
    checkpoint: Path | None,
    state: dict | None,
    flags: tuple[ModelArguments, DataArguments, TrainingArguments],
) -> dict:
    """Restore the checkpoint, if any, and start the run's folder and trackers; return `card_facts` of the kind."""
    accelerator, card_facts = loop.accelerator, {}
    if checkpoint is not None:
        loop.resume(checkpoint, state)
    decided_by_main_process(accelerator, put_earlier_run_aside, loop.output_dir, checkpoint)
    if accelerator.is_main_process:
        write_recipe(flags, loop.output_dir / RECIPE_FILE)
        card_facts = kind.card_facts(flags[1])
    start_trackers(accelerator, *flags)
    print_training(loop)
    return card_facts


@contextmanager
def _ended(accelerator: Accelerator) -> Iterator[None]:
    """End the trackers of `accelerator` at the end."""
    try:
        yield
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()


def _run_loop(loop: TrainingLoop, run_state: dict, interruption: Interruption) -> PreTrainedModel | None:
    """Train to the end; return the model to publish in the main process. A signal from then on ends the run at once."""
    loop.run({**run_state, "command": interruption.command}, interruption)
    model = loop.best_model() if loop.args.load_best_model_at_end else loop.published_model()
    stopped = f"stopped after training, whose {loop.step} steps are saved, before all was measured"
    interruption.finished(f"{stopped}; to go on:\n{interruption.command}")
    return model


def evaluate(
    model: PreTrainedModel,
    kind: ModelKind,
    processor: StoryAttnProcessor,
    splits: dict[str, PreparedStories],
    facts: dict,
    data_args: DataArguments,
    args: TrainingArguments,
) -> dict:
    """
    Evaluate the trained model on the test splits, with its weights as `save_dtype` stores them.

    Args:
        model: the trained model; adapters are merged, and with `fit_alignment` the shared space is fitted.
        kind: the kind of model.
        processor: its processor.
        splits: the stories.
        facts: those of `training_facts`; what the fit chose is added.
        data_args: which windows are measured.
        args: how the model was trained, and is stored.

    Returns:
        The document of `_measure_splits`, with `compare_with_start` with metrics of the starting model as `BEFORE`.
    """
    kind.merge(model)
    if args.fit_alignment:
        fitted = fit_alignment(model, processor, splits["train"], splits["eval"])
        facts["training"] |= {f"alignment: {name}": value for name, value in fitted.items()}
    round_weights(model, args.save_dtype)
    kind.calibrate(model, processor, splits["eval"])
    options = {"train_stories": splits["train"], "batch_size": args.eval_batch_size, "seed": args.seed}
    options |= {"max_windows": data_args.max_test_windows, **_instruments(data_args)}
    source = {"dataset": data_args.dataset, "split": data_args.test_split, "model": args.output_dir}
    source |= {"seed": args.seed, "command": facts["command"]}
    results = _measure_splits(model, processor, splits, options, source)
    picture = Path(args.output_dir, "figures", "evaluation.png")
    evaluation_picture(model, processor, splits["test"], picture, paintings_alone=not data_args.publish_stories)
    if args.compare_with_start:
        start = kind.build(model.config).eval().to(model.device)
        results[BEFORE] = _measure(start, processor, splits["test"], options, source)["metrics"]
        if data_args.publish_stories:
            before_after_picture(start, model, processor, splits["test"], picture.with_name(BEFORE_AFTER))
    if not data_args.publish_stories:
        drop_examples(results)
    return results


def _instruments(data_args: DataArguments) -> dict:
    """Return what the test splits are measured with, by the name that `evaluate_model` has for it."""
    return {"instruments": load_instruments(), "detector": open_detector(data_args.codraw_detector)}


def _measure_splits(
    model: PreTrainedModel,
    processor: StoryAttnProcessor,
    splits: dict[str, PreparedStories],
    options: dict,
    source: dict,
) -> dict:
    """Return the document of the results on `test`, and on StoryWorld's other tests where they are there."""
    results = _measure(model, processor, splits["test"], options, source)
    if "test_unseen" in splits:
        results["test_unseen"] = _measure(model, processor, splits["test_unseen"], options, source)["metrics"]
    if "test_words" in splits:
        measured = {name: options[name] for name in ("batch_size", "max_windows")}
        results["metrics"] |= measure_wordings(model, processor, splits["test_words"], **measured)
    return results


def _measure(
    model: PreTrainedModel, processor: StoryAttnProcessor, stories: PreparedStories, options: dict, source: dict
) -> dict:
    """Return the document of the results on a split."""
    return results_document(evaluate_model(model, processor, stories, **options), **source)


def export(
    model: PreTrainedModel,
    kind: ModelKind,
    processor: StoryAttnProcessor,
    example: dict | None,
    results: dict,
    facts: dict,
    args: TrainingArguments,
) -> None:
    """
    Write the trained model and its results into the run's folder, and print the results.

    Args:
        model: the trained model.
        kind: the kind of model.
        processor: its processor.
        example: a story for the model card, if any.
        results: those of `evaluate`.
        facts: what the model card says of the training.
        args: how the model is stored.
    """
    output_dir = Path(args.output_dir)
    kind.export(model, processor, output_dir, results, facts, example)
    store_weights(output_dir, args.save_dtype)
    print(format_metrics(results["metrics"]))
    if args.compare_with_start:
        print(f"\n{text_table(COMPARISON_COLUMNS, comparison_rows(results[BEFORE], results['metrics']))}")
        if (output_dir / "figures" / BEFORE_AFTER).is_file():
            print(f"\nbefore and after, drawn: {output_dir / 'figures' / BEFORE_AFTER}")
    print(f"\nthe model and results.json are in {output_dir}")


def _count_stories(splits: dict[str, PreparedStories], data_args: DataArguments) -> int | None:
    """Return how many stories there are to train on; `None` for a stream."""
    return None if data_args.streaming else len(splits["train"])


if __name__ == "__main__":
    main()
