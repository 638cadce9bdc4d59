"""
Transitions trained a second: one pass over a story, which trains every transition of it, beside windows that train only
the last one of theirs, as a model without causal half-frames must. All tasks and losses are on in both.

    python benchmarks/supervision.py --threads 2 --output supervision.json

Windows come in two kinds: those that give each transition of a story the context that it has in the pass (2, 3 ... T
frames), and windows of T frames throughout, as sliding over a longer story gives them.
"""

import argparse
import time

import torch
import torch.nn.functional as F
from measuring import hardware, write_json
from storyattn import StoryAttnForConditionalGeneration
from storyattn.contrastive_loss import alignment_loss
from storyattn.frame_readout import join_context
from storyattn.losses import attention_loss, caption_loss, changed_loss, masked_mean, pixel_losses
from storyattn.perceptual_loss import unit_channels
from storyattn.story_loss import Supervision
from storyattn.training.common.tables import markdown_table
from storyattn.training.engine.malloc import keep_freed_memory
from storyattn.training.models.presets import load_preset
from tqdm.auto import tqdm


def main(argv: list[str] | None = None) -> None:
    """Prints the table and writes it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="tiny", help="configuration of the model")
    parser.add_argument("--num_frames", type=int, default=5, help="frames T of a story")
    parser.add_argument("--batch_size", type=int, default=16, help="stories in a batch, and windows in one")
    parser.add_argument("--caption_length", type=int, default=24, help="tokens of a caption")
    parser.add_argument("--repeats", type=int, default=5, help="rounds of which the median counts")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    parser.add_argument("--give_memory_back", action="store_true", help="as without `keep_freed_memory`")
    parser.add_argument("--output", default="supervision.json", help="file for the numbers")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    if not arguments.give_memory_back:
        keep_freed_memory()
    results = measure(arguments)
    speeds = results["transitions_per_second"]
    rows = [[name, f"{speed:.1f}", f"{speeds['one pass'] / speed:.2f}"] for name, speed in speeds.items()]
    print(markdown_table(["What is trained", "transitions a second", "one pass is faster by"], rows))
    write_json({"hardware": hardware("cpu", arguments.threads), **vars(arguments), **results}, arguments.output)
    print(f"\nwritten to {arguments.output}")


def measure(arguments) -> dict:
    """`transitions_per_second` of each way, from the median of rounds in which the ways take turns."""
    torch.manual_seed(0)
    config = load_preset(arguments.preset)
    model = StoryAttnForConditionalGeneration(config).train()
    frames, length = arguments.num_frames, arguments.caption_length
    batch = draw_batch(config, arguments.batch_size, frames, length)
    windows = {number: {name: value[:, :number] for name, value in batch.items()} for number in range(2, frames + 1)}
    ways = {
        "one pass": (frames - 1, lambda: model(**batch, return_loss=True).loss.backward()),
        "windows of 2 to T frames, the last transition of each": (
            frames - 1,
            lambda: [last_transition_loss(model, window).backward() for window in windows.values()],
        ),
        "windows of T frames, the last transition of each": (
            1,
            lambda: last_transition_loss(model, batch).backward(),
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in tqdm(range(arguments.repeats + 1), desc="measuring", unit="round"):
        for name, (_, run) in ways.items():
            started = time.perf_counter()
            run()
            model.zero_grad()
            if number:
                seconds[name].append(time.perf_counter() - started)
    medians = {name: sorted(taken)[len(taken) // 2] for name, taken in seconds.items()}
    speeds = {name: arguments.batch_size * ways[name][0] / medians[name] for name in ways}
    return {"seconds": medians, "transitions_per_second": speeds}


def draw_batch(config, batch_size: int, num_frames: int, length: int) -> dict[str, torch.Tensor]:
    """Random stories whose frames differ by a moved square, with captions."""
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


def last_transition_loss(model, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The weighted loss of `model` on the last frames alone: one painted, one reconstructed, two captions."""
    config, weights = model.config, model.config.loss_weights
    ids, mask = batch["input_ids"][:, -1:], batch["attention_mask"][:, -1:]
    story = model.model.encode(batch["pixel_values"], batch["frame_mask"], batch["input_ids"], batch["attention_mask"])
    output, frames, frame_mask = story.output, model.unnormalize(batch["pixel_values"]), story.frame_mask
    last = frames.shape[1] - 1
    reads_caption = torch.rand(len(frames), 1) >= config.next_caption_dropout
    targets = (batch["input_ids"][:, -2:], mask.expand(-1, 2, -1)), reads_caption, torch.ones_like(reads_caption).long()
    trained = Supervision(frames[:, -2:], frame_mask[:, -2:], *targets, model.model.grid)
    counts, target = trained.counts(), frames[:, -1:]

    caption = story.text_states[:, -1:], story.text_mask[:, -1:]
    context, context_mask = join_context(output.continue_states[:, -2:-1], *caption, reads_caption)
    seen = output.describe_states[:, -1:]
    seen_mask = (torch.arange(context.shape[2]) < seen.shape[2]).expand(len(frames), 1, -1)
    seen = F.pad(seen, (0, 0, 0, context.shape[2] - seen.shape[2]))
    steps = torch.arange(last + 1)
    visible = torch.stack([steps < last, steps == last]).expand(len(frames), -1, -1)
    decoded = model.frame_decoder(
        frames,
        story.gated_features,
        story.detail_features,
        torch.cat([context, seen], dim=1),
        torch.cat([context_mask, seen_mask], dim=1),
        torch.tensor([last - 1, last]).expand(len(frames), -1),
        visible,
        num_predicted=1,
    )
    predicted, painted, parts = decoded.frames, decoded.painted, {}
    perceptual = model._perceptual_loss()
    maps = unit_channels([level.detach().unflatten(0, frames.shape[:2])[:, -1] for level in story.feature_maps])
    target_maps = [level.repeat_interleave(2, dim=0) for level in maps]
    distances = perceptual.distances_to(predicted.flatten(0, 1), target_maps).unflatten(0, (-1, 2)).mean(0)
    for index, name in enumerate(("next_frame", "reconstruction")):
        losses = pixel_losses(predicted[:, index : index + 1], target, trained.next_frame)
        parts |= {f"{name}_{kind}": value for kind, value in losses.items()}
        parts[f"{name}_perceptual"] = distances[index]
    changed = target, trained.changed_pixels, trained.changed
    parts["next_frame_changed"] = changed_loss(predicted[:, :1], *changed)
    parts["next_frame_painted"] = masked_mean((painted[:, :1] - target).abs(), reads_caption)
    parts["next_frame_painted"] = parts["next_frame_painted"] + changed_loss(painted[:, :1], *changed)
    parts["next_frame_moved"] = masked_mean((decoded.moved - target).abs(), reads_caption)
    parts["next_frame_moved"] = parts["next_frame_moved"] + changed_loss(decoded.moved, *changed)
    parts["next_frame_lit"] = masked_mean((decoded.lit - target).abs(), reads_caption)
    maps = output.spatial_attentions[:, -2:]
    parts["attention"] = attention_loss(maps, trained.moving_cells, trained.moving, counts["moving"])
    for name, task, states, reader in (
        ("describe", "describe", output.describe_states[:, -1:], last),
        ("next_caption", "continue", output.continue_states[:, -2:-1], last - 1),
    ):
        context = model._last_captions(batch["input_ids"], batch["attention_mask"], task)
        context = (values[:, reader : reader + 1] for values in context)
        parts[name] = caption_loss(model._caption_logits(states, ids, mask, *context, task), ids, mask)
    pairs = batch["attention_mask"].any(-1) & frame_mask
    parts["alignment"] = alignment_loss(output.image_embeds, output.text_embeds, output.logit_scale, pairs)
    return sum(weights[name] * part for name, part in parts.items())


if __name__ == "__main__":
    main()
