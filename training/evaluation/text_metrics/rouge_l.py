"""ROUGE-L (Lin 2004) as an `evaluate` module; F-measure by rouge-score, mean over captions, 0 to 100."""

import evaluate
from rouge_score import rouge_scorer

from .caption_texts import metric_info, reference_lists, words


class WordTokenizer:
    """Splits captions into words of any script; the tokenizer of rouge-score drops all but a-z and digits."""

    def tokenize(self, text: str) -> list[str]:
        """Return the lower-cased words of a text."""
        return words(text)


class RougeL(evaluate.Metric):
    """`compute(predictions=[str], references=[str or [str]])` returns `{"rouge_l": float}`, of the best reference."""

    def _info(self) -> evaluate.MetricInfo:
        return metric_info(
            "F-measure of the longest common subsequence of words, mean over captions, times 100.",
            citation="https://aclanthology.org/W04-1013",
        )

    def _compute(self, predictions: list[str], references: list[str] | list[list[str]]) -> dict[str, float]:
        scorer = rouge_scorer.RougeScorer(["rougeL"], tokenizer=WordTokenizer())
        pairs = zip(predictions, reference_lists(references))
        scores = [scorer.score_multi(texts, text)["rougeL"].fmeasure for text, texts in pairs]
        return {"rouge_l": 100 * sum(scores) / len(scores)}
