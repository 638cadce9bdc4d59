"""
Draw the example stories again: `python demo/draw_examples.py`.

This needs the storyattn package, which the app does not. Each story is a folder with frames `1.png`, `2.png`, ... and
`captions.txt`, a line for each frame.
"""

import shutil
from pathlib import Path

from storyattn.training.storyworld import generate_story

EXAMPLES = Path(__file__).parent / "examples"
NUM_FRAMES = 4  # as many as the tiny model reads when it continues a story
# By seed in the test split, on which no model was trained.
SEEDS = {"the_sheep_and_the_key": 2, "the_grandmother_and_the_gift": 4, "the_frog_and_the_ball": 16}


def main() -> None:
    """Write the folders, in place of the existing ones."""
    shutil.rmtree(EXAMPLES, ignore_errors=True)
    for name, seed in SEEDS.items():
        story = generate_story(seed, "test")
        folder = EXAMPLES / name
        folder.mkdir(parents=True)
        for number, frame in enumerate(story["frames"][:NUM_FRAMES], start=1):
            frame.save(folder / f"{number}.png")
        (folder / "captions.txt").write_text("\n".join(story["captions"][:NUM_FRAMES]) + "\n")


if __name__ == "__main__":
    main()
