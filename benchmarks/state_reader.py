"""
Measure how many true frames of StoryWorld the state reader reads exactly right, and how fast.

    python benchmarks/state_reader.py --num_stories 200

Writes a row for each split: the share of frames whose whole state is read right, and milliseconds a frame.
"""

import argparse

import numpy as np
from measuring import new_parser, positive, results_table, timed
from storyattn.training.storyworld import SPLITS, generate_story
from storyattn.training.storyworld.state_reader import Reading, state_reader
from storyattn.training.storyworld.states import PictureState


def main(argv: list[str] | None = None) -> None:
    """Print the table; end with status 1 where fewer than 99 % of a split are read right."""
    parser = new_parser(__doc__)
    parser.add_argument("--num_stories", type=positive, default=200, help="stories of each split")
    parser.add_argument("--num_frames", type=positive, default=6, help="frames of a story")
    parser.add_argument("--height", type=positive, default=64, help="of a frame, in pixels")
    parser.add_argument("--width", type=positive, default=96, help="of a frame, in pixels")
    arguments = parser.parse_args(argv)
    rows = [measure(split, arguments) for split in SPLITS]
    columns = {
        "Split": lambda row: row["split"],
        "frames": lambda row: str(row["frames"]),
        "read exactly right": lambda row: f"{row['right']:.2%}",
        "ms a frame": lambda row: f"{row['milliseconds']:.1f}",
    }
    print(results_table(columns, rows))
    if min(row["right"] for row in rows) < 0.99:
        raise SystemExit(1)


def measure(split: str, arguments: argparse.Namespace) -> dict[str, str | float]:
    """Return what is measured on the first stories of a split."""
    size = arguments.height, arguments.width
    options = {"image_size": size, "num_frames": arguments.num_frames}
    stories = [generate_story(seed, split, **options) for seed in range(arguments.num_stories)]
    states = [PictureState.from_json(text) for story in stories for text in story["states"]]
    frames = np.stack([np.asarray(frame) for story in stories for frame in story["frames"]])
    frames = frames.transpose(0, 3, 1, 2).astype(np.float32) / 255
    reader = state_reader(size)
    reader.read(frames[:64])  # draws the templates
    readings: list[Reading] = []
    seconds = timed(lambda: readings.extend(reader.read(frames)), "cpu")
    right = sum(reading.state == state for reading, state in zip(readings, states)) / len(states)
    return {"split": split, "frames": len(states), "right": right, "milliseconds": 1000 * seconds / len(states)}


if __name__ == "__main__":
    main()
