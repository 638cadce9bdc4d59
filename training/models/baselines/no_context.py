"""StoryAttn without a story: it reads one frame and its caption, and tells on from there."""

from huggingface_hub.dataclasses import strict
from storyattn import StoryAttnConfig, StoryAttnForConditionalGeneration

OWN = ("model_type", "auto_map", "architectures")  # what the two models do not share


@strict
class NoContextConfig(StoryAttnConfig):
    """
    A StoryAttn model of `max_frames=2`: one frame to read, one to predict.

    `measured_frames` is the length of the windows that it is measured on, those of the model that it stands beside; it
    is shown the last of their input frames alone.
    """

    model_type = "storyattn_no_context"
    _auto_class = None

    max_frames: int = 2
    measured_frames: int = 5

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        del self.auto_map  # its code is in no published folder

    @classmethod
    def from_model(cls, config: StoryAttnConfig) -> "NoContextConfig":
        """The same model as `config` has, without context."""
        values = config.to_dict() | {"max_frames": 2, "measured_frames": config.max_frames}
        return cls(**{name: value for name, value in values.items() if name not in OWN})


class NoContextModel(StoryAttnForConditionalGeneration):
    """The StoryAttn model, of another configuration."""

    config_class = NoContextConfig
    _auto_class = None
