"""ROUGE-L (Lin 2004) as an `evaluate` module; F-measure by rouge-score, mean over captions, 0 to 100."""

import re

import datasets
import evaluate
from rouge_score import rouge_scorer


class WordTokenizer:
    """Lower-cased words of any script; the tokenizer of rouge-score drops all but a-z and digits."""

    def tokenize(self, text):
        return re.findall(r"\w+", text.lower())


class RougeL(evaluate.Metric):
    """`compute(predictions=[str], references=[str])` -> `{"rouge_l": float}`, one reference each."""

    def _info(self):
        return evaluate.MetricInfo(
            description="F-measure of the longest common subsequence of words, mean over captions, times 100.",
            citation="https://aclanthology.org/W04-1013",
            inputs_description="predictions: list of strings; references: list of strings, one per prediction.",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions, references):
        scorer = rouge_scorer.RougeScorer(["rougeL"], tokenizer=WordTokenizer())
        scores = [scorer.score(reference, text)["rougeL"].fmeasure for text, reference in zip(predictions, references)]
        return {"rouge_l": 100 * sum(scores) / len(scores)}
