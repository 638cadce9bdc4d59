"""ObjectNamer: it names what lies in each cell of a planned frame, and the loss that teaches it where objects are."""

import torch
import torch.nn.functional as F
from torch import nn

from .configuration_storyattn import StoryAttnConfig
from .losses import masked_mean

RARE = 5.0  # logits start this far below 0: of all objects and cells, few belong together
USUAL_CELLS = 8  # about what an object covers: as many cells that are wrongly named weigh as much as a missed object


class ObjectNamer(nn.Module):
    """Gives each cell of a planned frame a logit for each of `config.object_names`."""

    def __init__(self, config: StoryAttnConfig):
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden_size)
        self.names = nn.Linear(config.hidden_size, len(config.object_names))

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        """Name the objects in cells `(B, N, P, D)`: logits `(B, N, names, P)`."""
        return self.names(self.norm(cells)).float().transpose(-1, -2) - RARE


def object_loss(
    logits: torch.Tensor,
    maps: torch.Tensor,
    last: torch.Tensor,
    mask: torch.Tensor,
    count: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute the cross-entropy of the names of cells, in which a small object counts as much as a large one.

    It is the mean over an object's cells, summed over objects, and the sum over all cells that a name does not belong
    to, by `USUAL_CELLS`; both by the number of objects. Objects that stay where they are do not count at all: what is
    to be learned is who comes, goes or moves, and where to.

    Args:
        logits (`(B, N, names, P)`): of [`ObjectNamer`].
        maps (the same, bool): True in the cells that an object of the name covers.
        last (the same, bool): these maps of the frame before.
        mask (`(B, N)`, bool): True for the frames that count.
        count (`()`, *optional*): as in `masked_mean`.

    Returns:
        the loss, `()`.
    """
    stays = (maps == last).all(-1) & maps.any(-1)  # (B, N, names)
    number = (maps.any(-1) & ~stays).sum(-1).clamp(min=1)  # (B, N)
    missed = (F.softplus(-logits) * maps).sum(-1) / maps.sum(-1).clamp(min=1)
    wrong = (F.softplus(logits) * ~maps).sum(-1) / USUAL_CELLS
    return masked_mean(((missed + wrong) * ~stays).sum(-1) / number, mask, count)
