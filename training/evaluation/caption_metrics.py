"""Measures of written captions: loss, bits per byte, overlap with the true caption, variety, and their floors."""

import importlib
import math
import random
import tempfile
from collections import defaultdict
from functools import cache

import evaluate
import torch
import torch.nn.functional as F
from storyattn import StoryAttnProcessor

from .frame_metrics import ratio

# File names of the `evaluate` modules in `text_metrics/`, which are also the keys of their results.
TEXT_METRICS = ("bleu4", "rouge_l", "meteor", "chrf", "cider", "distinct2")
NUM_EXAMPLES = 5
TOKENIZED_AT_ONCE = 1000  # captions, padded to the longest of them


@cache
def load_text_metric(name: str) -> evaluate.EvaluationModule:
    """
    Load the `evaluate` module `text_metrics/{name}.py`, without network.

    `evaluate.load` would copy it into the user's home, which may not be writable.
    """
    module = importlib.import_module(f".text_metrics.{name}", __package__)
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    (metric,) = [value for value in classes if issubclass(value, evaluate.Metric) and value is not evaluate.Metric]
    with tempfile.TemporaryDirectory() as folder:  # made for files that `keep_in_memory` does without
        return metric(keep_in_memory=True, cache_dir=folder)


def text_scores(predictions: list[str], references: list[str] | list[list[str]]) -> dict[str, float | None]:
    """
    Return the scores of written captions, each beside one reference or several.

    `cider` takes document frequencies from these references: it compares models on the same captions alone, and is not
    comparable to numbers on data sets with five references for a picture.

    Args:
        predictions: the written captions.
        references: the true caption of each, or all its reference captions.

    Returns:
        `bleu4`, `rouge_l`, `meteor` (without synonyms) and `chrf` (0 to 100, higher is nearer to the reference),
        `cider` (CIDEr-D, 0 to 10, higher is nearer as well) and `distinct2` (0 to 1); `None` for each where there are
        no captions.
    """
    if not predictions:
        return dict.fromkeys(TEXT_METRICS)
    scores = {}
    for name in TEXT_METRICS:
        inputs = {"predictions": predictions} if name == "distinct2" else {}
        inputs = inputs or {"predictions": predictions, "references": references}
        # `compute` would copy the texts into a table of `datasets` and hash it: slower than most scores.
        scores.update(load_text_metric(name)._compute(**inputs))
    return scores


def decoder_tokens(processor: StoryAttnProcessor, captions: list[str]) -> torch.Tensor:
    """Return the tokens `(n,)` of all captions but their start tokens, by the tokenizer of the text decoder."""
    tokens = []
    for start in range(0, len(captions), TOKENIZED_AT_ONCE):
        encoded = processor.tokenize_captions([[text] for text in captions[start : start + TOKENIZED_AT_ONCE]])
        kind = "decoder_" if "decoder_input_ids" in encoded else ""
        ids, mask = (encoded[f"{kind}{name}"][:, 0, 1:] for name in ("input_ids", "attention_mask"))
        tokens.append(ids[mask > 0])
    return torch.cat(tokens) if tokens else torch.zeros(0, dtype=torch.long)


def token_losses(logits: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[float, int]:
    """
    Return the summed negative log-likelihood of captions and the number of tokens that it is summed over.

    Args:
        logits: `(N, L, V)`; those at position i predict token i+1.
        input_ids: the captions `(N, L)`; nothing predicts their start tokens, which do not count.
        attention_mask: `(N, L)`; what is masked does not count.

    Returns:
        The sum in nats, and the number of tokens.
    """
    targets = input_ids[:, 1:].masked_fill(attention_mask[:, 1:] == 0, -100)  # (N, L-1)
    loss = F.cross_entropy(logits[:, :-1].float().flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum")
    return loss.item(), int((targets != -100).sum())


def unigram_logits(token_ids: torch.Tensor, vocab_size: int) -> torch.Tensor:
    """
    Return logits `(V,)` of a model that has only counted how often each token occurs among `token_ids`.

    Every token of the vocabulary counts once more than it occurs (Laplace smoothing).
    """
    return (torch.bincount(token_ids, minlength=vocab_size) + 1.0).log()


class CaptionMetrics:
    """Collects written captions beside the true ones, and token losses, of one task (`next_caption` or `describe`)."""

    def __init__(self):
        self.losses = defaultdict(float)
        self.tokens, self.bytes = defaultdict(int), defaultdict(int)
        self.generated, self.targets, self.references, self.last_captions = [], [], [], []
        self.floor_texts: dict[str, list[str]] = defaultdict(list)  # by floor: what it writes in their place

    def add_loss(
        self,
        name: str,
        logits: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        num_bytes: int,
    ) -> None:
        """
        Add the token losses of captions.

        Args:
            name: which loss they are added to: `loss`, `loss_shuffled_frames`, or the name of a floor.
            logits: as for `token_losses`.
            input_ids: as for `token_losses`.
            attention_mask: as for `token_losses`.
            num_bytes: the bytes of the captions in UTF-8.
        """
        loss, tokens = token_losses(logits, input_ids, attention_mask)
        self.losses[name] += loss
        self.tokens[name] += tokens
        self.bytes[name] += num_bytes

    def add_text(self, generated: str, target: str, last_caption: str, references: list[str] | None = None) -> None:
        """
        Add one written caption.

        Args:
            generated: the caption as the model writes it.
            target: the true caption.
            last_caption: the last caption before it, empty where no frame before has one.
            references: all true captions of the frame, where there are several.
        """
        self.generated.append(generated.strip())
        self.targets.append(target)
        self.references.append(references or [target])
        self.last_captions.append(last_caption)

    def add_floor(self, name: str, other: "CaptionMetrics") -> None:
        """Take losses and captions of another model, which has written the same ones, as the floor `name`."""
        for sums in ("losses", "tokens", "bytes"):
            getattr(self, sums)[name] = getattr(other, sums)["loss"]
        self.floor_texts[name] = other.generated

    def compute(self, train_captions: list[str] | None, seed: int) -> dict:
        """
        Return losses, text scores, `floors`, `examples` and `num_captions`.

        Losses are `loss` and `loss_shuffled_frames` in nats per token, and `bits_per_byte` and
        `bits_per_byte_shuffled_frames`. Bits per byte do not depend on the tokenizer: they are the loss summed over all
        tokens, the end token included, over the bytes of the captions in UTF-8. For text scores see `text_scores`. The
        floor `unigram` is that of `unigram_logits`; others are those of `add_floor`.

        Args:
            train_captions: captions of training from which the floor `random_train_caption` is drawn, if any.
            seed: the seed of the draw.
        """
        floors = {"last_caption": text_scores(self.last_captions, self.references)}
        if train_captions:
            drawn = random.Random(seed).choices(train_captions, k=len(self.targets))
            floors["random_train_caption"] = text_scores(drawn, self.references)
        if "unigram" in self.losses:
            floors["unigram"] = self._mean_losses("unigram")
        for name, texts in self.floor_texts.items():
            floors[name] = {**self._mean_losses(name), **text_scores(texts, self.references)}
        with_frames, shuffled = self._mean_losses("loss"), self._mean_losses("loss_shuffled_frames")
        pairs = zip(self.targets[:NUM_EXAMPLES], self.generated[:NUM_EXAMPLES])
        return {
            **with_frames,
            **{f"{name}_shuffled_frames": value for name, value in shuffled.items()},
            **text_scores(self.generated, self.references),
            "floors": floors,
            "examples": [{"target": target, "generated": generated} for target, generated in pairs],
            "num_captions": len(self.targets),
        }

    def _mean_losses(self, name: str) -> dict[str, float | None]:
        loss = self.losses[name]
        return {
            "loss": ratio(loss, self.tokens[name]),
            "bits_per_byte": ratio(loss / math.log(2), self.bytes[name]),
        }
