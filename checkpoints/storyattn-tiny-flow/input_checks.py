"""Checks of the tensors that the models read. Each refuses what is wrong with one line that names it.

Shapes are checked always. Values are not while a model is compiled or exported, and not where a GPU that trains would
have to wait for them; each other call waits once for all of its checks.
"""

import functools
from collections.abc import Callable
from numbers import Real

import torch

from .configuration_storyattn import StoryAttnConfig
from .story_inputs import kind_of

FAR = 10  # times the largest value of a normalised frame: no frame that was normalised
SHOWN = 8  # values of a mask in a message
WHOLE_TYPES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


class ValueChecks:
    """Flags of tensors on any device, and what each means, read together.

    Args:
        tensor: some input of the call.
        training: whether the model trains.
    """

    def __init__(self, tensor: torch.Tensor, training: bool):
        compiling = torch.compiler.is_compiling() or torch.compiler.is_exporting() or torch.jit.is_tracing()
        self.enabled = not (compiling or tensor.is_meta or (training and tensor.device.type != "cpu"))
        self._checks: list[tuple[torch.Tensor, Callable[[], str]]] = []

    def add(self, flags: torch.Tensor, message: Callable[[], str]) -> None:
        """Add a check: `flags` are True where the input is wrong, and `message` then says how."""
        self._checks.append((flags.any(), message))

    def run(self) -> None:
        """Raise `ValueError` with the message of the first check that fails."""
        if not self._checks:
            return
        device = self._checks[0][0].device
        failed = torch.stack([flag.to(device) for flag, _ in self._checks]).tolist()
        for fails, (_, message) in zip(failed, self._checks):
            if fails:
                raise ValueError(message())


def check_frames(pixel_values: torch.Tensor | None, config: StoryAttnConfig) -> None:
    """Check shape and type of frames `(B, T, 3, H, W)`; raise `ValueError` for another."""
    expected = (3, *config.image_size)
    if pixel_values is None:
        raise ValueError(f"pixel_values: got none, expected frames (B, T, *{expected}), as the processor gives them")
    is_dense = isinstance(pixel_values, torch.Tensor) and not _is_irregular(pixel_values)
    if not is_dense or not pixel_values.is_floating_point():
        raise ValueError(f"pixel_values: got {_kind(pixel_values)}, expected a tensor of floats (B, T, *{expected})")
    shape = tuple(pixel_values.shape)
    if len(shape) != 5 or shape[2:] != expected or 0 in shape[:2]:
        raise ValueError(f"pixel_values: got shape {shape}, expected (B, T, *{expected})")


def check_frame_values(pixel_values: torch.Tensor, config: StoryAttnConfig, checks: ValueChecks) -> None:
    """Add a check that the values of frames `(B, T, 3, H, W)` are those of normalised ones, and numbers."""
    if checks.enabled:
        low, high = _normalised_range(config)
        least, most = torch.aminmax(pixel_values)
        is_far = ~((least >= FAR * low) & (most <= FAR * high))  # or no number, which no comparison holds for
        checks.add(is_far, lambda: _far_frame(pixel_values, low, high))


def check_frame_mask(frame_mask: torch.Tensor, shape: tuple[int, int], checks: ValueChecks) -> None:
    """Check that each story has frames first and padding at the end.

    Args:
        frame_mask (`(B, T)`): 1 for frames.
        shape (`tuple[int, int]`): B and T.
        checks: where checks of its values are added.

    Raises:
        ValueError: for another shape or type.
    """
    check_mask("frame_mask", frame_mask, shape, checks)

    if checks.enabled:
        mask = frame_mask.bool()
        is_misplaced = ~mask[:, 0] | (mask[:, 1:] & ~mask[:, :-1]).any(1)  # (B,)
        expected = "expected 1 for its frames, at least one, then 0 for padding"
        checks.add(is_misplaced, lambda: f"frame_mask: {_shown_row(frame_mask, is_misplaced)}, {expected}")


def check_captions(
    names: tuple[str, str],
    input_ids: torch.Tensor | None,
    attention_mask: torch.Tensor | None,
    shape: tuple[int, ...],
    limits: tuple[int | None, int | None],
    checks: ValueChecks,
) -> None:
    """Check captions in tokens.

    Args:
        names: of the two tensors, for errors.
        input_ids, attention_mask (`(*shape, L)`, *optional*): ids of the captions, and 1 for tokens before padding.
        shape: B, or B and T.
        limits: how many tokens the vocabulary has, and how many a caption may have; `None` for any number.
        checks: where checks of their values are added.

    Raises:
        ValueError: for one without the other, and another shape or type.
    """
    if (input_ids is None) != (attention_mask is None):
        raise ValueError(f"{' and '.join(names)}: got one without the other, expected both or neither")
    if input_ids is None:
        return
    expected = f"whole numbers ({', '.join(map(str, shape))}, L)"
    if not isinstance(input_ids, torch.Tensor) or input_ids.dtype not in WHOLE_TYPES or _is_irregular(input_ids):
        raise ValueError(f"{names[0]}: got {_kind(input_ids)}, expected a tensor of {expected}")
    if tuple(input_ids.shape[:-1]) != tuple(shape) or input_ids.shape[-1] == 0:
        raise ValueError(f"{names[0]}: got shape {tuple(input_ids.shape)}, expected {expected}")
    vocabulary, longest = limits
    if longest is not None and input_ids.shape[-1] > longest:
        got = f"{names[0]}: got captions of {input_ids.shape[-1]} tokens"
        raise ValueError(f"{got}, expected at most the {longest} positions of the text encoder")
    check_mask(names[1], attention_mask, tuple(input_ids.shape), checks)
    if checks.enabled:
        mask = attention_mask.bool()
        is_misplaced = (mask[..., 1:] & ~mask[..., :-1]).any(-1)  # a missing caption is all padding
        row = functools.partial(_shown_row, attention_mask, is_misplaced)
        checks.add(is_misplaced, lambda: f"{names[1]}: {row()}, expected 1 for tokens, then 0 for padding")
    check_vocabulary(names[0], input_ids, vocabulary, checks)


def check_vocabulary(name: str, input_ids: torch.Tensor, size: int | None, checks: ValueChecks) -> None:
    """Check that all ids are those of tokens.

    Args:
        name: of the tensor, for errors.
        input_ids: the ids.
        size: of the vocabulary; `None`: not known.
        checks: where the check is added.
    """
    if checks.enabled and size is not None:
        is_outside = (input_ids < 0) | (input_ids >= size)
        expected = f"expected ids of tokens from 0 to {size - 1}"
        checks.add(is_outside, lambda: f"{name}: got {input_ids[is_outside][0].item()}, {expected}")


def check_mask(name: str, mask: torch.Tensor, shape: tuple[int, ...], checks: ValueChecks) -> None:
    """Check a mask.

    Args:
        name: of the mask, for errors.
        mask: `shape`, of 0 and 1.
        shape: the expected one.
        checks: where a check of its values is added.

    Raises:
        ValueError: for another shape or type.
    """
    if not isinstance(mask, torch.Tensor) or mask.is_complex() or _is_irregular(mask):
        raise ValueError(f"{name}: got {_kind(mask)}, expected a tensor of 0 and 1 {tuple(shape)}")
    if tuple(mask.shape) != tuple(shape):
        raise ValueError(f"{name}: got shape {tuple(mask.shape)}, expected {tuple(shape)}")
    if checks.enabled and mask.dtype != torch.bool:
        is_other = (mask != 0) & (mask != 1)
        checks.add(is_other, lambda: f"{name}: got {mask[is_other][0].item():g}, expected 0 and 1")


def check_frame_indices(name: str, indices: torch.Tensor, shape: tuple[int, int], checks: ValueChecks) -> None:
    """Check indices of frames.

    Args:
        name: of the tensor, for errors.
        indices (`(B, R)`): from -1, for none, to T - 1.
        shape (`tuple[int, int]`): B and T.
        checks: where a check of their values is added.

    Raises:
        ValueError: for another shape or type.
    """
    if not isinstance(indices, torch.Tensor) or indices.dtype not in WHOLE_TYPES or _is_irregular(indices):
        raise ValueError(f"{name}: got {_kind(indices)}, expected indices ({shape[0]}, R)")
    if indices.dim() != 2 or indices.shape[0] != shape[0]:
        raise ValueError(f"{name}: got shape {tuple(indices.shape)}, expected ({shape[0]}, R)")
    if checks.enabled:
        is_outside = (indices < -1) | (indices >= shape[1])
        expected = f"expected indices of frames from -1, for none, to {shape[1] - 1}"
        checks.add(is_outside, lambda: f"{name}: got {indices[is_outside][0].item()}, {expected}")


def check_factor(name: str, value: float | None, least: float, includes_least: bool) -> None:
    """Check a number.

    Args:
        name: of the number, for errors.
        value (*optional*): the number.
        least: the least number that may be.
        includes_least: whether it may be `least` itself.

    Raises:
        ValueError: for one that is less, infinite or no number.
    """
    if value is None:
        return
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not least <= value < float("inf") or (value == least and not includes_least):
        expected = f"of at least {least:g}" if includes_least else f"above {least:g}"
        raise ValueError(f"{name}: got {kind_of(value)}, expected a number {expected}")


def _far_frame(pixel_values: torch.Tensor, low: float, high: float) -> str:
    """Say which frame has values that no normalised frame has."""
    frames = pixel_values.flatten(2)
    story, frame = ((frames >= FAR * low) & (frames <= FAR * high)).all(-1).logical_not().nonzero()[0].tolist()
    values = pixel_values[story, frame]
    got = f"values from {values.min():g} to {values.max():g}" if values.isfinite().all() else "nan or infinity"
    expected = f"a frame that the processor normalised, from {low:.2g} to {high:.2g}"
    return f"pixel_values: story {story}, frame {frame}: got {got}, expected {expected}"


def _shown_row(mask: torch.Tensor, flags: torch.Tensor) -> str:
    """Show the first row of a mask `(..., N)` whose flag `(...)` is True, and where it is."""
    place = tuple(flags.nonzero()[0].tolist())
    at = ", ".join(f"{kind} {index}" for kind, index in zip(("story", "frame"), place))
    shown = ", ".join(f"{value:g}" for value in mask[place][:SHOWN].tolist())
    return f"{at}: got [{shown}{', ...' if mask.shape[-1] > SHOWN else ''}]"


def _normalised_range(config: StoryAttnConfig) -> tuple[float, float]:
    """Return the least and the largest value of normalised frames."""
    channels = list(zip(config.image_mean, config.image_std))
    ends = [(end - mean) / std for mean, std in channels for end in (0, 1)]
    return min(-1.0, *ends), max(1.0, *ends)


def _is_irregular(tensor: torch.Tensor) -> bool:
    """Return whether a tensor is sparse or nested: few operations take it."""
    return tensor.layout != torch.strided or tensor.is_nested


def _kind(value: object) -> str:
    if isinstance(value, torch.Tensor) and _is_irregular(value):
        return "a sparse or nested tensor"
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, torch.Tensor) else kind_of(value)
