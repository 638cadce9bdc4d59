"""METEOR (Banerjee and Lavie 2005) as an `evaluate` module; by nltk, without synonyms, mean over captions, 0 to 100."""

import evaluate
from nltk.translate.meteor_score import single_meteor_score

from .caption_texts import metric_info, reference_lists, words


class NoSynonyms:
    """Stands in for WordNet, which nltk would have to download."""

    def synsets(self, word: str) -> list:
        """Return no synonym of any word."""
        return []


class Meteor(evaluate.Metric):
    """
    `compute(predictions=[str], references=[str or [str]])` returns `{"meteor": float}`, of the best reference.

    Words match that are equal, or equal once Porter's stemmer has cut their endings. The published measure also matches
    synonyms in WordNet and paraphrases; so numbers here are at most as high, and are comparable among themselves alone.
    """

    def _info(self) -> evaluate.MetricInfo:
        return metric_info(
            "Harmonic mean of matched words, exact or by stem, with a penalty on their order, times 100; no synonyms.",
            citation="https://aclanthology.org/W05-0909",
        )

    def _compute(self, predictions: list[str], references: list[str] | list[list[str]]) -> dict[str, float]:
        pairs = zip(predictions, reference_lists(references))
        scores = [max(_score(words(text), words(reference)) for reference in texts) for text, texts in pairs]
        return {"meteor": 100 * sum(scores) / len(scores)}


def _score(written: list[str], reference: list[str]) -> float:
    return single_meteor_score(reference, written, wordnet=NoSynonyms()) if written else 0.0
