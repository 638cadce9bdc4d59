"""Draw StoryWorld: picture stories with captions, events and the exact boxes of all that is visible.

>>> from storyattn.training.storyworld import generate_story
>>> story = generate_story(0, "train")
>>> story["captions"][0], story["frames"][0].size
"""

from .counterfactuals import draw_counterfactual
from .dataset import SPLITS, STORYWORLD_VERSION, generate_story, load_storyworld
from .events import EVENT_KINDS

__all__ = [
    "EVENT_KINDS",
    "SPLITS",
    "STORYWORLD_VERSION",
    "draw_counterfactual",
    "generate_story",
    "load_storyworld",
]
