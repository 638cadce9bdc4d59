"""Train a tokenizer on captions, or load one."""

from collections.abc import Iterable

from storyattn.part_tokenizers import special_token_substitute
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from ..common.loading import expecting

SPECIAL_TOKENS = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}  # ids 0, 1, 2
NUM_BYTES = 256


def train_tokenizer(captions: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer (Radford et al. 2019) trained on `captions`, of at most `vocab_size` tokens.

    Bytes are its alphabet, so that it can write any text.

    Raises:
        ValueError: without captions, and for a vocabulary too small for the bytes and the special tokens.
    """
    captions = [caption for caption in captions if caption and caption.strip()]
    if not captions:
        raise ValueError("tokenizer: got no caption to train on, expected at least one")
    smallest = NUM_BYTES + len(SPECIAL_TOKENS)
    if vocab_size < smallest:
        raise ValueError(f"vocab_size: got {vocab_size}, expected at least {smallest}, for bytes and special tokens")
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
    """Return the tokenizer of a folder or Hub id; special tokens that it lacks are borrowed from its others, or added.

    Raises:
        ValueError: where no tokenizer can be loaded by that name.
    """
    with expecting("tokenizer_name", name, "a tokenizer, a folder or a Hub id"):
        tokenizer = AutoTokenizer.from_pretrained(name)
    substitutes = {role: special_token_substitute(tokenizer, role) for role in ("bos_token", "eos_token")}
    for role, substitute in {**substitutes, "pad_token": None}.items():
        if getattr(tokenizer, role) is None:
            tokenizer.add_special_tokens({role: substitute or SPECIAL_TOKENS[role]})
    return tokenizer
