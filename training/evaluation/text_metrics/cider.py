"""CIDEr-D (Vedantam et al. 2015) as an `evaluate` module: n-grams weighted by how rare they are, 0 to 10."""

import math
import re
from collections import Counter

import datasets
import evaluate

LONGEST = 4  # words of an n-gram
SIGMA = 6.0  # words by which lengths may differ


class Cider(evaluate.Metric):
    """
    `compute(predictions=[str], references=[str])` -> `{"cider": float}`, one reference each.

    An n-gram weighs `log(N / number of references that have it)`, over the `N` references of the corpus itself: 0 for
    a corpus of one. Words are lower-cased and not stemmed, as in CIDEr-D. One reference makes scores lower than those
    told of data sets with five.
    """

    def _info(self):
        return evaluate.MetricInfo(
            description="Cosine of tf-idf vectors of n-grams up to 4, clipped, with a penalty on length, times 10.",
            citation="https://arxiv.org/abs/1411.5726",
            inputs_description="predictions: list of strings; references: list of strings, one per prediction.",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions, references):
        predicted, true = ([_ngrams(text) for text in texts] for texts in (predictions, references))
        frequency = Counter(ngram for counts in true for ngram in counts)
        rarity = {ngram: math.log(len(true) / count) for ngram, count in frequency.items()}
        # What no reference has weighs as if one had it.
        weigh = {"rarity": rarity, "unknown": math.log(len(true))}
        scores = [_score(*pair, **weigh) for pair in zip(predicted, true)]
        return {"cider": sum(scores) / len(scores)}


def _ngrams(text: str) -> Counter:
    """How often each n-gram of one to four words occurs."""
    words = re.findall(r"\w+", text.lower())
    sizes = range(1, LONGEST + 1)
    return Counter(tuple(words[i : i + n]) for n in sizes for i in range(len(words) - n + 1))


def _score(predicted: Counter, true: Counter, rarity: dict, unknown: float) -> float:
    """CIDEr-D of one caption: equations 3 and 4 of the paper, mean over the sizes of n-grams."""
    total = 0.0
    for n in range(1, LONGEST + 1):
        one, other = (
            {ngram: count * rarity.get(ngram, unknown) for ngram, count in counts.items() if len(ngram) == n}
            for counts in (predicted, true)
        )
        product = sum(min(weight, other[ngram]) * other[ngram] for ngram, weight in one.items() if ngram in other)
        norms = math.hypot(*one.values()) * math.hypot(*other.values())
        total += product / norms if norms else 0.0
    lengths = (sum(count for ngram, count in counts.items() if len(ngram) == 1) for counts in (predicted, true))
    difference = next(lengths) - next(lengths)
    return 10 / LONGEST * total * math.exp(-(difference**2) / (2 * SIGMA**2))
