"""
Measure how fast a model with fresh weights continues stories of noise.

    python benchmarks/generation.py --preset tiny --threads 2

Three tables: tokens a second of `generate`, beside writing without a cache of keys and values; what a step of
`continue_story` spends its time on; and how time and memory grow with the number of given frames, each number in a
separate process. Memory is the peak of reading, writing and painting beside weights and inputs.
"""

import argparse
import random
import time
from collections.abc import Callable

import measuring
import numpy as np
import torch
from measuring import positive
from PIL import Image
from storyattn import StoryAttnConfig, StoryAttnForConditionalGeneration, StoryAttnProcessor, build_processor
from storyattn.training.common.errors import one_line
from storyattn.training.engine.step_cost import stories_of_noise
from storyattn.training.models.presets import load_preset
from storyattn.training.models.tokenizer import SPECIAL_TOKENS
from tokenizers import Tokenizer, models, pre_tokenizers
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerFast


def main(argv: list[str] | None = None) -> None:
    """Measure, print three tables and write their numbers."""
    parser = measuring.new_parser(__doc__)
    parser.add_argument("--preset", default="tiny", help="preset or file of a configuration")
    parser.add_argument("--new_tokens", type=positive, default=64, help="tokens of a caption that is written")
    parser.add_argument("--batch_sizes", nargs="+", type=positive, default=[1, 8, 32], help="stories at once")
    parser.add_argument("--num_frames", nargs="+", type=positive, default=[8, 16, 32], help="given, for the growth")
    measuring.add_common_flags(parser, "generation.json")
    arguments = parser.parse_args(argv)
    with one_line("benchmarks/generation.py"):
        check_length(measuring.checked_preset(arguments.preset, arguments.caption_length), arguments)
        cases = [("captions", measure_captions, size) for size in arguments.batch_sizes]
        cases += [("steps", measure_step)]
        cases += [("growth", measure_growth, number) for number in arguments.num_frames]
        document = {
            "hardware": measuring.hardware(arguments.device, arguments.threads),
            **{name: getattr(arguments, name) for name in ("preset", "new_tokens", "caption_length", "repeats")},
            **{name: [] for name, *_ in cases},
        }
        for name, measure, *setting in tqdm(cases, desc="measuring", unit="row"):
            document[name].append(measuring.in_separate_process(measure, arguments, *setting))
        for row in document["growth"]:
            for name in ("seconds", "reading_seconds", "peak_memory_mb"):
                row[f"{name}_ratio"] = row[name] / document["growth"][0][name]
        print_tables(document)
        measuring.write_json(document, arguments.output)
        print(f"\nwritten to {arguments.output}")


def check_length(config: StoryAttnConfig, arguments: argparse.Namespace) -> None:
    """Raise `ValueError` where the text decoder does not have so many positions."""
    context = config.decoder_context_captions * arguments.caption_length
    read = context + config.num_visual_tokens + config.num_text_tokens + 1
    longest = config.decoder_config.max_position_embeddings - read
    if arguments.new_tokens > longest:
        got = f"got {arguments.new_tokens}, expected at most {longest}"
        raise ValueError(f"new_tokens: {got}, the positions of the text decoder after {read} that are read")


def measure_captions(arguments: argparse.Namespace, batch_size: int) -> dict:
    """Measure tokens a second with and without the cache, of stories as long as the model reads in training."""
    config = load_preset(arguments.preset)
    model = build_model(config, arguments)
    length, device = arguments.caption_length, arguments.device
    inputs = stories_of_noise(config, batch_size, config.max_frames - 1, length, device)
    written = {}

    def write(name: str, **options) -> None:
        written[name] = model.generate(**inputs, **greedy(arguments.new_tokens), **options)

    works = {
        "reading": lambda: read(model, inputs),
        "cached": lambda: write("cached"),
        "uncached": lambda: write("uncached", use_cache=False),
    }
    seconds = fastest(works, arguments.repeats, device)
    tokens = written["cached"].numel()
    return {
        "batch_size": batch_size,
        "num_frames": config.max_frames - 1,
        "reading_seconds": seconds["reading"],
        "cached_tokens_per_second": tokens / seconds["cached"],
        "uncached_tokens_per_second": tokens / seconds["uncached"],
        "ratio": seconds["uncached"] / seconds["cached"],
        "writing_ratio": (seconds["uncached"] - seconds["reading"]) / (seconds["cached"] - seconds["reading"]),
        "same_tokens": float((written["cached"] == written["uncached"]).float().mean()),
    }


def fastest(works: dict[str, Callable], repeats: int, device: str) -> dict[str, float]:
    """Return the seconds of the fastest round of each of `works`, see `take_turns`."""
    return {name: min(taken) for name, taken in measuring.take_turns(works, repeats, device).items()}


def measure_step(arguments: argparse.Namespace) -> dict:
    """Measure the seconds of one step of `continue_story` and of its parts, in the fastest of the runs."""
    config = load_preset(arguments.preset)
    model, device = build_model(config, arguments), arguments.device
    processor = build_processor(config, word_tokenizer(config.vocab_size))
    frames, captions = random_pictures(config, processor, arguments.caption_length)
    spent = {}
    watch(model.model, "encode", spent, "encoding", device)
    watch(model.text_decoder, "generate", spent, "caption", device)
    watch(model.frame_decoder, "forward", spent, "painting", device)
    best = {"total": float("inf")}
    for _ in range(arguments.repeats + 1):
        spent.clear()
        started = time.perf_counter()
        model.continue_story(processor, frames, captions, **greedy(arguments.new_tokens))
        spent["total"] = time.perf_counter() - started
        best = min(best, dict(spent), key=lambda run: run["total"])
    best["rest"] = 2 * best["total"] - sum(best.values())
    return {"num_frames": len(frames), **{f"{name}_seconds": value for name, value in best.items()}}


def watch(owner: torch.nn.Module, method: str, spent: dict[str, float], name: str, device: str) -> None:
    """
    Add the seconds of each call of a method to a sum from now on.

    Args:
        owner: the module that has the method.
        method: its name.
        spent: the sums, by name.
        name: that of the sum.
        device: `cpu` or `cuda`.
    """
    work = getattr(owner, method)

    def watched(*args, **kwargs) -> object:
        measuring.synchronize(device)
        started = time.perf_counter()
        result = work(*args, **kwargs)
        measuring.synchronize(device)
        spent[name] = spent.get(name, 0.0) + time.perf_counter() - started
        return result

    setattr(owner, method, watched)


def measure_growth(arguments: argparse.Namespace, num_frames: int) -> dict:
    """Measure seconds and megabytes of reading frames, writing the next caption and painting its frame."""
    config, length, device = load_preset(arguments.preset), arguments.caption_length, arguments.device
    smallest = StoryAttnConfig(**measuring.SMALLEST)
    carry_on(build_model(smallest, arguments), stories_of_noise(smallest, 1, 1, 3, device), 2, 3)
    model = build_model(config, arguments)
    inputs = stories_of_noise(config, 1, num_frames, length, device)
    memory = measuring.PeakMemory(device)
    carry_on(model, inputs, arguments.new_tokens, config.max_caption_length)
    megabytes = memory.megabytes()
    works = {
        "reading_seconds": lambda: read(model, inputs),
        "seconds": lambda: carry_on(model, inputs, arguments.new_tokens, config.max_caption_length),
    }
    seconds = fastest(works, arguments.repeats, device)
    return {"num_frames": num_frames, **seconds, "peak_memory_mb": megabytes}


@torch.no_grad()
def read(model: StoryAttnForConditionalGeneration, inputs: dict) -> None:
    """Encode stories."""
    model.base_model(**inputs)


def carry_on(model: StoryAttnForConditionalGeneration, inputs: dict, new_tokens: int, longest: int) -> None:
    """
    Write the next caption and paint its frame.

    Args:
        model: the model.
        inputs: the stories.
        new_tokens: tokens of the caption.
        longest: tokens of the caption that the painting reads.
    """
    ids = model.generate(**inputs, **greedy(new_tokens))[:, :longest]
    model.predict_next_frame(**inputs, next_input_ids=ids, next_attention_mask=torch.ones_like(ids))


def greedy(new_tokens: int) -> dict:
    """Return the options that make `generate` write just so many tokens."""
    return {"do_sample": False, "min_new_tokens": new_tokens, "max_new_tokens": new_tokens}


def build_model(config: StoryAttnConfig, arguments: argparse.Namespace) -> StoryAttnForConditionalGeneration:
    """Return a model with fresh weights that are the same every time."""
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    return StoryAttnForConditionalGeneration(config).to(arguments.device).eval()


def word_tokenizer(vocab_size: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer whose every token is a word, so that texts have as many tokens as words."""
    words = [*SPECIAL_TOKENS.values(), *(f"word{index}" for index in range(len(SPECIAL_TOKENS), vocab_size))]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token=words[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL_TOKENS)


def random_pictures(config: StoryAttnConfig, processor: StoryAttnProcessor, length: int) -> tuple[list, list[str]]:
    """Return as many pictures of noise as the model reads, of its size, with captions of `length` tokens."""
    noise, words = np.random.default_rng(0), random.Random(0)
    number = config.max_frames - 1
    pictures = noise.integers(0, 256, (number, *config.image_size, 3), dtype=np.uint8)
    texts = [words.choices(range(len(SPECIAL_TOKENS), config.vocab_size), k=length - 2) for _ in range(number)]
    return [Image.fromarray(picture) for picture in pictures], [processor.decode(ids) for ids in texts]


def print_tables(document: dict) -> None:
    """Print the numbers as Markdown."""
    where = measuring.describe_hardware(document["hardware"])
    print(f"\n{document['preset']}, {document['new_tokens']} new tokens; {where}\n")
    columns = {
        "Stories at once": lambda row: str(row["batch_size"]),
        "Tokens/s": lambda row: f"{row['cached_tokens_per_second']:.0f}",
        "Tokens/s without cache": lambda row: f"{row['uncached_tokens_per_second']:.0f}",
        "Ratio": lambda row: f"{row['ratio']:.1f}",
        "Reading the story, in both": lambda row: f"{1000 * row['reading_seconds']:.0f} ms",
        "Ratio of writing alone": lambda row: f"{row['writing_ratio']:.1f}",
        "Same tokens": lambda row: f"{row['same_tokens']:.0%}",
    }
    print(measuring.results_table(columns, document["captions"]))
    parts = ("total", "encoding", "caption", "painting", "rest")
    columns = {"Step of a story, given frames": lambda row: str(row["num_frames"])}
    for part in parts:
        columns[part.capitalize()] = lambda row, part=part: f"{1000 * row[f'{part}_seconds']:.0f} ms"
    print(f"\n{measuring.results_table(columns, document['steps'])}\n")
    columns = {"Given frames": lambda row: str(row["num_frames"])}
    for title, name, scale, unit in (
        ("Read, write, paint", "seconds", 1000, "ms"),
        ("Read alone", "reading_seconds", 1000, "ms"),
        ("Memory", "peak_memory_mb", 1, "MB"),
    ):
        columns[title] = lambda row, name=name, scale=scale, unit=unit: (
            f"{scale * row[name]:.0f} {unit} ({row[f'{name}_ratio']:.1f} x)"
        )
    print(measuring.results_table(columns, document["growth"]))


if __name__ == "__main__":
    main()
