"""Judge the numbers of a data set: what they mean for training, and what to do about it."""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass

from ..common.excerpts import MAX_PROBLEM, listed, quoted
from ..data.number_ranges import NumberRanges
from ..data.validation import MAX_BAD_SHARE

HURTS, NOTE = "hurts", "note"
MAX_CUT_SHARE = 0.2  # of the captions
MAX_EMPTY_SHARE = 0.5
MAX_UNKNOWN_SHARE = 0.05  # of the tokens
MAX_SPELLED_SHARE = 0.4
MAX_CROPPED_SHARE = 0.25  # of a picture
USUAL_MODES = ("RGB", "L")
NUM_NAMED = 5  # stories that a finding names
TEXT_POSITIONS = 64  # of the text encoder of the tiny preset


@dataclass
class Finding:
    """One line of `text` that says what is wrong and what to do; `severity` is `HURTS` or `NOTE`."""

    severity: str
    text: str


def judge(
    splits: dict[str, dict],
    empty: dict[str, str],
    shared: list[dict],
    licenses: dict[str, int],
    options: argparse.Namespace,
) -> list[Finding]:
    """Return the findings on a data set, those that hurt first.

    Args:
        splits: numbers of each split, from `split_numbers`.
        empty: for each split without stories, the reason.
        shared: what each two splits have in common, from `overlap_numbers`.
        licenses: number of stories by license.
        options: flags of the command: `max_caption_length`, `num_frames`, `image_size`.
    """
    findings = [Finding(HURTS, f"{reason}: give it stories, or training stops there") for reason in empty.values()]
    findings += _judge_bad(splits)
    findings += judge_lengths(splits, options)
    findings += judge_captions(splits, options)
    findings += _judge_pictures(splits, options)
    findings += _judge_ids(splits)
    for overlap in shared:
        findings += judge_overlap(overlap)
    if not licenses:
        findings.append(
            Finding(NOTE, "no license is known: find out what may be done with the stories before publishing")
        )
    return sorted(findings, key=lambda finding: finding.severity != HURTS)


def _judge_bad(splits: dict[str, dict]) -> list[Finding]:
    findings = []
    for name, numbers in splits.items():
        if numbers["bad_stories"]:
            share = numbers["bad_stories"] / numbers["stories"]
            what = f"{numbers['bad_stories']} of {numbers['stories']} stories of {name} are bad"
            advice = "--on_bad_story skip leaves them out"
            if share > MAX_BAD_SHARE:
                advice = f"more than {MAX_BAD_SHARE:.0%}, which training refuses; mend them or take them out"
            lines = [f"{quoted(story)}: {reason}" for story, reason in numbers["bad"][:NUM_NAMED]]
            named = listed(lines, separator="; ", length=MAX_PROBLEM)
            findings.append(Finding(HURTS if share > MAX_BAD_SHARE else NOTE, f"{what}: {advice} ({named})"))
    advice = "captions may belong to other frames; give each frame one, null where there is none"
    return findings + _counted(splits, "unequal_numbers", "stories", "have unequal numbers", advice, lambda share: True)


def judge_lengths(splits: dict[str, dict], options: argparse.Namespace) -> list[Finding]:
    """Return the findings on numbers of frames, see `judge`."""
    findings = []
    for name, numbers in splits.items():
        if not numbers["frames"] or numbers["frames_per_story"]["max"] < 2:
            what = f"no good story of {name} has two frames or more"
            findings.append(Finding(HURTS, f"{what}: nothing can be continued; join frames of a story in one row"))
    advice = "they teach to describe, not to continue; leave them out or join them"
    findings += _counted(splits, "stories_of_one_frame", "stories", "have one frame", advice)
    length = f"are shorter than {options.num_frames} frames"
    advice = "each is one short window; --config_overrides max_frames=N takes shorter ones of all"
    return findings + _counted(splits, "stories_shorter_than_num_frames", "stories", length, advice)


def judge_captions(splits: dict[str, dict], options: argparse.Namespace) -> list[Finding]:
    """Return the findings on captions and their tokens, see `judge`."""
    wanted = max(
        (numbers["caption_tokens"]["99%"] for numbers in splits.values() if numbers["caption_tokens"]), default=0
    )
    advice = f"--config_overrides {_overrides(wanted)} keeps 99% of each split whole"
    cut = f"are cut at {options.max_caption_length} tokens"
    findings = _counted(
        splits, "cut_captions", "captions_with_text", cut, advice, lambda share: share > MAX_CUT_SHARE, "captions"
    )
    advice = "these frames teach pictures alone; write them, or check --captions_column"
    findings += _counted(
        splits, "empty_captions", "captions", "are empty", advice, lambda share: share > MAX_EMPTY_SHARE
    )
    return findings + _judge_tokens(splits)


def _judge_tokens(splits: dict[str, dict]) -> list[Finding]:
    """Return the findings on what the tokenizer does not know; a small share of spelled tokens is none."""
    advice = "what they say is lost; take a tokenizer of the captions' language"
    findings = _counted(
        splits, "unknown_tokens", "tokens", "are unknown", advice, lambda share: share > MAX_UNKNOWN_SHARE
    )
    spelled = {
        name: numbers
        for name, numbers in splits.items()
        if numbers["spelled_tokens"] > MAX_SPELLED_SHARE * numbers["tokens"]
    }
    what = "spell words by letters or bytes"
    advice = "captions are long and hard to learn; take a tokenizer of their language"
    return findings + _counted(spelled, "spelled_tokens", "tokens", what, advice, lambda share: True)


def _judge_pictures(splits: dict[str, dict], options: argparse.Namespace) -> list[Finding]:
    findings = _counted(
        splits,
        "repeated_frames",
        "frames",
        "look like the frame before",
        "they teach to copy; take out one of the two",
    )
    for name, numbers in splits.items():
        odd = [f"{count} {mode}" for mode, count in numbers["modes"].items() if mode not in USUAL_MODES]
        if odd:
            advice = "they are turned into RGB, floats and 16 bits scaled to 8, what is transparent laid on white"
            advice += "; look at the sheet"
            findings.append(Finding(NOTE, f"{', '.join(odd)} pictures in {name}: {advice}"))
    findings += _judge_ranges(splits)
    size = f"are smaller than {options.image_size[0]}x{options.image_size[1]} (height x width)"
    advice = "they are blurred by enlarging; a smaller image_size fits them"
    findings += _counted(splits, "smaller_than_image_size", "frames", size, advice)
    return findings + _judge_crop(splits, options)


def _judge_ranges(splits: dict[str, dict]) -> list[Finding]:
    ranges = NumberRanges()
    try:
        for numbers in splits.values():
            ranges.add((story, [one]) for one, story in numbers["number_ranges"].items())
    except ValueError as error:
        return [Finding(HURTS, f"{error}: save all pictures with 8 bits a channel")]
    return [Finding(NOTE, f"{line}; look at the sheet") for line in ranges.lines()]


def _judge_crop(splits: dict[str, dict], options: argparse.Namespace) -> list[Finding]:
    cropped = {name: numbers for name, numbers in splits.items() if numbers["share_cut_off"] > MAX_CROPPED_SHARE}
    if not cropped:
        return []
    shares = ", ".join(f"{numbers['share_cut_off']:.0%} of one of {name}" for name, numbers in cropped.items())
    largest = max(cropped.values(), key=lambda numbers: numbers["frames"])
    fitting = _fitting_size(largest["picture_sizes"]["most_frequent"], options.image_size)
    height, width = options.image_size
    what = f"cropping pictures to {height}x{width} (height x width) cuts off {shares} (median)"
    return [Finding(NOTE, f"{what}: --config_overrides image_size={fitting} keeps more of most of them")]


def _judge_ids(splits: dict[str, dict]) -> list[Finding]:
    findings = []
    for name, numbers in splits.items():
        if numbers["duplicate_ids"]:
            named = ", ".join(
                f"{quoted(story)} ({count} times)" for story, count in numbers["duplicate_ids"][:NUM_NAMED]
            )
            what = f"{len(numbers['duplicate_ids'])} ids of {name} are those of several stories"
            advice = "all but the first get a number behind it; give each story its own story_id"
            findings.append(Finding(NOTE, f"{what}: {advice} ({named})"))
    return findings


def judge_overlap(overlap: dict) -> list[Finding]:
    """Return the findings on what two splits share, from `overlap_numbers`."""
    first, second = overlap["splits"]
    trained = "train" in overlap["splits"]
    findings = []
    if overlap["same_stories"]:
        named = [
            f"{pair[first]} and {pair[second]} (same {' and '.join(pair['same'])})"
            for pair in overlap["pairs"]
            if pair["same"]
        ]
        what = f"{first} and {second} have the same story (pairs: {overlap['same_stories']})"
        why = "what is measured there was trained on" if trained else "what is chosen by one is measured on the other"
        advice = f"{why}; split by group, so that both are in the same one"
        findings.append(Finding(HURTS if trained else NOTE, f"{what}: {advice}: {_listed(named, len(named))}"))
    if overlap["sharing_pairs"]:
        named = [f"{pair[first]} and {pair[second]}" for pair in overlap["pairs"] if not pair["same"]]
        what = (
            f"{overlap['sharing_pairs']} more pairs of stories of {first} and {second} share pictures; all in all "
            f"{overlap['shared_pictures']} of {overlap['pictures']} pictures of {second} are in {first}"
        )
        advice = "split by group where the numbers shall speak of new pictures"
        findings.append(Finding(NOTE, f"{what}: {advice}: {_listed(named, overlap['sharing_pairs'])}"))
    return findings


def _counted(
    splits: dict[str, dict],
    key: str,
    total: str,
    what: str,
    advice: str,
    hurts: Callable[[float], bool] = lambda share: False,
    things: str | None = None,
) -> list[Finding]:
    """Return one finding for all splits where a number is not 0, if there are any.

    Args:
        splits: numbers of each split.
        key: name of the number.
        total: name of the number that it is a part of.
        what: what is said of the counted ones.
        advice: what to do.
        hurts: whether a share of the total, in [0, 1], hurts; the finding hurts where it does in one split.
        things: what is counted; by default `total`.
    """
    counted = {name: numbers for name, numbers in splits.items() if numbers[key]}
    if not counted:
        return []
    severe = any(hurts(numbers[key] / numbers[total]) for numbers in counted.values())
    parts = [f"{numbers[key]} of {numbers[total]} {things or total} of {name}" for name, numbers in counted.items()]
    return [Finding(HURTS if severe else NOTE, f"{', '.join(parts)} {what}: {advice}")]


def _listed(named: list[str], number: int) -> str:
    more = f"; and {number - NUM_NAMED} more" if number > NUM_NAMED else ""
    return "; ".join(named[:NUM_NAMED]) + more


def _overrides(length: int) -> str:
    """Return the changes of a configuration for captions of `length` tokens."""
    length = math.ceil(length / 8) * 8
    positions = f",text_config.max_position_embeddings={length}" if length > TEXT_POSITIONS else ""
    return f"max_caption_length={length}{positions}"


def _fitting_size(size: list[int], image_size: list[int]) -> str:
    """Return about as many pixels as `image_size`, in the proportions of a picture of `size` (width, height)."""
    width, height = size
    scale = math.sqrt(image_size[0] * image_size[1] / (width * height))
    sides = (max(16, 16 * round(side * scale / 16)) for side in (height, width))
    return f"[{','.join(map(str, sides))}]"
