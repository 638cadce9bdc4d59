"""SpatialAttention: where to look in a frame, and how hard to cut away the rest."""

import math
from collections.abc import Callable

import torch
from torch import nn

from .configuration_storyattn import StoryAttnConfig
from .input_checks import check_factor
from .layers import grid_sinusoid

# What is given beyond these gives the same maps and gates, but for infinite numbers on the way.
SMALLEST_TEMPERATURE, LARGEST_GAMMA = 1e-6, 1e6


class SpatialAttention(nn.Module):
    """Scores every cell of a feature map, per head.

    `A = softmax(s / temperature)` over the cells pools one visual token per head, and `G = (A / max A) ** gamma` in
    [0, 1] gates the feature map, one group of channels per head. Temperature decides where the mass goes, gamma how
    hard the gate cuts: `A ** gamma` renormalised would only be another temperature. Both can be learned and overridden.

    One more token is the mean over all cells. It carries what holds for the whole frame, such as light and weather, and
    leaves the maps to single out what has a place.

    With `use_spatial_attention` off, A is uniform, G is 1 and there is nothing to learn but the pooling's projections.
    """

    def __init__(self, config: StoryAttnConfig):
        super().__init__()
        hidden_size, self.num_heads = config.hidden_size, config.num_spatial_heads
        self.enabled = config.use_spatial_attention
        self.temperature, self.gamma = config.spatial_temperature, config.spatial_gamma
        self.log_temperature = self.log_gamma = None
        if self.enabled:
            self.score = nn.Sequential(
                nn.Linear(hidden_size, hidden_size), nn.GELU(), nn.Linear(hidden_size, self.num_heads, bias=False)
            )
            # Of one element and not scalars, which cannot be sharded.
            if config.learn_spatial_temperature:
                self.log_temperature = nn.Parameter(torch.zeros(1))
            if config.learn_spatial_gamma:
                self.log_gamma = nn.Parameter(torch.zeros(1))
        self.values = nn.Parameter(torch.empty(config.num_visual_tokens, hidden_size, hidden_size))
        self.norm = nn.LayerNorm(hidden_size)

    def reset_parameters(self, normal_: Callable, fill_: Callable) -> None:
        """Fill the parameters that are in no submodule, with the initialisers `normal_` and `fill_` of the caller."""
        normal_(self.values, std=self.values.shape[-1] ** -0.5)
        if self.log_temperature is not None:
            fill_(self.log_temperature, math.log(self.temperature))
        if self.log_gamma is not None:
            fill_(self.log_gamma, math.log(self.gamma))

    def forward(
        self, features: torch.Tensor, temperature: float | None = None, gamma: float | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Pool and gate the features of a batch of frames.

        Args:
            features (`(N, h, w, D)`): feature maps.
            temperature, gamma (`float`, *optional*): in place of the configured or learned values.

        Returns:
            visual tokens `(N, heads + 1, D)`; gated features `(N, h, w, D)`; maps `(N, heads, h, w)` that sum to 1.

        Raises:
            ValueError: for a temperature that is not above 0, a gamma below 0, and what is no finite number.
        """
        check_factor("spatial_temperature", temperature, least=0, includes_least=False)
        check_factor("spatial_gamma", gamma, least=0, includes_least=True)
        height, width, channels = features.shape[1:]
        cells = features.flatten(1, 2)  # (N, hw, D)
        located = cells + grid_sinusoid(height, width, channels, features.device).to(cells.dtype)
        log_maps = self._log_maps(located, temperature)  # (N, hw, heads)
        maps = log_maps.exp()
        pooled = maps.to(located.dtype).transpose(1, 2) @ located  # (N, heads, D)
        pooled = torch.cat([pooled, located.mean(1, keepdim=True)], dim=1)
        tokens = self.norm(torch.einsum("nkd,kde->nke", pooled, self.values))
        gated = (
            cells.unflatten(-1, (self.num_heads, -1)) * self._gate(log_maps, gamma).to(cells.dtype)[..., None]
        ).flatten(2)
        maps = maps.transpose(1, 2).unflatten(-1, (height, width))
        return tokens, gated.unflatten(1, (height, width)), maps

    def _log_maps(self, cells: torch.Tensor, temperature: float | None) -> torch.Tensor:
        if not self.enabled:
            return cells.new_full((*cells.shape[:2], self.num_heads), -math.log(cells.shape[1]), dtype=torch.float32)
        if temperature is None:
            temperature = self.temperature if self.log_temperature is None else self.log_temperature.exp()
        else:
            temperature = max(temperature, SMALLEST_TEMPERATURE)
        return (self.score(cells).float() / temperature).log_softmax(dim=1)

    def _gate(self, log_maps: torch.Tensor, gamma: float | None) -> torch.Tensor:
        if gamma is None:
            gamma = self.gamma if self.log_gamma is None else self.log_gamma.exp()
        else:
            gamma = min(gamma, LARGEST_GAMMA)
        return ((log_maps - log_maps.amax(dim=1, keepdim=True)) * gamma).exp()  # (A / max A) ** gamma
