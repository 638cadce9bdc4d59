"""StoryAttn without a story: it reads one frame and its caption, and predicts what comes next."""

from huggingface_hub.dataclasses import strict
from storyattn import StoryAttnConfig, StoryAttnForConditionalGeneration

NOT_SHARED = ("model_type", "auto_map", "architectures")  # fields that say which of the two models it is


@strict
class NoContextConfig(StoryAttnConfig):
    """Configuration of a StoryAttn model of `max_frames=2`: one frame to read, one to predict.

    `measured_frames` is the length of the windows that it is measured on, in frames. They are the windows of the model
    that it is compared with; of their input frames it is shown the last one alone.
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
        """Return the configuration of the same model as `config` has, without context."""
        values = config.to_dict() | {"max_frames": 2, "measured_frames": config.max_frames}
        return cls(**{name: value for name, value in values.items() if name not in NOT_SHARED})


class NoContextModel(StoryAttnForConditionalGeneration):
    """The StoryAttn model with another configuration."""

    config_class = NoContextConfig
    _auto_class = None
