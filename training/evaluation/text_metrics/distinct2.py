"""distinct-2 (Li et al. 2016) as an `evaluate` module: different bigrams over all bigrams, 0 to 1."""

import re

import datasets
import evaluate


class Distinct2(evaluate.Metric):
    """`compute(predictions=[str])` -> `{"distinct2": float}`; 0 where no caption has two words."""

    def _info(self):
        return evaluate.MetricInfo(
            description="Share of different bigrams among all word bigrams of the predictions: how varied they are.",
            citation="https://aclanthology.org/N16-1014",
            inputs_description="predictions: list of strings.",
            features=datasets.Features({"predictions": datasets.Value("string")}),
        )

    def _compute(self, predictions):
        words = [re.findall(r"\w+", text.lower()) for text in predictions]
        bigrams = [pair for caption in words for pair in zip(caption, caption[1:])]
        return {"distinct2": len(set(bigrams)) / len(bigrams) if bigrams else 0.0}
