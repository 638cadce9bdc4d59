"""Say at the start of a training, in one line, what would hurt it: what captions and lengths alone show."""

import argparse
from collections.abc import Mapping

from transformers import PreTrainedTokenizerBase

from ..common.captions import has_text
from ..data.prepared_stories import PreparedStories
from .findings import HURTS, judge_captions, judge_lengths, judge_overlap
from .overlap import shared_stories
from .report import caption_numbers, length_numbers, overlap_numbers
from .survey import Survey
from .token_coverage import count_tokens


def harm_line(
    splits: Mapping[str, PreparedStories],
    tokenizers: Mapping[str, PreTrainedTokenizerBase],
    num_frames: int,
    max_caption_length: int,
) -> str | None:
    """Return a line with what `storyattn data check` says would hurt, as far as no picture is needed for it.

    Args:
        splits: the good stories of each split; the first one is trained on.
        tokenizers: the tokenizers that read the captions.
        num_frames: frames of a window.
        max_caption_length: tokens at which captions are cut.

    Returns:
        The line; `None` where nothing would hurt.
    """
    options = argparse.Namespace(num_frames=num_frames, max_caption_length=max_caption_length)
    surveys = {name: _survey(stories) for name, stories in splits.items()}
    numbers = {
        name: {"stories": survey.num_stories, **length_numbers(survey.frames, num_frames)}
        for name, survey in surveys.items()
    }
    findings = judge_lengths(numbers, options)
    for tokenizer in tokenizers.values():
        read = {name: _caption_numbers(survey, tokenizer, max_caption_length) for name, survey in surveys.items()}
        findings += judge_captions(read, options)
    first, *others = surveys
    for other in others:
        shared = shared_stories(first, other, surveys)
        findings += judge_overlap(overlap_numbers(first, other, shared, surveys, {}))
    texts = dict.fromkeys(finding.text for finding in findings if finding.severity == HURTS)
    if not texts:
        return None
    return f"this would hurt the training (storyattn data check has more): {' | '.join(texts)}"


def _survey(stories: PreparedStories) -> Survey:
    """Return a survey of the captions alone."""
    captions = list(stories["captions"])
    rows = list(range(len(captions)))
    return Survey(names=list(stories["story_id"]), frames=list(map(len, captions)), rows=rows, captions=captions)


def _caption_numbers(survey: Survey, tokenizer: PreTrainedTokenizerBase, max_caption_length: int) -> dict:
    texts = [text for captions in survey.captions for text in captions if has_text(text)]
    return caption_numbers(survey.captions, count_tokens(texts, tokenizer), max_caption_length)
