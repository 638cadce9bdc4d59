"""Corpus BLEU-4 (Papineni et al. 2002) as an `evaluate` module; computed by sacrebleu, 0 to 100."""

import datasets
import evaluate
import sacrebleu


class Bleu4(evaluate.Metric):
    """`compute(predictions=[str], references=[str])` -> `{"bleu4": float}`, one reference each."""

    def _info(self):
        return evaluate.MetricInfo(
            description="Corpus BLEU with n-grams up to 4, sacrebleu's 13a tokenization and exponential smoothing.",
            citation="https://aclanthology.org/P02-1040, https://aclanthology.org/W18-6319",
            inputs_description="predictions: list of strings; references: list of strings, one per prediction.",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions, references):
        return {"bleu4": sacrebleu.corpus_bleu(list(predictions), [list(references)]).score}
