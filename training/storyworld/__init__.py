"""
StoryWorld: picture stories drawn by the program, with captions, events and the exact boxes of all that is seen.

    >>> from storyattn.training.storyworld import generate_story
    >>> story = generate_story(0, "train")
    >>> story["captions"][0], story["frames"][0].size
"""

from .dataset import SPLITS, VERSION, generate_story, load_storyworld
from .plots import EVENT_KINDS

__all__ = ["EVENT_KINDS", "SPLITS", "VERSION", "generate_story", "load_storyworld"]
