"""The training loop on Accelerate: steps, the moving average, evaluations, checkpoints, and `metrics.jsonl`."""

import copy
import math
import signal
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, send_to_device
from safetensors.torch import load_file
from storyattn import StoryAttnProcessor
from storyattn.configuration_defaults import FLOW_LOSS_WEIGHTS
from storyattn.story_loss import COUNTED
from tqdm.auto import tqdm
from transformers import PreTrainedModel
from transformers.utils import logging

from ..arguments import TrainingArguments
from ..common.interruption import Interrupted, Interruption
from ..data.prepared_stories import PreparedStories
from ..evaluation.pictures import evaluation_picture
from ..evaluation.quick import quick_metrics
from .bad_steps import BadSteps
from .checkpoints import AVERAGE, BEST, FOLDER, MODEL, load_checkpoint, model_tensors, restore_best, save_checkpoint
from .distributed import decided_by_main_process, full_tensor, gather_full_tensors
from .ema import MovingAverage
from .loss_curves import loss_curves
from .loss_meter import LossMeter, memory_in_use
from .optimizer import build_optimizer, build_scheduler
from .run_log import METRICS, append_to_log, progress_postfix, start_log, tracked_numbers

logger = logging.get_logger(__name__)

Batch = dict[str, torch.Tensor]


class TrainingLoop:
    """
    Train a model; after `run`, `published_model` or `best_model` gives the result.

    A step is over `args.gradient_accumulation_steps` batches of each process, and every loss is the mean over all of
    them. A step whose loss or gradient is not finite leaves the weights as they are. Every `args.eval_steps` steps
    `quick_metrics` measures the model, and a picture is drawn. `args.early_stopping_patience` evaluations in a row
    without a new best by `args.metric_for_best_model` end the training; `early_stop` then says so.

    Args:
        accelerator: that of the run.
        model: the model to train.
        processor: its processor.
        make_loader: `make_loader(first_batch, num_batches)` gives this process's batches of the run, from the number
            `first_batch` up to `num_batches`.
        eval_stories: the stories of the evaluations.
        args: how to train: for `max_train_steps` optimizer steps, or where that is not set for `num_train_epochs`
            passes over `num_stories`.
        num_stories: how many stories there are to train on; `None` for a stream.
        max_eval_windows: how many windows of `eval_stories` an evaluation measures.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: PreTrainedModel,
        processor: StoryAttnProcessor,
        make_loader: Callable[[int, int], Generator[Batch, None, None]],
        eval_stories: PreparedStories,
        args: TrainingArguments,
        *,
        num_stories: int | None,
        max_eval_windows: int,
    ):
        self.accelerator, self.processor, self.args = accelerator, processor, args
        self.make_loader, self.eval_stories, self.max_eval_windows = make_loader, eval_stories, max_eval_windows
        self.output_dir = Path(args.output_dir)
        check_metric(args.metric_for_best_model, model.config.loss_weights)
        # Evaluated and published in place of the trained one, which may be sharded or compiled.
        self.eval_model = copy.deepcopy(model).eval() if accelerator.is_main_process else None
        optimizer = build_optimizer(model, args, accelerator.mixed_precision)
        self.num_steps = args.max_train_steps or math.ceil(
            args.num_train_epochs * num_stories / stories_per_step(args, accelerator)
        )
        # Not prepared: a prepared schedule advances once for every process.
        self.scheduler = build_scheduler(args, optimizer, self.num_steps)
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self.unwrapped_model = accelerator.unwrap_model(self.model, keep_torch_compile=False)
        self.ema = MovingAverage(self.unwrapped_model, args.ema_decay) if args.use_ema else None
        self.step, self.saved_step = 0, None
        self.bad_steps = BadSteps(accelerator, self.output_dir, args.max_bad_steps)
        # The best evaluation so far (step, metric and value), and the metrics of this step's evaluation.
        self.best, self.eval_metrics, self.evals_without_best = None, None, 0
        self.seconds_before, self.started = 0.0, time.perf_counter()
        self.losses = LossMeter()

    # The run, and its steps

    def run(self, run_state: dict, interruption: Interruption) -> None:
        """
        Train to the end.

        Args:
            run_state: what every checkpoint's `state.json` holds of the run, as JSON.
            interruption: records signals.

        Raises:
            Interrupted: after a signal, once the step is finished and saved.
            ValueError: after `args.max_bad_steps` steps in a row without a finite loss and gradient.
            OSError: where a checkpoint cannot be written.
        """
        self.run_state, self.interruption = run_state, interruption
        self.started = time.perf_counter()
        if self.accelerator.is_main_process:
            start_log(self.output_dir / METRICS, self.step, evaluated=self.eval_metrics is not None)
        silent = not self.accelerator.is_local_main_process
        bar = tqdm(total=self.num_steps, initial=self.step, desc="training", unit="step", disable=silent)
        accumulated = self.args.gradient_accumulation_steps
        loader = self.make_loader(self.step * accumulated, self.num_steps * accumulated)
        with bar, closing(loader):
            if self._evaluation_is_due() and self.eval_metrics is None:  # a signal came before its end
                is_best = self._evaluate()
                if is_best or self.early_stop:
                    self._save(is_best)
            self.losses.restart_clock()
            while self.step < self.num_steps and not self.early_stop:
                batches = self._next_batches(loader)
                loss_counts, is_interrupted = self._sync_step(batches)
                if is_interrupted:
                    raise self._interrupted()
                self._train_step(batches, loss_counts, bar)
                self._evaluate_and_save()
        if self.early_stop and self.accelerator.is_main_process:
            logger.warning(f"training: stopped early, {self.early_stop}")

    def _next_batches(self, loader: Iterator[Batch]) -> list[Batch]:
        """Return this process's batches of the next step on the device, or too few after a signal; time the wait."""
        asked = time.perf_counter()
        batches = []
        while not self.interruption.number and len(batches) < self.args.gradient_accumulation_steps:
            batches.append(next(loader))
        self.losses.waited += time.perf_counter() - asked
        return [send_to_device(batch, self.accelerator.device, non_blocking=True) for batch in batches]

    def _sync_step(self, batches: list[Batch]) -> tuple[dict[str, torch.Tensor] | None, bool]:
        """
        Exchange what all processes need to know before a step.

        Returns:
            What to divide the losses by, so that their mean over batches is a mean over all places of all batches
            (`None` where there is one batch); and whether a process has received a signal.
        """
        if self.batches_per_step == 1:
            return None, bool(self.interruption.number)
        numbers = torch.zeros(len(COUNTED) + 1, device=self.accelerator.device)
        numbers[-1] = bool(self.interruption.number)
        for batch in batches:
            numbers[:-1] += torch.stack(list(self.unwrapped_model.loss_counts(**batch).values()))
        *totals, is_interrupted = self.accelerator.reduce(numbers, "sum").unbind()
        counts = {name: total / self.batches_per_step for name, total in zip(COUNTED, totals)}
        return counts, bool(is_interrupted)

    def _train_step(self, batches: list[Batch], loss_counts: dict[str, torch.Tensor] | None, bar: tqdm) -> None:
        """Take one optimizer step; where a loss or the gradient is not finite, the weights stay as they are."""
        accelerator, scaler = self.accelerator, self.accelerator.scaler
        # Forward and backward
        self.model.train()
        outputs = []
        for batch in batches:
            with accelerator.accumulate(self.model):
                with accelerator.autocast():
                    output = self.model(**batch, return_loss=True, loss_counts=loss_counts)
                outputs.append((output.loss.detach(), output.loss_parts, len(batch["frame_mask"])))
                accelerator.backward(output.loss)
        # Clip
        grad_norm = full_tensor(accelerator.clip_grad_norm_(self.model.parameters(), self.args.max_grad_norm))
        # Step
        losses_finite, grad_finite = self._are_finite([loss for loss, _, _ in outputs], grad_norm)
        is_good = losses_finite and grad_finite
        if is_good:
            self.optimizer.step()
            if self.ema is not None:
                self.ema.update(self.unwrapped_model)
        elif scaler is not None:
            scaler.update()
        self.optimizer.zero_grad()
        self.scheduler.step()
        # Log
        if is_good:
            self.bad_steps.add_good()
            for output in outputs:
                self.losses.add(*output)
        # A scaler overflows now and then and lowers its scale; that is no fault until there is nothing to lower.
        elif not (losses_finite and scaler is not None and scaler.get_scale() > 1):
            mean_loss = float(sum(loss for loss, _, _ in outputs)) / len(outputs)
            self.bad_steps.add(self.step + 1, mean_loss, float(grad_norm))
        self.step += 1
        bar.update()
        if self.step % self.args.logging_steps == 0 or self.step == self.num_steps:
            self._log(bar, float(grad_norm))

    def _are_finite(self, losses: list[torch.Tensor], grad_norm: torch.Tensor) -> list[bool]:
        """Return whether the losses, and the norm of the gradient, are finite in every process."""
        finite = torch.stack([torch.stack(losses).isfinite().all(), grad_norm.isfinite()])
        return (self.accelerator.reduce(finite.float(), "sum") == self.accelerator.num_processes).tolist()

    def _log(self, bar: tqdm, grad_norm: float) -> None:
        line = self.losses.compute()
        line["lr"], line["grad_norm"] = self.scheduler.get_last_lr()[0], grad_norm if math.isfinite(grad_norm) else None
        line["memory_gib"], line["bad_steps"] = memory_in_use(self.accelerator.device), self.bad_steps.total
        bar.set_postfix(progress_postfix(line, grad_norm))
        if self.accelerator.is_main_process:
            append_to_log(self.output_dir / METRICS, {"step": self.step, **line})
        self.accelerator.log(tracked_numbers(line), step=self.step)

    def _evaluate_and_save(self) -> None:
        """Evaluate and save where the current step is due for it."""
        args, is_best = self.args, False
        self.eval_metrics = None
        if self._evaluation_is_due():
            try:
                is_best = self._evaluate()
            except Exception:
                self._save()
                raise
        save_is_due = args.save_steps and self.step % args.save_steps == 0
        if is_best or save_is_due or self.step == self.num_steps or self.early_stop:
            self._save(is_best)

    # Evaluations

    @property
    def early_stop(self) -> str | None:
        """Why training ended, or has to end, before its last step; the same in every process."""
        patience = self.args.early_stopping_patience
        if patience is None or self.evals_without_best < patience or self.step == self.num_steps:
            return None
        name, best = self.args.metric_for_best_model, self.best
        missing = f"a lower {name} than {best['value']:g} of step {best['step']}" if best else f"a finite {name}"
        stalled = f"{self.evals_without_best} evaluations in a row without {missing}"
        return f"after step {self.step} of {self.num_steps}: {stalled}"

    def _evaluation_is_due(self) -> bool:
        every = self.args.eval_steps
        return self.step > 0 and bool((every and self.step % every == 0) or self.step == self.num_steps)

    def _evaluate(self) -> bool:
        """
        Measure and draw on the main process, while the others wait; return whether this is the best model so far.

        After a signal the evaluation is left for the run that resumes.
        """
        model = self.published_model()
        self.eval_metrics, self.best = decided_by_main_process(self.accelerator, self._measure, model)
        if self.eval_model is not None:
            self.eval_model.cpu()  # the memory of a GPU is for training
        self.losses.restart_clock()
        is_best = self.best is not None and self.best["step"] == self.step
        if self.eval_metrics is not None:
            self.evals_without_best = 0 if is_best else self.evals_without_best + 1
        return is_best

    def _measure(self, model: PreTrainedModel) -> tuple[dict | None, dict | None]:
        """Return the metrics of this evaluation, `None` where a signal came before its end, and the best so far."""
        metrics = quick_metrics(
            model,
            self.processor,
            self.eval_stories,
            max_windows=self.max_eval_windows,
            batch_size=self.args.eval_batch_size,
            stop=lambda: bool(self.interruption.number),
        )
        if metrics is None:
            return None, self.best
        finite = {name: value for name, value in metrics.items() if value is not None and math.isfinite(value)}
        metrics = {name: finite.get(name) for name in metrics}
        append_to_log(self.output_dir / METRICS, {"step": self.step, "eval": metrics})
        self.accelerator.log({f"eval/{name}": value for name, value in finite.items()}, step=self.step)
        figures = self.output_dir / "figures"
        evaluation_picture(model, self.processor, self.eval_stories, figures / f"step-{self.step:06d}.png")
        loss_curves(self.output_dir / METRICS, figures / "loss_curves.png")
        name = self.args.metric_for_best_model
        if name in finite and (self.best is None or finite[name] < self.best["value"]):
            return metrics, {"step": self.step, "metric": name, "value": finite[name]}
        return metrics, self.best

    def published_model(self) -> PreTrainedModel | None:
        """
        Return the model to evaluate and publish, with the moving average of the weights where there is one.

        Called by every process; `None` on all but the main one.
        """
        averages = {} if self.ema is None else self.ema.weights
        weights = gather_full_tensors(self.accelerator, {**model_tensors(self.unwrapped_model), **averages})
        if self.eval_model is None:
            return None
        self.eval_model.load_state_dict(weights, strict=False)  # of tied weights one
        return self.eval_model.to(self.accelerator.device)

    def best_model(self) -> PreTrainedModel | None:
        """Return the `published_model` with the weights of the best evaluation so far, or the last where none was."""
        model, folder = self.published_model(), self.output_dir / FOLDER / BEST
        if model is not None and self.best is not None:
            for name in [MODEL] if self.ema is None else [MODEL, AVERAGE]:
                model.load_state_dict(load_file(folder / name), strict=False)
        return model

    # Checkpoints

    def resume(self, checkpoint: Path, state: dict) -> None:
        """
        Continue from a checkpoint whose `state.json` is `state`.

        Raises `ValueError` where that is beyond the last step.
        """
        if state["step"] > self.num_steps:
            raise ValueError(
                f"resume_from_checkpoint: got {checkpoint} of step {state['step']}, expected at most the last step, "
                f"{self.num_steps}; --max_train_steps sets it"
            )
        load_checkpoint(self.accelerator, self.model, self.optimizer, self.ema, checkpoint, state)
        self.scheduler.load_state_dict(state["scheduler"])
        self.step, self.saved_step, self.seconds_before = state["step"], state["step"], state["seconds"]
        self.bad_steps.total, self.bad_steps.in_a_row = state["bad_steps"], state["bad_in_a_row"]
        self.eval_metrics, self.evals_without_best = state["eval"], state.get("stalled", 0)
        self.best = decided_by_main_process(self.accelerator, restore_best, checkpoint, self.output_dir, state["best"])

    def _save(self, is_best: bool = False) -> None:
        state = {
            **self.run_state,
            "step": self.step,
            "seconds": self.seconds,
            "scheduler": self.scheduler.state_dict(),
            "best": self.best,
            "eval": self.eval_metrics,
            "stalled": self.evals_without_best,
            "bad_steps": self.bad_steps.total,
            "bad_in_a_row": self.bad_steps.in_a_row,
        }
        model, optimizer, limit = self.model, self.optimizer, self.args.save_total_limit
        save_checkpoint(self.accelerator, model, optimizer, self.ema, self.output_dir, state, limit, best=is_best)
        self.saved_step = self.step
        self.losses.restart_clock()

    def _interrupted(self) -> Interrupted:
        """Save the run, and return the exception that ends it."""
        number = max(gather_object([self.interruption.number]))
        if self.step and self.saved_step != self.step:
            self._save()
        stopped = f"stopped by {signal.Signals(number).name} after step {self.step} of {self.num_steps}"
        saved = f"saved as {self.output_dir / FOLDER / f'step-{self.step}'}" if self.step else "with nothing to save"
        return Interrupted(number, f"{stopped}, {saved}; to go on:\n{self.interruption.command}")

    @property
    def batches_per_step(self) -> int:
        """Batches of all processes together that make one optimizer step."""
        return self.args.gradient_accumulation_steps * self.accelerator.num_processes

    @property
    def seconds(self) -> float:
        """Seconds of training so far, with evaluations and the earlier parts of a resumed run."""
        return self.seconds_before + time.perf_counter() - self.started


def check_metric(name: str, loss_weights: dict[str, float]) -> None:
    """Raise `ValueError` for a metric that evaluations during training do not have; `loss_weights` name its parts."""
    parts = [f"loss_parts/{part}" for part, weight in loss_weights.items() if weight and part not in FLOW_LOSS_WEIGHTS]
    names = ["loss", "next_frame/l1", "next_frame/l1_changed", *parts]
    if name not in names:
        raise ValueError(f"metric_for_best_model: got {name!r}, expected one of {', '.join(names)}")


def stories_per_step(args: TrainingArguments, accelerator: Accelerator) -> int:
    """Return how many stories make an optimizer step of all processes together."""
    return args.train_batch_size * args.gradient_accumulation_steps * accelerator.num_processes
