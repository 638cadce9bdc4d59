"""
Make `storyattn.training.train` shard with FSDP2 over CPU processes, from the import on.

accelerate shards over GPUs alone, though torch does so over CPUs as well: what it would set up for GPUs is set here,
once the processes have found one another.
"""

from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from storyattn.training import train
from storyattn.training.arguments import TrainingArguments
from storyattn.training.engine.accelerator import build_accelerator, keep_full_precision


def build_sharding_accelerator(args: TrainingArguments) -> Accelerator:
    """Return what `build_accelerator` does, with every layer and the rest of the model sharded."""
    accelerator = build_accelerator(args)
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="transformer_based_wrap", cpu_ram_efficient_loading=False
    )
    keep_full_precision(plugin)
    AcceleratorState._shared_state["fsdp_plugin"] = plugin
    for state in (PartialState, AcceleratorState):
        state._shared_state["distributed_type"] = DistributedType.FSDP
    return accelerator


train.build_accelerator = build_sharding_accelerator
