"""Sampling of frames: the options of a call, the noise of each sample, and the steps from noise to a frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from .frame_noise import NOISE_SCALE, NoisyFrames
from .story_inputs import kind_of

# The noise levels of four steps; those of other numbers lie evenly on the line through them.
LEVELS = (1.0, 0.85, 0.6, 0.3, 0.0)
DEFAULT_STEPS, MOST_STEPS, MOST_SEQUENCES, MOST_GUIDANCE = len(LEVELS) - 1, 8, 4096, 100.0
# Guidance acts between these noise levels: in pure noise it drives samples together, near the end it wears out pixels
# (Kynkaanniemi et al. 2024).
GUIDED_LEVELS = 0.25, 0.95
LARGEST_SEED = 2**63


@dataclass(frozen=True)
class FrameSampling:
    """How frames are sampled.

    Args:
        num_steps: steps from noise to the frame.
        guidance_scale: how far a sample is led away from what would be painted without caption or story; 1: not at all.
        base_seed: sample j of each story has the noise of the seed `base_seed + j`.
        num_sequences: samples of each story.
    """

    num_steps: int = DEFAULT_STEPS
    guidance_scale: float = 1.0
    base_seed: int = 0
    num_sequences: int = 1

    @property
    def levels(self) -> list[float]:
        """The noise levels before each step, and 0 after the last."""
        return noise_levels(self.num_steps)

    def noise(self, num_rows: int, shape: tuple[int, ...]) -> torch.Tensor:
        """Draw the noise of samples `(num_rows, *shape)`, of spread `NOISE_SCALE`, those of a story in a row.

        All stories have the same noise, so that a batch of stories gives what each alone does.
        """
        seeds = [(self.base_seed + number) % LARGEST_SEED for number in range(self.num_sequences)]
        drawn = [NOISE_SCALE * torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.stack(drawn).repeat(num_rows // self.num_sequences, *[1] * len(shape))


@dataclass(frozen=True)
class FrameOptions:
    """Options of `continue_story` that concern frames, as in `predict_next_frame`."""

    num_frame_steps: int | None = None
    frame_guidance_scale: float | None = None
    generator: torch.Generator | None = None

    def checked(self, samples_frames: bool) -> FrameOptions:
        """Return the options; raise `ValueError` for those that `frame_sampling` refuses, but for a generator."""
        check_generator(self.generator)
        check_options(samples_frames, self.num_frame_steps, self.frame_guidance_scale)
        return self

    def sampling(self, samples_frames: bool, num_sequences: int) -> FrameSampling | None:
        """Return the sampling of `num_sequences` frames of each story; `None` for a regressing frame decoder."""
        if not samples_frames:
            return None
        return frame_sampling(True, self.num_frame_steps, self.frame_guidance_scale, self.generator, num_sequences)


def noise_levels(num_steps: int) -> list[float]:
    """Return the `num_steps + 1` noise levels of a sampling, from 1 to 0."""
    last, levels = len(LEVELS) - 1, []
    for step in range(num_steps + 1):
        place = min(int(step / num_steps * last), last - 1)
        share = step / num_steps * last - place
        levels.append(LEVELS[place] * (1 - share) + LEVELS[place + 1] * share)
    return levels


def frame_sampling(
    samples_frames: bool,
    num_frame_steps: int | None = None,
    frame_guidance_scale: float | None = None,
    generator: torch.Generator | None = None,
    num_return_sequences: int | None = None,
) -> FrameSampling | None:
    """Check the options of a call.

    Args:
        samples_frames: whether the model has a generative frame decoder.
        num_frame_steps, frame_guidance_scale, generator, num_return_sequences: as in `predict_next_frame`.

    Returns:
        the sampling, whose seed is drawn by `generator` or else by torch's own; `None` for a regression model.

    Raises:
        ValueError: for a value out of its range, and for any of these options with a regression model.
    """
    check_generator(generator)
    check_options(samples_frames, num_frame_steps, frame_guidance_scale)
    check_sequences(num_return_sequences)
    number = 1 if num_return_sequences is None else num_return_sequences
    if not samples_frames:
        _refuse_with_regression(generator=generator, num_return_sequences=None if number == 1 else number)
        return None
    steps = DEFAULT_STEPS if num_frame_steps is None else num_frame_steps
    scale = 1.0 if frame_guidance_scale is None else float(frame_guidance_scale)
    return FrameSampling(steps, scale, draw_seed(generator), number)


def check_options(samples_frames: bool, num_frame_steps: int | None, frame_guidance_scale: float | None) -> None:
    """Raise `ValueError` for a number of steps or a scale out of range, and for either with a regression model."""
    if not samples_frames:
        _refuse_with_regression(num_frame_steps=num_frame_steps, frame_guidance_scale=frame_guidance_scale)
    steps, scale = num_frame_steps, frame_guidance_scale
    if steps is not None and not (type(steps) is int and 1 <= steps <= MOST_STEPS):
        raise ValueError(f"num_frame_steps: got {kind_of(steps)}, expected a whole number from 1 to {MOST_STEPS}")
    if scale is not None and not (type(scale) in (int, float) and 0 <= scale <= MOST_GUIDANCE):
        raise ValueError(f"frame_guidance_scale: got {kind_of(scale)}, expected a number from 0 to {MOST_GUIDANCE:g}")


def check_sequences(number: int | None) -> None:
    """Raise `ValueError` for a `num_return_sequences` out of range."""
    if number is not None and not (type(number) is int and 1 <= number <= MOST_SEQUENCES):
        expected = f"a whole number from 1 to {MOST_SEQUENCES}"
        raise ValueError(f"num_return_sequences: got {kind_of(number)}, expected {expected}")


def _refuse_with_regression(**options: object) -> None:
    for name, value in options.items():
        if value is not None:
            got = f"{kind_of(value)} with frame_decoder_type 'regression'"
            raise ValueError(f"{name}: got {got}, expected none: it has one likeliest frame")


def check_generator(generator: torch.Generator | None) -> None:
    """Raise `ValueError` for what is neither a generator of torch nor None."""
    if generator is not None and not isinstance(generator, torch.Generator):
        raise ValueError(f"generator: got {kind_of(generator)}, expected a torch.Generator")


def draw_seed(generator: torch.Generator | None) -> int:
    """Draw a seed by `generator`, or by torch's own generator of the CPU."""
    device = "cpu" if generator is None else generator.device
    return int(torch.randint(LARGEST_SEED - 1, (), generator=generator, device=device))


@contextmanager
def seeded(generator: torch.Generator | None, device: torch.device) -> Iterator[None]:
    """Draw what is drawn by torch's own generators, of the CPU and of `device`, by a seed of `generator`, if any."""
    if generator is None:
        yield
        return
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(draw_seed(generator))
        yield


def sample_frames(
    predict: Callable[[NoisyFrames], torch.Tensor], noise: torch.Tensor, levels: list[float]
) -> NoisyFrames:
    """Take all steps but the last from noise towards frames (Euler's method on the straight path between the two).

    Args:
        predict: returns the clean frames `(B, N, 3, H, W)` in [0, 1] that noisy ones come from.
        noise (`(B, N, 3, H, W)`): where to start.
        levels: the noise levels, from 1 to 0.

    Returns:
        what the last step starts from: the frames that are predicted from it are the samples.
    """
    pixels = noise
    for level, following in zip(levels[:-2], levels[1:-1]):
        clean = 2 * predict(NoisyFrames(pixels, pixels.new_full(pixels.shape[:2], level))) - 1
        share = following / level
        pixels = share * pixels + (1 - share) * clean
    return NoisyFrames(pixels, pixels.new_full(pixels.shape[:2], levels[-2]))
