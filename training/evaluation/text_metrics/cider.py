"""CIDEr-D (Vedantam et al. 2015) as an `evaluate` module: n-grams weighted by how rare they are, 0 to 10."""

import math
from collections import Counter

import evaluate

from .caption_texts import metric_info, reference_lists, words

LONGEST_NGRAM = 4  # words
SIGMA = 6.0  # words by which lengths may differ


class Cider(evaluate.Metric):
    """
    `compute(predictions=[str], references=[str or [str]])` returns `{"cider": float}`, for one or several references.

    An n-gram weighs `log(N / number of predictions that have it in a reference)`, over the `N` predictions of the
    corpus itself: 0 for a corpus of one. The score of a prediction is the mean over its references. Words are
    lower-cased and not stemmed, as in CIDEr-D. One reference makes scores lower than those published for data sets
    with five.
    """

    def _info(self) -> evaluate.MetricInfo:
        return metric_info(
            "Cosine of tf-idf vectors of n-grams up to 4, clipped, with a penalty on length, times 10.",
            citation="https://arxiv.org/abs/1411.5726",
        )

    def _compute(self, predictions: list[str], references: list[str] | list[list[str]]) -> dict[str, float]:
        predicted = [_ngrams(text) for text in predictions]
        true = [[_ngrams(text) for text in texts] for texts in reference_lists(references)]
        frequency = Counter(ngram for several in true for ngram in set().union(*several))
        rarity = {ngram: math.log(len(true) / count) for ngram, count in frequency.items()}
        # An n-gram that no reference has weighs as if one had it.
        weights = {"rarity": rarity, "unknown": math.log(len(true))}
        scores = [[_score(one, other, **weights) for other in several] for one, several in zip(predicted, true)]
        return {"cider": sum(sum(several) / len(several) for several in scores) / len(scores)}


def _ngrams(text: str) -> Counter:
    """Return how often each n-gram of one to four words occurs."""
    tokens = words(text)
    sizes = range(1, LONGEST_NGRAM + 1)
    return Counter(tuple(tokens[i : i + n]) for n in sizes for i in range(len(tokens) - n + 1))


def _score(predicted: Counter, true: Counter, rarity: dict[tuple, float], unknown: float) -> float:
    """Return CIDEr-D of one caption: equations 3 and 4 of the paper, mean over the sizes of n-grams."""
    total = 0.0
    for n in range(1, LONGEST_NGRAM + 1):
        one, other = (
            {ngram: count * rarity.get(ngram, unknown) for ngram, count in counts.items() if len(ngram) == n}
            for counts in (predicted, true)
        )
        product = sum(min(weight, other[ngram]) * other[ngram] for ngram, weight in one.items() if ngram in other)
        norms = math.hypot(*one.values()) * math.hypot(*other.values())
        total += product / norms if norms else 0.0
    lengths = (sum(count for ngram, count in counts.items() if len(ngram) == 1) for counts in (predicted, true))
    difference = next(lengths) - next(lengths)
    return 10 / LONGEST_NGRAM * total * math.exp(-(difference**2) / (2 * SIGMA**2))
