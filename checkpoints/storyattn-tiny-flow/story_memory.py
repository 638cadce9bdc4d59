"""Which pages of a story are read where it is longer than what a model reads at once."""

from transformers.utils import logging

from .story import Story, open_stories
from .story_inputs import kind_of

logger = logging.get_logger(__name__)


def pages_to_read(number: int, most: int, num_memory: int) -> list[int]:
    """Choose the pages of a story that are read.

    All are read where they are no more than `most`. Else the last ones are, and before them `num_memory` earlier ones:
    the first page, and others at even distances behind it.

    Args:
        number: pages of the story.
        most: the most pages to read, at least 1.
        num_memory: earlier pages among them; of these, at most `most - 1` are read.

    Returns:
        their indices, in order.
    """
    if number <= most:
        return list(range(number))
    num_memory = min(num_memory, most - 1)
    recent = range(number - most + num_memory, number)
    return [*(index * recent.start // num_memory for index in range(num_memory)), *recent]


def read_pages(story: Story, most: int, num_memory: int) -> Story:
    """Return what is read of a story, at most `most` pages: its references, then pages as `pages_to_read` says."""
    references = story.references
    indices = pages_to_read(len(story), most - len(references), num_memory)
    return Story.from_pages([*references, *(story[index] for index in indices)])


def with_references(stories: list[Story], frames: object, captions: object, most: int, num_memory: int) -> list[Story]:
    """Give stories the pictures that are read before them at each step.

    Args:
        stories: B stories.
        frames: `reference_frames` of `continue_story`; `None` keeps the references that the stories have.
        captions: its `reference_captions`.
        most: the most pages that are read.
        num_memory: earlier pages of a long story among them.

    Returns:
        the stories with their references.

    Raises:
        ValueError: for what is no story, for another number of stories, and for more references than leave room for a
            page of the story.
    """
    if frames is None and captions is not None:
        raise ValueError(f"reference_captions: got {kind_of(captions)}, expected none without reference_frames")
    if frames is not None:
        try:
            references, is_shared = open_stories(frames, captions)
        except ValueError as error:
            raise ValueError(f"reference_{error}") from error
        references = references * len(stories) if is_shared else references
        if len(references) != len(stories):
            expected = f"one list, or {len(stories)}, one a story"
            raise ValueError(f"reference_frames: got {len(references)} lists, expected {expected}")
        stories = [Story.from_pages(story, some) for story, some in zip(stories, references)]
    for index, story in enumerate(stories):
        number, room = len(story.references), most - len(story.references)
        if room < 1:
            raise ValueError(f"reference_frames: story {index}: got {number}, expected at most {most - 1}")
        if len(story) > room:
            first = min(num_memory, room - 1)
            early = f"{first} of the earlier frames and the" if first else "the"
            logger.warning_once(f"frames: of {len(story)} frames the model reads {early} last {room - first}")
    return stories
