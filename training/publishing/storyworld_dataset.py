"""Write StoryWorld as a data set of its own: Parquet files, a card with pictures, and `eval.yaml`; push it to the Hub.

`eval.yaml` makes a data set a benchmark, see https://huggingface.co/docs/hub/eval-results: it names the tasks that the
files in `.eval_results` of a model give results for.
"""

from dataclasses import dataclass, field
from pathlib import Path

import yaml

from ..common.dataset_folder import CARD_FILE, card_head, check_output, replaced_folder
from ..common.defaults import NUM_STORIES, STORYWORLD_SIZE
from ..common.versions import package_version
from ..evaluation.published_metrics import PUBLISHED_METRICS, task_id
from ..figures import story_sheet
from ..storyworld import STORYWORLD_VERSION, load_storyworld
from ..storyworld.dataset import HELD_OUT_WORDS, SPLITS, features_of
from .hub import Upload, check_private, check_repo_id, find_user

EVAL_FILE, SHEET = "eval.yaml", "storyworld.png"
FILES = (EVAL_FILE, SHEET, *(f"{split}.parquet" for split in SPLITS))  # of a result, beside the card
MARK = "Made by `storyattn data storyworld`."  # a line of the card, by which an earlier result is recognized
FRAMEWORK = "storyattn"
MEASURED_SPLITS = ("test", "test_unseen")
SHEET_STORIES = 6
DESCRIPTION = (
    "Picture stories, drawn by a program with captions, boxes, events and states. A model reads the first frames and "
    "captions of a story, writes the next caption and paints the next frame. Measured on every transition of the "
    "stories by `storyattn evaluate`."
)
CARD = """\
# StoryWorld: picture stories drawn by a program

{mark}

![The first stories of the test split, a row each](storyworld.png)

Each story has {num_frames} frames of {height} x {width} pixels. One event leads to the next: characters walk, find,
give and carry things, weather and light change. A program drew the world, so what a model writes and paints can be
checked exactly. This is version {version}, seed {seed}.

| split | stories |
| --- | --- |
{counts}

```python
from datasets import load_dataset

stories = load_dataset("{name}", split="test")
```

## How it is drawn

A story takes one of twelve plots, a setting, and two of 16 characters. The plot moves them through a stage of props,
landmarks, weather and times of day; every stage becomes a frame, and every event a caption in one of many wordings. The
numbers of the stories are the seeds, so the same version gives the same stories everywhere.

A world this small would repeat stories of `train` in a test. So 30 of 100 pictures are kept out of `train`, by a hash
of how they look. At least half of the frames of every other story are such pictures, up to three. `test_unseen` has
combinations of character, setting and plot that no other split has, one in ten of all.

## Columns

- `story_id`, `setting` (of the first frame), `plot` and `characters` (the two that act) of the story.
- `frames`: PNG pictures. `captions`: a text for each.
- `boxes` of each frame: `entity`, `kind` and `box` (x1, y1, x2, y2 in pixels) of all that is visible.
- `events` of each frame: `kind`, `entity`, and the `box` where the event shows, empty where it shows everywhere.
- `states` of each frame: all that it is drawn from, as JSON.

## As a benchmark

```bash
storyattn evaluate --model MODEL --dataset {name} --split test --output results.json
```

`eval.yaml` has a task for each split and measure. Files in `.eval_results` of a model give results for them.

## Limits

The pictures are flat drawings and the captions are one or two sentences of simple English. People are a few types, such
as a farmer and a sailor, that say nothing about real people. Nothing was collected, and no real person is shown.

## License and citation

Stories and pictures are published under the MIT license.

```bibtex
@software{{storyattn,
  title = {{StoryAttn: reading a picture story and continuing it}},
  author = {{{{The StoryAttn authors}}}},
  year = {{2026}},
}}
```
"""


@dataclass(frozen=True)
class StoryWorldOptions:
    """
    What to write into the folder `output`.

    `num_stories` is the number of stories of each split; `num_frames`, `image_size` (height, width) and `seed` are as
    in `load_storyworld`. `overwrite` replaces an earlier result. `push_to_hub` is the repository `user/name` that gets
    the folder, `private` makes it a private one.
    """

    output: Path
    num_stories: dict[str, int] = field(default_factory=lambda: dict(NUM_STORIES))
    num_frames: int = 6
    image_size: tuple[int, int] = STORYWORLD_SIZE
    seed: int = 0
    overwrite: bool = False
    push_to_hub: str | None = None
    private: bool = False


def build_storyworld(options: StoryWorldOptions) -> None:
    """Draw and write the data set, and push it where `push_to_hub` names a repository; print where it is.

    Raises:
        ValueError: before anything is drawn, for a mistake in the options, and for a repository of somebody else.
        OSError: where the Hub refuses or cannot be reached.
    """
    output, repo_id = options.output.expanduser(), options.push_to_hub
    check_output(output, options.overwrite, MARK, FILES)
    if repo_id is None and options.private:
        raise ValueError("private: got it without push_to_hub, expected a repository")
    if repo_id is not None:
        find_user(check_repo_id(repo_id, "push_to_hub"))
        if options.private:
            check_private(repo_id, "dataset")
    with replaced_folder(output) as folder:
        write_storyworld(folder, options)
    print(f"written to {output}")
    if repo_id is not None:
        files = {path.name: path for path in sorted(output.iterdir())}
        upload = Upload(repo_id, files, private=options.private, repo_type="dataset")
        commit = upload.send(f"StoryWorld {STORYWORLD_VERSION} by storyattn {package_version('storyattn')}")
        print(f"published: {upload.url(commit)}")


def write_storyworld(folder: Path, options: StoryWorldOptions) -> None:
    """Draw the stories and write Parquet files, card, picture and `eval.yaml` into an empty folder.

    Raises:
        ValueError: as `load_storyworld`.
    """
    columns = features_of(HELD_OUT_WORDS)
    num_bytes, drawing = {}, {"num_frames": options.num_frames, "image_size": options.image_size, "seed": options.seed}
    for split, number in options.num_stories.items():
        stories = load_storyworld(split, num_stories=number, **drawing)
        for name in columns.keys() - stories.features.keys():  # all files of a data set have the same columns
            stories = stories.add_column(name, [None] * len(stories), feature=columns[name])
        stories.to_parquet(str(folder / f"{split}.parquet"))
        num_bytes[split] = stories.data.nbytes
        if split == "test":
            story_sheet(stories, folder / SHEET, num_stories=SHEET_STORIES)
    file_bytes = sum(path.stat().st_size for path in folder.glob("*.parquet"))
    head = card_head("StoryWorld", "mit", options.num_stories, num_bytes, file_bytes, features=columns)
    (folder / CARD_FILE).write_text(head + card_text(options), encoding="utf-8")
    (folder / EVAL_FILE).write_text(eval_text(), encoding="utf-8")


def card_text(options: StoryWorldOptions) -> str:
    """Return what stands below the head of the card."""
    return CARD.format(
        mark=MARK,
        version=STORYWORLD_VERSION,
        seed=options.seed,
        num_frames=options.num_frames,
        height=options.image_size[0],
        width=options.image_size[1],
        counts="\n".join(f"| `{split}` | {count:,} |" for split, count in options.num_stories.items()),
        name=options.push_to_hub or options.output.name,
    )


def eval_text() -> str:
    """Return `eval.yaml`: a task for each measure on each split that is measured."""
    tasks = [
        {"id": task_id(split, metric), "config": "default", "split": split}
        for split in MEASURED_SPLITS
        for metric in PUBLISHED_METRICS
    ]
    benchmark = {
        "name": f"StoryWorld {STORYWORLD_VERSION}",
        "description": DESCRIPTION,
        "evaluation_framework": FRAMEWORK,
        "tasks": tasks,
    }
    return yaml.safe_dump(benchmark, sort_keys=False, width=120)
