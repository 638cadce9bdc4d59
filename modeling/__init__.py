"""StoryAttn: reads a picture story, writes its next caption and paints its next frame."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageTextToText,
    AutoModelForMultimodalLM,
    AutoProcessor,
)

# Its own module: without torchvision, transformers 5.17 gives a stand-in at the top level that does nothing.
from transformers.models.auto.image_processing_auto import AutoImageProcessor

from .configuration_storyattn import DEFAULT_LOSS_WEIGHTS, StoryAttnConfig
from .image_processing_storyattn import StoryAttnImageProcessor
from .modeling_storyattn import StoryAttnForConditionalGeneration, StoryAttnModel, StoryAttnPreTrainedModel
from .outputs import StoryAttnModelOutput, StoryAttnOutput
from .pipeline_storyattn import StoryContinuationPipeline  # which registers the task
from .processing_storyattn import StoryAttnProcessor, build_image_processor, build_processor
from .story import Page, Stories, Story

# With the package installed, the Auto classes know StoryAttn without trust_remote_code ...
AutoConfig.register("storyattn", StoryAttnConfig)
AutoModel.register(StoryAttnConfig, StoryAttnModel)
AutoModelForMultimodalLM.register(StoryAttnConfig, StoryAttnForConditionalGeneration)
AutoModelForImageTextToText.register(StoryAttnConfig, StoryAttnForConditionalGeneration)
AutoImageProcessor.register(StoryAttnConfig, image_processor_classes={"pil": StoryAttnImageProcessor})
AutoProcessor.register(StoryAttnConfig, StoryAttnProcessor)

# ... and a saved folder carries the code along, for those who do not have it.
StoryAttnConfig.register_for_auto_class()
StoryAttnModel.register_for_auto_class("AutoModel")
StoryAttnForConditionalGeneration.register_for_auto_class("AutoModelForMultimodalLM")
StoryAttnImageProcessor.register_for_auto_class("AutoImageProcessor")
StoryAttnProcessor.register_for_auto_class("AutoProcessor")

__all__ = [
    "DEFAULT_LOSS_WEIGHTS",
    "Page",
    "Stories",
    "Story",
    "StoryAttnConfig",
    "StoryAttnForConditionalGeneration",
    "StoryAttnImageProcessor",
    "StoryAttnModel",
    "StoryAttnModelOutput",
    "StoryAttnOutput",
    "StoryAttnPreTrainedModel",
    "StoryAttnProcessor",
    "StoryContinuationPipeline",
    "build_image_processor",
    "build_processor",
]
