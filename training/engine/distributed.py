"""What the processes of a run share: decisions and whole tensors."""

from collections.abc import Callable

import torch
from accelerate.utils import broadcast_object_list
from torch.distributed.tensor import DTensor, distribute_tensor


def decided_by_main_process(accelerator, work: Callable, *arguments):
    """
    What `work(*arguments)` of the main process returns or raises, in every process; the others do not call it, and are
    not to tell of an error once more.
    """
    outcome = [None, None]
    if accelerator.is_main_process:
        try:
            outcome[0] = work(*arguments)
        except Exception as error:
            outcome[1] = error
    result, error = broadcast_object_list(outcome)
    if error is not None:
        error.is_told = not accelerator.is_main_process
        raise error
    return result


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of which each process may have a part, complete; called by every process."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gather_whole(accelerator, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors whole and on the CPU in the main process, nothing in the others; called by every process."""
    gathered = {}
    for name, tensor in tensors.items():
        complete = whole(tensor.detach())
        if accelerator.is_main_process:
            gathered[name] = complete.cpu().contiguous()
    return gathered


def placed_like(tensor: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """This process's part of a whole `tensor` where `reference` is shared out; the tensor itself where it is not."""
    if not isinstance(reference, DTensor):
        return tensor
    # Every process has read the same file: nothing needs to be sent.
    return distribute_tensor(tensor, reference.device_mesh, reference.placements, src_data_rank=None)
