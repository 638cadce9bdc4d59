"""Write the card of the CoDraw data set, whom to credit, and its license."""

from collections import Counter
from pathlib import Path

from ..common.dataset_folder import CARD_FILE, card_head
from .renderer import MIN_VISIBLE
from .source import COMMIT
from .stories import LICENSE, LICENSE_NAME

MARK = "Made by `storyattn data codraw`."  # a line of the card, by which an earlier result is recognized
FILES = ("ATTRIBUTION", "LICENSE", "train-*.parquet", "validation-*.parquet", "test-*.parquet")
LICENSE_URL = "https://creativecommons.org/licenses/by-nc/4.0/"
LICENSE_TEXT = f"""\
The dialogues and the clip art in this folder are licensed under {LICENSE_NAME}
(Creative Commons Attribution-NonCommercial 4.0 International):
{LICENSE_URL}legalcode
"""
ATTRIBUTION = f"""\
CoDraw: Collaborative Drawing as a Testbed for Grounded Goal-driven Communication
Jin-Hwa Kim, Nikita Kitaev, Xinlei Chen, Marcus Rohrbach, Byoung-Tak Zhang, Yuandong Tian, Dhruv Batra, Devi Parikh
ACL 2019, https://arxiv.org/abs/1712.05558, https://github.com/facebookresearch/CoDraw
License of the data: {LICENSE_NAME}, {LICENSE_URL}

Clip art: Abstract Scenes
C. Lawrence Zitnick and Devi Parikh, Bringing Semantics Into Focus Using Visual Abstraction, CVPR 2013

Read from https://github.com/parthrangarajan/CoDrawDatasetViz, commit {COMMIT}.
Changed: canvases drawn as frames of another size; turns merged; words in lower case, punctuation joined to them.

Whoever publishes a model trained on this data, or a figure that shows it, credits the authors above, and does so for
noncommercial purposes only.
"""
CARD = """\
# CoDraw: picture stories told by people over clip art

{mark}

Two people draw a scene together: a Teller, who sees it, describes it; a Drawer places clip art. Each story is one of
their dialogues: the empty canvas, then the canvas after each step with the words that led to it.

| split | stories | frames | captions |
| --- | ---: | ---: | ---: |
{counts}

Columns:

- `story_id`; `frames`: {height}x{width} pixels (height x width), PNG; `captions`: one per frame, none for the first.
- `boxes`: for each frame `entity` (the class), `kind` and `box` `[x1, y1, x2, y2]` in pixels, x2 and y2 exclusive, of
  all clip art that is visible: at least {visible:.0%} of the picture lies in the frame and is not covered. A box is
  the extent of the picture, clipped to the frame, whatever covers it.
- `clip_art`: for each frame all clip art on the canvas: `class_id` (0 to 57), `name`, `x` and `y` of its center in
  pixels of the canvas of 500 x 400, `depth` 0 (near) to 2, `flip`, `pose` and `face` of children, and `visible`, the
  share of the picture that shows.
- `title`, `source`, `license`, `text_by`, `images_by`: the same for all stories; whom to credit.

Captions are {captions}, in lower case. Turns are merged as in GeNeVA (El-Nouby et al. 2019): a turn whose canvas has no
more objects than the one before goes with the next turn, and what follows the last step is left out. Other than there,
spelling is not corrected by a service, and punctuation and the words of chit-chat stay within a message.

- License: {license_name}. `ATTRIBUTION` says whom to credit. Noncommercial use only; models trained on it as well.
"""
CAPTION_WORDS = {
    "teller": "the Teller's messages",
    "dialogue": "the messages of both, each behind `<teller>` or `<drawer>`",
}


def write_card(
    folder: Path, counts: dict[str, Counter], num_bytes: dict[str, int], image_size: tuple[int, int], captions: str
) -> None:
    """
    Write `README.md`, `ATTRIBUTION` and `LICENSE` into the folder of the data set.

    Args:
        folder: has the Parquet files.
        counts: `stories`, `frames` and `captions` of each split.
        num_bytes: of each split in memory.
        image_size: height and width of the frames in pixels.
        captions: "teller" or "dialogue".
    """
    (folder / "ATTRIBUTION").write_text(ATTRIBUTION, encoding="utf-8")
    (folder / "LICENSE").write_text(LICENSE_TEXT, encoding="utf-8")
    written = {split: count for split, count in counts.items() if count["stories"]}
    rows = [
        f"| {split} | {count['stories']:,} | {count['frames']:,} | {count['captions']:,} |"
        for split, count in written.items()
    ]
    card = CARD.format(
        license_name=LICENSE_NAME,
        mark=MARK,
        counts="\n".join(rows),
        height=image_size[0],
        width=image_size[1],
        visible=MIN_VISIBLE,
        captions=CAPTION_WORDS[captions],
    )
    num_stories = {split: count["stories"] for split, count in written.items()}
    file_bytes = sum(path.stat().st_size for path in folder.glob("*.parquet"))
    head = card_head(
        "CoDraw picture stories", LICENSE, num_stories, num_bytes, file_bytes, file_pattern="{split}-*.parquet"
    )
    (folder / CARD_FILE).write_text(head + card, encoding="utf-8")
