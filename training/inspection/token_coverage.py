"""Count the tokens of captions that a tokenizer does not know, and those that spell words by letters or bytes."""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

NUM_ENDS = 2  # the start and end token, which count as tokens of a caption
# Scripts whose single letters are words or syllables, or that usual tokenizers know well.
OTHER_SCRIPTS = ("LATIN", "CJK", "HIRAGANA", "KATAKANA", "HANGUL")
BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")


@dataclass
class TokenNumbers:
    """What a tokenizer makes of captions.

    Attributes:
        lengths: tokens of each caption, with start and end token.
        tokens: tokens of all captions, without start and end.
        unknown: those that stand for what the tokenizer does not know, and the letters that it drops.
        spelled: those that hold a part of a character, or a single letter of an alphabet such as the Arabic one.
    """

    lengths: list[int] = field(default_factory=list)
    tokens: int = 0
    unknown: int = 0
    spelled: int = 0


def count_tokens(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> TokenNumbers:
    """Count the tokens of captions that are not empty.

    Args:
        texts: the captions.
        tokenizer: the tokenizer that is to read them. One that has no token of several characters spells every text:
            then nothing counts as spelled.
    """
    if not texts:
        return TokenNumbers()
    options = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
    encoded = tokenizer(texts, return_offsets_mapping=tokenizer.is_fast, **options)
    counts = Counter(token for ids in encoded["input_ids"] for token in ids)
    dropped = sum(map(_dropped_letters, texts, encoded.get("offset_mapping") or ()))
    unknown = counts[tokenizer.unk_token_id] if tokenizer.unk_token_id is not None else 0
    spells_all = not _has_words(tokenizer)
    spelled = 0 if spells_all else sum(count for token, count in counts.items() if _is_spelling(tokenizer, token))
    return TokenNumbers(
        lengths=[len(ids) + NUM_ENDS for ids in encoded["input_ids"]],
        tokens=counts.total() + dropped,
        unknown=unknown + dropped,
        spelled=spelled,
    )


def _dropped_letters(text: str, offsets: list[tuple[int, int]]) -> int:
    """Return how many letters and digits of a text are in no token."""
    is_read = bytearray(len(text))
    for start, end in offsets:
        is_read[start:end] = b"\1" * (end - start)
    return 0 if all(is_read) else sum(letter.isalnum() and not read for letter, read in zip(text, is_read))


def _has_words(tokenizer: PreTrainedTokenizerBase) -> bool:
    special = set(tokenizer.all_special_tokens)
    return any(len(_plain(token)) > 1 for token in tokenizer.get_vocab() if token not in special)


def _plain(token: str) -> str:
    """Return a token without the marks of word pieces, spaces and bytes."""
    return BYTE_TOKEN.sub("", token.removeprefix("##").strip("▁Ġ "))


def _is_spelling(tokenizer: PreTrainedTokenizerBase, token: int) -> bool:
    """Return whether a token holds a part of a character, or one letter of a script whose words have many."""
    if token == tokenizer.unk_token_id:
        return False
    if BYTE_TOKEN.fullmatch(tokenizer.convert_ids_to_tokens(token) or ""):
        return True
    text = tokenizer.decode([token]).strip().removeprefix("##")
    if "\ufffd" in text:
        return True
    is_letter = len(text) == 1 and text.isalpha()
    return is_letter and not unicodedata.name(text, "").startswith(OTHER_SCRIPTS)
