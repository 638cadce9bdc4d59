"""The pipeline "story-continuation": picture stories in, the captions and pictures that carry them on out.

`StoryAttnForConditionalGeneration.save_pretrained` names it in `config.json` and carries this file along.
"""

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike

from PIL import Image
from transformers import AutoModelForMultimodalLM, Pipeline
from transformers.pipelines import PIPELINE_REGISTRY

from .configuration_defaults import CUSTOM_PIPELINES, TASK
from .story import Story
from .story_inputs import CheckedStory, check_story, kind_of, open_frame

FIELDS = ("frames", "captions")


class StoryContinuationPipeline(Pipeline):
    """Carries picture stories on: writes the next caption, paints its frame, and so on.

    ```python
    >>> continue_story = pipeline("story-continuation", model=repo, trust_remote_code=True)
    >>> result = continue_story({"frames": ["one.png", "two.png"], "captions": ["A fox wakes.", None]}, num_steps=3)
    >>> result["captions"], result["frames"]  # three texts and three PIL pictures
    ```
    """

    _load_processor = True
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __call__(self, inputs: object, **kwargs):
        """Carry on one story, a list of them, or whatever else gives one after the other.

        Args:
            inputs (`dict`, or a list, generator or data set of them): a story has `frames`, a list of its pictures, and
                may have `captions`, a list of one text or None a picture. A picture is a path, a URL, a base64 string,
                bytes of an image file, a PIL picture, or an array or tensor of uint8, or of floats in [0, 1], with one,
                three or four channels first or last. The last `max_frames - 1` are read.
            num_steps (`int`, 1): captions and pictures to add.
            return_attention (`bool`, False): adds `spatial_attentions`.
            batch_size (`int`, 1): how many stories of a list are carried on at once.
            timeout (`float`, *optional*): seconds that a URL may take.
            generate_kwargs (`dict`, *optional*), and any other argument: as in `continue_story` of the model
                (`max_new_tokens`, `num_beams`, `do_sample`, `spatial_gamma`, ...).

        Returns:
            for a story a dictionary, for a list of stories a list of them, else an iterator: `frames`, the painted PIL
            pictures, `captions`, the texts written for them, and on request `spatial_attentions`: per step a tensor
            `(T, heads, h, w)`, where the model looked in each of the T frames that it read, which sums to 1 over h, w.
            With `num_return_sequences` above 1 each of these dictionaries is a list of so many, one for each future.

        Raises:
            ValueError: for what is no story, no picture and no text, with story, field and place, before the first of
                a list of stories is carried on; for a picture that cannot be read, when it is its turn.
        """
        if isinstance(inputs, Mapping):
            return super().__call__(_checked(inputs, 0), **kwargs)
        if isinstance(inputs, (list, tuple)):
            stories = [_checked(story, index) for index, story in enumerate(inputs)]
            return super().__call__(stories, **kwargs) if stories else []
        if isinstance(inputs, (str, bytes)) or not (hasattr(inputs, "__iter__") or hasattr(inputs, "__getitem__")):
            raise ValueError(f"stories: got {kind_of(inputs)}, expected a dictionary with 'frames', or a list of them")
        return super().__call__((_checked(story, index) for index, story in enumerate(inputs)), **kwargs)

    def _sanitize_parameters(
        self,
        num_steps: int | None = None,
        return_attention: bool | None = None,
        timeout: float | None = None,
        generate_kwargs: dict | None = None,
        **kwargs,
    ) -> tuple[dict, dict, dict]:
        steps = {"num_steps": num_steps, "return_attention": return_attention}
        steps = {name: value for name, value in steps.items() if value is not None}
        reading = {} if timeout is None else {"timeout": timeout}
        return reading, {**(generate_kwargs or {}), **kwargs, **steps}, {}

    def preprocess(self, input_: CheckedStory, timeout: float | None = None) -> dict:
        """Open the pictures of a story as frames of the size that the model reads."""
        options = self.processor.image_processor, timeout
        frames = (open_frame(input_, position, *options) for position in range(len(input_.frames)))
        return {"story": replace(input_, frames=list(map(Image.fromarray, frames)))}

    def _forward(self, input_tensors: dict, **forward_parameters) -> dict:
        """Carry on one story, or the batch of stories that the library has gathered."""
        stories = input_tensors["story"]
        batch = stories if isinstance(stories, list) else [stories]
        frames, captions = [story.frames for story in batch], [story.captions for story in batch]
        continued = self.model.continue_story(self.processor, frames, captions, **forward_parameters)
        additions, number = [_additions(story) for story in continued], len(continued) // len(batch)
        futures = [additions[start : start + number] for start in range(0, len(additions), number)]
        results = [several if number > 1 else several[0] for several in futures]
        return {"result": results if isinstance(stories, list) else results[0]}

    def postprocess(self, model_outputs: dict) -> dict:
        """Return what `_forward` has added to a story."""
        return model_outputs["result"]

    def save_pretrained(self, save_directory: str | PathLike, **kwargs) -> None:
        """Save as the library does, with the processor."""
        super().save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory, **kwargs)


def _additions(story: Story) -> dict:
    """Return what was added to a story."""
    added = {"frames": story.continuation.frames, "captions": story.continuation.captions}
    return added if story.attentions is None else {**added, "spatial_attentions": story.attentions}


def _checked(story: object, index: int) -> CheckedStory:
    """Check what was given as a story; raise `ValueError` for what is wrong with its form."""
    if not isinstance(story, Mapping):
        raise ValueError(f"stories: story {index}: got {kind_of(story)}, expected a dictionary with 'frames'")
    unknown = [name for name in story if name not in FIELDS]
    if unknown or "frames" not in story:
        got = ", ".join(map(repr, unknown or story)) or "none"
        raise ValueError(f"stories: story {index}: got fields {got}, expected 'frames' and, if any, 'captions'")
    return check_story(story["frames"], story.get("captions"), index)


# Also where this file is the code of a published folder: `pipeline(TASK, model=model)` then knows a model in memory.
if TASK not in PIPELINE_REGISTRY.get_supported_tasks():
    PIPELINE_REGISTRY.register_pipeline(
        TASK, StoryContinuationPipeline, pt_model=AutoModelForMultimodalLM, type=CUSTOM_PIPELINES[TASK]["type"]
    )

__all__ = ["StoryContinuationPipeline"]
