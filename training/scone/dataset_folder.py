"""Write SCONE's stories as a folder that `datasets.load_dataset` reads: Parquet files and a card."""

import io
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from datasets import Dataset, Features, Image, List, Value
from tqdm.auto import tqdm

from ..common.dataset_folder import CARD_FILE, card_head, check_output, replaced_folder
from .people import HAT_HEIGHT, HEIGHT
from .pictures import cell_box, cell_contents, draw_state
from .sequences import NUM_STEPS, Sequence
from .states import ALCHEMY, COLOUR_NAMES, NOTHING, SCENE, TANGRAMS, State

FEATURES = Features(
    {
        **dict.fromkeys(("story_id", "domain"), Value("string")),
        "frames": List(Image()),
        **dict.fromkeys(("captions", "states"), List(Value("string"))),
        "boxes": List(List({"entity": Value("string"), "kind": Value("string"), "box": List(Value("int32"))})),
    }
)
KINDS = {SCENE: "person and hat", ALCHEMY: "unit of liquid", TANGRAMS: "figure"}
ATTRIBUTION = "ATTRIBUTION.txt"
CREDIT = """\
Instructions and states: SCONE, by Reginald Long, Panupong Pasupat and Percy Liang,
"Simpler Context-Dependent Logical Forms via Model Projections" (ACL 2016, https://aclanthology.org/P16-1138),
as published at https://github.com/lil-lab/scone, commit {commit}.
No license is stated: use, do not redistribute.
Pictures: drawn by storyattn from the states.
"""
FILES = (ATTRIBUTION, "train.parquet", "validation.parquet", "test.parquet")  # of a result, beside the card
MARK = "Made by `storyattn data scone`."  # a line of the card, by which an earlier result is recognized
CARD = """\
# SCONE, {domain}: instructions that change a scene, as picture stories

{mark}

Each story has {num_frames} frames: the initial state, and the state after each of {num_steps} instructions that a
person wrote. A model that is to follow the whole story reads {num_frames} frames: `max_frames` of at least
{num_frames}.

| split | stories |
| --- | --- |
{counts}

Columns: `story_id`, `domain`, `frames` (PNG, {height} x {width} pixels), `captions` (the instruction that leads to each
frame; the first frame has none), `states` (the exact state that each frame shows, as SCONE writes it), `boxes` (of
each frame, in pixels: every {kind} in it).

{left_out} stories are left out of `train`: their instructions run one step behind their states. `validation` (SCONE's
dev) and `test` are complete.
{variants}
## Attribution

{credit}"""

VARIANTS = """
{count:,} stories of `train` are variants of the others, with colours exchanged in words and states alike, and in
`scene` left and right too. Their `story_id` ends with `~` and a number.
"""


def write_stories(
    output: Path,
    splits: dict[str, list[Sequence]],
    image_size: tuple[int, int],
    changes: dict[str, int],
    commit: str,
    overwrite: bool = False,
) -> None:
    """
    Draw and write the stories into `output`, which then is complete or as it was, with a progress bar.

    Args:
        output: the folder.
        splits: the sequences of each split, at least one of each.
        image_size: height and width of the frames in pixels.
        changes: how many stories were `left_out` of the training split, and how many `variants` were added.
        commit: the commit of SCONE's repository.
        overwrite: whether an earlier result is replaced.

    Raises:
        ValueError: as `check_output`.
    """
    check_output(output, overwrite, MARK, FILES)
    bar = tqdm(total=sum(map(len, splits.values())), desc="drawing", unit="story", disable=None)
    credit = CREDIT.format(commit=commit)
    with replaced_folder(output) as folder, bar:
        num_bytes = {}
        for split, sequences in splits.items():
            rows = []
            for sequence in sequences:
                rows.append(story_row(sequence, image_size))
                bar.update()
            dataset = Dataset.from_list(rows, features=FEATURES)
            dataset.to_parquet(str(folder / f"{split}.parquet"))
            num_bytes[split] = dataset.data.nbytes
        file_bytes = sum(path.stat().st_size for path in folder.iterdir())
        num_stories = {split: len(sequences) for split, sequences in splits.items()}
        domains = list(dict.fromkeys(sequence.states[0].domain for rows in splits.values() for sequence in rows))
        head = card_head(f"SCONE {' '.join(domains)}", "unknown", num_stories, num_bytes, file_bytes)
        card = _card(domains, num_stories, image_size, changes, credit)
        (folder / ATTRIBUTION).write_text(credit, encoding="utf-8")
        (folder / CARD_FILE).write_text(head + card, encoding="utf-8")


def _card(
    domains: list[str],
    num_stories: dict[str, int],
    image_size: tuple[int, int],
    changes: dict[str, int],
    credit: str,
) -> str:
    """What stands below the head of the card."""
    return CARD.format(
        domain=", ".join(domains),
        mark=MARK,
        num_frames=NUM_STEPS + 1,
        num_steps=NUM_STEPS,
        counts="\n".join(f"| {split} | {count:,} |" for split, count in num_stories.items()),
        height=image_size[0],
        width=image_size[1],
        kind=" and ".join(KINDS[domain] for domain in domains),
        left_out=changes["left_out"] or "No",
        variants=VARIANTS.format(count=changes["variants"]) if changes["variants"] else "",
        credit=credit,
    )


def story_row(sequence: Sequence, image_size: tuple[int, int]) -> dict:
    """Return the row of a story, by `FEATURES`; no instruction leads to the first frame, so it has no caption."""
    domain = sequence.states[0].domain
    return {
        "story_id": f"{domain}-{sequence.name}",
        "domain": domain,
        "frames": [{"bytes": _picture_file(state, image_size), "path": None} for state in sequence.states],
        "captions": [None, *sequence.instructions],
        "states": [str(state) for state in sequence.states],
        "boxes": [boxes_of(state, image_size) for state in sequence.states],
    }


def boxes_of(state: State, image_size: tuple[int, int]) -> list[dict]:
    """
    Return the boxes of what a state shows, from the left, in a beaker from the bottom up.

    A box is `{"entity", "kind", "box": [x1, y1, x2, y2]}` in pixels, x2 and y2 exclusive: a person below the hat, a
    hat, a figure, or a unit of liquid. An entity is named by its looks and its place, such as "red hat in place 3", so
    no other has its name.
    """
    return [
        {"entity": f"{looks} {place}", "kind": kind, "box": box}
        for slot, contents in enumerate(state.slots)
        for cell, content in enumerate(cell_contents(state.domain, contents))
        if content != NOTHING * len(content)
        for kind, looks, place, box in _parts(state.domain, content, slot, cell, image_size)
    ]


def _parts(
    domain: str, content: str, slot: int, cell: int, image_size: tuple[int, int]
) -> Iterator[tuple[str, str, str, list[int]]]:
    """Yield what a cell shows: kind, looks, place, and box of each part."""
    left, top, right, bottom = cell_box(domain, slot, cell, image_size)
    place, names = f"in place {slot + 1}", COLOUR_NAMES.get(domain)
    if domain == ALCHEMY:
        yield "liquid", f"{names[content]} unit {cell + 1}", f"in beaker {slot + 1}", [left, top, right, bottom]
    elif domain == TANGRAMS:
        yield "figure", f"figure {content}", place, [left, top, right, bottom]
    else:
        brim = top + round((bottom - top) * HAT_HEIGHT / HEIGHT)
        for kind, colour, box in zip(
            ("person", "hat"), content, ([left, brim, right, bottom], [left, top, right, brim])
        ):
            if colour != NOTHING:
                yield kind, f"{names[colour]} {kind}", place, box


@lru_cache(maxsize=4096)
def _picture_file(state: State, image_size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    draw_state(state, image_size).save(file, "PNG")
    return file.getvalue()
