"""The training loop on Accelerate: steps, the moving average, evaluations, checkpoints, and `metrics.jsonl`."""

import copy
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from accelerate.utils import gather_object, send_to_device
from tqdm.auto import tqdm
from transformers import get_scheduler

from .checkpoints import load_checkpoint, save_checkpoint
from .ema import MovingAverage
from .evaluation import quick_metrics
from .figures import evaluation_picture, loss_curves

METRICS = "metrics.jsonl"
# The parts that fit on a progress bar; the log has all of them.
SHOWN_PARTS = ("next_frame_l1", "reconstruction_l1", "describe", "next_caption", "alignment")


class TrainingLoop:
    """
    Trains `model` for `args.max_train_steps` optimizer steps, or `args.num_train_epochs` passes over `num_stories`
    where that is not set.

    `make_loader(first_batch, num_batches)` gives this process's batches from the first to the last of the run.
    `eval_stories` are measured by `quick_metrics` (`max_eval_windows` of them) and drawn every `args.eval_steps`. After
    `run`, `published_model` is the result.
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
        optimizer = build_optimizer(model, args)
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self.num_steps = args.max_train_steps or math.ceil(
            args.num_train_epochs * num_stories / stories_per_step(args, accelerator)
        )
        # Not prepared: a prepared schedule advances once for every process.
        self.scheduler = get_scheduler(args.lr_scheduler_type, optimizer, args.warmup_steps, self.num_steps)
        self.average = MovingAverage(self.unwrapped_model, args.ema_decay) if args.use_ema else None
        self.step = 0
        self.seconds_before, self.started = 0.0, time.perf_counter()
        self.losses = LossMeter()

    @property
    def unwrapped_model(self):
        """The model as it was built."""
        return self.accelerator.unwrap_model(self.model, keep_torch_compile=False)

    @property
    def published_model(self):
        """What is evaluated and published: a copy with the moving average where there is one."""
        if self.average is None:
            return self.unwrapped_model
        model = copy.deepcopy(self.unwrapped_model).eval()
        model.load_state_dict(self.average.weights, strict=False)
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

    def run(self, run_state: dict) -> None:
        """
        Trains to the end. `run_state` goes into every checkpoint's `state.json`.

        Raises `ValueError` where the loss stops being finite.
        """
        self.run_state = run_state
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
            while self.step < self.num_steps:
                grad_norm = self._train_on(self._next_batch(loader))
                if not self.accelerator.sync_gradients:
                    continue
                if self.average is not None:
                    self.average.update(self.unwrapped_model)
                self.step += 1
                bar.update()
                self._after_step(bar, grad_norm)

    @property
    def seconds(self) -> float:
        """Time of training so far, evaluations and earlier parts of a resumed run included."""
        return self.seconds_before + time.perf_counter() - self.started

    def _next_batch(self, loader: Iterator) -> dict[str, torch.Tensor]:
        """The next batch on the device; the time that it is waited for is measured."""
        asked = time.perf_counter()
        batch = next(loader)
        self.losses.waited += time.perf_counter() - asked
        return send_to_device(batch, self.accelerator.device, non_blocking=True)

    def _train_on(self, batch) -> torch.Tensor | None:
        """One batch forwards and backwards; the last of an accumulation steps and gives the norm of the gradient."""
        self.model.train()
        grad_norm = None
        with self.accelerator.accumulate(self.model):
            output = self.model(**batch, return_loss=True)
            self.losses.add(output.loss, output.loss_parts, len(batch["frame_mask"]))
            self.accelerator.backward(output.loss)
            if self.accelerator.sync_gradients:
                grad_norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.args.max_grad_norm)
            self.optimizer.step()
            if self.accelerator.sync_gradients and not self.accelerator.optimizer_step_was_skipped:
                self.scheduler.step()
            self.optimizer.zero_grad()
        return grad_norm

    def _after_step(self, bar, grad_norm) -> None:
        """What is due after the current step: a line of the log, an evaluation, a checkpoint."""
        args, last = self.args, self.step == self.num_steps
        if self.step % args.logging_steps == 0 or last:
            self._log_losses(bar, grad_norm)
        if (args.eval_steps and self.step % args.eval_steps == 0) or last:
            self._evaluate()
        if (args.save_steps and self.step % args.save_steps == 0) or last:
            state = {
                **self.run_state,
                "step": self.step,
                "seconds": self.seconds,
                "scheduler": self.scheduler.state_dict(),
            }
            model, optimizer, limit = self.model, self.optimizer, args.save_total_limit
            save_checkpoint(self.accelerator, model, optimizer, self.average, self.output_dir, state, limit)

    def _log_losses(self, bar, grad_norm) -> None:
        line = self.losses.compute()
        if not math.isfinite(line["loss"]):
            raise ValueError(
                f"training: found a loss of {line['loss']} at step {self.step}, expected a finite number; "
                "a lower --learning_rate or --mixed_precision no may help"
            )
        norm = float(grad_norm)
        line["lr"], line["grad_norm"] = self.scheduler.get_last_lr()[0], norm if math.isfinite(norm) else None
        shown = {name: line["loss_parts"][name] for name in SHOWN_PARTS if name in line["loss_parts"]}
        bar.set_postfix({name: f"{value:.3f}" for name, value in {"loss": line["loss"], **shown}.items()})
        self._write({"step": self.step, **line})
        tracked = {f"train/{name}": value for name, value in line.items() if name != "loss_parts"}
        tracked.update({f"train/{name}": value for name, value in line["loss_parts"].items()})
        self.accelerator.log(tracked, step=self.step)

    def _evaluate(self) -> None:
        """Measures and draws on the main process; the others wait."""
        if self.accelerator.is_main_process:
            model = self.published_model
            measured = quick_metrics(
                model,
                self.processor,
                self.eval_stories,
                max_windows=self.max_eval_windows,
                batch_size=self.args.eval_batch_size,
            )
            self._write({"step": self.step, "eval": measured})
            self.accelerator.log({f"eval/{k}": v for k, v in measured.items() if v is not None}, step=self.step)
            figures = self.output_dir / "figures"
            evaluation_picture(model, self.processor, self.eval_stories, figures / f"step-{self.step:06d}.png")
            loss_curves(self.output_dir / METRICS, figures / "loss_curves.png")
        self.accelerator.wait_for_everyone()
        self.losses.restart_clock()

    def _start_log(self) -> None:
        """A resumed run drops the lines after its checkpoint; a new run starts an empty log."""
        if not self.accelerator.is_main_process:
            return
        path = self.output_dir / METRICS
        lines = path.read_text(encoding="utf-8").splitlines() if self.step and path.is_file() else []
        kept = [line for line in lines if json.loads(line)["step"] <= self.step]
        path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def _write(self, line: dict) -> None:
        if self.accelerator.is_main_process:
            with (self.output_dir / METRICS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, allow_nan=False) + "\n")


class LossMeter:
    """Means of the loss and its parts over the batches since the last line of the log, over all processes."""

    def __init__(self):
        self.sums, self.counts, self.stories = {}, {}, 0
        self.restart_clock()

    def restart_clock(self) -> None:
        """Starts to measure the speed again, after something that was no training."""
        self.started, self.stories, self.waited = time.perf_counter(), 0, 0.0

    def add(self, loss: torch.Tensor, parts: dict[str, torch.Tensor], stories: int) -> None:
        """Adds a batch; nothing is copied from the device until `compute`."""
        for name, value in {"loss": loss, **parts}.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach().float()
            self.counts[name] = self.counts.get(name, 0) + 1
        self.stories += stories

    def compute(self) -> dict:
        """
        `loss`, `loss_parts`, `stories_per_second` and `waiting_share`, the part of this process's time in which it
        waited for data; starts again from nothing. Called by every process.
        """
        own = {name: (float(value), self.counts[name]) for name, value in self.sums.items()}
        seconds = max(time.perf_counter() - self.started, 1e-9)
        waiting_share = self.waited / seconds
        gathered = gather_object([(own, self.stories)])
        means = {}
        for name in dict.fromkeys(name for sums, _ in gathered for name in sums):
            found = [sums[name] for sums, _ in gathered if name in sums]
            means[name] = sum(total for total, _ in found) / sum(count for _, count in found)
        speed = sum(stories for _, stories in gathered) / seconds
        self.__init__()
        return {
            "loss": means.pop("loss"),
            "loss_parts": means,
            "stories_per_second": speed,
            "waiting_share": waiting_share,
        }


def stories_per_step(args, accelerator) -> int:
    """Stories in an optimizer step of all processes together."""
    return args.train_batch_size * args.gradient_accumulation_steps * accelerator.num_processes


def build_optimizer(model: torch.nn.Module, args) -> torch.optim.AdamW:
    """AdamW over what is trained; biases, norms and scalars (all of one dimension or none) do not decay."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": args.weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=args.learning_rate, betas=(args.adam_beta1, args.adam_beta2))
