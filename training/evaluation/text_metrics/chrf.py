"""Corpus chrF (Popovic 2015), character n-gram F-score, as an `evaluate` module; by sacrebleu, 0 to 100."""

import datasets
import evaluate
import sacrebleu


class Chrf(evaluate.Metric):
    """`compute(predictions=[str], references=[str])` -> `{"chrf": float}`, one reference each."""

    def _info(self):
        return evaluate.MetricInfo(
            description="Corpus chrF2: character n-grams up to 6, no word n-grams; fit for any language.",
            citation="https://aclanthology.org/W15-3049",
            inputs_description="predictions: list of strings; references: list of strings, one per prediction.",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions, references):
        return {"chrf": sacrebleu.corpus_chrf(list(predictions), [list(references)]).score}
