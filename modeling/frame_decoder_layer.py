"""FrameDecoderLayer: the attention block of the frame decoder, over the cells of a frame or over its object slots."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_storyattn import StoryAttnConfig
from .layers import FeedForward, MultiHeadAttention


class FrameDecoderLayer(GradientCheckpointingLayer):
    """Cells attend to the context, to the frames so far and to one another, then feed-forward; pre-norm, residual.

    With `joint` the context attends to itself and to the cells afterwards: one stream of words and one of cells that
    read each other (after the joint attention of Esser et al. 2024). Slots are transformed as cells are.

    Args:
        config: of the model.
        joint: whether the context is updated, too.
    """

    def __init__(self, config: StoryAttnConfig, joint: bool = False):
        super().__init__()
        size, heads, dropout = config.hidden_size, config.num_attention_heads, config.dropout
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(4))
        self.from_context = MultiHeadAttention(size, heads, dropout)
        self.from_memory = MultiHeadAttention(size, heads, dropout)
        self.from_cells = MultiHeadAttention(size, heads, dropout)
        self.mlp = FeedForward(size, config.mlp_ratio, dropout)
        self.context_attention = None
        if joint:
            self.context_norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(3))
            self.context_attention = MultiHeadAttention(size, heads, dropout)
            self.context_mlp = FeedForward(size, config.mlp_ratio, dropout)

    def forward(
        self,
        hidden: torch.Tensor,
        context: torch.Tensor,
        context_mask: torch.Tensor,
        memory: torch.Tensor,
        visible: torch.Tensor | None = None,
        modulation: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Update the cells `hidden (B * N, P, D)` of N frames of B stories, and their context.

        Args:
            context (`(B * N, S, D)`), context_mask (`(B * N, 1, 1, S)`, bool): story state and caption of each frame.
            memory (`(B, T * M, D)`): cells of the frames so far.
            visible (`(B, 1, N * P, T * M)`, bool, *optional*): True where a cell may read them.
            modulation (`(B * N, 4, 2, D)`, *optional*): scale and shift of the four norms.
        """
        hidden = hidden + self.from_context(self._normed(0, hidden, modulation), context, context_mask)
        queries = self._normed(1, hidden, modulation).reshape(memory.shape[0], -1, hidden.shape[-1])  # (B, N * P, D)
        hidden = hidden + self.from_memory(queries, memory, visible).reshape(hidden.shape)
        cells = self._normed(2, hidden, modulation)
        hidden = hidden + self.from_cells(cells, cells)
        hidden = hidden + self.mlp(self._normed(3, hidden, modulation))
        if self.context_attention is not None:
            context = self._read_cells(context, context_mask, hidden)
        return hidden, context

    def _normed(self, number: int, hidden: torch.Tensor, modulation: torch.Tensor | None) -> torch.Tensor:
        """Normalise the cells by the norm of this number, then scale and shift them."""
        normed = self.norms[number](hidden)
        if modulation is None:
            return normed
        scale, shift = modulation[:, number, :, None].unbind(1)  # (B * N, 1, D)
        return normed * (1 + scale) + shift

    def _read_cells(self, context: torch.Tensor, context_mask: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
        """Update the context by itself and by the cells; arguments as in `forward`."""
        norms = self.context_norms
        read = norms[0](context)
        mask = F.pad(context_mask, (0, cells.shape[1]), value=True)
        context = context + self.context_attention(read, torch.cat([read, norms[1](cells)], dim=1), mask)
        return context + self.context_mlp(norms[2](context))
