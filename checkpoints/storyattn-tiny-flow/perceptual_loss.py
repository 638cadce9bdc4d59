"""The perceptual loss: pictures are compared by the feature maps of a frozen vision model."""

import torch
import torch.nn.functional as F
from torch import nn

from .vision_encoder import feature_maps


class PerceptualLoss:
    """L1 between channel-normalised feature maps of a frozen network (after LPIPS, Zhang et al. 2018, unweighted).

    The network's weights are detached, so that gradients reach the pictures alone. It is no module, so that no
    checkpoint holds the network.
    """

    def __init__(self, network: nn.Module, mean: list[float], std: list[float]):
        self.network, self.mean, self.std = network, mean, std

    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Compute the normalised maps `(N, C, h, w)` of `images (N, 3, H, W)` in [0, 1], one per resolution."""
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        frozen = {f"network.{name}": value.detach() for name, value in self.network.named_parameters()}
        normalised = ((images - mean) / std).to(next(self.network.parameters()).dtype)
        return unit_channels(torch.func.functional_call(_Maps(self.network), frozen, (normalised,)))

    def distances(self, predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Compute the distance `(N,)`, in [0, 2], of `predicted` and `target`, both `(N, 3, H, W)` in [0, 1]."""
        with torch.no_grad():
            target_features = self.features(target)
        return self.distances_to(predicted, target_features)

    def distances_to(self, predicted: torch.Tensor, target_features: list[torch.Tensor]) -> torch.Tensor:
        """Compute `distances` to pictures of which `features` gave the maps, averaged over the maps."""
        levels = [
            (a - b).abs().sum(1).mean((1, 2)) / a.shape[1] ** 0.5
            for a, b in zip(self.features(predicted), target_features)
        ]
        return torch.stack(levels).mean(0)


def unit_channels(maps: list[torch.Tensor]) -> list[torch.Tensor]:
    """Scale the channels of maps `(N, C, h, w)` to length 1 at every place, in 32 bits."""
    return [F.normalize(level.float(), dim=1) for level in maps]


class _Maps(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return feature_maps(self.network, images)
