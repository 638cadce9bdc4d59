"""Tokenizers: one that is trained on the captions at hand, or one that was trained elsewhere."""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

SPECIAL_TOKENS = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}  # ids 0, 1, 2
NUM_BYTES = 256


def train_tokenizer(captions: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """
    A byte-level BPE tokenizer (Radford et al. 2019) trained on `captions`, of at most `vocab_size` tokens.

    Bytes are its alphabet, so that it can write any text. Raises `ValueError` without captions, and for a vocabulary
    too small for the bytes and the special tokens.
    """
    captions = [caption for caption in captions if caption and caption.strip()]
    if not captions:
        raise ValueError("tokenizer: found no caption to train on, expected at least one")
    smallest = NUM_BYTES + len(SPECIAL_TOKENS)
    if vocab_size < smallest:
        raise ValueError(f"vocab_size: found {vocab_size}, expected at least {smallest}, for bytes and special tokens")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **SPECIAL_TOKENS)


def load_tokenizer(name: str) -> PreTrainedTokenizerFast:
    """
    A pretrained tokenizer by folder or Hub id; special tokens that it lacks are taken from others it has, or added.

    Raises `ValueError` where there is none of that name.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except Exception as error:  # OSError, ValueError, ImportError, and the plain Exception of a malformed file
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(": ")
        raise ValueError(
            f"tokenizer_name: found no tokenizer {name!r}, expected a folder or a Hub id: {reason}"
        ) from error
    substitutes = {
        "bos_token": tokenizer.cls_token or tokenizer.eos_token,
        "eos_token": tokenizer.sep_token or tokenizer.bos_token,
        "pad_token": None,
    }
    for role, substitute in substitutes.items():
        if getattr(tokenizer, role) is None:
            tokenizer.add_special_tokens({role: substitute or SPECIAL_TOKENS[role]})
    return tokenizer
