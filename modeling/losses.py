"""The losses of StoryAttn. Every one is an average over what is there: masked frames and captions count for nothing."""

import torch
import torch.nn.functional as F
from torch import nn

from .vision_encoder import feature_maps

CHANGED_THRESHOLD = 2 / 255  # a pixel has changed when one of its channels differs by more
LOCAL_CHANGE = 0.3  # a change of less than this share of the frame is something that moves, not another light or place


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of `values` over the places where `mask`, of the same leading shape, is True; 0 where none is."""
    per_place = values.flatten(mask.dim()).mean(-1) if values.dim() > mask.dim() else values
    return (per_place * mask).sum() / mask.sum().clamp(min=1)


def pixel_losses(predicted: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
    """L1, MSE and edge loss of `predicted` and `target (B,N,3,H,W)` in [0, 1] over frames `mask (B,N)`."""
    difference = predicted - target
    edges = sobel_magnitude(predicted.flatten(0, 1)) - sobel_magnitude(target.flatten(0, 1))
    return {
        "l1": masked_mean(difference.abs(), mask),
        "mse": masked_mean(difference.square(), mask),
        "edge": masked_mean(edges.abs().unflatten(0, mask.shape), mask),
    }


def changed_loss(predicted, target, last, mask) -> torch.Tensor:
    """L1 over the pixels in which `target` differs from `last`, all `(B,N,3,H,W)` in [0, 1], of frames `mask (B,N)`.

    Each frame counts the same, however little of it changes: else a change of light, which is everywhere, would
    outweigh a figure that walks. Frames without a change count for nothing.
    """
    changed = ((target - last).abs().amax(2) > CHANGED_THRESHOLD).flatten(2)  # (B, N, H * W)
    errors = ((predicted - target).abs().mean(2).flatten(2) * changed).sum(-1) / changed.sum(-1).clamp(min=1)
    return masked_mean(errors, mask & changed.any(-1))


def sobel_magnitude(images: torch.Tensor) -> torch.Tensor:
    """Gradient magnitude of each channel of `images (N,3,H,W)` by the 3x3 Sobel operator (Sobel & Feldman 1968)."""
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    across = padded[..., 2:] - padded[..., :-2]
    down = padded[..., 2:, :] - padded[..., :-2, :]
    gradient_x = (across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]) / 4
    gradient_y = (down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]) / 4
    return (gradient_x.square() + gradient_y.square() + 1e-6).sqrt()


def attention_loss(maps: torch.Tensor, frames: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Divergence (Kullback & Leibler 1951) of the mean map from where a frame differs from the ones beside it.

    What a story is about is what changes in it, and one frame alone can tell which things in it tend to. Only changes
    of less than `LOCAL_CHANGE` of the frame count. `maps (B,T,heads,h,w)` sum to 1, `frames (B,T,3,H,W)` are in
    [0, 1], `mask (B,T)` is True for frames that are there.
    """
    changed = ((frames[:, 1:] - frames[:, :-1]).abs().amax(2) > CHANGED_THRESHOLD).float()  # (B, T - 1, H, W)
    local = mask[:, 1:] & mask[:, :-1] & (changed.mean((-2, -1)) < LOCAL_CHANGE)
    moved = F.adaptive_avg_pool2d(changed, maps.shape[-2:]) * local[..., None, None]
    target = F.pad(moved, (0, 0, 0, 0, 1, 0)) + F.pad(moved, (0, 0, 0, 0, 0, 1))  # (B, T, h, w)
    total = target.sum((-2, -1), keepdim=True)
    target = target / total.clamp(min=1e-6)
    divergence = target * (target.clamp(min=1e-8).log() - maps.mean(2).clamp(min=1e-8).log())
    return masked_mean(divergence.sum((-2, -1)), mask & (total[..., 0, 0] > 0))


def caption_loss(logits: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy per token: `logits (B,N,L,V)` at i against token i + 1 of `input_ids (B,N,L)`."""
    targets, there = input_ids[..., 1:], attention_mask[..., 1:].bool()
    losses = F.cross_entropy(logits[:, :, :-1].flatten(0, 2).float(), targets.flatten(), reduction="none")
    return masked_mean(losses, there.flatten())


def alignment_loss(image_embeds, text_embeds, logit_scale, mask) -> torch.Tensor:
    """Symmetric contrastive loss (CLIP, Radford et al. 2021) over the pairs `mask (B,T)` of the batch.

    The negatives of a pair are all other pairs, the other frames of its story among them. `image_embeds` and
    `text_embeds (B,T,P)` are unit vectors, `logit_scale` multiplies their products.
    """
    if mask.sum() < 2:
        return (image_embeds.sum() + text_embeds.sum()) * 0.0 * logit_scale
    images, texts = image_embeds[mask].float(), text_embeds[mask].float()
    logits = logit_scale.float() * images @ texts.T
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


class PerceptualLoss:
    """L1 between channel-normalised feature maps of a frozen network (after LPIPS, Zhang et al. 2018, unweighted).

    The network's weights are detached, so gradients reach the pictures alone. Not a module: it is in no checkpoint.
    """

    def __init__(self, network: nn.Module, mean: list[float], std: list[float]):
        self.network, self.mean, self.std = network, mean, std

    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Normalised maps of `images (N,3,H,W)` in [0, 1]."""
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        frozen = {f"network.{name}": value.detach() for name, value in self.network.named_parameters()}
        normalised = ((images - mean) / std).to(next(self.network.parameters()).dtype)
        maps = torch.func.functional_call(_Maps(self.network), frozen, (normalised,))
        return [F.normalize(level.float(), dim=1) for level in maps]

    def distances(self, predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """`(N,)`: distance of `predicted` and `target (N,3,H,W)` in [0, 1], in [0, 2], averaged over the maps."""
        with torch.no_grad():
            wanted = self.features(target)
        levels = [
            (a - b).abs().sum(1).mean((1, 2)) / a.shape[1] ** 0.5 for a, b in zip(self.features(predicted), wanted)
        ]
        return torch.stack(levels).mean(0)


class _Maps(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return feature_maps(self.network, images)
