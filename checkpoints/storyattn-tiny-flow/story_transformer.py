"""StoryTransformer: one causal pass over the half-frames of a story, V_1 F_1 V_2 F_2 ... V_T F_T."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from .configuration_storyattn import StoryAttnConfig
from .layers import SelfAttentionBlock, sinusoid


class StoryStates(NamedTuple):
    """
    Output of [`StoryTransformer`]. S = T * (2K + M) is the number of tokens.

    Args:
        last (`(B, S, D)`): the last states in story order.
        seen (`(B, T, K, D)`): those at V.
        fused (`(B, T, K + M, D)`): those at F.
        hidden_states (`tuple` of `(B, S, D)`): what each layer reads, then `last`; `None` unless asked for.
        attentions (`tuple` of `(B, heads, S, S)`): of each layer, without dropout; `None` unless asked for.
    """

    last: torch.Tensor
    seen: torch.Tensor
    fused: torch.Tensor
    hidden_states: tuple[torch.Tensor, ...] | None
    attentions: tuple[torch.Tensor, ...] | None


class StoryTransformer(nn.Module):
    """Pre-norm transformer over seen tokens V_t (pictures only) and fused tokens F_t (picture and caption).

    Tokens of a half-frame see one another and all half-frames before. So the state at V_t knows frames up to t and
    captions before t, and the state at F_t knows frames and captions up to t.
    """

    def __init__(self, config: StoryAttnConfig):
        super().__init__()
        self.num_seen = config.num_visual_tokens
        self.num_fused = self.num_seen + config.num_text_tokens
        self.slots = nn.Parameter(torch.empty(self.num_seen + self.num_fused, config.hidden_size))
        self.layers = nn.ModuleList(
            SelfAttentionBlock(config.hidden_size, config.num_attention_heads, config.mlp_ratio, config.dropout)
            for _ in range(config.num_story_layers)
        )
        self.norm = nn.LayerNorm(config.hidden_size)

    def reset_parameters(self, normal_: Callable) -> None:
        """Fill the slot embeddings with the initialiser `normal_` of the caller."""
        normal_(self.slots, std=0.5)

    def forward(
        self,
        seen: torch.Tensor,
        fused: torch.Tensor,
        frame_mask: torch.Tensor,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> StoryStates:
        """Run the layers over a batch of stories.

        Args:
            seen (`(B, T, K, D)`), fused (`(B, T, K + M, D)`): tokens of the two halves of each frame.
            frame_mask (`(B, T)`, bool): False for padding.
            output_hidden_states, output_attentions: adds what the layers read and where they look.
        """
        num_frames = seen.shape[1]
        tokens = torch.cat([seen, fused], dim=2)  # (B, T, 2K + M, D)
        frame_code = sinusoid(torch.arange(num_frames, device=seen.device), seen.shape[-1])[:, None]
        tokens = tokens + (self.slots + frame_code).to(tokens.dtype)
        states, mask = tokens.flatten(1, 2), self._mask(frame_mask)
        hidden_states, attentions = (() if asked else None for asked in (output_hidden_states, output_attentions))
        for layer in self.layers:
            if output_hidden_states:
                hidden_states += (states,)
            if output_attentions:
                attentions += (layer.attention_weights(states, mask),)
            states = layer(states, mask)
        states = self.norm(states)
        if output_hidden_states:
            hidden_states += (states,)
        by_frame = states.unflatten(1, (num_frames, -1))
        return StoryStates(
            states, by_frame[:, :, : self.num_seen], by_frame[:, :, self.num_seen :], hidden_states, attentions
        )

    def _mask(self, frame_mask: torch.Tensor) -> torch.Tensor:
        """Build the mask `(B, 1, S, S)`: a token sees its half-frame, and those before it that are no padding."""
        num_frames, device = frame_mask.shape[1], frame_mask.device
        in_frame = (torch.arange(self.num_seen + self.num_fused, device=device) >= self.num_seen).long()
        half = (2 * torch.arange(num_frames, device=device)[:, None] + in_frame).flatten()  # (S,)
        token_mask = frame_mask.repeat_interleave(len(in_frame), dim=1)  # (B, S)
        same_half = half[:, None] == half[None]
        return ((half[:, None] >= half[None]) & (token_mask[:, None] | same_half))[:, None]
