"""Configuration of StoryAttn: what each part is, how large, and which losses train it."""

import math

from huggingface_hub.dataclasses import strict
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig, PreTrainedTokenizerBase

from .configuration_defaults import (
    AUTO_MAP,
    DEFAULT_DECODER_CONFIG,
    DEFAULT_LOSS_WEIGHTS,
    DEFAULT_TEXT_CONFIG,
    DEFAULT_VISION_CONFIG,
    FLOW_LOSS_WEIGHTS,
    FRAME_DECODER_TYPES,
)


@strict
class StoryAttnConfig(PreTrainedConfig):
    r"""
    The architecture of [`StoryAttnModel`] and [`StoryAttnForConditionalGeneration`], and the weights of the losses.

    Encoders and text decoder:
        vision_config (`dict` or `PreTrainedConfig`): any vision model of transformers; a backbone gives several scales.
        text_config (`dict` or `PreTrainedConfig`): any text encoder of transformers.
        decoder_config (`dict` or `PreTrainedConfig`): any causal language model of transformers.

    Inputs:
        image_size (`list[int]`): `[height, width]` of a frame in pixels, each a multiple of `frame_stride`.
        image_mean, image_std (`list[float]`): per channel, in the [0, 1] range; the processor normalises with them.
        max_frames (`int`): frames of one training window: the model reads up to `max_frames - 1` and predicts one more.
        num_memory_frames (`int`): earlier frames of a story of more frames among those that are read, the first of them
            the story's first; the others are its last ones. In training half of the windows that do not begin with
            their story have as many in place of their first frames, drawn at random.
        max_caption_length (`int`): tokens of a caption, its start and end tokens included; longer ones are cut.
        pad_token_id, bos_token_id, eos_token_id (`int`): special tokens of the tokenizer, the text decoder's if there
            are two.
        decoder_tokenizer (`bool`): the text decoder has a tokenizer of its own. The model then takes the captions in
            its ids as well, as `decoder_input_ids`.

    Story model:
        hidden_size (`int`): width of visual tokens, fused tokens and story states.
        num_attention_heads (`int`): heads of fusion, story transformer and frame decoder.
        num_story_layers (`int`): layers of the story transformer.
        mlp_ratio (`int`): inner width of feed-forward layers over `hidden_size`.
        dropout (`float`): dropout in the blocks above, in [0, 1).

    Spatial attention:
        use_spatial_attention (`bool`): off: every map is uniform and nothing is gated.
        num_spatial_heads (`int`): maps per frame, each of which pools one visual token.
        attention_stride (`int`): pixels per cell of the maps; the nearest scale that the vision model has is taken.
        spatial_temperature (`float`): of the softmax over positions, > 0. Low: mass on few cells.
        spatial_gamma (`float`): exponent of the gate, >= 0. 0: no gate.
        learn_spatial_temperature, learn_spatial_gamma (`bool`): the two are starting values and are trained.

    Fusion and shared space:
        use_cross_modal_fusion (`bool`): off: pictures and texts meet only in the story transformer.
        num_fusion_layers (`int`): rounds in which text reads picture and picture reads text.
        num_text_tokens (`int`): tokens that a caption is pooled into for the story transformer.
        projection_dim (`int`): width of the shared space.
        align_encoder_features (`bool`): the shared space is projected from the encoders' own features, averaged over
            places and tokens, and not from what the story model reads: for encoders that were trained on far more data
            than there are stories. `--fit_alignment` of training fits the projection in closed form.
        logit_scale_init_value (`float`): logarithm of the inverse temperature of the alignment loss.
        familiar_similarity (`float`, *optional*): least cosine of a frame and its caption in the stories that the model
            knows, as measured after training; below it `continue_story` warns.

    Frame decoder:
        frame_decoder_type (`str`): `"regression"` paints the likeliest next frame, the mean of all that may come;
            `"flow"` samples it from noise in a few steps. A trained regression model is a warm start of a flow model.
        use_frame_copy (`bool`): off: every pixel is painted; on: pixels may be copied from the frames so far.
        use_frame_motion (`bool`): with `use_frame_copy`, pieces of the frames so far may also be copied elsewhere.
        frame_sharpening (`float`): strength of the unsharp masking of predicted frames outside of training, >= 0: where
            the next frame cannot be foreseen, as in books, the best guess has too little fine structure. 0 with "flow".
        num_frame_layers (`int`): transformer layers over the cells of the frame.
        use_joint_frame_attention (`bool`): on: in these layers the caption and the story state read the cells, too.
        frame_context_captions (`int`): how many of the last captions these layers read word by word, besides the next.
        frame_stride (`int`): pixels per cell, a power of two.
        frame_channels (`list[int]`): channels at each doubling of the resolution but the last, which gives the pixels.
        object_names (`list[str]`, *optional*): each has a slot that says whether such an object changes,
            and where to, for the loss `next_frame_objects`. Training takes the names of the data set's boxes.
        num_reconstructed_frames (`int`): frames per story, drawn at random, that a training step reconstructs; all of
            them where there are no more, and in evaluation.
        next_caption_dropout (`float`): share of training transitions whose next caption is withheld, in [0, 1].
        story_dropout (`float`): share of training transitions in which the frame decoder reads of the story no more
            than the last frame, in [0, 1]; guidance needs some.
        context_noise (`float`): most noise, as a standard deviation of pixels in [0, 1], on the frames that are read in
            training; each story has its own level, from 0 to this. Targets and copied pixels have none.
        own_frames (`float`): share of the frames read in training that the model has painted by itself, by their
            captions and the true frames before them, in [0, 1]. It learns to read what it paints.

    Text decoder:
        decoder_context_captions (`int`): how many of the last captions it reads verbatim, before the story state.

    Losses:
        loss_weights (`dict[str, float]`): weight of each part, >= 0; parts that are not named keep their default, and 0
            switches a part off. Every part is a mean over frames, tokens or pairs of a batch:
            - `next_frame_l1`: absolute difference of predicted and true next frame.
            - `next_frame_mse`: squared difference of the two.
            - `next_frame_perceptual`: distance of the two in the features of a frozen vision model.
            - `next_frame_edge`: absolute difference of their Sobel magnitudes.
            - `next_frame_changed`: L1 over the pixels that changed since the last frame, each frame weighing the same.
            - `next_frame_relative`: L1 summed over all pixels, by the number of pixels that changed.
            - `next_frame_painted`: L1 of the frame without anything copied, over all pixels and over the changed ones.
            - `next_frame_moved`: the same of the pieces moved from earlier frames, before they are mixed in.
            - `next_frame_lit`: L1 of the last frame in its new light, before it is mixed in.
            - `next_frame_objects`: cross-entropy of which objects change in the next frame, and where; for
              training stories with `boxes`.
            - `reconstruction_l1`: absolute difference of a frame and its reconstruction from its own features.
            - `reconstruction_mse`: squared difference of the two.
            - `reconstruction_perceptual`, `reconstruction_edge`: as those of the next frame.
            - `flow_mse`: with `"flow"`, in training: squared difference of the next frame and what is predicted from a
              noisy one, over the square of the noise. The parts above then compare only what is predicted from pure
              noise with its caption.
            - `flow_painted`, `flow_moved`: the same difference of the frame without anything copied, and of moved
              pieces, over all pixels and over the changed ones.
            - `flow_l1`, `flow_perceptual`, `flow_edge`: as those of the next frame, where less than 0.65 is noise, each
              over its own mean.
            - `describe`: cross-entropy of the caption of a frame, given that frame.
            - `next_caption`: cross-entropy of the next caption, given the story so far.
            - `alignment`: contrastive loss that brings pictures and their captions together in the shared space.
            - `attention`: divergence of the attention maps from the places where the frame differs from its story.
        edge_window (`int`): pixels, along each side, over which edges are averaged before they are compared. 1: each
            edge must be in its place. More: only the amount of edges must be right.
        perceptual_model (`str`, *optional*): id or folder of a frozen vision model for the perceptual loss; by default
            the model's own vision encoder with detached weights. It is never stored in the checkpoint.

    Raises `ValueError` for a value out of its range, with the field, what it got and what it expected.
    """

    model_type = "storyattn"
    sub_configs = {"vision_config": AutoConfig, "text_config": AutoConfig, "decoder_config": AutoConfig}
    # Outputs that the Trainer does not gather: their sizes follow captions, or nothing is measured on them.
    keys_to_ignore_at_inference = [
        "loss_parts",
        "last_hidden_state",
        "spatial_attentions",
        "describe_states",
        "continue_states",
        "logit_scale",
        "hidden_states",
        "attentions",
        "painted_frames",
        "lit_frames",
        "moved_frames",
        "reconstructed_frames",
        "noise_levels",
        "object_logits",
        "object_places",
        "object_sizes",
        "describe_logits",
        "next_caption_logits",
    ]

    vision_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    decoder_config: dict | PreTrainedConfig | None = None

    image_size: list[int] | tuple[int, ...] = (64, 96)
    image_mean: list[float] | tuple[float, ...] = (0.5, 0.5, 0.5)
    image_std: list[float] | tuple[float, ...] = (0.5, 0.5, 0.5)
    max_frames: int = 5
    num_memory_frames: int = 0
    max_caption_length: int = 64
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | None = 2
    decoder_tokenizer: bool = False

    hidden_size: int = 128
    num_attention_heads: int = 4
    num_story_layers: int = 2
    mlp_ratio: int = 2
    dropout: float | int = 0.0

    use_spatial_attention: bool = True
    num_spatial_heads: int = 8
    attention_stride: int = 8
    spatial_temperature: float | int = 1.0
    spatial_gamma: float | int = 0.25
    learn_spatial_temperature: bool = True
    learn_spatial_gamma: bool = True

    use_cross_modal_fusion: bool = True
    num_fusion_layers: int = 1
    num_text_tokens: int = 4
    projection_dim: int = 128
    align_encoder_features: bool = False
    logit_scale_init_value: float | int = math.log(1 / 0.07)
    familiar_similarity: float | int | None = None

    frame_decoder_type: str = "regression"
    use_frame_copy: bool = True
    use_frame_motion: bool = True
    frame_sharpening: float | int = 0.0
    num_frame_layers: int = 3
    use_joint_frame_attention: bool = False
    frame_context_captions: int = 0
    frame_stride: int = 8
    frame_channels: list[int] | tuple[int, ...] = (64, 32)
    next_caption_dropout: float | int = 0.25
    story_dropout: float | int = 0.0
    context_noise: float | int = 0.0
    own_frames: float | int = 0.0
    object_names: list[str] | None = None
    num_reconstructed_frames: int = 1

    decoder_context_captions: int = 0

    loss_weights: dict | None = None
    edge_window: int = 1
    perceptual_model: str | None = None

    def __post_init__(self, **kwargs):
        defaults = {
            "vision_config": DEFAULT_VISION_CONFIG,
            "text_config": DEFAULT_TEXT_CONFIG,
            "decoder_config": DEFAULT_DECODER_CONFIG,
        }
        for name, default in defaults.items():
            setattr(self, name, _as_config(name, getattr(self, name), default))
        for name in ("image_size", "image_mean", "image_std", "frame_channels"):
            setattr(self, name, list(getattr(self, name)))
        self.loss_weights = {**DEFAULT_LOSS_WEIGHTS, **FLOW_LOSS_WEIGHTS, **(self.loss_weights or {})}
        super().__post_init__(**kwargs)
        self.auto_map = getattr(self, "auto_map", None) or dict(AUTO_MAP)
        self.check()

    @classmethod
    def from_dict(cls, config_dict: dict, **kwargs) -> PreTrainedConfig:
        """Build a configuration as the library does; raise `ValueError` for that of another type of model."""
        model_type = config_dict.get("model_type", cls.model_type)
        if model_type != cls.model_type:
            raise ValueError(f"config: got model_type {model_type!r}, expected {cls.model_type!r}")
        return super().from_dict(config_dict, **kwargs)

    @property
    def samples_frames(self) -> bool:
        """Whether the frame decoder samples frames from noise."""
        return self.frame_decoder_type == "flow"

    @property
    def used_loss_weights(self) -> dict[str, float]:
        """The weights of the parts of the loss that are switched on, those of noisy frames only where there are any."""
        weights = {name: weight for name, weight in self.loss_weights.items() if weight}
        return {name: weights[name] for name in weights if self.samples_frames or name not in FLOW_LOSS_WEIGHTS}

    @property
    def vocab_size(self) -> int:
        """Number of tokens that the text decoder can write."""
        return self.decoder_config.vocab_size

    @property
    def num_visual_tokens(self) -> int:
        """Number of tokens K that a frame is pooled into: one a map of the spatial attention, one for the whole."""
        return self.num_spatial_heads + 1

    @property
    def frame_grid(self) -> tuple[int, int]:
        """`(rows, columns)` of cells in which the frame decoder plans a frame."""
        return self.image_size[0] // self.frame_stride, self.image_size[1] // self.frame_stride

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> PreTrainedConfig:
        """Return the configuration of the text decoder, which is what the library's generation asks for."""
        return self.text_config if encoder and not decoder else self.decoder_config

    def adapt_to_tokenizer(
        self,
        tokenizer: PreTrainedTokenizerBase,
        decoder_tokenizer: PreTrainedTokenizerBase | None = None,
        pretrained: tuple[str, ...] = (),
    ) -> None:
        """Set the vocabulary sizes and special tokens of all parts to those of their tokenizers.

        Args:
            tokenizer: that of the text encoder, and of the text decoder unless it has one of its own.
            decoder_tokenizer (*optional*): the text decoder's.
            pretrained: which of "text" and "decoder" keep the vocabulary of their pretrained weights.

        Raises:
            ValueError: for a pad, bos or eos token that is missing, and for a part with fewer embeddings than its
                tokenizer has tokens.
        """
        self.decoder_tokenizer = decoder_tokenizer is not None
        tokenizers = {"text": tokenizer, "decoder": decoder_tokenizer if self.decoder_tokenizer else tokenizer}
        for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
            for part, part_tokenizer in tokenizers.items():
                if getattr(part_tokenizer, name) is None:
                    raise ValueError(f"tokenizer: got {name} None, expected a tokenizer that has one")
                if part not in pretrained:
                    setattr(getattr(self, f"{part}_config"), name, getattr(part_tokenizer, name))
            setattr(self, name, getattr(tokenizers["decoder"], name))
        for part, part_tokenizer in tokenizers.items():
            config, number = getattr(self, f"{part}_config"), len(part_tokenizer)
            if part not in pretrained:
                config.vocab_size = number
            if number > config.vocab_size:
                expected = f"at most its {config.vocab_size} embeddings"
                raise ValueError(f"{part}: got a tokenizer of {number} tokens, expected {expected}")

    def check(self) -> None:
        """Raise `ValueError` for a value out of its range."""
        self._check_images()
        self._check_captions()
        self._check_story_model()
        self._check_attention()
        self._check_frame_decoder()
        self._check_losses()

    def _check_images(self) -> None:
        doublings = math.log2(self.frame_stride) if self.frame_stride > 0 else 0.0
        _expect(doublings.is_integer() and doublings >= 2, "frame_stride", self.frame_stride, "a power of two above 2")
        _expect(len(self.image_size) == 2, "image_size", self.image_size, "[height, width]")
        sizes_fit = all(side > 0 and side % self.frame_stride == 0 for side in self.image_size)
        _expect(sizes_fit, "image_size", self.image_size, f"multiples of frame_stride ({self.frame_stride})")
        for name in ("image_mean", "image_std"):
            fits = len(getattr(self, name)) == 3 and all(map(math.isfinite, getattr(self, name)))
            _expect(fits, name, getattr(self, name), "three numbers, one per channel")
        _expect(min(self.image_std) > 0, "image_std", self.image_std, "numbers above 0")
        self._expect_at_least(2, "max_frames")
        fits = 0 <= self.num_memory_frames <= self.max_frames - 2
        _expect(fits, "num_memory_frames", self.num_memory_frames, f"0 to max_frames - 2 = {self.max_frames - 2}")

    def _check_captions(self) -> None:
        self._expect_at_least(3, "max_caption_length")
        positions = getattr(self.text_config, "max_position_embeddings", None) or self.max_caption_length
        expected = f"at most the {positions} positions of the text encoder"
        _expect(self.max_caption_length <= positions, "max_caption_length", self.max_caption_length, expected)
        self._expect_at_least(0, "decoder_context_captions")

    def _check_story_model(self) -> None:
        fits = self.hidden_size > 0 and self.hidden_size % 4 == 0
        _expect(fits, "hidden_size", self.hidden_size, "a multiple of 4 above 0")
        for name in ("num_attention_heads", "num_spatial_heads"):
            heads = getattr(self, name)
            divides = heads > 0 and self.hidden_size % heads == 0
            _expect(divides, name, heads, f"a divisor of hidden_size ({self.hidden_size})")
        self._expect_at_least(1, "num_text_tokens", "projection_dim", "mlp_ratio")
        is_finite = math.isfinite(self.logit_scale_init_value)
        _expect(is_finite, "logit_scale_init_value", self.logit_scale_init_value, "a finite number")
        self._expect_at_least(0, "num_story_layers", "num_fusion_layers")
        _expect(0 <= self.dropout < 1, "dropout", self.dropout, "in [0, 1)")

    def _check_attention(self) -> None:
        self._expect_at_least(1, "attention_stride")
        is_finite = 0 < self.spatial_temperature < math.inf
        _expect(is_finite, "spatial_temperature", self.spatial_temperature, "a number above 0")
        self._expect_at_least(0, "spatial_gamma")
        learnable = self.spatial_gamma > 0 or not self.learn_spatial_gamma
        _expect(learnable, "spatial_gamma", self.spatial_gamma, "above 0 where learn_spatial_gamma is on")

    def _check_frame_decoder(self) -> None:
        number = int(math.log2(self.frame_stride)) - 1
        fits = len(self.frame_channels) == number and min(self.frame_channels) > 0
        _expect(fits, "frame_channels", self.frame_channels, f"log2(frame_stride) - 1 = {number} numbers above 0")
        self._expect_at_least(0, "num_frame_layers", "frame_context_captions", "frame_sharpening")
        self._expect_at_least(1, "num_reconstructed_frames")
        names = self.object_names or []
        _expect(len(set(names)) == len(names), "object_names", f"{len(names)} names", "all of them different")
        for name in ("next_caption_dropout", "story_dropout", "context_noise", "own_frames"):
            _expect(0 <= getattr(self, name) <= 1, name, getattr(self, name), "in [0, 1]")
        kind = self.frame_decoder_type
        _expect(kind in FRAME_DECODER_TYPES, "frame_decoder_type", kind, f"one of {', '.join(FRAME_DECODER_TYPES)}")
        is_sharp = kind == "regression" or not self.frame_sharpening
        _expect(is_sharp, "frame_sharpening", self.frame_sharpening, "0 with frame_decoder_type flow")

    def _check_losses(self) -> None:
        known = {**DEFAULT_LOSS_WEIGHTS, **FLOW_LOSS_WEIGHTS}
        unknown = sorted(set(self.loss_weights) - set(known))
        _expect(not unknown, "loss_weights", unknown, f"names among {sorted(known)}")
        for name, weight in self.loss_weights.items():
            is_number = isinstance(weight, (int, float))
            _expect(is_number and 0 <= weight < math.inf, f"loss_weights.{name}", weight, "a number of at least 0")
        self._expect_at_least(1, "edge_window")

    def _expect_at_least(self, least: int, *names: str) -> None:
        for name in names:
            _expect(least <= getattr(self, name) < math.inf, name, getattr(self, name), f"at least {least}")


def _as_config(name: str, value: object, default: dict) -> PreTrainedConfig:
    """Build a sub-configuration of `None` (the default), of a dictionary with its `model_type`, or of one as it is."""
    if isinstance(value, PreTrainedConfig):
        return value
    values = dict(default if value is None else value)
    model_type = values.pop("model_type", default["model_type"])
    if model_type not in CONFIG_MAPPING:
        raise ValueError(f"{name}.model_type: got {model_type!r}, expected a model type that transformers knows")
    return CONFIG_MAPPING[model_type](**values)


def _expect(holds: bool, field: str, value: object, expected: str) -> None:
    if not holds:
        raise ValueError(f"StoryAttnConfig.{field}: got {value}, expected {expected}")


__all__ = ["DEFAULT_LOSS_WEIGHTS", "StoryAttnConfig"]
