"""Count what a training step costs: floating point operations, calls of operators, and bytes of activations."""

from dataclasses import dataclass

import torch
from storyattn import StoryAttnConfig, StoryAttnForConditionalGeneration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class StepCost:
    """
    What a training step costs on any device.

    Attributes:
        flops: floating point operations of forward and backward pass, for one story.
        activation_bytes: bytes that the backward pass keeps, for one story, in fp32.
        calls: calls of operators in a step, however many stories it has.
    """

    flops: float
    activation_bytes: float
    calls: int


class _Calls(TorchDispatchMode):
    """Counts the operators that are called."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        self.count += 1
        return func(*args, **(kwargs or {}))


def count_step(model: StoryAttnForConditionalGeneration, num_frames: int, caption_length: int) -> StepCost:
    """Count what a training step costs, by two steps on stories of noise, on the device of the model.

    Args:
        model: the model, frozen and adapted as it is to be trained; its gradients are discarded.
        num_frames: frames of a story.
        caption_length: tokens of a caption.
    """
    one, two = (_step(model, count, num_frames, caption_length) for count in (1, 2))
    return StepCost(two[0] - one[0], two[1] - one[1], two[2])


def _step(
    model: StoryAttnForConditionalGeneration, num_stories: int, num_frames: int, caption_length: int
) -> tuple[float, float, int]:
    """Return operations, bytes of activations and calls of a step on a batch."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    batch = stories_of_noise(model.config, num_stories, num_frames, caption_length, model.device)
    model.train()
    flops, calls = FlopCounterMode(display=False), _Calls()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), flops, calls:
        model(**batch, return_loss=True).loss.backward()
    model.zero_grad()
    return flops.get_total_flops(), sum(kept.values()), calls.count


def stories_of_noise(
    config: StoryAttnConfig, num_stories: int, num_frames: int, caption_length: int, device: torch.device | str
) -> dict[str, torch.Tensor]:
    """
    Return inputs of the model: stories of noise.

    Args:
        config: the configuration of the model.
        num_stories: how many stories.
        num_frames: frames of a story.
        caption_length: tokens of a caption, at random but for the start and end that the text decoder knows.
        device: where the tensors go.

    Returns:
        `pixel_values (B, T, 3, H, W)`, `frame_mask (B, T)`, `input_ids` and `attention_mask (B, T, L)`, and where the
        text decoder has a tokenizer of its own `decoder_input_ids` and `decoder_attention_mask`.
    """
    shape, noise = (num_stories, num_frames), torch.Generator().manual_seed(0)
    mean, std = (torch.tensor(values)[:, None, None] for values in (config.image_mean, config.image_std))
    pixels = (torch.rand(*shape, 3, *config.image_size, generator=noise) - mean) / std

    def tokens(vocab_size: int) -> torch.Tensor:
        return torch.randint(3, vocab_size, (*shape, caption_length), generator=noise)

    ids = tokens(config.text_config.vocab_size)
    mask = torch.ones_like(ids)
    inputs = {"pixel_values": pixels, "frame_mask": torch.ones(shape, dtype=torch.long)}
    inputs |= {"input_ids": ids, "attention_mask": mask}
    if config.decoder_tokenizer:
        ids = tokens(config.decoder_config.vocab_size)
        inputs |= {"decoder_input_ids": ids, "decoder_attention_mask": mask}
    ids[..., 0], ids[..., -1] = config.bos_token_id, config.eos_token_id
    return {name: tensor.to(device) for name, tensor in inputs.items()}
