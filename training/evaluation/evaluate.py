"""
Measures a model on a split of picture stories, every number beside its floors; see `evaluate_model`.

Behind `storyattn evaluate`; the numbers end up in `results.json` (`results_document`, `write_results`).
"""

import torch
from tqdm.auto import tqdm

from ..data.windows import windows_of
from .attention_metrics import AttentionMetrics
from .caption_metrics import CaptionMetrics, unigram_logits
from .floors import floor_predictions, train_median
from .frame_metrics import EventMetrics, FrameErrors, FrameMetrics
from .mode import _chunks, _evaluating
from .retrieval import retrieval_metrics
from .scone_metrics import check_max_frames, exact_match
from .storyworld_metrics import StoryWorldMetrics
from .windows import MeasuredWindows, WindowBatch, exchange, frames_shown, measured_frames

# What is measured, and the field of a model's output that it is measured on.
GIVEN_BY = {
    "next_frame": "predicted_frames",
    "reconstruction": "reconstructed_frames",
    "next_caption": "next_caption_logits",
    "describe": "describe_logits",
    "retrieval": "image_embeds",
    "attention": "spatial_attentions",
}


def evaluate_model(
    model,
    processor,
    stories,
    *,
    train_stories=None,
    batch_size: int = 16,
    max_windows: int | None = None,
    context_frames: int | None = None,
    seed: int = 0,
    device=None,
    progress: bool = True,
) -> dict:
    """
    The `metrics` of a model on the stories of a split (schema of `read_stories`).

    Every run of `measured_frames(model.config)` frames in a row (a shorter story: the whole of it) is a window, and the
    transition into its last frame is measured; windows of one frame are left out and counted
    (`num_windows_left_out`). With `max_windows`, that many are taken evenly over the split. Of the frames before the
    last, the model is shown the last `context_frames` (see `WindowBatch`); floors know all. Frames are compared in
    [0, 1] at the processor's size.

    - `next_frame` (the true next caption given where there is one), `next_frame_alone` (not given), `reconstruction`
      (of the last frame): see `FrameMetrics`. `next_frame.floors`: see `floor_predictions`.
      `next_frame.shuffled_caption`: with the caption of another story instead. `next_frame.by_event`: see
      `EventMetrics`; only where the stories have `events`.
    - `next_caption`, `describe`: see `CaptionMetrics`; over windows whose last frame has a caption. Greedy search. On
      StoryWorld also `event` (character, action and place told right) and `named_characters`: see `StoryWorldMetrics`.
    - `retrieval`: see `retrieval_metrics`; over all captioned frames of the stories that have a measured window.
      `attention`: see `AttentionMetrics`; over the frames of the same stories that have boxes, left out without any.
    - `exact_match`: see `scone_metrics.exact_match`; only where stories have states of SCONE.
    - `num_stories`, `num_windows`, `notes` (what was left out and why). A number that could not be taken is `None`.

    What is `None` in the output of a model, such as the frames of one that paints none, is not measured. Notes of its
    own are in its `evaluation_notes`.

    `train_stories` give the floors `train_median`, `random_train_caption`, `unigram` and that of `event`. `seed` draws
    which captions and frames are exchanged. The model is put into evaluation mode, moved to `device` if given, and left
    in the mode it had.

    Raises `ValueError` where no story has two frames, and where the model cannot read a story of SCONE whole.
    """
    check_max_frames(stories, model.config)
    if device is not None:
        model.to(device)
    with _evaluating(model):
        run = _Evaluation(model, processor, stories, train_stories, max_windows, context_frames, seed)
        run.read_stories(progress)
        run.measure_windows(batch_size, progress)
        run.follow_instructions(batch_size, progress)
        return run.compute()


class _Evaluation:
    """One run of `evaluate_model`: two passes that sum up (frames by themselves, then windows), then the numbers."""

    def __init__(self, model, processor, stories, train_stories, max_windows, context_frames, seed):
        self.model, self.processor, self.stories, self.seed = model, processor, stories, seed
        self.windows = MeasuredWindows(stories, measured_frames(model.config), max_windows)
        self.context_frames, self.not_given = context_frames, []
        self.train_captions, self.train_windows, self.train_tokens, self.median = None, None, None, None
        if train_stories is not None:
            self.train_captions = [text for told in train_stories["captions"] for text in told if _told(text)]
            self.train_windows = windows_of(train_stories["captions"], measured_frames(model.config))
            self.train_tokens = self._tokens(self.train_captions)
            self.median = train_median(train_stories, self._to_pixels, seed).to(model.device)
        self.frames = {name: self._frame_metrics() for name in ("next_frame", "next_frame_alone", "reconstruction")}
        self.floors, self.shuffled_caption, self.events = {}, FrameErrors(), EventMetrics()
        self.captions = {"next_caption": CaptionMetrics(), "describe": CaptionMetrics()}
        self.storyworld = {name: StoryWorldMetrics() for name in self.captions}
        self.attention, self.exact_match = AttentionMetrics(), {}
        self.frame_donors = exchange(self.windows.story_of, seed)
        self.caption_donors = self._caption_donors()

    def read_stories(self, progress: bool) -> None:
        """Reads every frame of the measured stories once: embeddings for retrieval, maps for attention."""
        self.embeds = [torch.zeros(0, 1), torch.zeros(0, 1), torch.zeros(0)]
        embeds = {"image": [], "text": [], "story": []}
        chosen = sorted(set(self.windows.story_of))
        for index in tqdm(chosen, desc="reading stories", unit="story", disable=not progress):
            story = self.stories[index]
            for frames in _chunks(len(story["frames"]), self.model.config.max_frames):
                pictures, captions = ([story[name][i] for i in frames] for name in ("frames", "captions"))
                inputs = self.processor(frames=[pictures], captions=[captions], return_tensors="pt")
                output = self.model.base_model(**inputs.to(self.model.device))
                if output.image_embeds is None:
                    return
                told = [position for position, text in enumerate(captions) if _told(text)]
                embeds["image"].append(output.image_embeds[0, told].float().cpu())
                embeds["text"].append(output.text_embeds[0, told].float().cpu())
                embeds["story"].append(torch.full((len(told),), index))
                if story.get("boxes") and output.spatial_attentions is not None:
                    self._add_attention(output.spatial_attentions[0], pictures, [story["boxes"][i] for i in frames])
        self.embeds = [torch.cat(embeds[name]) for name in ("image", "text", "story")]

    def measure_windows(self, batch_size: int, progress: bool) -> None:
        """Measures the transition into the last frame of every window."""
        bar = tqdm(total=len(self.windows), desc="measuring windows", unit="window", disable=not progress)
        for positions in _chunks(len(self.windows), batch_size):
            items = [self.windows[position] for position in positions]
            batch = WindowBatch(self.model, self.processor, items, self.context_frames)
            output = self.model(**batch.inputs, use_next_caption=True)
            self._add_floors(batch)
            if output.predicted_frames is not None:
                predictions = batch.last_transition(output.predicted_frames).float()
                self._add_frames(batch, output, predictions)
                self._add_shuffled_caption(batch, positions)
                self._add_events(batch, predictions)
            self._add_captions(batch, output, positions)
            self.not_given = [name for name, given in GIVEN_BY.items() if getattr(output, given) is None]
            bar.update(len(positions))
        bar.close()

    def follow_instructions(self, batch_size: int, progress: bool) -> None:
        """Measures whether the stories of SCONE are followed, by a model that paints."""
        if "next_frame" not in self.not_given:
            chosen = sorted(set(self.windows.story_of))
            options = {"context_frames": self.context_frames, "seed": self.seed, "progress": progress}
            self.exact_match = exact_match(
                self.model, self.processor, self.stories, chosen, batch_size=batch_size, **options
            )

    def compute(self) -> dict:
        """The dictionary that `evaluate_model` returns."""
        metrics = {name: frames.compute() for name, frames in self.frames.items()}
        metrics["next_frame"]["floors"] = {name: floor.compute() for name, floor in self.floors.items()}
        metrics["next_frame"]["shuffled_caption"] = self.shuffled_caption.compute()
        if self.events.errors:
            metrics["next_frame"]["by_event"] = self.events.compute()
        for name, captions in self.captions.items():
            metrics[name] = captions.compute(self.train_captions, self.seed)
            metrics[name] |= self.storyworld[name].compute(self.train_windows, self.seed)
        metrics["retrieval"] = retrieval_metrics(*self.embeds)
        attention = self.attention.compute()
        if attention is not None:
            metrics["attention"] = attention
        if self.exact_match:
            metrics["exact_match"] = self.exact_match
        counts = {
            "num_stories": len(set(self.windows.story_of)),
            "num_windows": len(self.windows),
            "num_windows_left_out": self.windows.num_left_out,
        }
        return {**metrics, **counts, "notes": self._notes()}

    def _add_attention(self, maps, pictures, boxes) -> None:
        size = self.model.config.image_size
        for frame, picture, entities in zip(maps, pictures, boxes):
            original = (picture.height, picture.width)
            found = self.processor.image_processor.transform_boxes([entity["box"] for entity in entities], original)
            self.attention.update(frame, found, *size)

    def _add_frames(self, batch, output, predictions) -> None:
        painted = {"next_frame": predictions, "next_frame_alone": self.model.predict_next_frame(**batch.given)}
        if output.reconstructed_frames is not None:
            painted["reconstruction"] = batch.last_frame(output.reconstructed_frames)
        for name, frames in painted.items():
            self.frames[name].update(frames.float(), batch.targets, batch.last_frames)

    def _add_floors(self, batch) -> None:
        floors = [
            floor_predictions(batch.input_frames(row), target, self.median) for row, target in enumerate(batch.targets)
        ]
        for name in floors[0]:
            predictions = torch.stack([floor[name] for floor in floors])
            metrics = self.floors.setdefault(name, self._frame_metrics())
            metrics.update(predictions, batch.targets, batch.last_frames)

    def _add_shuffled_caption(self, batch, positions) -> None:
        donors = [self.caption_donors.get(position) for position in positions]
        rows = [row for row, donor in enumerate(donors) if donor is not None]
        if not rows:
            return
        captions = [None if donor is None else self.windows.captions_of[donor][-1] for donor in donors]
        predictions = self.model.predict_next_frame(**batch.given, **batch.encode_captions(captions)).float()
        self.shuffled_caption.update(predictions[rows], batch.targets[rows], batch.last_frames[rows])

    def _add_events(self, batch, predictions) -> None:
        for row, item in enumerate(batch.items):
            if not item.get("events"):
                continue
            event, picture, box = item["events"][-1], item["frames"][-1], None
            if event["box"]:
                original = (picture.height, picture.width)
                box = self.processor.image_processor.transform_boxes([event["box"]], original)[0]
            frames = (predictions[row], batch.targets[row], batch.last_frames[row])
            self.events.update(event["kind"], box, *frames)

    def _add_captions(self, batch, output, positions) -> None:
        told = [row for row, item in enumerate(batch.items) if _told(item["captions"][-1])]
        tasks = [name for name in self.captions if getattr(output, GIVEN_BY[name]) is not None]
        if not told or not tasks:
            return
        self._add_losses("loss", batch, output, told)
        if self.train_tokens is not None:
            self._add_unigram(batch, told, tasks, getattr(output, GIVEN_BY[tasks[0]]).shape[-1])
        donors = [self.frame_donors[position] for position in positions]
        if None not in donors:
            exchanged = batch.with_frames([self.windows[donor] for donor in donors])
            self._add_losses("loss_shuffled_frames", batch, self.model(**exchanged), told)
        options = {"max_new_tokens": self.model.config.max_caption_length, "do_sample": False, "num_beams": 1}
        for name, task, inputs in (
            ("next_caption", "continue", batch.given),
            ("describe", "describe", batch.undescribed),
        ):
            if name not in tasks:
                continue
            written = self.model.generate(**inputs, task=task, **options)
            texts = self.processor.batch_decode(written, skip_special_tokens=True)
            for row in told:
                *before, target = batch.items[row]["captions"]
                last_caption = next((text for text in reversed(before) if _told(text)), "")
                self.captions[name].add_text(texts[row], target, last_caption)
                self.storyworld[name].update(texts[row], batch.items[row])

    def _add_losses(self, name: str, batch, output, rows: list[int]) -> None:
        for task, at_last in (("next_caption", batch.last_transition), ("describe", batch.last_frame)):
            values = getattr(output, GIVEN_BY[task])
            if values is not None:
                ids, mask = batch.target_ids[rows], batch.target_mask[rows]
                self.captions[task].add_loss(name, at_last(values)[rows], ids, mask, self._num_bytes(batch, rows))

    def _add_unigram(self, batch, rows: list[int], tasks: list[str], vocab_size: int) -> None:
        ids, mask = batch.target_ids[rows].cpu(), batch.target_mask[rows].cpu()
        logits = unigram_logits(self.train_tokens, vocab_size).expand(*ids.shape, -1)
        for task in tasks:
            self.captions[task].add_loss("unigram", logits, ids, mask, self._num_bytes(batch, rows))

    def _num_bytes(self, batch, rows: list[int]) -> int:
        """Bytes of the last captions in UTF-8; of one that is cut those of its tokens, the loss being theirs."""
        total = 0
        for row in rows:
            text = batch.items[row]["captions"][-1]
            ids = batch.target_ids[row, batch.target_mask[row] > 0]
            if len(ids) >= self.model.config.max_caption_length:
                (text,) = self.processor.batch_decode([ids], skip_special_tokens=True)
            total += len(text.encode())
        return total

    def _tokens(self, captions: list[str]) -> torch.Tensor:
        """All tokens of captions `(n,)` but their start tokens, as the text decoder knows them."""
        tokens = []
        for start in range(0, len(captions), 1000):  # padded to the longest of them
            encoded = self.processor.tokenize_captions([[text] for text in captions[start : start + 1000]])
            kind = "decoder_" if "decoder_input_ids" in encoded else ""
            ids, mask = (encoded[f"{kind}{name}"][:, 0, 1:] for name in ("input_ids", "attention_mask"))
            tokens.append(ids[mask > 0])
        return torch.cat(tokens) if tokens else torch.zeros(0, dtype=torch.long)

    def _caption_donors(self) -> dict[int, int]:
        """
        By position of a window whose last frame has a caption: the window of another story whose last caption it
        gets.
        """
        told = [position for position, captions in enumerate(self.windows.captions_of) if _told(captions[-1])]
        donors = exchange([self.windows.story_of[position] for position in told], self.seed)
        return {position: told[donor] for position, donor in zip(told, donors) if donor is not None}

    def _frame_metrics(self) -> FrameMetrics:
        return FrameMetrics(self.model.perceptual_distance)

    def _to_pixels(self, frames) -> torch.Tensor:
        inputs = self.processor(frames=[frames], return_tensors="pt").to(self.model.device)
        return self.model.unnormalize(inputs["pixel_values"])[0].float()

    def _notes(self) -> list[str]:
        notes = list(getattr(self.model, "evaluation_notes", ()))
        if self.not_given:
            notes.append(f"the model does not give what these are measured on: {', '.join(self.not_given)}")
        if self.model.perceptual_distance is None:
            notes.append("no perceptual_model: no perceptual distance")
        most = max(map(len, self.windows.captions_of)) - 1
        shown = frames_shown(self.model.config, self.context_frames)
        if shown < most:
            notes.append(f"of up to {most} frames before the measured one the model is shown the last {shown}")
        if self.windows.num_left_out:
            notes.append(f"{self.windows.num_left_out} windows of a single frame were left out")
        if self.train_captions is None:
            notes.append("no training stories were given: no floors that come from them")
        untold = sum(not _told(captions[-1]) for captions in self.windows.captions_of)
        if untold:
            notes.append(f"{untold} windows have no caption at their last frame: left out of the captions' measures")
        if None in self.frame_donors:
            notes.append(
                "all windows are of one story: nothing to exchange, no shuffled_caption, no loss_shuffled_frames"
            )
        return notes


def _told(caption: str | None) -> bool:
    return bool(caption and caption.strip())
