"""The JSON endpoints `/continue`, `/describe` and `/search`, which are the tools of the MCP server as well."""

from typing import TYPE_CHECKING

import gradio as gr
from events import ONE_AT_A_TIME, messages
from PIL import Image
from story import MAX_PAGES, MAX_STEPS, Storyteller, check_captions, check_count, check_texts

if TYPE_CHECKING:
    from storyattn import Story

Pictures = list[tuple[Image.Image, str]]


def add_endpoints(teller: Storyteller) -> None:
    """Add the endpoints to the page, where they show nothing."""
    with gr.Column(visible=False):
        frames = gr.File(label="frames", file_count="multiple", file_types=["image"])
        captions, texts = gr.JSON([], label="captions"), gr.JSON(label="texts")
        num_steps = gr.Number(1, label="num_steps", precision=0)
        seed = gr.Number(0, label="seed", precision=0)
        pictures, answer = gr.Gallery(label="pictures", format="png"), gr.JSON(label="answer")
        buttons = [gr.Button(name) for name in ("continue", "describe", "search")]
    endpoints = Endpoints(teller)
    story = [frames, captions]
    buttons[0].click(
        endpoints.continue_story, [*story, num_steps, seed], pictures, api_name="continue", **ONE_AT_A_TIME
    )
    buttons[1].click(endpoints.describe, story, answer, api_name="describe", **ONE_AT_A_TIME)
    buttons[2].click(endpoints.search, [frames, texts], [answer, pictures], api_name="search", **ONE_AT_A_TIME)


class Endpoints:
    """What the endpoints do; their descriptions are those of the tools.

    Args:
        teller: the model.
    """

    def __init__(self, teller: Storyteller):
        self.teller = teller

    def continue_story(self, frames: list[str], captions: list | None, num_steps: int, seed: int) -> Pictures:
        """Continue a picture story: write the next captions and paint their frames.

        Args:
            frames: the picture files of the story so far, in order.
            captions: a list with a text or null for each picture; an empty list where there are none.
            num_steps: how many frames to add.
            seed: 0 for the likeliest captions, another whole number for captions that are sampled with this seed.

        Returns:
            the new pictures, each with its caption.
        """
        with messages():
            check_count("num_steps", num_steps, MAX_STEPS)
            story = self._open_story(frames, captions)
            check_count("frames with the new ones", len(story) + num_steps, MAX_PAGES)
        temperature = 1.0 if seed else None
        *_, longer = self.teller.continue_story(story, num_steps, temperature, seed)
        return [(page.frame, page.caption.strip()) for page in longer.continuation]

    def describe(self, frames: list[str], captions: list | None) -> list[str]:
        """Write a caption for each picture of a story.

        Args:
            frames: the picture files of the story, in order.
            captions: a list with a text or null for each picture, or an empty list; only later pictures read a caption.

        Returns:
            a caption for each picture.
        """
        with messages():
            story = self._open_story(frames, captions)
        return list(self.teller.describe(story.frames, story.captions))

    def search(self, frames: list[str], texts: list[str]) -> tuple[dict, Pictures]:
        """Find the picture that fits each text best, and the text that fits each picture best.

        Args:
            frames: the picture files.
            texts: a list of texts.

        Returns:
            a dictionary with `scores`, the cosines of each picture with each text, `best_frames`, for each text the
            position of its picture from 0, and `best_texts`, for each picture the position of its text; and for each
            text its picture.
        """
        with messages():
            pictures = self.teller.open_files(frames or [])
            check_texts(texts)
        scores = self.teller.similarity(pictures, texts)
        best_frames, best_texts = scores.argmax(dim=0).tolist(), scores.argmax(dim=1).tolist()
        answer = {"scores": scores.tolist(), "best_frames": best_frames, "best_texts": best_texts}
        return answer, [(pictures[index], text) for index, text in zip(best_frames, texts)]

    def _open_story(self, frames: list[str] | None, captions: list | None) -> "Story":
        """Return the story of picture files and captions; raise `ValueError` for what is wrong with them."""
        pictures = self.teller.open_files(frames or [])
        return self.teller.story_class(pictures, check_captions(captions, len(pictures)))
