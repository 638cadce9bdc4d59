"""The tokenizers of pretrained parts, and the special tokens that they lack."""

from collections.abc import Iterator
from contextlib import contextmanager

from transformers import AutoTokenizer, PreTrainedTokenizerBase

# What each pretrained part is, by its name in arguments.
PART_KINDS = {"vision": "a vision model", "text": "a text encoder", "decoder": "a causal language model"}
# Which special tokens of a tokenizer can serve as one that it lacks, the first choice first.
SUBSTITUTES = {
    "bos_token": ("cls_token", "eos_token"),
    "eos_token": ("sep_token", "bos_token"),
    "pad_token": ("eos_token",),
}


def part_tokenizers(
    text: str | None = None, decoder: str | None = None, tokenizer: PreTrainedTokenizerBase | None = None
) -> tuple[PreTrainedTokenizerBase, ...]:
    """Load the tokenizer of the text encoder and, where it is another one, that of the text decoder.

    Special tokens that a tokenizer lacks are borrowed from others that it has: no embedding is added.

    Args:
        text, decoder (*optional*): Hub id or folder of the pretrained parts.
        tokenizer (*optional*): that of the part that is not pretrained; by default it shares the other one's.

    Returns:
        one tokenizer, two where they differ, or `()` where neither a part nor a tokenizer is given.

    Raises:
        ValueError: where a part has no tokenizer, naming the part.
    """
    encoder_tokenizer = tokenizer if text is None else _load_tokenizer("text", text)
    decoder_tokenizer = tokenizer if decoder is None else _load_tokenizer("decoder", decoder)
    encoder_tokenizer = decoder_tokenizer if encoder_tokenizer is None else encoder_tokenizer
    decoder_tokenizer = encoder_tokenizer if decoder_tokenizer is None else decoder_tokenizer
    if encoder_tokenizer is None:
        return ()
    alike = _same(encoder_tokenizer, decoder_tokenizer)
    return (encoder_tokenizer,) if alike else (encoder_tokenizer, decoder_tokenizer)


def special_token_substitute(tokenizer: PreTrainedTokenizerBase, role: str) -> str | None:
    """Return another special token of the tokenizer that can serve in a `role` of `SUBSTITUTES`, or None."""
    tokens = (getattr(tokenizer, other) for other in SUBSTITUTES[role])
    return next((token for token in tokens if token is not None), None)


@contextmanager
def naming_part(part: str, source: str) -> Iterator[None]:
    """Turn whatever the libraries raise for a folder of something else into one `ValueError` that names the part."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        expected = f"{PART_KINDS[part]}, a folder or a Hub id"
        raise ValueError(f"{part}: got {str(source)!r}, expected {expected}: {reason}") from error


def _load_tokenizer(part: str, source: str) -> PreTrainedTokenizerBase:
    with naming_part(part, source):
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        for role, others in SUBSTITUTES.items():
            if getattr(tokenizer, role) is None:
                substitute = special_token_substitute(tokenizer, role)
                if substitute is None:
                    raise ValueError(f"its tokenizer has no {role}, and no {' or '.join(others)}")
                setattr(tokenizer, role, substitute)
    return tokenizer


def _same(first: PreTrainedTokenizerBase, second: PreTrainedTokenizerBase) -> bool:
    ids = ("pad_token_id", "bos_token_id", "eos_token_id")
    return first is second or (
        all(getattr(first, name) == getattr(second, name) for name in ids) and first.get_vocab() == second.get_vocab()
    )
