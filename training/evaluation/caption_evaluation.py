"""Which captions of a model are measured: `next_caption` and `describe` of the results."""

from storyattn import StoryAttnOutput, StoryAttnProcessor

from ..common.captions import has_text
from ..data.validation import REFERENCES_COLUMN
from .caption_metrics import CaptionMetrics, unigram_logits
from .floors import TrainingData
from .storyworld_metrics import ASPECTS, StoryWorldMetrics
from .windows import MeasuredWindows, Model, WindowBatch, exchange

# What is measured, and the field of a model's output that has its logits.
LOGITS = {"next_caption": "next_caption_logits", "describe": "describe_logits"}
TEXT_ONLY = "text_only"  # the floor of a trained model that reads the captions before and no picture


class CaptionEvaluation:
    """
    Measures the last caption of every window that has one: its loss, and what greedy search writes.

    A trained baseline that reads no picture, `text_only`, is the floor of both captions: it knows the captions before.

    Args:
        model: the model that is measured.
        processor: its processor.
        windows: the windows that are measured.
        training: what the floors take from training stories, if any.
        text_only: that baseline and its processor, if there is one.
        seed: the seed by which frames are exchanged and captions of training drawn.
    """

    def __init__(
        self,
        model: Model,
        processor: StoryAttnProcessor,
        windows: MeasuredWindows,
        training: TrainingData | None,
        text_only: tuple[Model, StoryAttnProcessor] | None,
        seed: int,
    ):
        self.model, self.processor = model, processor
        self.windows, self.training, self.seed = windows, training, seed
        self.text_only = text_only
        names = [*LOGITS] if text_only is None else [*LOGITS, TEXT_ONLY]
        self.captions = {name: CaptionMetrics() for name in names}
        self.storyworld = {name: StoryWorldMetrics() for name in names}
        self.frame_donors = exchange(windows.story_of, seed)

    def update(self, positions: range, batch: WindowBatch, output: StoryAttnOutput) -> None:
        """
        Measure a batch of windows.

        Args:
            positions: their positions among all windows.
            batch: the windows.
            output: what the model gives for their inputs.
        """
        rows = [row for row, item in enumerate(batch.items) if has_text(item["captions"][-1])]
        measured = [name for name, field in LOGITS.items() if getattr(output, field) is not None]
        if not rows or not measured:
            return
        self._add_losses("loss", batch, output, rows)
        if self.training is not None:
            self._add_unigram(batch, rows, measured, getattr(output, LOGITS[measured[0]]).shape[-1])
        donors = [self.frame_donors[position] for position in positions]
        if None not in donors:
            inputs = batch.with_frames_of([self.windows[donor] for donor in donors])
            self._add_losses("loss_shuffled_frames", batch, self.model(**inputs), rows)
        if "next_caption" in measured:
            self._add_texts("next_caption", _write(batch, batch.context, "continue"), batch, rows)
        if "describe" in measured:
            self._add_texts("describe", _write(batch, batch.without_last_caption, "describe"), batch, rows)
        if self.text_only is not None:
            self._add_text_only(batch.items, rows)

    def compute(self) -> dict[str, dict]:
        """Return the measures of both captions by name."""
        captions, windows = (None, None) if self.training is None else (self.training.captions, self.training.windows)
        if self.text_only is not None:
            for name in LOGITS:
                self.captions[name].add_floor(TEXT_ONLY, self.captions[TEXT_ONLY])
        metrics = {
            name: {
                **self.captions[name].compute(captions, self.seed),
                **self.storyworld[name].compute(windows, self.seed),
            }
            for name in LOGITS
        }
        if self.text_only is not None:
            floor = self.storyworld[TEXT_ONLY].compute(windows, self.seed)
            for numbers in metrics.values():
                if "event" in numbers and floor:
                    numbers["event"][TEXT_ONLY] = {aspect: floor["event"][aspect] for aspect in ASPECTS}
                    numbers["named_characters"]["floors"][TEXT_ONLY] = _without_floors(floor["named_characters"])
        return metrics

    def _add_text_only(self, items: list[dict], rows: list[int]) -> None:
        """Measure what the baseline `text_only` makes of the windows."""
        batch = WindowBatch(*self.text_only, items)
        logits = batch.at_last_transition(self.text_only[0](**batch.inputs).next_caption_logits)
        ids, mask = batch.target_ids[rows], batch.target_mask[rows]
        self.captions[TEXT_ONLY].add_loss("loss", logits[rows], ids, mask, _num_bytes(batch, rows))
        self._add_texts(TEXT_ONLY, _write(batch, batch.context, "continue"), batch, rows)

    def _add_texts(self, name: str, texts: list[str], batch: WindowBatch, rows: list[int]) -> None:
        for row in rows:
            *before, target = batch.items[row]["captions"]
            last_caption = next((text for text in reversed(before) if has_text(text)), "")
            references = (batch.items[row].get(REFERENCES_COLUMN) or [None])[-1]
            self.captions[name].add_text(texts[row], target, last_caption, references)
            self.storyworld[name].update(texts[row], batch.items[row])

    def _add_losses(self, name: str, batch: WindowBatch, output: StoryAttnOutput, rows: list[int]) -> None:
        for caption, at_last in (("next_caption", batch.at_last_transition), ("describe", batch.at_last_frame)):
            logits = getattr(output, LOGITS[caption])
            if logits is not None:
                ids, mask = batch.target_ids[rows], batch.target_mask[rows]
                self.captions[caption].add_loss(name, at_last(logits)[rows], ids, mask, _num_bytes(batch, rows))

    def _add_unigram(self, batch: WindowBatch, rows: list[int], measured: list[str], vocab_size: int) -> None:
        ids, mask = batch.target_ids[rows].cpu(), batch.target_mask[rows].cpu()
        logits = unigram_logits(self.training.tokens, vocab_size).expand(*ids.shape, -1)
        for name in measured:
            self.captions[name].add_loss("unigram", logits, ids, mask, _num_bytes(batch, rows))


def _write(batch: WindowBatch, inputs: dict, task: str) -> list[str]:
    """Return the caption that greedy search writes for each window."""
    options = {"max_new_tokens": batch.model.config.max_caption_length, "do_sample": False, "num_beams": 1}
    written = batch.model.generate(**inputs, task=task, **options)
    return batch.processor.batch_decode(written, skip_special_tokens=True)


def _num_bytes(batch: WindowBatch, rows: list[int]) -> int:
    """Count the UTF-8 bytes of the last captions; of a caption that is cut, those of the tokens that are left."""
    total = 0
    for row in rows:
        text = batch.items[row]["captions"][-1]
        ids = batch.target_ids[row, batch.target_mask[row] > 0]
        if len(ids) >= batch.model.config.max_caption_length:
            (text,) = batch.processor.batch_decode([ids], skip_special_tokens=True)
        total += len(text.encode())
    return total


def _without_floors(scores: dict) -> dict[str, float | None]:
    return {name: value for name, value in scores.items() if name != "floors"}
