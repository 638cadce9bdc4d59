"""
How fast stories are carried on, by a model with fresh weights, on noise:

    python benchmarks/generation.py --preset tiny --threads 2

Three tables: tokens a second of `generate`, beside writing without a cache of keys and values; what a step of
`continue_story` spends its time on; and how time and memory grow with the number of given frames, each number in a
process of its own. Memory is what reading, writing and painting take at most besides weights and inputs.
"""

import argparse
import random
import time

import numpy as np
import torch
from measuring import (
    SMALLEST,
    PeakMemory,
    add_common_flags,
    checked_preset,
    hardware,
    in_own_process,
    positive,
    random_stories,
    results_table,
    synchronize,
    take_turns,
    write_json,
)
from PIL import Image
from storyattn import StoryAttnConfig, StoryAttnForConditionalGeneration, StoryAttnProcessor, build_processor
from storyattn.training.common.errors import one_line
from storyattn.training.models.presets import load_preset
from storyattn.training.models.tokenizer import SPECIAL_TOKENS
from tokenizers import Tokenizer, models, pre_tokenizers
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerFast


def main(argv: list[str] | None = None) -> None:
    """Measures, prints three tables and writes what they hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="tiny", help="preset or file of a configuration")
    parser.add_argument("--new_tokens", type=positive, default=64, help="tokens of a caption that is written")
    parser.add_argument("--batch_sizes", nargs="+", type=positive, default=[1, 8, 32], help="stories at once")
    parser.add_argument("--num_frames", nargs="+", type=positive, default=[8, 16, 32], help="given, for the growth")
    add_common_flags(parser, "generation.json")
    arguments = parser.parse_args(argv)
    with one_line("benchmarks/generation.py"):
        check_length(checked_preset(arguments.preset, arguments.caption_length), arguments)
        cases = [("captions", measure_captions, size) for size in arguments.batch_sizes]
        cases += [("steps", measure_step)]
        cases += [("growth", measure_growth, number) for number in arguments.num_frames]
        document = {
            "hardware": hardware(arguments.device, arguments.threads),
            **{name: getattr(arguments, name) for name in ("preset", "new_tokens", "caption_length", "repeats")},
            **{name: [] for name, *_ in cases},
        }
        for name, measure, *setting in tqdm(cases, desc="measuring", unit="row"):
            document[name].append(in_own_process(measure, arguments, *setting))
        for row in document["growth"]:
            for name in ("seconds", "reading_seconds", "peak_memory_mb"):
                row[f"{name}_ratio"] = row[name] / document["growth"][0][name]
        print_tables(document)
        write_json(document, arguments.output)
        print(f"\nwritten to {arguments.output}")


def check_length(config: StoryAttnConfig, arguments) -> None:
    """Raises `ValueError` where the text decoder has not so many positions."""
    told = config.decoder_context_captions * arguments.caption_length
    read = told + config.num_visual_tokens + config.num_text_tokens + 1
    longest = config.decoder_config.max_position_embeddings - read
    if arguments.new_tokens > longest:
        found = f"found {arguments.new_tokens}, expected at most {longest}"
        raise ValueError(f"new_tokens: {found}, the positions of the text decoder after {read} that are read")


def measure_captions(arguments, batch_size: int) -> dict:
    """Tokens a second with and without the cache, of stories as long as the model reads in training."""
    config = load_preset(arguments.preset)
    model = build_model(config, arguments)
    length, device = arguments.caption_length, arguments.device
    inputs = random_stories(config, batch_size, config.max_frames - 1, length, device)
    written = {}

    def write(name: str, **options) -> None:
        written[name] = model.generate(**inputs, **greedy(arguments.new_tokens), **options)

    works = {
        "reading": lambda: read(model, inputs),
        "cached": lambda: write("cached"),
        "uncached": lambda: write("uncached", use_cache=False),
    }
    seconds = {name: min(found) for name, found in take_turns(works, arguments.repeats, device).items()}
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


def measure_step(arguments) -> dict:
    """Seconds of one step of `continue_story` and of its parts, in the fastest of the runs."""
    config = load_preset(arguments.preset)
    model, device = build_model(config, arguments), arguments.device
    processor = build_processor(config, word_tokenizer(config.vocab_size))
    frames, captions = random_pictures(config, processor, arguments.caption_length)
    spent = {}
    watch(model.model, "encode", spent, "encoding", device)
    watch(model.text_decoder, "generate", spent, "caption", device)
    watch(model.frame_decoder, "forward", spent, "painting", device)
    fastest = {"total": float("inf")}
    for _ in range(arguments.repeats + 1):
        spent.clear()
        started = time.perf_counter()
        model.continue_story(processor, [frames], [captions], **greedy(arguments.new_tokens))
        spent["total"] = time.perf_counter() - started
        fastest = min(fastest, dict(spent), key=lambda run: run["total"])
    fastest["rest"] = 2 * fastest["total"] - sum(fastest.values())
    return {"num_frames": len(frames), **{f"{name}_seconds": value for name, value in fastest.items()}}


def watch(owner: torch.nn.Module, method: str, spent: dict[str, float], name: str, device: str) -> None:
    """From now on `spent[name]` grows by the seconds of each call of the method."""
    work = getattr(owner, method)

    def watched(*args, **kwargs):
        synchronize(device)
        started = time.perf_counter()
        result = work(*args, **kwargs)
        synchronize(device)
        spent[name] = spent.get(name, 0.0) + time.perf_counter() - started
        return result

    setattr(owner, method, watched)


def measure_growth(arguments, num_frames: int) -> dict:
    """Seconds and megabytes of reading `num_frames` frames, writing the next caption and painting its frame."""
    config, length, device = load_preset(arguments.preset), arguments.caption_length, arguments.device
    smallest = StoryAttnConfig(**SMALLEST)
    carry_on(build_model(smallest, arguments), random_stories(smallest, 1, 1, 3, device), 2, 3)
    model = build_model(config, arguments)
    inputs = random_stories(config, 1, num_frames, length, device)
    memory = PeakMemory(device)
    carry_on(model, inputs, arguments.new_tokens, config.max_caption_length)
    megabytes = memory.megabytes()
    works = {
        "reading_seconds": lambda: read(model, inputs),
        "seconds": lambda: carry_on(model, inputs, arguments.new_tokens, config.max_caption_length),
    }
    seconds = {name: min(found) for name, found in take_turns(works, arguments.repeats, device).items()}
    return {"num_frames": num_frames, **seconds, "peak_memory_mb": megabytes}


@torch.no_grad()
def read(model: StoryAttnForConditionalGeneration, inputs: dict) -> None:
    """Encodes stories."""
    model.base_model(**inputs)


def carry_on(model: StoryAttnForConditionalGeneration, inputs: dict, new_tokens: int, longest: int) -> None:
    """Writes the next caption and paints the frame that it tells, of which `longest` tokens are read."""
    ids = model.generate(**inputs, **greedy(new_tokens))[:, :longest]
    model.predict_next_frame(**inputs, next_input_ids=ids, next_attention_mask=torch.ones_like(ids))


def greedy(new_tokens: int) -> dict:
    """What makes `generate` write just so many tokens."""
    return {"do_sample": False, "min_new_tokens": new_tokens, "max_new_tokens": new_tokens}


def build_model(config: StoryAttnConfig, arguments) -> StoryAttnForConditionalGeneration:
    """A model with fresh weights that are the same every time."""
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    return StoryAttnForConditionalGeneration(config).to(arguments.device).eval()


def word_tokenizer(vocab_size: int) -> PreTrainedTokenizerFast:
    """A tokenizer of which every token is a word, so that texts have as many tokens as words."""
    words = [*SPECIAL_TOKENS.values(), *(f"word{index}" for index in range(len(SPECIAL_TOKENS), vocab_size))]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token=words[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL_TOKENS)


def random_pictures(config: StoryAttnConfig, processor: StoryAttnProcessor, length: int) -> tuple[list, list[str]]:
    """As many pictures of noise as the model reads, of its own size, with captions of `length` tokens."""
    noise, words = np.random.default_rng(0), random.Random(0)
    number = config.max_frames - 1
    pictures = noise.integers(0, 256, (number, *config.image_size, 3), dtype=np.uint8)
    texts = [words.choices(range(len(SPECIAL_TOKENS), config.vocab_size), k=length - 2) for _ in range(number)]
    return [Image.fromarray(picture) for picture in pictures], [processor.decode(ids) for ids in texts]


def print_tables(document: dict) -> None:
    """The numbers as Markdown."""
    told = document["hardware"]
    where = f"{told['gpu'] or told['cpu']}, {told['threads']} threads, torch {told['torch']}"
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
    print(results_table(columns, document["captions"]))
    parts = ("total", "encoding", "caption", "painting", "rest")
    columns = {"Step of a story, given frames": lambda row: str(row["num_frames"])}
    for part in parts:
        columns[part.capitalize()] = lambda row, part=part: f"{1000 * row[f'{part}_seconds']:.0f} ms"
    print(f"\n{results_table(columns, document['steps'])}\n")
    columns = {"Given frames": lambda row: str(row["num_frames"])}
    for title, name, scale, unit in (
        ("Read, write, paint", "seconds", 1000, "ms"),
        ("Read alone", "reading_seconds", 1000, "ms"),
        ("Memory", "peak_memory_mb", 1, "MB"),
    ):
        columns[title] = lambda row, name=name, scale=scale, unit=unit: (
            f"{scale * row[name]:.0f} {unit} ({row[f'{name}_ratio']:.1f} x)"
        )
    print(results_table(columns, document["growth"]))


if __name__ == "__main__":
    main()
