"""The training loop on Accelerate: steps, the moving average, evaluations, checkpoints, and `metrics.jsonl`."""

import json
import math
import time
from pathlib import Path

import torch
from accelerate import skip_first_batches
from accelerate.utils import gather_object
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm.auto import tqdm
from transformers import get_scheduler

from .checkpoints import load_checkpoint, save_checkpoint
from .ema import average_weights
from .evaluation import quick_metrics
from .figures import evaluation_picture, loss_curves

METRICS = "metrics.jsonl"
# The parts that fit on a progress bar; the log has all of them.
SHOWN_PARTS = ("next_frame_l1", "reconstruction_l1", "describe", "next_caption", "alignment")


class EpochSampler(Sampler):
    """The order of `size` stories, a function of the seed and the epoch alone."""

    def __init__(self, size: int, seed: int):
        self.size, self.seed, self.epoch = size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch whose order comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self):
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        return iter(torch.randperm(self.size, generator=generator).tolist())


class TrainingLoop:
    """
    Trains `model` on `windows` (a `StoryWindows` of mode "random") for `args.max_train_steps` optimizer steps, or
    `args.num_train_epochs` passes where that is not set.

    `eval_stories` are measured by `quick_metrics` (`max_eval_windows` of them) and drawn every `args.eval_steps`. After
    `run`, `published_model` is the result.
    """

    def __init__(
        self,
        accelerator,
        model,
        processor,
        windows: Dataset,
        collator,
        eval_stories,
        args,
        *,
        max_eval_windows: int,
        num_workers: int = 0,
    ):
        self.accelerator, self.processor, self.args = accelerator, processor, args
        self.windows, self.eval_stories, self.max_eval_windows = windows, eval_stories, max_eval_windows
        self.output_dir = Path(args.output_dir)
        self.sampler = EpochSampler(len(windows), args.seed)
        # A generator of its own: the loader would otherwise draw from the model's random numbers at each epoch.
        self.loader_generator = torch.Generator()
        loader = DataLoader(
            windows,
            batch_size=args.train_batch_size,
            sampler=self.sampler,
            collate_fn=collator,
            num_workers=num_workers,
            generator=self.loader_generator,
            pin_memory=accelerator.device.type == "cuda",
        )
        optimizer = build_optimizer(model, args)
        self.model, self.optimizer, self.loader = accelerator.prepare(model, optimizer, loader)
        steps_per_epoch = len(self.loader) / args.gradient_accumulation_steps
        self.num_steps = args.max_train_steps or math.ceil(args.num_train_epochs * steps_per_epoch)
        # Not prepared: a prepared schedule advances once for every process.
        self.scheduler = get_scheduler(args.lr_scheduler_type, optimizer, args.warmup_steps, self.num_steps)
        self.average = average_weights(accelerator.unwrap_model(self.model), args.ema_decay) if args.use_ema else None
        self.step = self.epoch = self.batches_done = 0
        self.seconds_before, self.started = 0.0, time.perf_counter()
        self.losses = LossMeter()

    @property
    def published_model(self):
        """What is evaluated and published: the moving average where there is one."""
        return self.average.module if self.average is not None else self.accelerator.unwrap_model(self.model)

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
        self.step, self.epoch, self.batches_done = state["step"], state["epoch"], state["batches_done"]
        self.seconds_before = state["seconds"]

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
        with bar:
            while self.step < self.num_steps:
                self._run_epoch(bar)

    @property
    def seconds(self) -> float:
        """Time of training so far, evaluations and earlier parts of a resumed run included."""
        return self.seconds_before + time.perf_counter() - self.started

    def _run_epoch(self, bar) -> None:
        """Goes through the rest of the current epoch, or up to the last step."""
        self.sampler.set_epoch(self.epoch)
        self.loader_generator.manual_seed(self.epoch)
        loader = skip_first_batches(self.loader, self.batches_done) if self.batches_done else self.loader
        loader.set_epoch(self.epoch)
        self.windows.set_epoch(self.epoch)
        for batch in loader:
            grad_norm = self._train_on(batch)
            self.batches_done += 1
            if not self.accelerator.sync_gradients:
                continue
            if self.average is not None:
                self.average.update_parameters(self.accelerator.unwrap_model(self.model))
            self.step += 1
            bar.update()
            self._after_step(bar, grad_norm)
            if self.step == self.num_steps:
                return
        self.epoch, self.batches_done = self.epoch + 1, 0

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
                "epoch": self.epoch,
                "batches_done": self.batches_done,
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
        self.started, self.stories = time.perf_counter(), 0

    def add(self, loss: torch.Tensor, parts: dict[str, torch.Tensor], stories: int) -> None:
        """Adds a batch; nothing is copied from the device until `compute`."""
        for name, value in {"loss": loss, **parts}.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach().float()
            self.counts[name] = self.counts.get(name, 0) + 1
        self.stories += stories

    def compute(self) -> dict:
        """`loss`, `loss_parts` and `stories_per_second`; starts again from nothing. Called by every process."""
        own = {name: (float(value), self.counts[name]) for name, value in self.sums.items()}
        seconds = time.perf_counter() - self.started
        gathered = gather_object([(own, self.stories)])
        means = {}
        for name in dict.fromkeys(name for sums, _ in gathered for name in sums):
            found = [sums[name] for sums, _ in gathered if name in sums]
            means[name] = sum(total for total, _ in found) / sum(count for _, count in found)
        speed = sum(stories for _, stories in gathered) / max(seconds, 1e-9)
        self.__init__()
        return {"loss": means.pop("loss"), "loss_parts": means, "stories_per_second": speed}


def build_optimizer(model: torch.nn.Module, args) -> torch.optim.AdamW:
    """AdamW over what is trained; biases, norms and scalars (all of one dimension or none) do not decay."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": args.weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=args.learning_rate, betas=(args.adam_beta1, args.adam_beta2))
