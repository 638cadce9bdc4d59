"""Compare exported parts, run by onnxruntime, with the model in PyTorch."""

import time
from pathlib import Path

import numpy as np
import torch
from storyattn import StoryAttnConfig, StoryAttnForConditionalGeneration

from ..common.tables import text_table
from .onnx_story import OnnxStory, load_parts

MOST_TOKENS = 10  # of a caption of the compared stories; also how many are written


def measure_parity(model: StoryAttnForConditionalGeneration, folder: Path) -> list[dict]:
    """Compare stories of noise of 1 to `max_frames - 1` frames, the first of which has no caption.

    Args:
        model: in 32 bits, on the CPU, in evaluation mode.
        folder: of its export.

    Returns:
        a row a story: `frames`; the largest difference `pixels` of the painted frame, in [0, 1], by a caption and
        without one; that of the `logits` of each token of a next caption; whether the `same_caption` is written; and
        the `seconds` that reading and painting take in `onnxruntime` and in `torch`.
    """
    parts = load_parts(folder)
    return [_compare(model, parts, number) for number in range(1, model.config.max_frames)]


def largest_difference(rows: list[dict]) -> float:
    """Return the largest difference in pixels and logits."""
    return max(max(row["pixels"], row["logits"]) for row in rows)


def format_parity(rows: list[dict]) -> str:
    """Return a table for a terminal."""
    header = ("frames", "pixels", "logits", "same caption", "onnxruntime", "torch")
    cells = [
        [
            str(row["frames"]),
            *(f"{row[name]:.1e}" for name in ("pixels", "logits")),
            "yes" if row["same_caption"] else "no",
            *(f"{1000 * row['seconds'][name]:.0f} ms" for name in ("onnxruntime", "torch")),
        ]
        for row in rows
    ]
    return text_table(header, cells)


@torch.no_grad()
def _compare(model: StoryAttnForConditionalGeneration, parts: dict[str, object], number: int) -> dict:
    """Compare a story of `number` frames, which a last caption follows."""
    inputs = _noise(model.config, number + 1)
    read = {name: values[:, :number] for name, values in inputs.items()}
    following = {f"next_{name}": inputs[name][:, number] for name in ("input_ids", "attention_mask")}
    captions, decoder_captions = (_without_padding(inputs, prefix) for prefix in ("", _prefix(model.config)))
    pixel_values = read["pixel_values"].numpy()

    start = time.perf_counter()
    expected = model.predict_next_frame(**read, **following)
    torch_seconds, start = time.perf_counter() - start, time.perf_counter()
    story = OnnxStory(parts, pixel_values, captions[:number])
    painted = story.paint(captions[number])
    seconds = {"onnxruntime": time.perf_counter() - start, "torch": torch_seconds}

    unguided = np.abs(story.paint([]) - model.predict_next_frame(**read).numpy()).max()
    count = model.config.decoder_context_captions
    context = sum(decoder_captions[max(number - count, 0) : number], [])
    caption = decoder_captions[number]
    logits = [story.next_logits(context, caption[:length])[0] for length in range(1, len(caption))]
    reference = model(**inputs).next_caption_logits[0, number - 1, : len(logits)].numpy()
    written = model.generate(**read, do_sample=False, num_beams=1, max_new_tokens=MOST_TOKENS)[0].tolist()
    config = model.config
    same = story.write(context, config.bos_token_id, config.eos_token_id, MOST_TOKENS) == written
    return {
        "frames": number,
        "pixels": float(max(unguided, np.abs(painted - expected.numpy()).max())),
        "logits": float(np.abs(np.stack(logits) - reference).max()),
        "same_caption": same,
        "seconds": seconds,
    }


def _noise(config: StoryAttnConfig, number: int) -> dict[str, torch.Tensor]:
    """Return the model's inputs for one story of noise of `number` frames, its captions of several lengths."""
    generator = torch.Generator().manual_seed(number)
    mean, std = (torch.tensor(values)[:, None, None] for values in (config.image_mean, config.image_std))
    pixels = (torch.rand(1, number, 3, *config.image_size, generator=generator) - mean) / std
    longest = min(MOST_TOKENS, config.max_caption_length)
    lengths = [max(longest - index, 3) if index else 0 for index in range(number)]
    mask = torch.tensor([[[int(place < length) for place in range(longest)] for length in lengths]])
    inputs = {"pixel_values": pixels}
    for prefix, part in {"": config.text_config, _prefix(config): config.decoder_config}.items():
        ids = torch.randint(3, part.vocab_size, mask.shape, generator=generator)
        ids[..., 0] = config.bos_token_id
        inputs |= {f"{prefix}input_ids": ids, f"{prefix}attention_mask": mask}
    return inputs


def _prefix(config: StoryAttnConfig) -> str:
    """Return how the names of the text decoder's captions begin."""
    return "decoder_" if config.decoder_tokenizer else ""


def _without_padding(inputs: dict[str, torch.Tensor], prefix: str) -> list[list[int]]:
    ids, mask = inputs[f"{prefix}input_ids"][0], inputs[f"{prefix}attention_mask"][0].bool()
    return [row[kept].tolist() for row, kept in zip(ids, mask)]
