"""
Measure how fast StoryWorld is drawn, beside writing and reading the same frames as PNG.

    python benchmarks/storyworld.py --num_stories 200
"""

import io

from measuring import new_parser, timed
from PIL import Image
from storyattn.training.storyworld import generate_story


def main() -> None:
    """Print frames per second on one core."""
    parser = new_parser(__doc__)
    parser.add_argument("--num_stories", type=int, default=200, help="stories of six frames to draw")
    parser.add_argument("--height", type=int, default=64, help="of a frame, in pixels")
    parser.add_argument("--width", type=int, default=96, help="of a frame, in pixels")
    arguments = parser.parse_args()
    size = (arguments.height, arguments.width)
    frames = []
    rows = {
        "draw": lambda: frames.extend(
            frame
            for seed in range(arguments.num_stories)
            for frame in generate_story(seed, "train", image_size=size)["frames"]
        ),
        "write PNG": lambda: files.extend(map(to_png, frames)),
        "read PNG": lambda: [Image.open(io.BytesIO(file)).load() for file in files],
    }
    files: list[bytes] = []
    seconds = {name: timed(work, "cpu") for name, work in rows.items()}
    for name, value in seconds.items():
        ratio = value / seconds["read PNG"]
        print(f"{name:<10} {len(frames) / value:8.0f} frames/s   {ratio:5.1f} x the time of reading")


def to_png(frame: Image.Image) -> bytes:
    """Return the frame as the bytes of a PNG file."""
    file = io.BytesIO()
    frame.save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    main()
