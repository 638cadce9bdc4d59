"""The training loop on Accelerate: steps, the moving average, evaluations, checkpoints, and `metrics.jsonl`."""

import contextlib
import copy
import json
import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from accelerate.utils import gather_object, send_to_device
from safetensors.torch import load_file
from storyattn.story_loss import COUNTED
from tqdm.auto import tqdm
from transformers import get_scheduler
from transformers.utils import logging

from ..common.interruption import Interrupted, Interruption
from ..evaluation.pictures import evaluation_picture
from ..evaluation.quick import quick_metrics
from .checkpoints import (
    AVERAGE,
    BEST,
    FOLDER,
    MODEL,
    keep_best,
    list_checkpoints,
    load_checkpoint,
    model_tensors,
    save_checkpoint,
)
from .distributed import decided_by_main_process, gather_whole, whole
from .ema import MovingAverage
from .loss_curves import loss_curves
from .loss_meter import LossMeter, memory_in_use
from .optimizer import build_optimizer

logger = logging.get_logger(__name__)

METRICS = "metrics.jsonl"
# The parts that fit on a progress bar, and what it calls them; the log has all of them.
SHOWN_PARTS = {
    "next_frame_l1": "frame",
    "reconstruction_l1": "rebuilt",
    "describe": "describe",
    "next_caption": "caption",
    "alignment": "align",
}


class TrainingLoop:
    """
    Trains `model` for `args.max_train_steps` optimizer steps, or `args.num_train_epochs` passes over `num_stories`
    where that is not set.

    `make_loader(first_batch, num_batches)` gives this process's batches from the first to the last of the run.
    `eval_stories` are measured by `quick_metrics` (`max_eval_windows` of them) and drawn every `args.eval_steps`. After
    `run`, `published_model` gives the result.

    A step is over `args.gradient_accumulation_steps` batches of each process, and every loss is the mean over all of
    them. A step whose loss or gradient is not finite leaves the weights as they are. `args.early_stopping_patience`
    evaluations in a row without a new best by `args.metric_for_best_model` end the training; `early_stop` tells of it.
    """

    def __init__(
        self,
        accelerator,
        model,
        processor,
        make_loader: Callable[[int, int], Iterable],
        eval_stories,
        args,
        *,
        num_stories: int | None,
        max_eval_windows: int,
    ):
        self.accelerator, self.processor, self.args = accelerator, processor, args
        self.make_loader, self.eval_stories, self.max_eval_windows = make_loader, eval_stories, max_eval_windows
        self.output_dir = Path(args.output_dir)
        check_metric(args.metric_for_best_model, model.config.loss_weights)
        # Evaluated and published in place of the one that is trained, which may be sharded or compiled.
        self.plain = copy.deepcopy(model).eval() if accelerator.is_main_process else None
        optimizer = build_optimizer(model, args)
        self.num_steps = args.max_train_steps or math.ceil(
            args.num_train_epochs * num_stories / stories_per_step(args, accelerator)
        )
        # Not prepared: a prepared schedule advances once for every process.
        self.scheduler = get_scheduler(args.lr_scheduler_type, optimizer, args.warmup_steps, self.num_steps)
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self.trained = accelerator.unwrap_model(self.model, keep_torch_compile=False)
        self.average = MovingAverage(self.trained, args.ema_decay) if args.use_ema else None
        self.step = 0
        self.bad_steps, self.bad_in_a_row = 0, 0
        self.best, self.measured, self.stalled = None, None, 0
        self.saved_step = None
        self.seconds_before, self.started = 0.0, time.perf_counter()
        self.losses = LossMeter()

    @property
    def batches_per_step(self) -> int:
        """Batches of all processes together that make one optimizer step."""
        return self.args.gradient_accumulation_steps * self.accelerator.num_processes

    def published_model(self):
        """
        What is evaluated and published, with the moving average of the weights where there is one; called by every
        process, `None` on all but the main one.
        """
        averages = {} if self.average is None else self.average.weights
        weights = gather_whole(self.accelerator, {**model_tensors(self.trained), **averages})
        if self.plain is None:
            return None
        self.plain.load_state_dict(weights, strict=False)  # of tied weights one
        return self.plain.to(self.accelerator.device)

    def best_model(self):
        """As `published_model`, with the weights whose evaluation was the best so far; the last where none was."""
        model, folder = self.published_model(), self.output_dir / FOLDER / BEST
        if model is not None and self.best is not None:
            for name in [MODEL] if self.average is None else [MODEL, AVERAGE]:
                model.load_state_dict(load_file(folder / name), strict=False)
        return model

    def resume(self, checkpoint: Path, state: dict) -> None:
        """
        Continues from a checkpoint whose `state.json` is `state`.

        Raises `ValueError` where that is beyond the last step.
        """
        if state["step"] > self.num_steps:
            raise ValueError(
                f"resume_from_checkpoint: {checkpoint} is of step {state['step']}, expected at most the last step, "
                f"{self.num_steps}; --max_train_steps sets it"
            )
        load_checkpoint(self.accelerator, self.model, self.optimizer, self.average, checkpoint, state)
        self.scheduler.load_state_dict(state["scheduler"])
        self.step, self.seconds_before = state["step"], state["seconds"]
        self.bad_steps, self.bad_in_a_row = state["bad_steps"], state["bad_in_a_row"]
        self.saved_step, self.measured, self.stalled = self.step, state["eval"], state.get("stalled", 0)
        self.best = decided_by_main_process(self.accelerator, keep_best, checkpoint, self.output_dir, state["best"])

    def run(self, run_state: dict, interruption: Interruption) -> None:
        """
        Trains to the end. `run_state` goes into every checkpoint's `state.json`.

        Raises `Interrupted` once a step is finished and saved after a signal, `ValueError` after `args.max_bad_steps`
        steps in a row without a finite loss and gradient, `OSError` where a checkpoint cannot be written.
        """
        self.run_state, self.interruption = run_state, interruption
        self.started = time.perf_counter()
        self._start_log()
        bar = tqdm(
            total=self.num_steps,
            initial=self.step,
            desc="training",
            unit="step",
            disable=not self.accelerator.is_local_main_process,
        )
        accumulated = self.args.gradient_accumulation_steps
        loader = iter(self.make_loader(self.step * accumulated, self.num_steps * accumulated))
        with bar:
            # The signal that ended the run came before it.
            if self._evaluation_is_due() and self.measured is None:
                best = self._evaluate()
                if best or self.early_stop:
                    self._save(best)
            self.losses.restart_clock()
            while self.step < self.num_steps and not self.early_stop:
                batches = self._next_batches(loader)
                counts, signalled = self._agree(batches)
                if signalled:
                    raise self._interrupted()
                grad_norm = self._train_on(batches, counts)
                self.step += 1
                bar.update()
                self._after_step(bar, grad_norm)
        if self.early_stop and self.accelerator.is_main_process:
            logger.warning(f"training: stopped early, {self.early_stop}")

    @property
    def early_stop(self) -> str | None:
        """Why training ended, or has to end, before its last step; every process knows it."""
        patience = self.args.early_stopping_patience
        if patience is None or self.stalled < patience or self.step == self.num_steps:
            return None
        name, best = self.args.metric_for_best_model, self.best
        known = f"a lower {name} than {best['value']:g} of step {best['step']}" if best else f"a finite {name}"
        return f"after step {self.step} of {self.num_steps}: {self.stalled} evaluations in a row without {known}"

    @property
    def seconds(self) -> float:
        """Time of training so far, evaluations and earlier parts of a resumed run included."""
        return self.seconds_before + time.perf_counter() - self.started

    def _next_batches(self, loader: Iterator) -> list[dict[str, torch.Tensor]]:
        """This process's batches of the next step on the device, or too few after a signal; the wait is measured."""
        asked = time.perf_counter()
        batches = []
        try:
            while not self.interruption.number and len(batches) < self.args.gradient_accumulation_steps:
                batches.append(next(loader))
        except RuntimeError:  # of a worker that the signal has ended as well
            if not self.interruption.number:
                raise
        self.losses.waited += time.perf_counter() - asked
        return [send_to_device(batch, self.accelerator.device, non_blocking=True) for batch in batches]

    def _agree(self, batches: list[dict]) -> tuple[dict[str, torch.Tensor] | None, bool]:
        """
        What all processes must know of a step before it begins: what its losses are to be divided by, so that the mean
        over batches is one over all their places (`None` where there is one batch), and whether one was signalled.
        """
        if self.batches_per_step == 1:
            return None, bool(self.interruption.number)
        known = torch.zeros(len(COUNTED) + 1, device=self.accelerator.device)
        known[-1] = bool(self.interruption.number)
        for batch in batches:
            known[:-1] += torch.stack(list(self.trained.loss_counts(**batch).values()))
        *totals, signalled = self.accelerator.reduce(known, "sum").unbind()
        return {name: total / self.batches_per_step for name, total in zip(COUNTED, totals)}, bool(signalled)

    def _train_on(self, batches: list[dict], counts: dict | None) -> float:
        """One step; gives the norm of the gradient. Where it or a loss is not finite, the weights stay as they are."""
        self.model.train()
        outputs = []
        for batch in batches:
            with self.accelerator.accumulate(self.model):
                with self.accelerator.autocast():
                    output = self.model(**batch, return_loss=True, loss_counts=counts)
                outputs.append((output.loss.detach(), output.loss_parts, len(batch["frame_mask"])))
                self.accelerator.backward(output.loss)
        grad_norm = whole(self.accelerator.clip_grad_norm_(self.model.parameters(), self.args.max_grad_norm))
        finite = torch.stack([loss for loss, _, _ in outputs]).isfinite().all(), grad_norm.isfinite()
        finite = self.accelerator.reduce(torch.stack(finite).float(), "sum") == self.accelerator.num_processes
        good, scaler = bool(finite.all()), self.accelerator.scaler
        if good:
            self.optimizer.step()
            for output in outputs:
                self.losses.add(*output)
            if self.average is not None:
                self.average.update(self.trained)
        elif scaler is not None:
            scaler.update()
        self.optimizer.zero_grad()
        self.scheduler.step()
        # A scaler overflows now and then and lowers its scale; that is no fault until there is nothing to lower.
        overflow = not good and scaler is not None and bool(finite[0]) and scaler.get_scale() > 1
        if not overflow:
            self.bad_in_a_row = 0 if good else self.bad_in_a_row + 1
        if not good and not overflow:
            self.bad_steps += 1
            self._tell_of_bad_step(float(sum(loss for loss, _, _ in outputs)) / len(outputs), float(grad_norm))
        return float(grad_norm)

    def _tell_of_bad_step(self, loss: float, grad_norm: float) -> None:
        """Warns of a step that was left out; raises `ValueError` where there were too many in a row."""
        loss = sum(gather_object([loss])) / self.accelerator.num_processes
        found = f"step {self.step + 1}: found a loss of {loss:g} and a gradient of norm {grad_norm:g}"
        if self.accelerator.is_main_process:
            logger.warning(f"{found}, expected finite numbers; the step is left out ({self.bad_in_a_row} in a row)")
        decided_by_main_process(self.accelerator, self._check_bad_steps, found)

    def _check_bad_steps(self, found: str) -> None:
        if self.bad_in_a_row >= self.args.max_bad_steps:
            kept = list_checkpoints(self.output_dir)
            raise ValueError(
                f"training: {found}, and {self.bad_in_a_row} such steps in a row, expected fewer than --max_bad_steps "
                f"{self.args.max_bad_steps}; the last good checkpoint is {kept[-1] if kept else 'none'}; a lower "
                "--learning_rate or --mixed_precision no may help"
            )

    def _interrupted(self) -> Interrupted:
        """Saves where the run stands, and gives what ends it."""
        number = max(gather_object([self.interruption.number]))
        if self.step and self.saved_step != self.step:
            self._save()
        stood = f"stopped by {signal.Signals(number).name} after step {self.step} of {self.num_steps}"
        where = f"saved as {self.output_dir / FOLDER / f'step-{self.step}'}" if self.step else "with nothing to save"
        return Interrupted(number, f"{stood}, {where}; to go on:\n{self.interruption.command}")

    def _after_step(self, bar, grad_norm: float) -> None:
        """What is due after the current step: a line of the log, an evaluation, a checkpoint."""
        args, last, best = self.args, self.step == self.num_steps, False
        self.measured = None
        if self.step % args.logging_steps == 0 or last:
            self._log_losses(bar, grad_norm)
        if self._evaluation_is_due():
            try:
                best = self._evaluate()
            except Exception:
                self._save()
                raise
        if best or (args.save_steps and self.step % args.save_steps == 0) or last or self.early_stop:
            self._save(best)

    def _evaluation_is_due(self) -> bool:
        every = self.args.eval_steps
        return self.step > 0 and bool((every and self.step % every == 0) or self.step == self.num_steps)

    def _save(self, best: bool = False) -> None:
        state = {
            **self.run_state,
            "step": self.step,
            "seconds": self.seconds,
            "scheduler": self.scheduler.state_dict(),
            "best": self.best,
            "eval": self.measured,
            "stalled": self.stalled,
            "bad_steps": self.bad_steps,
            "bad_in_a_row": self.bad_in_a_row,
        }
        model, optimizer, limit = self.model, self.optimizer, self.args.save_total_limit
        save_checkpoint(self.accelerator, model, optimizer, self.average, self.output_dir, state, limit, best=best)
        self.saved_step = self.step
        self.losses.restart_clock()

    def _log_losses(self, bar, grad_norm: float) -> None:
        line = self.losses.compute()
        line["lr"], line["grad_norm"] = self.scheduler.get_last_lr()[0], grad_norm if math.isfinite(grad_norm) else None
        line["memory_gib"], line["bad_steps"] = memory_in_use(self.accelerator.device), self.bad_steps
        parts = line.get("loss_parts", {})
        shown = {"loss": line.get("loss"), **{short: parts.get(name) for name, short in SHOWN_PARTS.items()}}
        shown = {name: f"{value:.3f}" for name, value in shown.items() if value is not None}
        shown |= {"lr": f"{line['lr']:.1e}", "norm": f"{grad_norm:.2f}", "GiB": f"{line['memory_gib']:.1f}"}
        shown |= {"stories/s": f"{line['stories_per_second']:.1f}", "wait": f"{line['waiting_share']:.0%}"}
        bar.set_postfix({**shown, **({"bad": self.bad_steps} if self.bad_steps else {})})
        self._write({"step": self.step, **line})
        numbers = {name: value for name, value in {**line, **parts}.items() if isinstance(value, (int, float))}
        tracked = {f"train/{name}": value for name, value in numbers.items()}
        self.accelerator.log(tracked, step=self.step)

    def _evaluate(self) -> bool:
        """
        Measures and draws on the main process, the others wait; whether this is the best model so far. After a signal
        it is left for the run that goes on.
        """
        model = self.published_model()
        self.measured, self.best = decided_by_main_process(self.accelerator, self._measure, model)
        if self.plain is not None:
            self.plain.cpu()  # the memory of a GPU is for training
        self.losses.restart_clock()
        is_best = self.best is not None and self.best["step"] == self.step
        if self.measured is not None:
            self.stalled = 0 if is_best else self.stalled + 1
        return is_best

    def _measure(self, model) -> tuple[dict | None, dict | None]:
        """The numbers of this evaluation, `None` where a signal came before its end, and what is the best now."""
        measured = quick_metrics(
            model,
            self.processor,
            self.eval_stories,
            max_windows=self.max_eval_windows,
            batch_size=self.args.eval_batch_size,
            stop=lambda: bool(self.interruption.number),
        )
        if measured is None:
            return None, self.best
        known = {name: value for name, value in measured.items() if value is not None and math.isfinite(value)}
        measured = {name: known.get(name) for name in measured}
        self._write({"step": self.step, "eval": measured})
        self.accelerator.log({f"eval/{name}": value for name, value in known.items()}, step=self.step)
        figures = self.output_dir / "figures"
        evaluation_picture(model, self.processor, self.eval_stories, figures / f"step-{self.step:06d}.png")
        loss_curves(self.output_dir / METRICS, figures / "loss_curves.png")
        name = self.args.metric_for_best_model
        if name in known and (self.best is None or known[name] < self.best["value"]):
            return measured, {"step": self.step, "metric": name, "value": known[name]}
        return measured, self.best

    def _start_log(self) -> None:
        """A resumed run drops lines after its checkpoint and one that was cut off; a new run starts an empty log."""
        if not self.accelerator.is_main_process:
            return
        path, kept = self.output_dir / METRICS, []
        for line in path.read_text(encoding="utf-8").splitlines() if self.step and path.is_file() else []:
            with contextlib.suppress(json.JSONDecodeError):
                told = json.loads(line)
                if told["step"] < self.step or (told["step"] == self.step and ("eval" not in told or self.measured)):
                    kept.append(line)
        aside = path.with_suffix(".partial")
        aside.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        aside.replace(path)

    def _write(self, line: dict) -> None:
        if self.accelerator.is_main_process:
            with (self.output_dir / METRICS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, allow_nan=False) + "\n")


def check_metric(name: str, loss_weights: dict[str, float]) -> None:
    """Refuses a number that evaluations during training do not have; raises `ValueError`."""
    parts = [f"loss_parts/{part}" for part, weight in loss_weights.items() if weight]
    names = ["loss", "next_frame/l1", "next_frame/l1_changed", *parts]
    if name not in names:
        raise ValueError(f"metric_for_best_model: found {name!r}, expected one of {', '.join(names)}")


def stories_per_step(args, accelerator) -> int:
    """Stories in an optimizer step of all processes together."""
    return args.train_batch_size * args.gradient_accumulation_steps * accelerator.num_processes
