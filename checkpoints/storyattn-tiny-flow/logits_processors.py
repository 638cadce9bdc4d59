"""Logits processors that act on written tokens and on the captions of each story; padding is neither."""

import torch
from transformers import LogitsProcessor


class CaptionRepetitionPenalty(LogitsProcessor):
    """`encoder_repetition_penalty`: makes the tokens that stand in the captions of a story likelier, or rarer below 1.

    Args:
        penalty: above 0; what the scores of these tokens are divided by where they are negative, else multiplied by.
        captions: per story the ids of its captions.
    """

    def __init__(self, penalty: float, captions: list[list[list[int]]]):
        self.penalty = penalty
        self.tokens = [sorted({token for caption in story for token in caption}) for story in captions]

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Return new scores `(N, V)`; of N sequences the first N / B belong to the first of B stories, and so on."""
        sequences = len(scores) // len(self.tokens)
        mask = torch.zeros_like(scores, dtype=torch.bool)
        for story, tokens in enumerate(self.tokens):
            mask[story * sequences : (story + 1) * sequences, tokens] = True
        return torch.where(mask, torch.where(scores < 0, scores / self.penalty, scores * self.penalty), scores)


class NoRepeatOfCaptions(LogitsProcessor):
    """`encoder_no_repeat_ngram_size`: forbids to write n tokens in a row that stand so in a caption of the story.

    Args:
        size: n, at least 1.
        captions: per story the ids of its captions.
    """

    def __init__(self, size: int, captions: list[list[list[int]]]):
        self.size = size
        self.following = [_following_tokens(story, size) for story in captions]

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Return new scores `(N, V)` for what follows `input_ids (N, n)`, the tokens written so far."""
        sequences, scores = len(scores) // len(self.following), scores.clone()
        last = input_ids[:, max(0, input_ids.shape[1] - self.size + 1) :].tolist()
        for row, tokens in enumerate(last):
            scores[row, self.following[row // sequences].get(tuple(tokens), [])] = -torch.inf
        return scores


class FirstToken(LogitsProcessor):
    """`forced_bos_token_id`: the first token that is written. The library looks for it behind a start token.

    Args:
        token: its id.
    """

    def __init__(self, token: int):
        self.token = token

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Return scores `(N, V)`, which leave one token where nothing was written yet."""
        if input_ids.shape[1]:
            return scores
        only = torch.full_like(scores, -torch.inf)
        only[:, self.token] = 0
        return only


def _following_tokens(captions: list[list[int]], size: int) -> dict[tuple[int, ...], list[int]]:
    """Map each run of `size - 1` tokens of captions to the tokens that follow it there."""
    following: dict[tuple[int, ...], list[int]] = {}
    for caption in captions:
        for *before, token in zip(*(caption[start:] for start in range(size))):
            following.setdefault(tuple(before), []).append(token)
    return following
