"""
Measure how many transitions are trained a second, in one pass over a story and in windows.

    python benchmarks/supervision.py --threads 2 --output supervision.json

One pass trains every transition of a story. A window trains only its last one, as a model without causal half-frames
must. All tasks and losses are on in both. Windows come in two kinds: those that give each transition of a story the
context that it has in the pass (2, 3 ... T frames), and windows of T frames throughout, as sliding over a longer story
gives them.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from measuring import hardware, new_parser, positive, results_table, take_turns, write_json
from storyattn import StoryAttnConfig, StoryAttnForConditionalGeneration, StoryAttnModelOutput
from storyattn.contrastive_loss import alignment_loss
from storyattn.frame_decoder import FrameDecoderOutput, FrameInputs
from storyattn.frame_readout import join_context
from storyattn.losses import attention_loss, caption_loss, changed_loss, masked_mean, pixel_losses
from storyattn.outputs import EncodedStories
from storyattn.perceptual_loss import unit_channels
from storyattn.story_loss import Supervision
from storyattn.training.engine.malloc import keep_freed_memory
from storyattn.training.models.presets import load_preset


def main(argv: list[str] | None = None) -> None:
    """Print the table and write its numbers as JSON."""
    parser = new_parser(__doc__)
    parser.add_argument("--preset", default="tiny", help="configuration of the model")
    parser.add_argument("--num_frames", type=positive, default=5, help="frames T of a story")
    parser.add_argument("--batch_size", type=positive, default=16, help="stories in a batch, and windows in one")
    parser.add_argument("--caption_length", type=positive, default=24, help="tokens of a caption")
    parser.add_argument("--repeats", type=positive, default=5, help="rounds of which the median counts")
    parser.add_argument("--threads", type=positive, default=torch.get_num_threads(), help="threads of torch")
    parser.add_argument("--give_memory_back", action="store_true", help="as without `keep_freed_memory`")
    parser.add_argument("--output", default="supervision.json", help="file for the numbers")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    if not arguments.give_memory_back:
        keep_freed_memory()
    results = measure(arguments)
    one_pass = results["transitions_per_second"]["one pass"]
    columns = {
        "What is trained": lambda row: row["name"],
        "transitions a second": lambda row: f"{row['speed']:.1f}",
        "one pass is faster by": lambda row: f"{one_pass / row['speed']:.2f}",
    }
    rows = [{"name": name, "speed": speed} for name, speed in results["transitions_per_second"].items()]
    print(results_table(columns, rows))
    write_json({"hardware": hardware("cpu", arguments.threads), **vars(arguments), **results}, arguments.output)
    print(f"\nwritten to {arguments.output}")


def measure(arguments: argparse.Namespace) -> dict:
    """Return `transitions_per_second` of each way, from the median of rounds in which the ways take turns."""
    torch.manual_seed(0)
    config = load_preset(arguments.preset)
    model = StoryAttnForConditionalGeneration(config).train()
    frames, length = arguments.num_frames, arguments.caption_length
    batch = draw_batch(config, arguments.batch_size, frames, length)
    windows = [{name: value[:, :number] for name, value in batch.items()} for number in range(2, frames + 1)]

    def train(*losses: Callable[[], torch.Tensor]) -> None:
        for loss in losses:
            loss().backward()
        model.zero_grad()

    ways = {
        "one pass": lambda: train(lambda: model(**batch, return_loss=True).loss),
        "windows of 2 to T frames, the last transition of each": lambda: train(
            *(partial(last_transition_loss, model, window) for window in windows)
        ),
        "windows of T frames, the last transition of each": lambda: train(lambda: last_transition_loss(model, batch)),
    }
    transitions = dict(zip(ways, (frames - 1, frames - 1, 1)))
    seconds = take_turns(ways, arguments.repeats, "cpu")
    medians = {name: statistics.median_high(taken) for name, taken in seconds.items()}
    speeds = {name: arguments.batch_size * transitions[name] / medians[name] for name in ways}
    return {"seconds": medians, "transitions_per_second": speeds}


def draw_batch(config: StoryAttnConfig, batch_size: int, num_frames: int, length: int) -> dict[str, torch.Tensor]:
    """
    Return random stories whose frames differ by a moved square, with captions.

    Args:
        config: the configuration of the model.
        batch_size: how many stories.
        num_frames: frames of a story.
        length: tokens of a caption.

    Returns:
        Inputs of the model, see `stories_of_noise`.
    """
    height, width = config.image_size
    pixels = torch.rand(batch_size, 1, 3, height, width).repeat(1, num_frames, 1, 1, 1)
    for number in range(num_frames):
        x = number * width // (num_frames + 1)
        pixels[:, number, :, height // 4 : height // 2, x : x + width // 6] = 0.5
    ids = torch.randint(3, config.vocab_size, (batch_size, num_frames, length))
    return {
        "pixel_values": 2 * pixels - 1,
        "frame_mask": torch.ones(batch_size, num_frames, dtype=torch.long),
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
    }


def last_transition_loss(model: StoryAttnForConditionalGeneration, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the weighted loss of `model` on the last frames alone: one painted, one reconstructed, two captions."""
    story = model.model.encode(batch["pixel_values"], batch["frame_mask"], batch["input_ids"], batch["attention_mask"])
    output, frames, frame_mask = story.output, model.unnormalize(batch["pixel_values"]), story.frame_mask
    reads_caption = torch.rand(len(frames), 1) >= model.config.next_caption_dropout
    supervision = Supervision(
        frames[:, -2:],
        frame_mask[:, -2:],
        (batch["input_ids"][:, -2:], batch["attention_mask"][:, -2:]),
        reads_caption,
        torch.ones_like(reads_caption).long(),
        model.model.grid,
    )
    decoded = decode_last_frame(model, story, frames, reads_caption)
    parts = frame_parts(decoded, frames[:, -1:], supervision, reads_caption)
    last_maps = unit_channels([level.detach().unflatten(0, frames.shape[:2])[:, -1] for level in story.feature_maps])
    target_maps = [level.repeat_interleave(2, dim=0) for level in last_maps]
    distances = model._perceptual_loss().distances_to(decoded.frames.flatten(0, 1), target_maps)
    for index, name in enumerate(("next_frame", "reconstruction")):
        parts[f"{name}_perceptual"] = distances.unflatten(0, (-1, 2)).mean(0)[index]
    moving = supervision.moving_cells, supervision.moving, supervision.counts()["moving"]
    parts["attention"] = attention_loss(output.spatial_attentions[:, -2:], *moving)
    parts |= caption_parts(model, output, batch)
    pairs = batch["attention_mask"].any(-1) & frame_mask
    parts["alignment"] = alignment_loss(output.image_embeds, output.text_embeds, output.logit_scale, pairs)
    return sum(model.config.loss_weights[name] * part for name, part in parts.items())


def decode_last_frame(
    model: StoryAttnForConditionalGeneration, story: EncodedStories, frames: torch.Tensor, reads_caption: torch.Tensor
) -> FrameDecoderOutput:
    """
    Paint the last frame twice: predicted from the frames before it, and reconstructed.

    Args:
        model: the model.
        story: what `encode` returned.
        frames: `(B, T, 3, H, W)` in [0, 1].
        reads_caption: `(B, 1)`, whether the prediction reads its caption.
    """
    output, last = story.output, frames.shape[1] - 1
    caption = story.text_states[:, -1:], story.text_mask[:, -1:]
    context, context_mask = join_context(output.continue_states[:, -2:-1], *caption, reads_caption)
    seen = output.describe_states[:, -1:]
    seen_mask = (torch.arange(context.shape[2]) < seen.shape[2]).expand(len(frames), 1, -1)
    seen = F.pad(seen, (0, 0, 0, context.shape[2] - seen.shape[2]))
    steps = torch.arange(last + 1)
    inputs = FrameInputs(
        frames,
        story.gated_features,
        story.detail_features,
        torch.cat([context, seen], dim=1),
        torch.cat([context_mask, seen_mask], dim=1),
        torch.tensor([last - 1, last]).expand(len(frames), -1),
        torch.stack([steps < last, steps == last]).expand(len(frames), -1, -1),
        num_predicted=1,
    )
    return model.frame_decoder(inputs)


def frame_parts(
    decoded: FrameDecoderOutput, target: torch.Tensor, supervision: Supervision, reads_caption: torch.Tensor
) -> dict[str, torch.Tensor]:
    """
    Return the parts of the loss that compare pixels.

    Args:
        decoded: what `decode_last_frame` returned.
        target: the last frame `(B, 1, 3, H, W)`.
        supervision: that of the last two frames.
        reads_caption: `(B, 1)`, whether the prediction reads its caption.
    """
    predicted, parts = decoded.frames, {}
    for index, name in enumerate(("next_frame", "reconstruction")):
        losses = pixel_losses(predicted[:, index : index + 1], target, supervision.next_frame)
        parts |= {f"{name}_{kind}": value for kind, value in losses.items()}
    changed = target, supervision.changed_pixels, supervision.changed
    parts["next_frame_changed"] = changed_loss(predicted[:, :1], *changed)
    for name, candidate in (("painted", decoded.painted[:, :1]), ("moved", decoded.moved)):
        everywhere = masked_mean((candidate - target).abs(), reads_caption)
        parts[f"next_frame_{name}"] = everywhere + changed_loss(candidate, *changed)
    parts["next_frame_lit"] = masked_mean((decoded.lit - target).abs(), reads_caption)
    return parts


def caption_parts(
    model: StoryAttnForConditionalGeneration, output: StoryAttnModelOutput, batch: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """
    Return the losses of describing the last frame, and of continuing the story with its caption.

    Args:
        model: the model.
        output: that of the story.
        batch: the story.
    """
    parts, last = {}, batch["input_ids"].shape[1] - 1
    ids, mask = batch["input_ids"][:, -1:], batch["attention_mask"][:, -1:]
    for name, task, states, reader in (
        ("describe", "describe", output.describe_states[:, -1:], last),
        ("next_caption", "continue", output.continue_states[:, -2:-1], last - 1),
    ):
        context = model._last_captions(batch["input_ids"], batch["attention_mask"], task)
        context = (values[:, reader : reader + 1] for values in context)
        parts[name] = caption_loss(model._caption_logits(states, ids, mask, *context, task), ids, mask)
    return parts


if __name__ == "__main__":
    main()
