"""The first lines of a run: where and how it computes, what it trains, and where it writes."""

from pathlib import Path

import torch
from accelerate import Accelerator

from ..arguments import TrainingArguments
from .loop import TrainingLoop, stories_per_step

# Of x86 and ARM, as Linux calls them; only with them is a precision faster than fp32.
INSTRUCTIONS = {"bf16": {"avx512_bf16", "amx_bf16", "bf16"}, "fp16": {"avx512_fp16", "amx_fp16", "asimdhp"}}


def print_processes(accelerator: Accelerator, args: TrainingArguments) -> None:
    """Print the processes, device, precision, seed and output folder of a run, in its main process."""
    count, device = accelerator.num_processes, accelerator.device
    processes = "1 process" if count == 1 else f"{count} processes ({accelerator.distributed_type.value})"
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    threads = f"{torch.get_num_threads()} threads" if torch.get_num_threads() > 1 else "1 thread"
    precision = {"no": "fp32"}.get(accelerator.mixed_precision, accelerator.mixed_precision)
    if device.type == "cpu" and is_emulated(precision):
        precision = f"{precision} (this CPU has no instructions for it: --mixed_precision no is faster)"
    each = "" if count == 1 else " each"
    accelerator.print(
        f"run: {processes} on {device.type}{name}, {threads}{each}, precision {precision}, seed {args.seed}, "
        f"output_dir {args.output_dir}",
        flush=True,
    )


def is_emulated(precision: str, cpu_info: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether the CPU has no instructions for a precision, "bf16" or "fp16"; false where nothing tells.

    Args:
        precision: the precision.
        cpu_info: the file in which Linux lists what the CPU can.
    """
    if precision not in INSTRUCTIONS or not cpu_info.is_file():
        return False
    return INSTRUCTIONS[precision].isdisjoint(cpu_info.read_text(encoding="utf-8", errors="replace").split())


def print_training(loop: TrainingLoop) -> None:
    """Print how many parameters are trained, for how many steps of how many stories, in the main process."""
    args, accelerator = loop.args, loop.accelerator
    weights = list(loop.unwrapped_model.parameters())
    trained = sum(weight.numel() for weight in weights if weight.requires_grad)
    total = sum(weight.numel() for weight in weights)
    product = f"{accelerator.num_processes} x {args.gradient_accumulation_steps} x {args.train_batch_size}"
    resumed = f", resumed after step {loop.step}" if loop.step else ""
    accelerator.print(
        f"run: trains {trained:,} of {total:,} parameters, {loop.num_steps} steps of "
        f"{stories_per_step(args, accelerator)} stories (processes x batches x stories: {product}){resumed}",
        flush=True,
    )
