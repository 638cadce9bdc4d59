"""Tokens that a tokenizer does not know or spells by bytes, and the line at the start of a training."""

import pytest
from storyattn.training.inspection.harm import harm_line
from storyattn.training.inspection.token_coverage import count_tokens
from storyattn.training.models.tokenizer import train_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

ENGLISH = ["The fox walks into the dark forest and looks for its friend.", "It rains, and the hare stays at home."]
FOREIGN = {
    "Chinese": "狐狸走进黑暗的森林寻找它的朋友",
    "Arabic": "الثعلب يمشي في الغابة المظلمة ويبحث عن صديقه",
    "Russian": "Лиса идёт в тёмный лес и ищет своего друга",
}
KINDS = {
    "word pieces": (models.WordPiece(unk_token="[UNK]"), trainers.WordPieceTrainer(special_tokens=["[UNK]"])),
    "words": (models.WordLevel(unk_token="[UNK]"), trainers.WordLevelTrainer(special_tokens=["[UNK]"])),
    "pairs, unknown letters dropped": (models.BPE(), trainers.BpeTrainer(show_progress=False)),
}


@pytest.fixture(scope="module")
def byte_level():
    return train_tokenizer(ENGLISH * 20, 400)


def english_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    model, trainer = KINDS[kind]
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(ENGLISH * 20, trainer)
    unknown = {"unk_token": "[UNK]"} if "dropped" not in kind else {}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **unknown)


@pytest.mark.parametrize("language", FOREIGN)
def test_an_english_tokenizer_of_bytes_spells_other_languages(byte_level, language):
    foreign = count_tokens([FOREIGN[language]], byte_level)
    assert foreign.unknown == 0 and foreign.spelled > 0.8 * foreign.tokens
    english = count_tokens(ENGLISH, byte_level)
    assert english.unknown == english.spelled == 0 and english.tokens == sum(english.lengths) - 4


@pytest.mark.parametrize("language", FOREIGN)
def test_a_tokenizer_of_the_language_itself_does_not(language):
    numbers = count_tokens([FOREIGN[language]], train_tokenizer([FOREIGN[language]] * 20, 500))
    assert numbers.unknown == 0 and numbers.spelled < 0.3 * numbers.tokens


@pytest.mark.parametrize("language", FOREIGN)
@pytest.mark.parametrize("kind", KINDS)
def test_unknown_tokens_and_dropped_letters(kind, language):
    tokenizer = english_tokenizer(kind)
    foreign = count_tokens([FOREIGN[language], ENGLISH[0]], tokenizer)
    assert foreign.unknown >= (1 if kind != "pairs, unknown letters dropped" else 15)
    assert count_tokens(ENGLISH, tokenizer).unknown == 0


def test_a_tokenizer_that_spells_every_text_is_no_worse_for_one_language():
    numbers = count_tokens([FOREIGN["Chinese"]], train_tokenizer(["x"], 259))
    assert numbers.spelled == 0 and numbers.tokens == 45


def test_no_captions(byte_level):
    assert count_tokens([], byte_level).tokens == 0


def test_training_says_what_would_hurt_in_one_line(byte_level):
    stories = {"story_id": ["a", "b"], "captions": [[FOREIGN["Chinese"], None, None]] * 2}
    line = harm_line({"train": stories}, {"": byte_level}, 3, 500)
    assert "\n" not in line and line.startswith("this would hurt the training (storyattn data check has more): ")
    assert "4 of 6 captions of train are empty" in line and "spell words by letters or bytes" in line
    good = {"story_id": ["a"], "captions": [[*ENGLISH, "The end."]]}
    assert harm_line({"train": good}, {"": byte_level}, 3, 500) is None
    shared = harm_line({"train": good, "test": good}, {"": byte_level}, 3, 500)
    assert "train and test have the same story (pairs: 1): what is measured there was trained on" in shared
