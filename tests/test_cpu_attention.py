"""Attention of the CPU where autocast lowers the precision."""

import torch
from storyattn.training.engine.cpu_attention import float32_attention
from torch.nn.functional import scaled_dot_product_attention


def test_attention_is_computed_in_float32_and_returned_in_the_precision_of_its_inputs():
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, 7, 8, generator=generator).bfloat16() for _ in range(3))
    mask = torch.ones(2, 1, 7, 7, dtype=torch.bool).tril()
    with torch.autocast("cpu", torch.bfloat16):
        attended, weights = float32_attention(torch.nn.Identity(), query, key, value, mask)
    expected = scaled_dot_product_attention(query.float(), key.float(), value.float(), mask).transpose(1, 2)
    assert weights is None and attended.dtype == torch.bfloat16
    assert torch.equal(attended, expected.bfloat16())


def test_the_meta_device_which_has_no_autocast():
    query = torch.empty(2, 3, 7, 8, device="meta")
    attended, _ = float32_attention(torch.nn.Identity(), query, query, query, None)
    assert attended.is_meta and attended.shape == (2, 7, 3, 8)
