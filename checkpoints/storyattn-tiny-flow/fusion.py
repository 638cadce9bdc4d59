"""CrossModalFusion, and the pooling of a caption into a few tokens or into one vector."""

from collections.abc import Callable

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_storyattn import StoryAttnConfig
from .layers import FeedForward, MultiHeadAttention


class CrossModalFusion(nn.Module):
    """Rounds in which the caption's tokens attend to the picture and the picture's tokens attend to the caption."""

    def __init__(self, config: StoryAttnConfig):
        super().__init__()
        self.layers = nn.ModuleList(CrossModalLayer(config) for _ in range(config.num_fusion_layers))

    def forward(
        self, visual_tokens: torch.Tensor, cells: torch.Tensor, text_states: torch.Tensor, text_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Fuse each frame with its caption.

        Args:
            visual_tokens (`(N, K, D)`), cells (`(N, h * w, D)`): the pooled and the gated features of the frame.
            text_states (`(N, L, D)`), text_mask (`(N, L)`, bool): the caption; at least one position is True.

        Returns:
            the same visual tokens and text states after each has read the other.
        """
        text_mask = text_mask[:, None, None]  # (N, 1, 1, L)
        for layer in self.layers:
            visual_tokens, text_states = layer(visual_tokens, cells, text_states, text_mask)
        return visual_tokens, text_states


class CrossModalLayer(GradientCheckpointingLayer):
    """One round of fusion, pre-norm with residuals."""

    def __init__(self, config: StoryAttnConfig):
        super().__init__()
        size, heads, dropout = config.hidden_size, config.num_attention_heads, config.dropout
        self.visual_norm = nn.LayerNorm(size)
        self.text_norm = nn.LayerNorm(size)
        self.text_from_visual = MultiHeadAttention(size, heads, dropout)
        self.visual_from_text = MultiHeadAttention(size, heads, dropout)
        self.visual_mlp = nn.Sequential(nn.LayerNorm(size), FeedForward(size, config.mlp_ratio, dropout))
        self.text_mlp = nn.Sequential(nn.LayerNorm(size), FeedForward(size, config.mlp_ratio, dropout))

    def forward(
        self, visual_tokens: torch.Tensor, cells: torch.Tensor, text_states: torch.Tensor, text_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Run one round.

        Args:
            visual_tokens, cells, text_states: as in [`CrossModalFusion`].
            text_mask (`(N, 1, 1, L)`, bool): True where the caption has a token.
        """
        visual = self.visual_norm(torch.cat([visual_tokens, cells], dim=1))
        text = self.text_norm(text_states)
        text_states = text_states + self.text_from_visual(text, visual)
        visual_tokens = visual_tokens + self.visual_from_text(visual[:, : visual_tokens.shape[1]], text, text_mask)
        return visual_tokens + self.visual_mlp(visual_tokens), text_states + self.text_mlp(text_states)


class TextPooling(nn.Module):
    """Pools a caption of any length into a fixed number of tokens: learned queries attend to its states."""

    def __init__(self, config: StoryAttnConfig):
        super().__init__()
        self.queries = nn.Parameter(torch.empty(config.num_text_tokens, config.hidden_size))
        self.norm = nn.LayerNorm(config.hidden_size)
        self.attention = MultiHeadAttention(config.hidden_size, config.num_attention_heads)

    def reset_parameters(self, normal_: Callable) -> None:
        """Fill the queries with the initialiser `normal_` of the caller."""
        normal_(self.queries, std=1.0)

    def forward(self, text_states: torch.Tensor, text_mask: torch.Tensor) -> torch.Tensor:
        """Pool `text_states (N, L, D)` over the bool `text_mask (N, L)`: tokens `(N, num_text_tokens, D)`."""
        queries = self.queries.expand(text_states.shape[0], -1, -1).to(text_states.dtype)
        return queries + self.attention(queries, self.norm(text_states), text_mask[:, None, None])


def mean_of_tokens(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Average states `(N, L, C)` over the places of `mask (N, L)`: `(N, C)`, zeros where the mask is empty."""
    mask = mask[..., None]
    return (states * mask).sum(1) / mask.sum(1).clamp(min=1)


def mean_and_max_of_tokens(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Join mean and maximum of states `(N, L, C)` over the places of `mask (N, L)`, never empty: `(N, 2C)`."""
    largest = states.masked_fill(~mask[..., None], -torch.inf).amax(1)
    return torch.cat([mean_of_tokens(states, mask), largest], dim=-1)
