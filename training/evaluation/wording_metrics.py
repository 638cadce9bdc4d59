"""
How much of a caption's worth is kept in words that training lacks? `wordings` of the results.

Stories of StoryWorld's `test_words` have every caption twice: in held-out words and, as `training_captions`, in words
of training. The next frame is painted from each, and without its caption.
"""

from collections import defaultdict

import torch
from storyattn import StoryAttnProcessor
from tqdm.auto import tqdm

from ..common.evaluation_mode import evaluation_mode
from ..data.prepared_stories import PreparedStories
from .frame_metrics import FrameErrors, ratio
from .state_evaluation import StateEvaluation
from .windows import MeasuredWindows, Model, WindowBatch, chunks

TRAINING_CAPTIONS = "training_captions"
HELD_OUT, TRAINING = WORDINGS = ("held_out_words", "training_words")
GIVEN, WITHHELD = "caption_given", "no_caption"
GAINS = ("l1_changed", "l1_changed_per_frame", "exact")


def measure_wordings(
    model: Model, processor: StoryAttnProcessor, stories: PreparedStories, max_windows: int | None, **options: object
) -> dict[str, dict]:
    """Return `{"wordings": ...}` of stories, see `wording_metrics`, or nothing of a model that paints nothing.

    Args:
        model: is left in the mode that it had.
        processor: its processor.
        stories: the stories of `test_words`.
        max_windows: the most windows to measure, spread evenly over stories and positions; all where `None`.
        options: of `wording_metrics`.
    """
    if not hasattr(model, "predict_next_frame"):
        return {}
    windows = MeasuredWindows.of_model(model, stories, max_windows)
    with evaluation_mode(model):
        return {"wordings": wording_metrics(model, processor, windows, **options)}


@torch.no_grad()
def wording_metrics(
    model: Model,
    processor: StoryAttnProcessor,
    windows: MeasuredWindows,
    *,
    batch_size: int = 16,
    context_frames: int | None = None,
    progress: bool = True,
) -> dict[str, dict]:
    """Measure frames that are painted from captions in held-out words and in words of training.

    Args:
        model: the model, in evaluation mode.
        processor: its processor.
        windows: what is measured; nothing is where the stories have no `training_captions`.
        batch_size: windows per batch.
        context_frames: the most frames to show before the measured one; as many as the model reads by default.
        progress: whether to show a progress bar.

    Returns:
        Of `held_out_words` and `training_words` the rows `caption_given` and `no_caption` (of the frame to paint; the
        captions before it are in the same words), each with the numbers of `FrameErrors` and the share `exact` of
        frames whose whole state is right. `gain_kept`: what a caption in held-out words gains over none, as a share of
        what one in words of training gains, in `l1_changed`, `l1_changed_per_frame` and `exact`; `None` where that
        gains nothing. Nothing where nothing was measured.
    """
    if TRAINING_CAPTIONS not in windows[0]:
        return {}
    errors, states = defaultdict(FrameErrors), StateEvaluation(0)
    bar = tqdm(total=len(windows), desc="measuring wordings", unit="window", disable=not progress)
    for positions in chunks(len(windows), batch_size):
        items = [windows[position] for position in positions]
        worded = {HELD_OUT: items, TRAINING: [{**item, "captions": item[TRAINING_CAPTIONS]} for item in items]}
        for wording, written in worded.items():
            batch = WindowBatch(model, processor, written, context_frames)
            following = batch.encode_captions([item["captions"][-1] for item in written])
            for given, options in ((GIVEN, following), (WITHHELD, {})):
                frames = model.predict_next_frame(**batch.context, **options).float()
                errors[wording, given].update(frames, batch.targets, batch.previous_frames)
                states.update(f"{wording} {given}", frames, written)
        bar.update(len(positions))
    bar.close()
    return _summary(errors, states.compute())


def _summary(errors: dict[tuple[str, str], FrameErrors], states: dict[str, dict]) -> dict[str, dict]:
    """Return what `wording_metrics` does, of errors and states by wording and by what was given."""
    measured = {
        wording: {
            given: {**errors[wording, given].compute(), "exact": states[f"{wording} {given}"]["exact"]}
            for given in (GIVEN, WITHHELD)
        }
        for wording in WORDINGS
    }
    return {**measured, "gain_kept": {name: _gain_kept(measured, name) for name in GAINS}}


def _gain_kept(measured: dict[str, dict], name: str) -> float | None:
    """Return the gain of a caption in held-out words as a share of the gain of one in words of training."""
    if any(measured[wording][given][name] is None for wording in WORDINGS for given in (GIVEN, WITHHELD)):
        return None
    gains = [measured[wording][GIVEN][name] - measured[wording][WITHHELD][name] for wording in WORDINGS]
    return ratio(*gains)
