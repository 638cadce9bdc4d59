"""
Measure a model on a split of picture stories, every number beside its floors: `evaluate_model`.

There are up to five passes over the data, and a few files say what is measured in them, on which output of the model:

1. `_read_stories`: every frame of the measured stories, in `story_evaluation.py`: `retrieval` (see `retrieval_metrics`;
   all captioned frames), `attention` and `grounding` (see `AttentionMetrics` and `GroundingMetrics`; all frames with
   boxes, left out without any).
2. `_measure_windows`: every transition of the stories, or some of them, evenly spread over stories and positions (see
   `spread`). Each is the last one of a window of up to `measured_frames(model.config)` frames. Of the frames before the
   last the model is shown the latest (see `frames_shown`); floors know all of them.
   - In `frame_evaluation.py`, in [0, 1] at the processor's size: `next_frame` (the true next caption given where there
     is one), `next_frame_alone` (not given) and `reconstruction` (of the last frame): see `FrameMetrics`.
     `next_frame.floors`: see `floor_predictions`. `next_frame.shuffled_caption`, a control: with the caption of another
     story. `next_frame.by_event` (only where the stories have `events`) and `by_position`: see `GroupErrors`.
     `next_frame.clip_score`: see `ClipScore`. `state`, on StoryWorld: see `StateEvaluation`.
   - In `caption_evaluation.py`, over windows whose last frame has a caption, by greedy search: `next_caption` and
     `describe`: see `CaptionMetrics`. On StoryWorld also `event` (character, action and place are right) and
     `named_characters`: see `StoryWorldMetrics`.
3. `measure_objects`: on stories of CoDraw with a detector, `objects` in whole stories painted frame by frame: see
   `codraw_objects.py`.
4. `follow_instructions`: the stories of SCONE alone, in `scone_metrics.py`: `exact_match`, whether painted frames show
   exactly the state that they should, in the closed loop and from true frames.
5. `wording_metrics`: stories of StoryWorld's `test_words` alone, `wordings`: what captions are worth in words that
   training lacks.

To add a measure of frames, add a function to `FRAME_MEASURES`; of captions, a file to `text_metrics/` and its name to
`TEXT_METRICS`. `tables.py` has the columns in which they are shown.
"""

import torch
from datasets import Dataset
from storyattn import StoryAttnProcessor
from tqdm.auto import tqdm

from ..codraw.detector import CodrawDetector
from ..common.captions import has_text
from ..common.evaluation_mode import evaluation_mode
from ..data.prepared_stories import PreparedStories
from .caption_evaluation import LOGITS, CaptionEvaluation
from .codraw_objects import COLUMN, measure_objects
from .floors import training_data
from .frame_evaluation import FrameEvaluation
from .instruments import Instruments
from .scone_metrics import check_max_frames, exact_match
from .state_evaluation import has_states
from .story_evaluation import StoryEvaluation
from .windows import MeasuredWindows, Model, WindowBatch, chunks, frames_shown
from .wording_metrics import wording_metrics

# What is measured, and the field of a model's output that it is measured on.
OUTPUT_FIELDS = {
    "next_frame": "predicted_frames",
    "reconstruction": "reconstructed_frames",
    **LOGITS,
    "retrieval": "image_embeds",
    "attention": "spatial_attentions",
}
# The floors that come from training stories; `event` has one of its own.
TRAINING_FLOORS = ("train_median", "random_train_caption", "unigram", "event")


def evaluate_model(
    model: Model,
    processor: StoryAttnProcessor,
    stories: Dataset | PreparedStories,
    *,
    train_stories: Dataset | PreparedStories | None = None,
    batch_size: int = 16,
    max_windows: int | None = None,
    context_frames: int | None = None,
    detector: CodrawDetector | None = None,
    instruments: Instruments | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> dict:
    """Measure a model, which is left in the mode it had.

    Args:
        model: what is `None` in its output is not measured; its `evaluation_notes`, if any, stand in the results.
        processor: its processor.
        stories: the stories of a split.
        train_stories: training stories for the floors `train_median`, `random_train_caption`, `unigram` and of `event`.
        batch_size: windows per batch.
        max_windows: the most windows to measure, spread evenly over stories and positions; all by default.
        context_frames: the most frames to show before the measured one; as many as the model reads by default.
        detector: what reads paintings of CoDraw; without one, `objects` are not measured.
        instruments: networks that frames are compared in, and a baseline; none by default.
        seed: the seed by which captions and frames are exchanged.
        device: where the model is moved to, if given.
        progress: whether to show progress bars.

    Returns:
        The metrics that the module lists, `feature_network`, `num_stories`, `num_windows`, `num_windows_left_out`
        (stories of one frame), and `notes`. A number that could not be measured is `None`.

    Raises:
        ValueError: no story has two frames, or the model cannot read a story of SCONE whole.
    """
    if device is not None:
        model.to(device)
    with evaluation_mode(model):
        given = train_stories, max_windows, context_frames, instruments or Instruments(), seed
        evaluation = _Evaluation(model, processor, stories, *given)
        evaluation.run(detector, batch_size, progress)
        return evaluation.compute()


class _Evaluation:
    """The passes of `evaluate_model`, and what they feed; arguments as there."""

    def __init__(
        self,
        model: Model,
        processor: StoryAttnProcessor,
        stories: Dataset | PreparedStories,
        train_stories: Dataset | PreparedStories | None,
        max_windows: int | None,
        context_frames: int | None,
        instruments: Instruments,
        seed: int,
    ):
        self.model, self.processor, self.stories, self.context_frames = model, processor, stories, context_frames
        check_max_frames(stories, model.config)
        self.seed, self.exact_match = seed, {}
        self.windows = MeasuredWindows.of_model(model, stories, max_windows)
        self.training = None if train_stories is None else training_data(train_stories, model, processor, seed)
        median_frame = None if self.training is None else self.training.median_frame
        self.of_stories = StoryEvaluation(processor, model.config.image_size)
        self.instruments = instruments
        self.of_frames = FrameEvaluation(model, self.windows, median_frame, instruments, has_states(stories), seed)
        self.of_captions = CaptionEvaluation(model, processor, self.windows, self.training, instruments.text_only, seed)
        self.not_measured: list[str] = []
        self.is_codraw = stories[self.windows.stories[0]].get(COLUMN) is not None
        self.objects: dict[str, dict] = {}
        self.wordings: dict[str, dict] = {}

    def run(self, detector: CodrawDetector | None, batch_size: int, progress: bool) -> None:
        """Go through all passes."""
        self.read_stories(progress)
        self.measure_windows(batch_size, progress)
        self.measure_objects(detector, batch_size, progress)
        self.follow_instructions(batch_size, progress)
        self.measure_wordings(batch_size, progress)

    def read_stories(self, progress: bool) -> None:
        """Read every frame of the measured stories once, as many at a time as the model reads."""
        for index in tqdm(self.windows.stories, desc="reading stories", unit="story", disable=not progress):
            story = self.stories[index]
            columns = ("frames", "captions", "boxes") if story.get("boxes") else ("frames", "captions")
            for positions in chunks(len(story["frames"]), self.model.config.max_frames):
                frames = {name: [story[name][position] for position in positions] for name in columns}
                inputs = self.processor(frames=[frames["frames"]], captions=[frames["captions"]], return_tensors="pt")
                output = self.model.base_model(**inputs.to(self.model.device))
                if output.image_embeds is None:
                    return
                self.of_stories.update(index, frames, output)

    def measure_windows(self, batch_size: int, progress: bool) -> None:
        """Measure every transition."""
        bar = tqdm(total=len(self.windows), desc="measuring windows", unit="window", disable=not progress)
        for positions in chunks(len(self.windows), batch_size):
            items = [self.windows[position] for position in positions]
            batch = WindowBatch(self.model, self.processor, items, self.context_frames)
            output = self.model(**batch.inputs, use_next_caption=True)
            self.of_frames.update(positions, batch, output)
            self.of_captions.update(positions, batch, output)
            self.not_measured = [name for name, field in OUTPUT_FIELDS.items() if getattr(output, field) is None]
            bar.update(len(positions))
        bar.close()

    def measure_objects(self, detector: CodrawDetector | None, batch_size: int, progress: bool) -> None:
        """Measure what paintings of CoDraw show; nothing without a detector, clip art, or paintings."""
        if detector is None or not self.is_codraw or "next_frame" in self.not_measured:
            return
        options = {"batch_size": batch_size, "context_frames": self.context_frames, "progress": progress}
        stories = self.stories, self.windows.stories
        self.objects = {"objects": measure_objects(self.model, self.processor, *stories, detector, **options)}

    def follow_instructions(self, batch_size: int, progress: bool) -> None:
        """Measure how the measured stories of SCONE are followed, by a model that paints."""
        if "next_frame" in self.not_measured:
            return
        self.exact_match = exact_match(
            self.model,
            self.processor,
            self.stories,
            sorted(set(self.windows.story_of)),
            batch_size=batch_size,
            context_frames=self.context_frames,
            seed=self.seed,
            progress=progress,
        )

    def measure_wordings(self, batch_size: int, progress: bool) -> None:
        """Measure what captions are worth in words that training lacks, of stories that have both, by a painter."""
        if "next_frame" in self.not_measured:
            return
        options = {"batch_size": batch_size, "context_frames": self.context_frames, "progress": progress}
        self.wordings = wording_metrics(self.model, self.processor, self.windows, **options)

    def compute(self) -> dict:
        """Return what `evaluate_model` returns."""
        return {
            **({"exact_match": self.exact_match} if self.exact_match else {}),
            **self.of_frames.compute(),
            **self.of_captions.compute(),
            **self.of_stories.compute(),
            **self.objects,
            **({"wordings": self.wordings} if self.wordings else {}),
            "feature_network": getattr(self.instruments.feature_network, "name", None),
            "num_stories": len(self.windows.stories),
            "num_windows": len(self.windows),
            "num_windows_left_out": self.windows.num_left_out,
            "notes": self._notes(),
        }

    def _notes(self) -> list[str]:
        notes = list(getattr(self.model, "evaluation_notes", ()))
        if self.not_measured:
            notes.append(f"the model does not give what these are measured on: {', '.join(self.not_measured)}")
        notes += self.instruments.notes()
        sharpening = getattr(self.model.config, "frame_sharpening", 0)
        if sharpening:
            notes.append(f"painted frames are sharpened by {sharpening} after painting")
        most = max(map(len, self.windows.captions_of)) - 1
        shown = frames_shown(self.model.config, self.context_frames)
        if shown < most:
            notes.append(f"of up to {most} frames before the measured one the model is shown the last {shown}")
        if self.windows.num_left_out:
            notes.append(f"{self.windows.num_left_out} stories of a single frame were left out")
        if self.training is None:
            notes.append(
                f"no training stories were given: no floors that come from them ({', '.join(TRAINING_FLOORS)})"
            )
        without_caption = sum(not has_text(captions[-1]) for captions in self.windows.captions_of)
        if without_caption:
            notes.append(
                f"{without_caption} windows have no caption at their last frame: left out of the captions' measures"
            )
        if self.is_codraw and not self.objects:
            notes.append("no detector of CoDraw's clip art was given, or the model paints nothing: no objects")
        if len(self.windows.stories) == 1:
            notes.append(
                "all windows are of one story: nothing to exchange, no shuffled_caption, no loss_shuffled_frames"
            )
        return notes
