"""Corpus chrF (Popovic 2015), character n-gram F-score, as an `evaluate` module; by sacrebleu, 0 to 100."""

import evaluate
import sacrebleu

from .caption_texts import metric_info, reference_streams


class Chrf(evaluate.Metric):
    """
    `compute(predictions=[str], references=[str or [str]])` returns `{"chrf": float}`; references may be several.

    The score is chrF2: recall counts twice as much as precision.
    """

    def _info(self) -> evaluate.MetricInfo:
        return metric_info(
            "Corpus chrF2: character n-grams up to 6, no word n-grams; fit for any language.",
            citation="https://aclanthology.org/W15-3049",
        )

    def _compute(self, predictions: list[str], references: list[str] | list[list[str]]) -> dict[str, float]:
        return {"chrf": sacrebleu.corpus_chrf(list(predictions), reference_streams(references)).score}
