"""The options of `generate`: lengths and penalties count written tokens, and what cannot work is refused by name."""

import copy

import torch
import transformers
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor

from .configuration_storyattn import StoryAttnConfig
from .logits_processors import CaptionRepetitionPenalty, FirstToken, NoRepeatOfCaptions
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
# Below this version the library's prompt lookup writes something else wherever a text begins with embeddings.
FIRST_WITH_PROMPT_LOOKUP = (5, 18)


def generation_options(
    model_config: StoryAttnConfig,
    defaults: GenerationConfig,
    num_stories: int,
    captions: tuple[torch.Tensor | None, torch.Tensor | None],
    generation_config: GenerationConfig | None = None,
    **generation_kwargs,
) -> tuple[GenerationConfig, dict]:
    """Merge options as the library's `generate` does, and make them count what is written.

    Args:
        model_config: has special tokens and the longest caption.
        defaults (`GenerationConfig`): of the model.
        num_stories: B.
        captions (`tuple`): ids and mask `(B, T, L)` of the captions that are read before writing, or two `None`.
        generation_config (*optional*): wins over `defaults`.
        generation_kwargs: win over both.

    Returns:
        The configuration and the other arguments for `generate` of the text decoder.

    Raises:
        ValueError: for an option that cannot work, or has no value that it may have.
    """
    config = copy.deepcopy(defaults if generation_config is None else generation_config)
    if not isinstance(config, GenerationConfig):
        raise ValueError(f"generation_config: got {kind_of(config)}, expected a GenerationConfig")
    if generation_config is not None:
        config.update(**defaults.to_dict(), defaults_only=True, allow_custom_entries=True)
    for name in ("eos_token_id", "pad_token_id", "bos_token_id"):
        if getattr(config, name) is None:
            setattr(config, name, getattr(model_config, name))
    others = config.update(**generation_kwargs)  # streamers, stopping criteria and the like
    _refuse_unsupported(config, others)
    _check_guidance(config, others, num_stories)
    _check_prompt_lookup(config, num_stories)
    _count_written_tokens(config, model_config.max_caption_length)
    special = {model_config.bos_token_id, model_config.eos_token_id, model_config.pad_token_id}
    given = others.pop("logits_processor", None) or []
    processors = [*_penalty_processors(config, given), *_caption_processors(config, num_stories, captions, special)]
    others["logits_processor"] = LogitsProcessorList([*processors, *given])
    return config, others


def _refuse_unsupported(config: GenerationConfig, others: dict) -> None:
    for name, reason in UNSUPPORTED.items():
        value = others.get(name, getattr(config, name, None))
        if value is not None and value is not False:
            raise ValueError(f"{name}: got {kind_of(value)}, expected none: {reason}")


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


def _count_written_tokens(config: GenerationConfig, longest: int) -> None:
    """Turn `max_length` and `min_length`, which the library counts from the start of the story state, into new tokens.

    `longest` new tokens are written where there is neither of `max_length` and `max_new_tokens`.
    """
    for name, new_tokens, least in (("max_length", "max_new_tokens", 1), ("min_length", "min_new_tokens", 0)):
        value = getattr(config, name)
        if value is None or getattr(config, new_tokens) is not None:
            continue
        if not isinstance(value, int) or value < least:
            raise ValueError(f"{name}: got {kind_of(value)}, expected a whole number of at least {least}")
        setattr(config, new_tokens, value)
        setattr(config, name, None)
    if config.max_new_tokens is None:
        config.max_new_tokens = longest


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
    if not isinstance(size, int) or size < 0:
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
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise ValueError(f"{name}: got {kind_of(value)}, expected a number above 0")
    return float(value)
