"""distinct-2 (Li et al. 2016) as an `evaluate` module: different bigrams over all bigrams, 0 to 1."""

import evaluate

from .caption_texts import metric_info, words


class Distinct2(evaluate.Metric):
    """`compute(predictions=[str])` returns `{"distinct2": float}`; 0 where no caption has two words."""

    def _info(self) -> evaluate.MetricInfo:
        return metric_info(
            "Share of different bigrams among all word bigrams of the predictions: how varied they are.",
            citation="https://aclanthology.org/N16-1014",
            has_references=False,
        )

    def _compute(self, predictions: list[str]) -> dict[str, float]:
        captions = [words(text) for text in predictions]
        bigrams = [pair for caption in captions for pair in zip(caption, caption[1:])]
        return {"distinct2": len(set(bigrams)) / len(bigrams) if bigrams else 0.0}
