"""Attention and feed-forward blocks that the story model and the frame decoder share."""

import math

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention of Vaswani et al. 2017 from `queries` over `memory`.

    On a GPU by torch's fused kernel; on a CPU spelled out, which for sequences as short as a story's is as fast in 32
    bits, and two to six times as fast in bfloat16 (`benchmarks/attention.py`).
    """

    def __init__(self, hidden_size: int, num_heads: int, dropout: float = 0.0):
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.query = nn.Linear(hidden_size, hidden_size)
        # A bias of the keys would do nothing, one of the values what that of the output does.
        self.key_value = nn.Linear(hidden_size, 2 * hidden_size, bias=False)
        self.output = nn.Linear(hidden_size, hidden_size)

    def forward(self, queries: torch.Tensor, memory: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Attend from queries to memory.

        Args:
            queries (`(N, Q, D)`), memory (`(N, S, D)`): what reads, and what is read.
            mask (bool, *optional*): broadcasts to `(N, 1, Q, S)`; True where a query may look.

        Returns:
            `(N, Q, D)`.
        """
        q, k, v = self._projected(queries, memory)
        dropout = self.dropout if self.training else 0.0
        attended = (attend if q.device.type == "cpu" else F.scaled_dot_product_attention)(q, k, v, mask, dropout)
        return self.output(attended.transpose(1, 2).flatten(2))  # (N, Q, D)

    def weights(self, queries: torch.Tensor, memory: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Compute how much each query takes of each place of the memory.

        Args:
            queries, memory, mask: as in `forward`.

        Returns:
            `(N, heads, Q, S)`, which sums to 1 over the memory.
        """
        q, k, _ = self._projected(queries, memory)
        return attention_weights(q, k, mask)

    def _projected(self, queries: torch.Tensor, memory: torch.Tensor) -> list[torch.Tensor]:
        """Project to queries, keys and values `(N, heads, Q or S, D / heads)`."""
        keys, values = self.key_value(memory).chunk(2, dim=-1)
        return [x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x in (self.query(queries), keys, values)]


def attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, dropout: float
) -> torch.Tensor:
    """Compute what `F.scaled_dot_product_attention` does.

    Args:
        q (`(N, heads, Q, d)`), k and v (`(N, heads, S, d)`): queries, keys and values.
        mask (bool, *optional*): broadcasts to `(N, heads, Q, S)`, True where a query may look.
        dropout: share of the weights that are dropped, in [0, 1).

    Returns:
        `(N, heads, Q, d)`.
    """
    return F.dropout(attention_weights(q, k, mask), dropout) @ v


def attention_weights(q: torch.Tensor, k: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Compute the weights of scaled dot-product attention.

    Args:
        q, k, mask: as in `attend`.

    Returns:
        `(N, heads, Q, S)`, which sums to 1 over the keys.
    """
    scores = q @ (k * k.shape[-1] ** -0.5).transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(-1)


class FeedForward(nn.Sequential):
    """Two linear layers with a GELU between them."""

    def __init__(self, hidden_size: int, ratio: int, dropout: float = 0.0):
        super().__init__(
            nn.Linear(hidden_size, ratio * hidden_size),
            nn.GELU(),
            nn.Linear(ratio * hidden_size, hidden_size),
            nn.Dropout(dropout),
        )


class SelfAttentionBlock(GradientCheckpointingLayer):
    """Pre-norm transformer layer (Xiong et al. 2020): self-attention, then feed-forward, each with a residual."""

    def __init__(self, hidden_size: int, num_heads: int, mlp_ratio: int, dropout: float = 0.0):
        super().__init__()
        self.attention_norm = nn.LayerNorm(hidden_size)
        self.attention = MultiHeadAttention(hidden_size, num_heads, dropout)
        self.mlp_norm = nn.LayerNorm(hidden_size)
        self.mlp = FeedForward(hidden_size, mlp_ratio, dropout)

    def forward(self, hidden_states: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Transform `hidden_states (N, S, D)`, keeping their shape; `mask (N, 1, S, S)` as in `MultiHeadAttention`."""
        normed = self.attention_norm(hidden_states)
        hidden_states = hidden_states + self.attention(normed, normed, mask)
        return hidden_states + self.mlp(self.mlp_norm(hidden_states))

    def attention_weights(self, hidden_states: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Compute the weights `(N, heads, S, S)` of the self-attention in `forward` for the same arguments."""
        normed = self.attention_norm(hidden_states)
        return self.attention.weights(normed, normed, mask)


class ConvBlock(nn.Module):
    """Residual 3x3 convolutions after a normalisation over all of a frame's channels and positions."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, hidden: torch.Tensor, modulation: torch.Tensor | None = None) -> torch.Tensor:
        """Transform `hidden (N, C, h, w)`, keeping its shape; `modulation (N, 2C)`: scale and shift of the norm."""
        normed = self.norm(hidden)
        if modulation is not None:
            scale, shift = modulation[..., None, None].chunk(2, dim=1)  # (N, C, 1, 1)
            normed = normed * (1 + scale) + shift
        return hidden + self.second(F.silu(self.first(F.silu(normed))))


def sinusoid(positions: torch.Tensor, width: int, max_period: float = 10_000.0) -> torch.Tensor:
    """Encode positions by sines and cosines (Vaswani et al. 2017).

    Args:
        positions (`(...)`): the positions.
        width: of the code, even.
        max_period: bounds the wavelengths, which run from 2 pi to less than 2 pi times it.

    Returns:
        `(..., width)`, float32.
    """
    exponents = torch.arange(0, width, 2, device=positions.device, dtype=torch.float32) / width
    angles = positions[..., None].float() * torch.exp(-math.log(max_period) * exponents)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def grid_sinusoid(height: int, width: int, channels: int, device: torch.device) -> torch.Tensor:
    """Encode the positions of a grid.

    Positions run over [0, 64] whatever the grid, so that grids of other sizes keep the same frame of reference.

    Args:
        height, width: rows and columns of the grid.
        channels: width of the code; half of it is for the row and half for the column.
        device: where the code is made.

    Returns:
        `(height * width, channels)`, float32.
    """
    rows = (torch.arange(height, device=device) + 0.5) / height * 64
    columns = (torch.arange(width, device=device) + 0.5) / width * 64
    row_code = sinusoid(rows, channels // 2, max_period=200.0)[:, None].expand(-1, width, -1)
    column_code = sinusoid(columns, channels // 2, max_period=200.0)[None].expand(height, -1, -1)
    return torch.cat([row_code, column_code], dim=-1).flatten(0, 1)


def select_frames(per_frame: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Select values `per_frame (B, T, ...)` at `index (B, N)`: `(B, N, ...)`."""
    return per_frame[torch.arange(index.shape[0], device=index.device)[:, None], index]


def select_last(per_frame: torch.Tensor, frame_mask: torch.Tensor) -> torch.Tensor:
    """Select values `per_frame (B, T, ...)` at the last frame of `frame_mask (B, T)` that is no padding: `(B, ...)`."""
    return per_frame[torch.arange(len(per_frame), device=per_frame.device), frame_mask.sum(1).long() - 1]
