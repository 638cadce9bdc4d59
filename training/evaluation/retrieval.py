"""Retrieval between pictures and captions in the shared space, over a split and within a story, next to chance."""

import torch

RANKS = (1, 5, 10)
# Similarities nearer than this count as equal: the same caption gives slightly different numbers in another batch.
TIE = 1e-5
BLOCK = 512  # queries whose similarities to all items are in memory at a time


def retrieval_metrics(image_embeds: torch.Tensor, text_embeds: torch.Tensor, stories: torch.Tensor) -> dict:
    """
    Return the recall in both directions for `N` pairs of a frame and its caption.

    Ties count as a random order of the tied items would on average: the true item among `t` equal others with `g`
    better ones is a hit at `k` with probability `(k - g) / (t + 1)`, cut to [0, 1]. So a model that gives one
    embedding to everything scores chance. Stories with a single pair are left out of `within_story_r1`, where nothing
    can be mistaken.

    Args:
        image_embeds: embeddings of the frames `(N, P)`, of unit length.
        text_embeds: embeddings of the captions `(N, P)`, of unit length.
        stories: the number of the story of each pair `(N,)`.

    Returns:
        `text_to_image` and `image_to_text`, each with `r1`, `r5`, `r10` and `within_story_r1` in [0, 1], each beside
        its `chance_...`, and `num_frames`.
    """
    return {
        "text_to_image": _recalls(text_embeds, image_embeds, stories),
        "image_to_text": _recalls(image_embeds, text_embeds, stories),
        "num_frames": len(stories),
    }


def expected_hits(scores: torch.Tensor, true_scores: torch.Tensor, k: int) -> torch.Tensor:
    """
    Return the probability that the true item of each query is among the first `k`.

    Args:
        scores: similarities `(n, N)` of queries to all items, the true one included.
        true_scores: similarities `(n,)` to the true items.
        k: the rank.

    Returns:
        Probabilities `(n,)`.
    """
    differences = scores - true_scores[:, None]
    better = (differences > TIE).sum(dim=1)
    tied = (differences.abs() <= TIE).sum(dim=1)  # the true item included
    return ((k - better) / tied).clamp(0, 1)


def _recalls(queries: torch.Tensor, items: torch.Tensor, stories: torch.Tensor) -> dict[str, float | None]:
    count = len(stories)
    hits = dict.fromkeys(RANKS, 0.0)
    for start in range(0, count, BLOCK):
        scores = queries[start : start + BLOCK] @ items.T
        true_scores = scores.diagonal(offset=start)
        for k in RANKS:
            hits[k] += expected_hits(scores, true_scores, k).double().sum().item()
    result = {}
    for k in RANKS:
        result[f"r{k}"] = hits[k] / count if count else None
        result[f"chance_r{k}"] = min(k, count) / count if count else None
    return {**result, **_within_story(queries, items, stories)}


def _within_story(queries: torch.Tensor, items: torch.Tensor, stories: torch.Tensor) -> dict[str, float | None]:
    hits, chance, count = 0.0, 0.0, 0
    for story in stories.unique():
        mask = stories == story
        size = int(mask.sum())
        if size < 2:
            continue
        scores = queries[mask] @ items[mask].T  # (size, size)
        hits += expected_hits(scores, scores.diagonal(), 1).double().sum().item()
        chance += 1.0
        count += size
    if not count:
        return {"within_story_r1": None, "chance_within_story_r1": None}
    return {"within_story_r1": hits / count, "chance_within_story_r1": chance / count}
