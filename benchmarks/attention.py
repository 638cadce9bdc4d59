"""
Time attention spelled out, as StoryAttn computes it on a CPU, beside the fused kernel of torch.

Both run forward and backward, on the shapes of a training step of the tiny model.

    python benchmarks/attention.py --threads 2
"""

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from measuring import new_parser
from storyattn.layers import attend

# What attends to what: sequences, queries, keys.
SHAPES = {
    "cells of a frame to one another": (40, 96, 96),
    "cells to the caption": (40, 96, 40),
    "cells to the frames so far": (8, 480, 120),
    "half-frames of a story": (8, 105, 105),
}


def main() -> None:
    """Print milliseconds and their ratio."""
    parser = new_parser(__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    parser.add_argument("--repeats", type=int, default=5, help="runs of which the fastest counts")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{'':<34}{'fused':>10}{'spelled out':>14}{'ratio':>8}")
    for dtype in (torch.float32, torch.bfloat16):
        for name, shape in SHAPES.items():
            fused, spelled_out = (
                milliseconds(kernel, shape, dtype, arguments.repeats) for kernel in (fused_kernel, attend)
            )
            label = f"{name} ({'fp32' if dtype == torch.float32 else 'bf16'})"
            print(f"{label:<40}{fused:8.1f} ms{spelled_out:8.1f} ms{fused / spelled_out:8.2f}")


def fused_kernel(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, dropout: float) -> torch.Tensor:
    """Call torch with the arguments of `attend`."""
    return F.scaled_dot_product_attention(q, k, v, mask, dropout)


def milliseconds(kernel: Callable, shape: tuple[int, int, int], dtype: torch.dtype, repeats: int) -> float:
    """
    Time the fastest run, forward and backward, of four heads of 32 channels.

    Args:
        kernel: computes attention from `q, k, v, mask, dropout`.
        shape: numbers of sequences, queries and keys.
        dtype: that of the tensors.
        repeats: how many runs.
    """
    number, queries, keys = shape
    q = torch.randn(number, 4, queries, 32, dtype=dtype, requires_grad=True)
    k, v = (torch.randn(number, 4, keys, 32, dtype=dtype, requires_grad=True) for _ in range(2))
    mask = (torch.arange(keys) < keys - 3).expand(1, 1, queries, keys)
    fastest = float("inf")
    for _ in range(repeats + 1):
        started = time.perf_counter()
        kernel(q, k, v, mask, 0.0).sum().backward()
        fastest = min(fastest, time.perf_counter() - started)
    return 1000 * fastest


if __name__ == "__main__":
    main()
