"""ObjectSlots: they say which objects change in the next frame, and in which boxes, and the loss that teaches them."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from .configuration_storyattn import StoryAttnConfig
from .frame_decoder_layer import FrameDecoderLayer
from .losses import masked_mean

NUM_LAYERS = 2
RARE = 2.5  # logits of presence start this far below 0: of all names, few change in one frame
# An object is said to change from this probability on. The threshold that makes F1 largest is half of that F1 (Lipton
# et al. 2014), and slots that read what people wrote reach two thirds and more.
PRESENT = 1 / 3
UNSEEN = 0.1  # share of the objects whose boxes are withheld in training: cells must not rely on slots alone


class PlacedObjects(NamedTuple):
    """
    What [`ObjectSlots`] say of the predicted frames.

    Args:
        presence (`(B, P, names)`): logits that an object of the name comes, moves, changes its looks, or goes.
        places (`(B, P, names, cells)`): logits of the cell in which the centre of its box then is, or was if it goes.
        sizes (`(B, P, names, 2)`): logarithms of the rows and columns of its box.
    """

    presence: torch.Tensor
    places: torch.Tensor
    sizes: torch.Tensor

    def maps(self, grid: tuple[int, int]) -> torch.Tensor:
        """Return the boxes of the objects that change by a probability of `PRESENT`: `(B, P, names, cells)`, bool.

        Each centre is in the median row and the median column, from which its distance is expected to be least.
        """
        likely = self.places.softmax(-1).unflatten(-1, grid)
        place = torch.stack([_median(likely.sum(-1)), _median(likely.sum(-2))], dim=-1)  # (B, P, names, 2)
        inside = []
        for axis, length in enumerate(grid):
            offsets = torch.arange(length, device=place.device) - place[..., axis, None]
            number = self.sizes[..., axis].exp().round().clamp(min=1)[..., None]
            inside.append((offsets >= -((number - 1) // 2)) & (offsets <= number // 2))
        boxes = inside[0][..., :, None] & inside[1][..., None, :]  # (B, P, names, rows, columns)
        return boxes.flatten(-2) & (self.presence.sigmoid() >= PRESENT)[..., None]


class ObjectSlots(nn.Module):
    """One slot for each of `config.object_names`: it says whether the object changes, and its box.

    An object changes if it comes, moves, looks different, or goes.

    A slot is a learned vector (object queries of Carion et al. 2020, each bound to a name). Layers of attention let it
    read the story and caption, the cells of the last frame and the other slots. The cells of its box take over what it
    holds. In training these are the true boxes, so that the painter learns to paint an object in its box while the
    slots still learn to place it; otherwise those that the slots say.
    """

    def __init__(self, config: StoryAttnConfig):
        super().__init__()
        size = config.hidden_size
        self.grid = config.frame_grid
        self.slots = nn.Parameter(torch.empty(len(config.object_names), size))
        self.layers = nn.ModuleList(FrameDecoderLayer(config) for _ in range(NUM_LAYERS))
        self.norm = nn.LayerNorm(size)
        self.cell_norm = nn.LayerNorm(size)
        self.presence = nn.Linear(size, 1)
        self.sizes = nn.Linear(size, 2)
        self.queries = nn.Linear(size, size)
        self.keys = nn.Linear(size, size, bias=False)
        self.contents = nn.Linear(size, size, bias=False)

    def reset_parameters(self, normal_: Callable) -> None:
        """Fill the slots with the initialiser `normal_` of the caller."""
        normal_(self.slots, std=1.0)

    def forward(
        self,
        cells: torch.Tensor,
        context: torch.Tensor,
        context_mask: torch.Tensor,
        changing: torch.Tensor | None = None,
    ) -> tuple[PlacedObjects, torch.Tensor]:
        """Place the objects of P frames of B stories.

        Args:
            cells (`(B, P, cells, D)`): of the frame that each starts from.
            context (`(B, P, S, D)`), context_mask (`(B, P, 1, 1, S)`, bool): story state and caption of each frame.
            changing (`(B, P, names, cells)`, bool, *optional*): boxes of the objects that do change.

        Returns:
            the objects, and what the cells take over of them, `(B, P, cells, D)`.
        """
        shape = cells.shape[:2]
        cells, context, context_mask = (x.flatten(0, 1) for x in (self.cell_norm(cells), context, context_mask))
        slots = self.slots.to(cells.dtype).expand(len(cells), -1, -1)
        for layer in self.layers if cells.shape[0] else ():  # a story of one frame has no next frame
            slots, _ = layer(slots, context, context_mask, cells)
        slots = self.norm(slots)  # (B * P, names, D)
        presence, sizes = self.presence(slots)[..., 0].float() - RARE, self.sizes(slots).float()
        places = (self.queries(slots) @ self.keys(cells).transpose(-1, -2)).float() * cells.shape[-1] ** -0.5
        objects = PlacedObjects(*(x.unflatten(0, shape) for x in (presence, places, sizes)))
        maps = objects.maps(self.grid) if changing is None else changing
        if changing is not None and self.training:
            maps = changing & (torch.rand(changing.shape[:3], device=changing.device) >= UNSEEN)[..., None]
        taken = maps.flatten(0, 1).to(slots.dtype).transpose(-1, -2) @ self.contents(slots)
        return objects, taken.unflatten(0, shape)


def object_loss(
    objects: PlacedObjects,
    changing: torch.Tensor,
    grid: tuple[int, int],
    mask: torch.Tensor,
    count: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute how wrong the slots are, where a small object counts as much as a large one.

    The cross-entropy of presence is summed over all names; that of the centre's cell and the absolute difference of
    the logarithms of rows and columns are summed over the objects that change. Each by the number of these.

    Args:
        objects: of [`ObjectSlots`].
        changing (`(B, P, names, cells)`, bool): True in the box of an object of the name that changes.
        grid: rows and columns of the cells.
        mask (`(B, P)`, bool): True for the frames that count.
        count (`()`, *optional*): as in `masked_mean`.

    Returns:
        the loss, `()`.
    """
    boxes = changing.unflatten(-1, grid)
    changes = changing.any(-1)  # (B, P, names)
    present = F.binary_cross_entropy_with_logits(objects.presence, changes.float(), reduction="none")
    (top, rows), (left, columns) = (_extent(boxes.any(axis)) for axis in (-1, -2))
    centre = (top + (rows - 1) // 2) * grid[1] + left + (columns - 1) // 2
    placed = -objects.places.log_softmax(-1).gather(-1, centre[..., None])[..., 0]
    sized = (objects.sizes - torch.stack([rows, columns], dim=-1).log()).abs().sum(-1)
    number = changes.sum(-1).clamp(min=1)  # (B, P)
    return masked_mean((present + (placed + sized) * changes).sum(-1) / number, mask, count)


def _median(shares: torch.Tensor) -> torch.Tensor:
    """Return of shares `(..., n)` of a whole the first place up to which they are at least a half, `(...)`."""
    return (shares.cumsum(-1) < 0.5).sum(-1).clamp(max=shares.shape[-1] - 1)


def _extent(covered: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return of bools `(..., n)` the first that is True and the number from there to the last one, `(...)`."""
    first = covered.int().argmax(-1)
    last = covered.shape[-1] - 1 - covered.int().flip(-1).argmax(-1)
    return first, (last - first + 1).clamp(min=1)
