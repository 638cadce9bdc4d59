"""METEOR (Banerjee and Lavie 2005) as an `evaluate` module; by nltk, without synonyms, mean over captions, 0 to 100."""

import evaluate
from nltk.translate.meteor_score import single_meteor_score

from .caption_texts import metric_info, words


class NoSynonyms:
    """Stands in for WordNet, which nltk would have to download."""

    def synsets(self, word: str) -> list:
        """Return no synonym of any word."""
        return []


class Meteor(evaluate.Metric):
    """
    `compute(predictions=[str], references=[str])` returns `{"meteor": float}`, for one reference each.

    Words match that are equal, or equal once Porter's stemmer has cut their endings. The published measure also matches
    synonyms in WordNet and paraphrases; so numbers here are at most as high, and are comparable among themselves alone.
    """

    def _info(self) -> evaluate.MetricInfo:
        return metric_info(
            "Harmonic mean of matched words, exact or by stem, with a penalty on their order, times 100; no synonyms.",
            citation="https://aclanthology.org/W05-0909",
        )

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        scores = [
            single_meteor_score(words(reference), words(text), wordnet=NoSynonyms()) if words(text) else 0.0
            for text, reference in zip(predictions, references)
        ]
        return {"meteor": 100 * sum(scores) / len(scores)}
