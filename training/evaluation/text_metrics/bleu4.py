"""Corpus BLEU-4 (Papineni et al. 2002) as an `evaluate` module; computed by sacrebleu, 0 to 100."""

import evaluate
import sacrebleu

from .caption_texts import metric_info, reference_streams


class Bleu4(evaluate.Metric):
    """`compute(predictions=[str], references=[str or [str]])` returns `{"bleu4": float}`; references may be several."""

    def _info(self) -> evaluate.MetricInfo:
        return metric_info(
            "Corpus BLEU with n-grams up to 4, sacrebleu's 13a tokenization and exponential smoothing.",
            citation="https://aclanthology.org/P02-1040, https://aclanthology.org/W18-6319",
        )

    def _compute(self, predictions: list[str], references: list[str] | list[list[str]]) -> dict[str, float]:
        return {"bleu4": sacrebleu.corpus_bleu(list(predictions), reference_streams(references)).score}
