"""
Draw the example stories again: `python demo/draw_examples.py`.

This needs the storyattn package, which the app does not. Each story is a folder with frames `1.png`, `2.png`, ... and
`captions.txt`, a line for each frame that StoryWorld drew. `continuation.json` has the captions of the frames after
them, which a model wrote and painted, and the name of that model.
"""

import argparse
import json
import shutil
from pathlib import Path

from storyattn import StoryAttnForConditionalGeneration, StoryAttnProcessor
from storyattn.training.storyworld import generate_story

HERE = Path(__file__).parent
EXAMPLES = HERE / "examples"
NUM_FRAMES = 4  # as many as the tiny model reads when it continues a story
NUM_STEPS = 4
# By seed in the test split, on which no model was trained.
SEEDS = {"the_boy_at_the_windmill": 22, "the_girl_and_the_flags": 28, "the_farmer_in_the_rain": 41}


def main() -> None:
    """Write the folders, in place of the existing ones."""
    parser = argparse.ArgumentParser(description="Draws the example stories of the demo.")
    default = HERE.parent / "checkpoints" / "storyattn-tiny"
    parser.add_argument("--model", default=str(default), help="folder or Hub id of the model that continues them")
    name = parser.parse_args().model
    processor = StoryAttnProcessor.from_pretrained(name)
    model = StoryAttnForConditionalGeneration.from_pretrained(name).eval()
    shutil.rmtree(EXAMPLES, ignore_errors=True)
    for title, seed in SEEDS.items():
        drawn = generate_story(seed, "test")
        frames, captions = drawn["frames"][:NUM_FRAMES], drawn["captions"][:NUM_FRAMES]
        story = model.continue_story(processor, frames, captions, num_steps=NUM_STEPS)
        folder = EXAMPLES / title
        folder.mkdir(parents=True)
        for number, frame in enumerate(story.frames, start=1):
            frame.save(folder / f"{number}.png")
        (folder / "captions.txt").write_text("\n".join(captions) + "\n")
        continuation = {"model": Path(name).name, "captions": [text.strip() for text in story.continuation.captions]}
        (folder / "continuation.json").write_text(json.dumps(continuation, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
