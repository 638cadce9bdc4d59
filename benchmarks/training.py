"""
Measure speed and memory of a training step: forward with all losses, backward, AdamW, on stories of noise.

    python benchmarks/training.py --precisions fp32 bf16 --compile
    python benchmarks/training.py --presets base --num_frames 1 2 3 4 5 6 7 8 --batch_sizes 1

Each row is measured in a separate process. Steps, eager and compiled, and matrix products of several sizes take
turns, and the fastest of each counts. The share of the peak is the FLOP/s of a step over those of the fastest product.
On a CPU, peak memory is the growth of the resident set, on a GPU that of its tensors; both hold weights, gradients,
the moments of AdamW and activations, without compilation.
"""

import argparse
import copy
import itertools
import statistics
from collections.abc import Callable
from pathlib import Path

import measuring
import torch
from measuring import positive
from storyattn import StoryAttnConfig, StoryAttnForConditionalGeneration
from storyattn.training.common.errors import one_line
from storyattn.training.engine.compilation import checkpoint_activations, compile_blocks
from storyattn.training.engine.malloc import keep_freed_memory
from storyattn.training.engine.step_cost import stories_of_noise
from storyattn.training.models.presets import load_preset
from torch._inductor.utils import fresh_cache
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
MATMUL_SIZES = {"cpu": (512, 1024, 2048), "cuda": (2048, 4096, 8192)}
TOLERANCE = 1e-4  # relative difference of compiled loss and gradients in fp32


def main(argv: list[str] | None = None) -> None:
    """Measure every combination, print a table and write its numbers."""
    parser = measuring.new_parser(__doc__)
    parser.add_argument("--presets", nargs="+", default=["tiny"], help="presets or files of configurations")
    parser.add_argument("--precisions", nargs="+", default=["fp32"], choices=DTYPES, help="fp16 on a GPU alone")
    parser.add_argument("--num_frames", nargs="+", type=positive, default=[5], help="frames of a story")
    parser.add_argument("--batch_sizes", nargs="+", type=positive, default=[16], help="stories of a step")
    parser.add_argument(
        "--compile",
        action="store_true",
        help="measures compiled blocks beside eager ones; exit status 1 where they differ",
    )
    parser.add_argument("--gradient_checkpointing", action="store_true", help="less memory for more time")
    measuring.add_common_flags(parser, "training.json")
    arguments = parser.parse_args(argv)
    with one_line("benchmarks/training.py"):
        if "fp16" in arguments.precisions and arguments.device == "cpu":
            raise ValueError("precisions: got fp16 on a CPU, expected fp32 or bf16")
        for preset in arguments.presets:
            measuring.checked_preset(preset, arguments.caption_length)
        settings = (arguments.presets, arguments.precisions, arguments.num_frames, arguments.batch_sizes)
        cases = tqdm(list(itertools.product(*settings)), desc="measuring", unit="row")
        document = {
            "hardware": measuring.hardware(arguments.device, arguments.threads),
            **{name: getattr(arguments, name) for name in ("caption_length", "gradient_checkpointing", "repeats")},
            "rows": [],
        }
        for case in cases:
            document["rows"].append(measuring.in_separate_process(measure, arguments, *case))
            measuring.write_json(
                document, arguments.output
            )  # row by row: what was measured stays if the next does not fit
        agree = print_table(document, arguments.compile)
        print(f"\nwritten to {arguments.output}")
    if not agree:
        raise SystemExit(1)


def measure(arguments: argparse.Namespace, preset: str, precision: str, num_frames: int, batch_size: int) -> dict:
    """
    Measure one row of the table.

    Args:
        arguments: the flags.
        preset: name or file of a configuration.
        precision: a key of `DTYPES`.
        num_frames: frames of a story.
        batch_size: stories of a step.

    Returns:
        The settings and what was measured with them, by name.
    """
    torch.set_num_threads(arguments.threads)
    device, matmuls = arguments.device, matrix_products(arguments.device, DTYPES[precision])
    smallest, config = StoryAttnConfig(**measuring.SMALLEST), load_preset(preset)
    first = TrainingStep(arguments, smallest, precision, (1, 1, 3))
    first(first.model)  # loads what libraries need, which is no growth
    measuring.take_turns(matmuls, 1, device)
    memory = measuring.PeakMemory(device)
    if device == "cpu":
        keep_freed_memory()  # as training does
    step = TrainingStep(arguments, config, precision, (batch_size, num_frames, arguments.caption_length))
    for _ in range(2):  # from the second on AdamW has its moments
        step(step.model)
    measuring.synchronize(device)
    row = {"preset": preset, "precision": precision, "num_frames": num_frames, "batch_size": batch_size}
    row |= {"peak_memory_mb": memory.megabytes(), "flops_per_step": step.flops()}
    works = {"eager": lambda: step(step.model), **matmuls}
    if arguments.compile:
        compiled, differences = compiled_model(step, device)
        row |= differences
        works["compiled"] = lambda: step(compiled)
    seconds = measuring.take_turns(works, arguments.repeats, device)
    row["matmul_flops_per_second"] = max(2 * int(name) ** 3 / min(seconds[name]) for name in matmuls)
    return row | speeds(seconds, row)


def speeds(seconds: dict[str, list[float]], row: dict) -> dict[str, float]:
    """Return the columns of a row that follow from the seconds of `eager` and `compiled` steps."""
    step = min(seconds["eager"])
    columns = {"seconds_per_step": step, "median_seconds_per_step": statistics.median(seconds["eager"])}
    columns["stories_per_second"] = row["batch_size"] / step
    columns["share_of_matmul_peak"] = row["flops_per_step"] / step / row["matmul_flops_per_second"]
    if "compiled" in seconds:
        columns["compiled_seconds_per_step"] = min(seconds["compiled"])
        columns["eager_over_compiled"] = step / min(seconds["compiled"])
    return columns


class TrainingStep:
    """
    Steps of a model, eager or compiled, in mixed precision as in training, on one batch.

    Args:
        arguments: the flags.
        config: the configuration of the model.
        precision: a key of `DTYPES`.
        shape: stories of the batch, frames of a story, tokens of a caption.
    """

    def __init__(
        self, arguments: argparse.Namespace, config: StoryAttnConfig, precision: str, shape: tuple[int, int, int]
    ):
        torch.manual_seed(0)
        device = arguments.device
        self.model = StoryAttnForConditionalGeneration(config).to(device).train()
        if arguments.gradient_checkpointing:
            checkpoint_activations(self.model)
        self.batch = stories_of_noise(config, *shape, device)
        self.autocast = torch.autocast(device, DTYPES[precision], enabled=precision != "fp32")
        self.scaler = torch.amp.GradScaler(device, enabled=precision == "fp16")
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5)

    def __call__(self, model: torch.nn.Module) -> None:
        """Take a step of `model`, which is `self.model` or its compiled copy."""
        self.backward(model)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def backward(self, model: torch.nn.Module) -> torch.Tensor:
        """Return the loss of a forward and backward pass; its gradients replace the last ones."""
        model.zero_grad()
        with self.autocast:
            loss = model(**self.batch, return_loss=True).loss
        self.scaler.scale(loss).backward()
        return loss.detach()

    def flops(self) -> int:
        """Count the FLOPs of forward and backward, with attention spelled out: fused CPU kernels are not counted."""
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            self.backward(self.model)
        return counter.get_total_flops()


def compiled_model(step: TrainingStep, device: str) -> tuple[torch.nn.Module, dict[str, float]]:
    """Return the model compiled; and the seconds of its first step, and how loss and gradients differ from eager."""
    torch._inductor.config.fallback_random = True  # both draw the same frames and dropout
    compiled = copy.deepcopy(step.model)
    compile_blocks(compiled)
    torch.manual_seed(1)
    loss = step.backward(step.model)
    torch.manual_seed(1)
    compiled_loss = []
    with fresh_cache():  # compiled anew, whatever ran before
        seconds = measuring.timed(lambda: compiled_loss.append(step.backward(compiled)), device)
    gradients = [
        [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        for model in (step.model, compiled)
    ]
    return compiled, {
        "first_compiled_step_seconds": seconds,
        "loss_difference": float((compiled_loss[0] - loss).abs() / loss.abs()),
        "gradient_difference": gradient_difference(*gradients),
    }


def gradient_difference(eager: list[torch.Tensor], compiled: list[torch.Tensor]) -> float:
    """Return the relative difference of two gradients, given by parameter, in the Euclidean norm over all of them."""
    eager, compiled = (torch.cat([gradient.flatten() for gradient in gradients]) for gradients in (eager, compiled))
    return float((compiled - eager).norm() / eager.norm())


def matrix_products(device: str, dtype: torch.dtype) -> dict[str, Callable]:
    """Return products of square matrices, by size."""
    products = {}
    for size in MATMUL_SIZES[device]:
        matrix = torch.randn(size, size, device=device).to(dtype)
        products[str(size)] = lambda matrix=matrix: matrix @ matrix
    return products


def print_table(document: dict, compiled: bool) -> bool:
    """Print the numbers as Markdown; return whether compiled and eager steps in fp32 agree, if both were measured."""
    columns = {
        "Preset": lambda row: Path(row["preset"]).stem,
        "Precision": lambda row: row["precision"],
        "Frames": lambda row: str(row["num_frames"]),
        "Batch": lambda row: str(row["batch_size"]),
        "s/step": lambda row: f"{row['seconds_per_step']:.3f}",
        "Stories/s": lambda row: f"{row['stories_per_second']:.2f}",
        "GFLOP/step": lambda row: f"{row['flops_per_step'] / 1e9:.1f}",
        "Share of matmul peak": lambda row: f"{row['share_of_matmul_peak']:.1%}",
        "Peak memory": lambda row: f"{row['peak_memory_mb']:.0f} MB",
    }
    if compiled:
        columns |= {
            "Compiled, s/step": lambda row: f"{row['compiled_seconds_per_step']:.3f}",
            "Eager / compiled": lambda row: f"{row['eager_over_compiled']:.2f}",
            "First compiled step": lambda row: f"{row['first_compiled_step_seconds']:.0f} s",
            "Loss differs by": lambda row: f"{row['loss_difference']:.1e}",
            "Gradients by": lambda row: f"{row['gradient_difference']:.1e}",
        }
    print(f"\n{measuring.describe_hardware(document['hardware'])}\n")
    print(measuring.results_table(columns, document["rows"]))
    exact = [row for row in document["rows"] if compiled and row["precision"] == "fp32"]
    if not exact:
        return True
    furthest = max(max(row["loss_difference"], row["gradient_difference"]) for row in exact)
    verdict = "agree" if furthest <= TOLERANCE else "DISAGREE"
    print(f"\nfp32: eager and compiled {verdict}, by {furthest:.1e}; expected at most {TOLERANCE:.0e}")
    return furthest <= TOLERANCE


if __name__ == "__main__":
    main()
