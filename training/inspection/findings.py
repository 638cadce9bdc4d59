"""What the numbers of a data set mean for training, and what to do about it."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..data.validation import BAD_SHARE

HURTS, NOTE = "hurts", "note"
CUT_SHARE = 0.2  # of the captions
EMPTY_SHARE = 0.5
LOST_SHARE = 0.25  # of a picture, by cropping
USUAL_MODES = ("RGB", "L")
NAMED = 5
TEXT_POSITIONS = 64  # of the text encoder of the tiny preset


@dataclass
class Finding:
    """`severity` is `HURTS` or `NOTE`; `text` one line that says what was found and what to do."""

    severity: str
    text: str


def judge(splits: dict[str, dict], empty: dict[str, str], shared: list[dict], licences: dict, options) -> list[Finding]:
    """
    The findings, those that hurt first. `splits` has the numbers of each split (`split_numbers`), `empty` why others
    have none, `shared` what two splits have in common (`overlap_numbers`), `licences` how often each is named.
    """
    findings = [Finding(HURTS, f"{reason}: give it stories, or training stops there") for reason in empty.values()]
    for judged in (_judge_bad, _judge_lengths, _judge_captions, _judge_pictures, _judge_ids):
        findings += judged(splits, options)
    for overlap in shared:
        findings += _judge_overlap(overlap)
    if not licences:
        findings.append(
            Finding(NOTE, "no licence is known: find out what may be done with the stories before publishing")
        )
    return sorted(findings, key=lambda finding: finding.severity != HURTS)


def _judge_bad(splits: dict[str, dict], options) -> list[Finding]:
    findings = []
    for name, numbers in splits.items():
        if numbers["bad_stories"]:
            share = numbers["bad_stories"] / numbers["stories"]
            found = f"{numbers['bad_stories']} of {numbers['stories']} stories of {name} are bad"
            advice = "--on_bad_story skip leaves them out"
            if share > BAD_SHARE:
                advice = f"more than {BAD_SHARE:.0%}, which training refuses; mend them or take them out"
            named = "; ".join(f"{story!r}: {reason}" for story, reason in numbers["first_bad"])
            findings.append(Finding(HURTS if share > BAD_SHARE else NOTE, f"{found}: {advice} ({named})"))
    advice = "captions may belong to other frames; give each frame one, null where there is none"
    return findings + _counted(splits, "unequal_numbers", "stories", "have unequal numbers", advice, lambda share: True)


def _judge_lengths(splits: dict[str, dict], options) -> list[Finding]:
    findings = []
    for name, numbers in splits.items():
        if not numbers["frames"] or numbers["frames_per_story"]["max"] < 2:
            found = f"no good story of {name} has two frames or more"
            findings.append(Finding(HURTS, f"{found}: nothing can be continued; join frames of a story in one row"))
    advice = "they teach to describe, not to continue; leave them out or join them"
    findings += _counted(splits, "stories_of_one_frame", "stories", "have one frame", advice)
    length = f"are shorter than {options.num_frames} frames"
    advice = "each is one short window; --config_overrides max_frames=N takes shorter ones of all"
    return findings + _counted(splits, "stories_shorter_than_num_frames", "stories", length, advice)


def _judge_captions(splits: dict[str, dict], options) -> list[Finding]:
    wanted = max(
        (numbers["caption_tokens"]["99%"] for numbers in splits.values() if numbers["caption_tokens"]), default=0
    )
    advice = f"--config_overrides {_overrides(wanted)} keeps 99% of each split whole"
    cut = f"are cut at {options.max_caption_length} tokens"
    findings = _counted(
        splits, "cut_captions", "told_captions", cut, advice, lambda share: share > CUT_SHARE, "captions"
    )
    advice = "these frames teach pictures alone; write them, or check --captions_column"
    return findings + _counted(
        splits, "empty_captions", "captions", "are empty", advice, lambda share: share > EMPTY_SHARE
    )


def _judge_pictures(splits: dict[str, dict], options) -> list[Finding]:
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
    size = f"are smaller than {options.image_size[0]}x{options.image_size[1]} (height x width)"
    advice = "they are blurred by enlarging; a smaller image_size fits them"
    findings += _counted(splits, "smaller_than_image_size", "frames", size, advice)
    return findings + _judge_crop(splits, options)


def _judge_crop(splits: dict[str, dict], options) -> list[Finding]:
    lost = {name: numbers for name, numbers in splits.items() if numbers["share_cut_off"] > LOST_SHARE}
    if not lost:
        return []
    parts = ", ".join(f"{numbers['share_cut_off']:.0%} of one of {name}" for name, numbers in lost.items())
    largest = max(lost.values(), key=lambda numbers: numbers["frames"])
    fitting = _fitting_size(largest["picture_sizes"]["most_frequent"], options.image_size)
    height, width = options.image_size
    found = f"cropping pictures to {height}x{width} (height x width) cuts off {parts} (median)"
    return [Finding(NOTE, f"{found}: --config_overrides image_size={fitting} keeps more of most of them")]


def _judge_ids(splits: dict[str, dict], options) -> list[Finding]:
    findings = []
    for name, numbers in splits.items():
        if numbers["duplicate_ids"]:
            named = ", ".join(f"{story!r} ({count} times)" for story, count in numbers["duplicate_ids"][:NAMED])
            found = f"{len(numbers['duplicate_ids'])} ids of {name} are those of several stories"
            advice = "all but the first get a number behind it; give each story its own story_id"
            findings.append(Finding(NOTE, f"{found}: {advice} ({named})"))
    return findings


def _judge_overlap(overlap: dict) -> list[Finding]:
    first, second = overlap["splits"]
    trained = "train" in overlap["splits"]
    findings = []
    if overlap["same_stories"]:
        named = [
            f"{pair[first]} and {pair[second]} (same {' and '.join(pair['same'])})"
            for pair in overlap["pairs"]
            if pair["same"]
        ]
        found = f"{first} and {second} have the same story (pairs: {overlap['same_stories']})"
        what = "what is measured there was trained on" if trained else "what is chosen by one is measured on the other"
        advice = f"{what}; split by group, so that both are in the same one"
        findings.append(Finding(HURTS if trained else NOTE, f"{found}: {advice}: {_listed(named, len(named))}"))
    if overlap["sharing_pairs"]:
        named = [f"{pair[first]} and {pair[second]}" for pair in overlap["pairs"] if not pair["same"]]
        found = (
            f"{overlap['sharing_pairs']} more pairs of stories of {first} and {second} share pictures; all in all "
            f"{overlap['shared_pictures']} of {overlap['pictures']} pictures of {second} are in {first}"
        )
        advice = "split by group where the numbers shall tell about new pictures"
        findings.append(Finding(NOTE, f"{found}: {advice}: {_listed(named, overlap['sharing_pairs'])}"))
    return findings


def _counted(
    splits: dict[str, dict],
    key: str,
    total: str,
    found: str,
    advice: str,
    hurts: Callable[[float], bool] = lambda share: False,
    things: str | None = None,
) -> list[Finding]:
    """One finding for all splits where the number `key` is not 0; it hurts where its share of `total` does in one."""
    counted = {name: numbers for name, numbers in splits.items() if numbers[key]}
    if not counted:
        return []
    severe = any(hurts(numbers[key] / numbers[total]) for numbers in counted.values())
    parts = [f"{numbers[key]} of {numbers[total]} {things or total} of {name}" for name, numbers in counted.items()]
    return [Finding(HURTS if severe else NOTE, f"{', '.join(parts)} {found}: {advice}")]


def _listed(named: list[str], number: int) -> str:
    more = f"; and {number - NAMED} more" if number > NAMED else ""
    return "; ".join(named[:NAMED]) + more


def _overrides(length: int) -> str:
    """The changes of a configuration for captions of `length` tokens."""
    length = math.ceil(length / 8) * 8
    positions = f",text_config.max_position_embeddings={length}" if length > TEXT_POSITIONS else ""
    return f"max_caption_length={length}{positions}"


def _fitting_size(size: list[int], image_size: list[int]) -> str:
    """About as many pixels as `image_size`, in the proportions of a picture of `size` (width, height)."""
    width, height = size
    scale = math.sqrt(image_size[0] * image_size[1] / (width * height))
    sides = (max(16, 16 * round(side * scale / 16)) for side in (height, width))
    return f"[{','.join(map(str, sides))}]"
