"""The network in whose features all models are compared: the same for each, never a model's own."""

import hashlib
from collections import OrderedDict
from typing import NamedTuple

import torch
from storyattn.perceptual_loss import unit_channels
from storyattn.pretrained_parts import normalization
from storyattn.vision_encoder import feature_maps
from torch import nn
from transformers import AutoModel

from ..common.defaults import FEATURE_NETWORK
from ..common.loading import expecting
from ..models import efficientnet_lite0
from ..models.load import model_source

REMEMBERED = 64  # frames whose features are kept: the true ones of a batch are compared again and again


class Features(NamedTuple):
    """What the network gives for frames: `maps (N, C, h, w)` of each resolution, and `pooled (N, D)`."""

    maps: list[torch.Tensor]
    pooled: torch.Tensor


class FeatureNetwork:
    """
    A frozen vision model that compares frames, read at the size that they have.

    Args:
        name: what results call it.
        network: the model, whose weights are left alone.
        mean: by which its input is normalized.
        std: by which its input is normalized.
    """

    def __init__(self, name: str, network: nn.Module, mean: list[float], std: list[float]):
        self.name, self.network = name, network.eval()
        self.mean, self.std = mean, std
        self._remembered: OrderedDict[bytes, list[torch.Tensor]] = OrderedDict()

    @torch.no_grad()
    def features(self, frames: torch.Tensor) -> Features:
        """
        Compute the features of frames `(N, 3, H, W)` in [0, 1].

        Maps have channels of length 1 at every place. `pooled` are the means of the deepest map over its places.
        """
        keys = [hashlib.sha256(frame.cpu().numpy().tobytes()).digest() for frame in frames.float()]
        missing = {key: row for row, key in enumerate(keys) if key not in self._remembered}
        if missing:
            self._remembered |= zip(missing, self._compute(frames[list(missing.values())].float()))
        for key in keys:
            self._remembered.move_to_end(key)
        levels = [torch.stack(level) for level in zip(*(self._remembered[key] for key in keys))]
        while len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)
        return Features(unit_channels(levels), levels[-1].flatten(2).mean(2))

    def distances(self, predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """
        Compute the perceptual distance `(N,)` of frames `(N, 3, H, W)` in [0, 1].

        It is that of `PerceptualLoss` (after LPIPS, Zhang et al. 2018, unweighted), in this network.
        """
        pairs = zip(self.features(predictions).maps, self.features(targets).maps)
        levels = [(a - b).abs().sum(1).mean((1, 2)) / a.shape[1] ** 0.5 for a, b in pairs]
        return torch.stack(levels).mean(0)

    def pooled(self, frames: torch.Tensor) -> torch.Tensor:
        """Compute the pooled features `(N, D)` of frames `(N, 3, H, W)` in [0, 1]."""
        return self.features(frames).pooled

    def _compute(self, frames: torch.Tensor) -> list[list[torch.Tensor]]:
        """Return the maps of each frame."""
        mean, std = (frames.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        self.network.to(frames.device)
        maps = feature_maps(self.network, ((frames - mean) / std).to(next(self.network.parameters()).dtype))
        return list(map(list, zip(*(level.float() for level in maps))))


def load_feature_network(name: str = FEATURE_NETWORK) -> FeatureNetwork:
    """
    Return the network that `name` says.

    Args:
        name: `efficientnet-lite0`, which is the default of all results (see `load_efficientnet_lite0`), or the folder
            or Hub id of a vision model.

    Raises:
        FileNotFoundError: where it is not at hand.
        ValueError: where it cannot be loaded, or does not say how its input is normalized.
    """
    if name == FEATURE_NETWORK:
        network = efficientnet_lite0.load_efficientnet_lite0()
        return FeatureNetwork(name, network, efficientnet_lite0.IMAGE_MEAN, efficientnet_lite0.IMAGE_STD)
    source = model_source("feature_network", name)
    with expecting("feature_network", name, "a vision model that can be loaded"):
        network = AutoModel.from_pretrained(source).requires_grad_(False)
    normalized = normalization(source)
    if set(normalized) != {"image_mean", "image_std"}:
        raise ValueError(f"feature_network: got {name!r} without preprocessor_config.json, expected one")
    return FeatureNetwork(name, network, normalized["image_mean"], normalized["image_std"])
