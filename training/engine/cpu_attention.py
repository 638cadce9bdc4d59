"""Attention of the CPU in lower precision: its fused kernel is slow in bfloat16."""

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward


def attend_in_float32() -> None:
    """
    Make the parts of transformers attend in float32 where autocast would lower the precision, in this process.

    On a CPU forward and backward of the fused kernel take more than twice as long in bfloat16 as in float32, also where
    matrices are multiplied much faster in bfloat16.
    """
    AttentionInterface.register("sdpa", float32_attention)


def float32_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: object,
) -> tuple[torch.Tensor, None]:
    """Attend as `sdpa` of transformers does, in float32; the result has the precision of `query`."""
    if attention_mask is not None and attention_mask.is_floating_point():
        attention_mask = attention_mask.float()
    if not torch.amp.is_autocast_available(query.device.type):  # the meta device has none
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    with torch.autocast(query.device.type, enabled=False):
        inputs = query.float(), key.float(), value.float()
        attended, _ = sdpa_attention_forward(module, *inputs, attention_mask, **kwargs)
    return attended.to(query.dtype), None
