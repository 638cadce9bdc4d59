"""VisionEncoder: feature maps of any vision model of transformers, at the scales that the story model reads."""

import inspect

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoBackbone, AutoModel, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING_NAMES

from .configuration_storyattn import StoryAttnConfig


class VisionEncoder(nn.Module):
    """A vision model, its maps at several scales, and a feature pyramid (Lin et al. 2017) at the scale of attention.

    The map nearest to `attention_stride` takes in all coarser ones; the next finer map, where there is one, goes to the
    frame decoder for detail.
    """

    def __init__(self, config: StoryAttnConfig):
        super().__init__()
        self.backbone = build_vision_model(config.vision_config)
        shapes = probe_feature_maps(config.vision_config, config.image_size)  # finest first
        self.num_channels = sum(shape[0] for shape in shapes)  # of all maps
        rows = config.image_size[0] / config.attention_stride
        self.attention_level = min(range(len(shapes)), key=lambda i: (abs(shapes[i][1] - rows), i))
        self.grid = tuple(shapes[self.attention_level][1:])
        self.detail_channels = shapes[self.attention_level - 1][0] if self.attention_level else None
        self.laterals = nn.ModuleList(nn.Linear(s[0], config.hidden_size) for s in shapes[self.attention_level :])
        self.norm = nn.LayerNorm(config.hidden_size)

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, list[torch.Tensor]]:
        """Encode `pixel_values (N, 3, H, W)`.

        Returns features `(N, h, w, D)`, the finer map `(N, C, h', w')` or None, and all maps of the vision model.
        """
        maps = feature_maps(self.backbone, pixel_values.to(self.backbone.dtype))
        features = 0
        for lateral, level in zip(self.laterals, maps[self.attention_level :]):
            projected = lateral(level.permute(0, 2, 3, 1))  # (N, h, w, D)
            if projected.shape[1:3] != self.grid:
                projected = F.interpolate(projected.permute(0, 3, 1, 2), self.grid, mode="bilinear").permute(0, 2, 3, 1)
            features = features + projected
        return self.norm(features), maps[self.attention_level - 1] if self.attention_level else None, maps


def build_vision_model(vision_config: PreTrainedConfig) -> nn.Module:
    """Build a vision model with fresh weights: by `AutoBackbone`, else by `AutoModel` without the pooler."""
    if vision_config.model_type in MODEL_FOR_BACKBONE_MAPPING_NAMES:
        return build_part(AutoBackbone, vision_config)
    model = build_part(AutoModel, vision_config)
    pooler = getattr(model, "pooler", None)
    if pooler is not None and any(True for _ in pooler.parameters()):
        model.pooler = None
    return model


def build_part(auto_class: type, config: PreTrainedConfig) -> nn.Module:
    """Build a part with fresh weights by an Auto class of transformers.

    Where the configuration asks for `sdpa`, the library chooses: it would refuse a part that has only `eager`.
    """
    if config._attn_implementation == "sdpa":
        config._attn_implementation = None  # the library's choice, which is sdpa for every part that has it
    return auto_class.from_config(config)


def hidden_width(config: PreTrainedConfig) -> int:
    """Return the width of the hidden states of a text model, whatever its configuration calls it."""
    return getattr(config, "hidden_size", None) or config.d_model


def feature_maps(model: nn.Module, pixel_values: torch.Tensor) -> list[torch.Tensor]:
    """Compute the maps `(N, C, h, w)` of `pixel_values (N, 3, H, W)`, one per resolution, the finest first."""
    if hasattr(model, "out_features"):
        maps = model(pixel_values).feature_maps
    else:
        options = {"output_hidden_states": True}
        if "interpolate_pos_encoding" in inspect.signature(model.forward).parameters:
            options["interpolate_pos_encoding"] = True  # frames may have another size than the model was trained on
        hidden_states = model(pixel_values, **options).hidden_states
        maps = [_as_grid(state, pixel_values.shape[-2:]) for state in hidden_states]
    by_size = {level.shape[-2:]: level for level in maps}  # the last of each size, which is the deepest
    return sorted(by_size.values(), key=lambda level: -level.shape[-2] * level.shape[-1])


def pooled_maps(maps: list[torch.Tensor]) -> torch.Tensor:
    """Average maps `(N, c, h, w)` over their places and join the means: `(N, C)`."""
    return torch.cat([level.flatten(2).mean(-1) for level in maps], dim=1)


def probe_feature_maps(vision_config: PreTrainedConfig, image_size: list[int]) -> list[tuple[int, int, int]]:
    """Find `(channels, rows, columns)` of the vision model's maps for frames of `image_size`, the finest first."""
    with torch.device("meta"), torch.no_grad():
        maps = feature_maps(build_vision_model(vision_config).eval(), torch.zeros(1, 3, *image_size))
    return [tuple(level.shape[1:]) for level in maps]


def _as_grid(state: torch.Tensor, image_size: tuple[int, int]) -> torch.Tensor:
    """Lay the patch tokens `(N, prefix + h * w, C)` of a transformer out as `(N, C, h, w)`; a map stays as it is."""
    if state.dim() == 4:
        return state
    height, width = image_size
    for patch in range(max(height, width), 0, -1):
        cells = (height // patch) * (width // patch)
        prefix = state.shape[1] - cells
        if 0 <= prefix <= 8 and cells > 1:  # class and register tokens come first
            return state[:, prefix:].transpose(1, 2).unflatten(-1, (height // patch, width // patch))
    raise ValueError(f"vision_config: got {state.shape[1]} tokens, expected a grid over {height}x{width} pixels")
