"""
Find the clip art of CoDraw in a frame: for each class whether it shows, where its center is, and its depth.

A small convolutional network gives each class a score in every cell of a grid (one cell for 4x4 pixels) and one for
"nowhere", which is 0. A softmax over all of them is the probability of each place; what is left of 1 without "nowhere"
is the probability that the class shows. From its best cell come the offset of the center and the depth.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from .clip_art import CLASS_NAMES, NUM_CLASSES
from .object_metrics import Detection

STRIDE = 4  # pixels of a frame to a cell
GRID_STEPS = 16  # sides of frames are multiples of it once padded
NUM_GEOMETRY = 3  # x and y of the center from the cell's, in cells; depth
CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
RARE = -9.0  # first score of a cell: over all cells a class is then about as rare as it should be
THRESHOLD = 0.5  # probability above which a class counts as detected


@dataclass
class DetectorConfig:
    """
    Sizes of a detector.

    Args:
        image_size: height and width of the frames in pixels that it was trained on; others are resized to them.
        channels: of the feature maps at 1/2, 1/4, 1/8 and 1/16 of the frame's size.
    """

    image_size: tuple[int, int] = (96, 120)
    channels: tuple[int, ...] = (16, 32, 64, 96)

    def __post_init__(self):
        self.image_size, self.channels = tuple(self.image_size), tuple(self.channels)
        if len(self.channels) != 4:
            raise ValueError(f"channels: got {len(self.channels)} numbers, expected 4")


class ConvBlock(nn.Sequential):
    """A convolution, batch normalization and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, size: int = 3):
        super().__init__(
            nn.Conv2d(in_channels, out_channels, size, stride=stride, padding=size // 2, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside an identity."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = ConvBlock(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return `features (B, C, h, w)` changed, of the same shape."""
        return F.relu(features + self.second(self.first(features)))


class CodrawDetector(nn.Module):
    """The network; `detect` gives what a caller wants to know."""

    def __init__(self, config: DetectorConfig | None = None):
        super().__init__()
        self.config = config or DetectorConfig()
        half, quarter, eighth, sixteenth = self.config.channels
        self.down2 = nn.Sequential(ConvBlock(3, half, stride=2, size=5), ResidualBlock(half))
        self.down4 = nn.Sequential(ConvBlock(half, quarter, stride=2), ResidualBlock(quarter))
        self.down8 = nn.Sequential(ConvBlock(quarter, eighth, stride=2), ResidualBlock(eighth))
        self.down16 = nn.Sequential(
            ConvBlock(eighth, sixteenth, stride=2), ResidualBlock(sixteenth), ResidualBlock(sixteenth)
        )
        self.up_eighth = nn.Conv2d(sixteenth, eighth, 1)
        self.join_eighth = ResidualBlock(eighth)
        self.up_quarter = nn.Conv2d(eighth, quarter, 1)
        self.join_quarter = ResidualBlock(quarter)
        self.head = nn.Sequential(
            ConvBlock(quarter, 2 * quarter), nn.Conv2d(2 * quarter, NUM_CLASSES * (1 + NUM_GEOMETRY), 1)
        )
        nn.init.constant_(self.head[-1].bias[:NUM_CLASSES], RARE)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Return the scores of each class in each cell and its geometry there.

        `pixels (B, 3, H, W)` in [0, 1]; scores `(B, 58, h, w)`, geometry `(B, 58, 3, h, w)` with h = H / 4, w = W / 4:
        x and y of the center from the cell's center in cells, and the depth, 0 (near) to 1 (far).
        """
        height, width = (side // STRIDE for side in pixels.shape[-2:])
        padding = [-side % GRID_STEPS for side in pixels.shape[-2:]]
        padded = F.pad(pixels - 0.5, (0, padding[1], 0, padding[0]), mode="replicate")
        quarter = self.down4(self.down2(padded))
        eighth = self.down8(quarter)
        sixteenth = self.down16(eighth)
        eighth = self.join_eighth(eighth + F.interpolate(self.up_eighth(sixteenth), scale_factor=2.0))
        quarter = self.join_quarter(quarter + F.interpolate(self.up_quarter(eighth), scale_factor=2.0))
        values = self.head(quarter)[..., :height, :width]
        scores, geometry = values.split([NUM_CLASSES, NUM_CLASSES * NUM_GEOMETRY], dim=1)
        return scores, geometry.unflatten(1, (NUM_CLASSES, NUM_GEOMETRY))

    @torch.no_grad()
    def detect(self, pixels: torch.Tensor, threshold: float = THRESHOLD) -> list[list[Detection]]:
        """
        Return what each of the frames shows.

        Args:
            pixels: `(B, 3, H, W)` in [0, 1], of any size.
            threshold: the probability above which a class counts.

        Returns:
            for each frame its detections, by class; places as shares of the frame's width and height.
        """
        if tuple(pixels.shape[-2:]) != self.config.image_size:
            pixels = F.interpolate(pixels, self.config.image_size, mode="bilinear", antialias=True)
        scores, geometry = self(pixels.to(self.head[-1].weight.device))
        flat = scores.flatten(2)  # (B, 58, h * w)
        probability = torch.sigmoid(flat.logsumexp(dim=2))  # (B, 58)
        best = flat.argmax(dim=2)
        chosen = geometry.flatten(3).gather(3, best[..., None, None].expand(-1, -1, NUM_GEOMETRY, 1))[..., 0]
        height, width = scores.shape[-2:]
        x = (best % width + 0.5 + chosen[..., 0]) / width
        y = (best // width + 0.5 + chosen[..., 1]) / height
        places = torch.stack([x, y, chosen[..., 2]], dim=-1).cpu()
        return [
            [
                Detection(class_id, *places[row, class_id].tolist())
                for class_id in np.flatnonzero(probability[row].cpu() > threshold).tolist()
            ]
            for row in range(len(pixels))
        ]

    def save(self, folder: str | Path, **facts) -> None:
        """Write weights and configuration to `folder`; `facts` go into the configuration's file."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous() for name, value in self.state_dict().items()}, folder / WEIGHTS_FILE)
        document = {**asdict(self.config), "classes": CLASS_NAMES, **facts}
        (folder / CONFIG_FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def open_detector(folder: str | Path | None, device: str | torch.device = "cpu") -> CodrawDetector | None:
    """Return the detector of `load_detector`, or `None` where no folder is given."""
    return None if folder is None else load_detector(folder, device)


def load_detector(folder: str | Path, device: str | torch.device = "cpu") -> CodrawDetector:
    """Return the detector that `CodrawDetector.save` wrote to `folder`; raises `ValueError` where there is none."""
    folder = Path(folder).expanduser()
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise ValueError(f"detector: got no {name} in {str(folder)!r}, expected the folder of a CoDraw detector")
    try:
        document = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        detector = CodrawDetector(DetectorConfig(document["image_size"], document["channels"]))
        detector.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except (ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"detector: {str(folder)!r} is no CoDraw detector: {reason}") from error
    return detector.to(device).eval()
