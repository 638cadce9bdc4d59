"""StoryAttn: reads a picture story, writes its next caption and paints its next frame.

Names are imported when they are first used, so that a command which only shows its help needs neither PyTorch nor
transformers. The Auto classes of transformers know StoryAttn as soon as both packages are imported, in either order.
"""

import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .configuration_storyattn import DEFAULT_LOSS_WEIGHTS, StoryAttnConfig
    from .image_processing_storyattn import StoryAttnImageProcessor
    from .modeling_storyattn import StoryAttnForConditionalGeneration, StoryAttnModel, StoryAttnPreTrainedModel
    from .outputs import StoryAttnModelOutput, StoryAttnOutput
    from .pipeline_storyattn import StoryContinuationPipeline
    from .processing_storyattn import StoryAttnProcessor, build_image_processor, build_processor
    from .story import Page, Stories, Story

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
_SOURCES = (  # the modules that have these names
    "configuration_storyattn",
    "image_processing_storyattn",
    "modeling_storyattn",
    "outputs",
    "pipeline_storyattn",
    "processing_storyattn",
    "story",
)


def __getattr__(name: str) -> Any:
    """Import a public name, or a module of this package, at its first use."""
    if name in __all__:
        modules = [import_module(f".{source}", __name__) for source in _SOURCES]
        globals().update({public: getattr(module, public) for module in modules for public in _public_names(module)})
        return globals()[name]
    if not name.startswith("_") and find_spec(f".{name}", __name__) is not None:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the names of this module, those that are not imported yet included."""
    return sorted({*globals(), *__all__})


def _public_names(module: ModuleType) -> set[str]:
    return vars(module).keys() & set(__all__)


def _register() -> None:
    """Make StoryAttn known to the Auto classes of transformers."""
    from transformers import (
        AutoConfig,
        AutoModel,
        AutoModelForImageTextToText,
        AutoModelForMultimodalLM,
        AutoProcessor,
    )

    # Its own module: without torchvision, transformers 5.17 gives a stand-in at the top level that does nothing.
    from transformers.models.auto.image_processing_auto import AutoImageProcessor

    from .configuration_storyattn import StoryAttnConfig
    from .image_processing_storyattn import StoryAttnImageProcessor
    from .modeling_storyattn import StoryAttnForConditionalGeneration, StoryAttnModel  # registers the pipeline as well
    from .processing_storyattn import StoryAttnProcessor

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


class _RegisterAfterImport(MetaPathFinder):
    """Calls `_register` once transformers is imported, and each module of this package whose import had begun."""

    def __init__(self):
        self.num_running = 0  # imports that have begun and not ended

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Find transformers and the modules of this package as Python does, and watch the import of each."""
        if name != "transformers" and name.rpartition(".")[0] != __name__:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            self.num_running += 1
            try:
                execute(module)
            finally:
                self.num_running -= 1
            if self.num_running == 0 and "transformers" in sys.modules and self in sys.meta_path:
                sys.meta_path.remove(self)
                _register()

        spec.loader.exec_module = execute_and_register
        return spec


if "transformers" in sys.modules:
    _register()
else:
    sys.meta_path.insert(0, _RegisterAfterImport())
