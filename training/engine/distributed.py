"""What the processes of a run share: decisions and full tensors."""

from collections.abc import Callable
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch.distributed.tensor import DTensor, distribute_tensor

Result = TypeVar("Result")


def decided_by_main_process(accelerator: Accelerator, work: Callable[..., Result], *arguments: object) -> Result:
    """
    Call `work(*arguments)` in the main process alone; return or raise in every process what it returns or raises.

    Errors are marked as `is_reported` in the other processes, so that one process prints them.
    """
    outcome = [None, None]
    if accelerator.is_main_process:
        try:
            outcome[0] = work(*arguments)
        except Exception as error:
            outcome[1] = error
    result, error = broadcast_object_list(outcome)
    if error is not None:
        error.is_reported = not accelerator.is_main_process
        raise error
    return result


def full_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """Return the full tensor of which each process may hold a shard; called by every process."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gather_full_tensors(accelerator: Accelerator, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return full tensors on the CPU in the main process, an empty dict in the others; called by every process."""
    gathered = {}
    for name, tensor in tensors.items():
        full = full_tensor(tensor.detach())
        if accelerator.is_main_process:
            gathered[name] = full.cpu().contiguous()
    return gathered


def shard_like(tensor: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Return this process's shard of a full `tensor` where `reference` is sharded, else the tensor itself."""
    if not isinstance(reference, DTensor):
        return tensor
    # Every process has read the same file: nothing needs to be sent.
    return distribute_tensor(tensor, reference.device_mesh, reference.placements, src_data_rank=None)
