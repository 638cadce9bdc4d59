"""Tell a story by `generate`: this file is `custom_generate/generate.py` of a published StoryAttn model.

The library runs it for `model.generate(..., custom_generate="user/name", trust_remote_code=True)`. A model that was
loaded from the repository with `trust_remote_code=True` has it as its `generate`.
"""

from typing import Any

from transformers import AutoProcessor, PreTrainedModel, ProcessorMixin


def generate(*args, model: PreTrainedModel, **kwargs) -> Any:
    """Carry a story on where there are `frames`, else do what `generate` of the model does.

    Args:
        model: a StoryAttn model.
        frames: the pictures of a story so far, or a list of stories, as `model.continue_story` takes them.
        captions (*optional*): a text or `None` for each picture.
        num_steps (*optional*): pages to add, by default one.
        processor (*optional*): by default that of the folder or repository that the model was loaded from.
        kwargs: options of `generate`, such as `do_sample` and `max_new_tokens`.

    Returns:
        the story with its new pages; `save("story.png")` writes it. Without `frames`: what `generate` of the model
        gives.

    Raises:
        ValueError: for what the model refuses.
    """
    if "custom_generate" in kwargs or kwargs.get("frames") is None:
        return type(model).generate(model, *args, **kwargs)
    processor = kwargs.pop("processor", None) or _processor_of(model)
    return model.continue_story(processor, kwargs.pop("frames"), kwargs.pop("captions", None), **kwargs)


def _processor_of(model: PreTrainedModel) -> ProcessorMixin:
    """Load the processor that lies beside the model, at the commit of the model."""
    revision = getattr(model.config, "_commit_hash", None)
    return AutoProcessor.from_pretrained(model.name_or_path, revision=revision, trust_remote_code=True)
