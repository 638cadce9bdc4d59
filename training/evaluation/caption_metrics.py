"""Measures of written captions: loss, bits per byte, overlap with the true caption, variety, and their floors."""

import math
import random
from collections import defaultdict
from functools import cache
from pathlib import Path

import evaluate
import torch
import torch.nn.functional as F

from .frame_metrics import ratio

# File names of the `evaluate` modules in `text_metrics/`, which are also the keys of their results.
TEXT_METRICS = ("bleu4", "rouge_l", "chrf", "cider", "distinct2")
NUM_EXAMPLES = 5


@cache
def load_text_metric(name: str) -> evaluate.EvaluationModule:
    """The `evaluate` module `text_metrics/{name}.py`, loaded from its path: no network, no temporary files."""
    return evaluate.load(str(Path(__file__).parent / "text_metrics" / f"{name}.py"), keep_in_memory=True)


def text_scores(predictions: list[str], references: list[str]) -> dict[str, float | None]:
    """
    `bleu4`, `rouge_l`, `chrf` (0 to 100, higher is nearer to the reference), `cider` (CIDEr-D, 0 to 10, higher as well)
    and `distinct2` (0 to 1) of `predictions`; `None` for each where there are no captions.

    Each has one reference. `cider` takes document frequencies from these references: it compares models on the same
    captions alone, and is not the number that data sets with five references a picture are told with.
    """
    if not predictions:
        return dict.fromkeys(TEXT_METRICS)
    scores = {}
    for name in TEXT_METRICS:
        inputs = {"predictions": predictions} if name == "distinct2" else {}
        inputs = inputs or {"predictions": predictions, "references": references}
        scores.update(load_text_metric(name).compute(**inputs))
    return scores


def token_losses(logits: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[float, int]:
    """
    Summed negative log-likelihood in nats, and the number of tokens it is summed over.

    `logits (N, L, V)` at position i predict token i+1 of `input_ids (N, L)`; what `attention_mask (N, L)` masks does
    not count, nor does the start token, which nothing predicts.
    """
    targets = input_ids[:, 1:].masked_fill(attention_mask[:, 1:] == 0, -100)  # (N, L-1)
    loss = F.cross_entropy(logits[:, :-1].float().flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum")
    return loss.item(), int((targets != -100).sum())


def unigram_logits(token_ids: torch.Tensor, vocab_size: int) -> torch.Tensor:
    """
    Logits `(V,)` of a model that knows how often each token occurs among `token_ids`, and nothing else; every token
    of the vocabulary counts once more than it occurs.
    """
    return (torch.bincount(token_ids, minlength=vocab_size) + 1.0).log()


class CaptionMetrics:
    """Collects written captions beside the true ones, and token losses, of one task (`next_caption` or `describe`)."""

    def __init__(self):
        self.losses = defaultdict(float)
        self.tokens, self.bytes = defaultdict(int), defaultdict(int)
        self.generated, self.targets, self.last_captions = [], [], []

    def add_loss(self, name: str, logits, input_ids, attention_mask, num_bytes: int) -> None:
        """Adds to the loss called `name`, over texts of `num_bytes`; shapes as in `token_losses`."""
        loss, tokens = token_losses(logits, input_ids, attention_mask)
        self.losses[name] += loss
        self.tokens[name] += tokens
        self.bytes[name] += num_bytes

    def add_text(self, generated: str, target: str, last_caption: str) -> None:
        """Adds one written caption, the true one, and the last caption before it (empty where there is none)."""
        self.generated.append(generated.strip())
        self.targets.append(target)
        self.last_captions.append(last_caption)

    def compute(self, train_captions: list[str] | None, seed: int) -> dict:
        """
        `loss` and `loss_shuffled_frames` in nats per token, `bits_per_byte` and `bits_per_byte_shuffled_frames`, text
        scores, `floors`, `examples`, `num_captions`; see `text_scores`.

        Bits per byte, which models of different tokenizers share, are the loss summed over all tokens, the end token
        included, over the bytes of the captions in UTF-8. The floor `unigram` is that of `unigram_logits`.
        """
        floors = {"last_caption": text_scores(self.last_captions, self.targets)}
        if train_captions:
            drawn = random.Random(seed).choices(train_captions, k=len(self.targets))
            floors["random_train_caption"] = text_scores(drawn, self.targets)
        if "unigram" in self.losses:
            floors["unigram"] = self._losses("unigram")
        with_frames, shuffled = self._losses("loss"), self._losses("loss_shuffled_frames")
        pairs = zip(self.targets[:NUM_EXAMPLES], self.generated[:NUM_EXAMPLES])
        return {
            **with_frames,
            **{f"{name}_shuffled_frames": value for name, value in shuffled.items()},
            **text_scores(self.generated, self.targets),
            "floors": floors,
            "examples": [{"target": target, "generated": generated} for target, generated in pairs],
            "num_captions": len(self.targets),
        }

    def _losses(self, name: str) -> dict[str, float | None]:
        loss = self.losses[name]
        return {
            "loss": ratio(loss, self.tokens[name]),
            "bits_per_byte": ratio(loss / math.log(2), self.bytes[name]),
        }
