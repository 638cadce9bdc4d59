"""The options of `generate`: lengths and penalties count written tokens, and what cannot work is refused by name."""

import copy
import math
import re

import torch
import transformers
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor

from .configuration_storyattn import StoryAttnConfig
from .input_checks import check_factor
from .logits_processors import CaptionRepetitionPenalty, FirstToken, NoRepeatOfCaptions
from .pictures import shortened
from .story_inputs import kind_of

# Options that cannot work where a text begins with the embeddings of a story, and why.
UNSUPPORTED = {
    "assistant_model": "a draft model cannot read the story state",
    "assistant_tokenizer": "a draft model cannot read the story state",
    "assistant_early_exit": "a draft cannot read the story state",
    "use_mtp": "a draft cannot read the story state",
    "speculation_type": "a draft cannot read the story state",
    "token_healing": "no prompt of tokens comes before what is written",
    "prefill_chunk_size": "the library splits prompts of tokens alone",
    "inputs": "the story is given as pixel_values and input_ids",
    "inputs_embeds": "the story is given as pixel_values and input_ids",
    "position_ids": "they follow from the story",
}
# Beyond these, scores are no numbers any more, or memory ends before a caption is better.
SMALLEST_TEMPERATURE, FACTORS = 1e-6, (1e-6, 1e6)
MOST = {"num_beams": 256, "num_return_sequences": 4096}
LARGEST_DECAY = 1e30
TOKEN_OPTIONS = ("pad_token_id", "forced_bos_token_id", "forced_eos_token_id", "bad_words_ids")
# Below this version the library's prompt lookup writes something else wherever a text begins with embeddings.
FIRST_WITH_PROMPT_LOOKUP = (5, 18)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_tokens(value: object) -> bool:
    return isinstance(value, torch.Tensor) or all(
        map(_is_whole, value if isinstance(value, (list, tuple)) else [value])
    )


def _is_list(value: object) -> bool:
    return isinstance(value, (list, tuple))


def _is_streamer(value: object) -> bool:
    return callable(getattr(value, "put", None)) and callable(getattr(value, "end", None))


# By option: whether a value is of its type, and what an error calls the type.
KINDS = {
    **dict.fromkeys(("no_repeat_ngram_size", "top_k"), (_is_whole, "a whole number")),
    **dict.fromkeys(
        ("top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "max_time"), (_is_number, "a number")
    ),
    **dict.fromkeys(("eos_token_id", "suppress_tokens", "begin_suppress_tokens"), (_is_tokens, "ids of tokens")),
    **dict.fromkeys(("stopping_criteria", "logits_processor"), (_is_list, "a list")),
    "prefix_allowed_tokens_fn": (callable, "a function"),
    "streamer": (_is_streamer, "a streamer with put and end"),
}


def generation_options(
    model_config: StoryAttnConfig,
    defaults: GenerationConfig,
    num_stories: int,
    captions: tuple[torch.Tensor | None, torch.Tensor | None],
    room: int,
    generation_config: GenerationConfig | None = None,
    **generation_kwargs,
) -> tuple[GenerationConfig, dict]:
    """Merge options as the library's `generate` does, and make them count what is written.

    Args:
        model_config: has special tokens and the longest caption.
        defaults (`GenerationConfig`): of the model.
        num_stories: B.
        captions (`tuple`): ids and mask `(B, T, L)` of the captions that are read before writing, or two `None`.
        room: how many tokens the text decoder can write behind what it has read.
        generation_config (*optional*): wins over `defaults`.
        generation_kwargs: win over both.

    Returns:
        The configuration and the other arguments for `generate` of the text decoder.

    Raises:
        ValueError: for an option that cannot work, or has no value that it may have.
    """
    config = _configuration(model_config, defaults, generation_config)
    others = _updated(config, generation_kwargs)
    _refuse_unsupported(config, others)
    _check_kinds(config, others)
    _check_numbers(config, model_config.vocab_size)
    _check_guidance(config, others, num_stories)
    _check_prompt_lookup(config, num_stories)
    _count_written_tokens(config, model_config.max_caption_length, room)
    _check_decay(config)
    special = {model_config.bos_token_id, model_config.eos_token_id, model_config.pad_token_id}
    given = others.pop("logits_processor", None) or []
    processors = [*_penalty_processors(config, given), *_caption_processors(config, num_stories, captions, special)]
    others["logits_processor"] = LogitsProcessorList([*processors, *given])
    return config, others


def _configuration(
    model_config: StoryAttnConfig, defaults: GenerationConfig, generation_config: GenerationConfig | None
) -> GenerationConfig:
    """Copy the configuration that was given, or the model's, and fill what it leaves open."""
    config = copy.deepcopy(defaults if generation_config is None else generation_config)
    if not isinstance(config, GenerationConfig):
        raise ValueError(f"generation_config: got {kind_of(config)}, expected a GenerationConfig")
    if generation_config is not None:
        config.update(**defaults.to_dict(), defaults_only=True, allow_custom_entries=True)
    for name in ("eos_token_id", "pad_token_id", "bos_token_id"):
        if getattr(config, name) is None:
            setattr(config, name, getattr(model_config, name))
    return config


def _updated(config: GenerationConfig, options: dict) -> dict:
    """Set options in a configuration; return the others: streamers, stopping criteria and the like."""
    try:
        return config.update(**options)
    except (TypeError, ValueError) as error:  # of the library's own checks
        message = str(error)
        names = [name for name in re.findall(r"`(\w+)`", message) if hasattr(config, name)]
        names += [name for name, value in options.items() if not names and _fails_alone(name, value)]
        if not names or names[0] not in options:
            raise ValueError(f"{next(iter(names), 'generation_config')}: {shortened(message)}") from error
        got = f"{names[0]}: got {kind_of(options[names[0]])}, expected another value"
        raise ValueError(f"{got}: {shortened(message, 64)}") from error


def _fails_alone(name: str, value: object) -> bool:
    try:
        GenerationConfig().update(**{name: value})
    except (TypeError, ValueError):
        return True
    return False


def _check_kinds(config: GenerationConfig, others: dict) -> None:
    """Refuse options of another type than the library expects, for which its errors have no name."""
    for name, (is_kind, expected) in KINDS.items():
        value = others.get(name, getattr(config, name, None))
        if value is not None and not is_kind(value):
            raise ValueError(f"{name}: got {kind_of(value)}, expected {expected}")


def _refuse_unsupported(config: GenerationConfig, others: dict) -> None:
    for name, reason in UNSUPPORTED.items():
        value = others.get(name, getattr(config, name, None))
        if value is not None and value is not False:
            raise ValueError(f"{name}: got {kind_of(value)}, expected none: {reason}")


def _check_numbers(config: GenerationConfig, vocab_size: int) -> None:
    """Refuse numbers that would end in an error without a name, in scores that are no numbers, or without memory."""
    for name, most in MOST.items():
        value = getattr(config, name)
        if value is not None and not (_is_whole(value) and 1 <= value <= most):
            raise ValueError(f"{name}: got {kind_of(value)}, expected a whole number from 1 to {most}")
    sequences, beams = config.num_return_sequences or 1, config.num_beams or 1
    if sequences > beams and not (config.do_sample and beams == 1):
        expected = f"expected at most num_beams, {beams}, or do_sample without beams"
        raise ValueError(f"num_return_sequences: got {sequences}, {expected}")
    if config.do_sample:
        check_factor("temperature", config.temperature, least=SMALLEST_TEMPERATURE, includes_least=True)
    for name in ("length_penalty", "guidance_scale"):
        value = getattr(config, name)
        if value is not None and not (_is_number(value) and abs(value) < FACTORS[1]):
            raise ValueError(f"{name}: got {kind_of(value)}, expected a number")
    for name in TOKEN_OPTIONS:
        value = getattr(config, name)
        ids = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
        if name == "bad_words_ids" and all(isinstance(word, (list, tuple)) for word in ids):
            ids = [one for word in ids for one in word]
        if wrong := [one for one in ids if not (_is_whole(one) and 0 <= one < vocab_size)]:
            raise ValueError(f"{name}: got {kind_of(wrong[0])}, expected the id of a token from 0 to {vocab_size - 1}")


def _check_decay(config: GenerationConfig) -> None:
    """Refuse a decay of the chance to go on that ends in numbers without end."""
    decay, name = config.exponential_decay_length_penalty, "exponential_decay_length_penalty"
    if decay is None:
        return
    expected = f"expected a whole number and a factor whose power stays below {LARGEST_DECAY:g}"
    if not isinstance(decay, (list, tuple)) or len(decay) != 2 or not _is_whole(decay[0]) or not _is_number(decay[1]):
        raise ValueError(f"{name}: got {kind_of(decay)}, {expected}")
    steps, factor = max(config.max_new_tokens - decay[0], 0), decay[1]
    if decay[0] < 0 or factor <= 0 or steps * math.log(factor) > math.log(LARGEST_DECAY):
        raise ValueError(f"{name}: got {decay}, {expected} over {config.max_new_tokens} tokens")


def _check_guidance(config: GenerationConfig, others: dict, num_stories: int) -> None:
    """Refuse guidance without ids to lead away from, and over several sequences, for which they are not repeated."""
    if config.guidance_scale in (None, 1):
        return
    got, ids = f"guidance_scale: got {config.guidance_scale}", others.get("negative_prompt_ids")
    if ids is None:
        expected = "expected both: what is read before the caption has no ids to leave out"
        raise ValueError(f"{got} without negative_prompt_ids, {expected}")
    for name in ("num_beams", "num_return_sequences"):
        if (getattr(config, name) or 1) > 1:
            raise ValueError(f"{got} with {name} {getattr(config, name)}, expected one sequence a story")
    if not isinstance(ids, torch.Tensor) or ids.dim() != 2 or len(ids) != num_stories:
        shape = tuple(ids.shape) if isinstance(ids, torch.Tensor) else kind_of(ids)
        raise ValueError(f"negative_prompt_ids: got {shape}, expected ids ({num_stories}, n)")


def _check_prompt_lookup(config: GenerationConfig, num_stories: int) -> None:
    if config.prompt_lookup_num_tokens is None:
        return
    got = f"prompt_lookup_num_tokens: got {config.prompt_lookup_num_tokens}"
    if tuple(int(part) for part in transformers.__version__.split(".")[:2]) < FIRST_WITH_PROMPT_LOOKUP:
        raise ValueError(f"{got} with transformers {transformers.__version__}, expected 5.18 or later")
    if num_stories > 1:
        raise ValueError(f"{got} with {num_stories} stories, expected one story at a time")
    if config.use_cache is False:
        raise ValueError(f"{got} with use_cache False, expected use_cache True")


def _count_written_tokens(config: GenerationConfig, longest: int, room: int) -> None:
    """Turn `max_length` and `min_length`, which the library counts from the start of the story state, into new tokens.

    `longest` new tokens, or as many as `room` holds, are written where there is neither of `max_length` and
    `max_new_tokens`.
    """
    for name, new_tokens, least in (("max_length", "max_new_tokens", 1), ("min_length", "min_new_tokens", 0)):
        name = name if getattr(config, new_tokens) is None else new_tokens
        value = getattr(config, name)
        if value is None:
            continue
        if not (_is_whole(value) and value >= least):
            raise ValueError(f"{name}: got {kind_of(value)}, expected a whole number of at least {least}")
        if value > room:
            raise ValueError(f"{name}: got {kind_of(value)}, expected at most {room}, for which there are positions")
        setattr(config, new_tokens, value)
    config.max_length = config.min_length = None
    if config.max_new_tokens is None:
        config.max_new_tokens = min(longest, max(room, 1))


def _penalty_processors(config: GenerationConfig, given: list[LogitsProcessor]) -> list[LogitsProcessor]:
    """Build the processors for which the library takes the padding before a story for a prompt; unset their options."""
    processors, penalty = [], _take_factor(config, "repetition_penalty")
    if penalty != 1 and not any(type(one) is RepetitionPenaltyLogitsProcessor for one in given):
        processors.append(RepetitionPenaltyLogitsProcessor(penalty))
    if config.forced_bos_token_id is not None:
        if config.begin_suppress_tokens is not None:
            got = f"begin_suppress_tokens: got {config.begin_suppress_tokens} with forced_bos_token_id"
            raise ValueError(f"{got} {config.forced_bos_token_id}, expected one of them: both choose the first token")
        processors.append(FirstToken(config.forced_bos_token_id))
        config.forced_bos_token_id = None
    return processors


def _caption_processors(
    config: GenerationConfig,
    num_stories: int,
    captions: tuple[torch.Tensor | None, torch.Tensor | None],
    special: set[int | None],
) -> list[LogitsProcessor]:
    """Build the processors that look at the captions read; unset their options."""
    penalty, size = _take_factor(config, "encoder_repetition_penalty"), config.encoder_no_repeat_ngram_size or 0
    if not (_is_whole(size) and size >= 0):
        got = f"encoder_no_repeat_ngram_size: got {kind_of(size)}"
        raise ValueError(f"{got}, expected a whole number of at least 0")
    config.encoder_no_repeat_ngram_size = 0
    if penalty == 1 and not size:
        return []
    tokens = _caption_tokens(*captions, num_stories, special)
    processors = [CaptionRepetitionPenalty(penalty, tokens)] if penalty != 1 else []
    return processors + ([NoRepeatOfCaptions(size, tokens)] if size else [])


def _caption_tokens(
    input_ids: torch.Tensor | None, mask: torch.Tensor | None, num_stories: int, special: set[int | None]
) -> list[list[list[int]]]:
    """List the ids of each caption of each story, without special ones."""
    if input_ids is None:
        return [[] for _ in range(num_stories)]
    stories, left_out = torch.where(mask.bool(), input_ids, -1).tolist(), {-1, *special}
    return [[[token for token in caption if token not in left_out] for caption in story] for story in stories]


def _take_factor(config: GenerationConfig, name: str) -> float:
    """Read a factor, 1 where there is none, and set it to 1."""
    value = getattr(config, name)
    setattr(config, name, 1.0)
    if value is None:
        return 1.0
    if not (_is_number(value) and FACTORS[0] <= value <= FACTORS[1]):
        raise ValueError(f"{name}: got {kind_of(value)}, expected a number from {FACTORS[0]:g} to {FACTORS[1]:g}")
    return float(value)
