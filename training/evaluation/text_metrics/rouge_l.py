"""ROUGE-L (Lin 2004) as an `evaluate` module; F-measure by rouge-score, mean over captions, 0 to 100."""

import evaluate
from rouge_score import rouge_scorer

from .caption_texts import metric_info, words


class WordTokenizer:
    """Splits captions into words of any script; the tokenizer of rouge-score drops all but a-z and digits."""

    def tokenize(self, text: str) -> list[str]:
        """Return the lower-cased words of a text."""
        return words(text)


class RougeL(evaluate.Metric):
    """`compute(predictions=[str], references=[str])` returns `{"rouge_l": float}`, for one reference each."""

    def _info(self) -> evaluate.MetricInfo:
        return metric_info(
            "F-measure of the longest common subsequence of words, mean over captions, times 100.",
            citation="https://aclanthology.org/W04-1013",
        )

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        scorer = rouge_scorer.RougeScorer(["rougeL"], tokenizer=WordTokenizer())
        scores = [scorer.score(reference, text)["rougeL"].fmeasure for text, reference in zip(predictions, references)]
        return {"rouge_l": 100 * sum(scores) / len(scores)}
