"""StoryAttn: reads a picture story and carries it on.

frames (B,T,3,H,W)                          captions (B,T,L)
    | VisionEncoder                             | text encoder
SpatialAttention: visual tokens, maps       token states
    |------------- CrossModalFusion ------------|        -> image_embeds, text_embeds: the shared space
seen tokens V_t, then fused tokens F_t
    | StoryTransformer, causal in V_1 F_1 V_2 F_2 ... V_T F_T
state at V_t -> describe caption t          state at F_t -> next caption t+1, next frame t+1
"""

import copy
from os import PathLike

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedModel
from transformers import initialization as init
from transformers.generation import GenerationMixin
from transformers.utils import can_return_tuple

from .caption_readout import CaptionReadoutMixin
from .configuration_defaults import CUSTOM_PIPELINES, LOSSES_WITHOUT_FRAMES
from .configuration_storyattn import StoryAttnConfig
from .frame_copier import ZeroConv
from .frame_decoder import FrameDecoder
from .frame_noise import ZeroLinear
from .frame_readout import FrameReadoutMixin
from .fusion import CrossModalFusion, TextPooling, mean_and_max_of_tokens, mean_of_tokens
from .generation_storyattn import GenerationStoryAttnMixin
from .input_checks import ValueChecks, check_captions, check_frame_mask, check_frame_values, check_frames, check_mask
from .object_slots import ObjectSlots
from .outputs import EncodedStories, StoryAttnModelOutput, StoryAttnOutput
from .pipeline_storyattn import StoryContinuationPipeline  # noqa: F401  registers its task, and is saved along
from .pretrained_parts import PretrainedPartsMixin
from .spatial_attention import SpatialAttention
from .story_loss import StoryLossMixin, Supervision
from .story_transformer import StoryTransformer
from .token_embeddings import DecoderEmbeddingsMixin, EncoderEmbeddingsMixin
from .vision_encoder import VisionEncoder, build_part, hidden_width, pooled_maps


class StoryAttnPreTrainedModel(PreTrainedModel):
    """Initialisation and loading that the StoryAttn models share."""

    config_class = StoryAttnConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    # A device map does not split these; the parts of transformers name theirs.
    _no_split_modules = ["SpatialAttention", "CrossModalLayer", "TextPooling", "StoryTransformer", "FrameDecoder"]

    def set_attn_implementation(self, attn_implementation: str | dict, *args, **kwargs) -> None:
        """Set it as the library does, but leave `eager` to a part without `sdpa`, which the library would refuse."""
        if attn_implementation == "sdpa":
            attn_implementation = {"": "sdpa"}
            for name in self.config.sub_configs:
                config = getattr(self.config, name)
                parts = [part for part in self.modules() if isinstance(part, PreTrainedModel) and part.config is config]
                if parts:
                    supported = all(part._supports_sdpa for part in parts)
                    attn_implementation[name] = "sdpa" if supported else "eager"
        super().set_attn_implementation(attn_implementation, *args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Scale linear and convolutional weights by their fan-in; other parts fill their parameters themselves."""
        if isinstance(module, (ZeroConv, ZeroLinear)):
            init.zeros_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, (nn.Linear, nn.Conv2d)):
            init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, (nn.LayerNorm, nn.GroupNorm)):
            init.ones_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, SpatialAttention):
            module.reset_parameters(init.normal_, init.constant_)
        elif isinstance(module, (StoryTransformer, TextPooling, FrameDecoder, ObjectSlots)):
            module.reset_parameters(init.normal_)
        elif isinstance(module, StoryAttnModel):
            init.normal_(module.no_caption, std=1.0)
            init.constant_(module.logit_scale, self.config.logit_scale_init_value)
        elif isinstance(module, StoryAttnForConditionalGeneration):
            init.normal_(module.prefix_kind, std=0.5)


class StoryAttnModel(EncoderEmbeddingsMixin, StoryAttnPreTrainedModel):
    """The encoders, the attention blocks and the story transformer: everything but the decoders.

    ```python
    >>> inputs = processor(frames=[[first, second]], captions=[["A fox wakes.", "It finds a key."]])
    >>> outputs = model(**inputs)
    >>> outputs.image_embeds @ outputs.text_embeds.transpose(1, 2)  # similarities in the shared space
    ```
    """

    # A checkpoint of the whole model has the decoders too.
    _keys_to_ignore_on_load_unexpected = [r"^frame_decoder\.", r"^text_decoder\.", r"^prefix"]

    def __init__(self, config: StoryAttnConfig):
        super().__init__(config)
        size, text_width = config.hidden_size, hidden_width(config.text_config)
        self.vision_encoder = VisionEncoder(config)
        self.text_encoder = build_part(AutoModel, config.text_config)
        if getattr(self.text_encoder, "pooler", None) is not None:
            self.text_encoder.pooler = None
        self.text_input = nn.Sequential(nn.Linear(text_width, size), nn.LayerNorm(size))
        self.no_caption = nn.Parameter(torch.empty(size))
        self.spatial_attention = SpatialAttention(config)
        self.fusion = CrossModalFusion(config) if config.use_cross_modal_fusion else None
        self.text_pooling = TextPooling(config)
        pooled_widths = size * config.num_visual_tokens, 2 * size
        if config.align_encoder_features:
            pooled_widths = self.vision_encoder.num_channels, text_width
        self.image_projection = nn.Linear(pooled_widths[0], config.projection_dim)
        self.text_projection = nn.Linear(pooled_widths[1], config.projection_dim)
        self.logit_scale = nn.Parameter(torch.empty(1))
        self.story_transformer = StoryTransformer(config)
        self.post_init()

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the maps of the spatial attention."""
        return self.vision_encoder.grid

    @property
    def limits(self) -> tuple[int | None, int | None]:
        """How many tokens the text encoder knows, and how many it reads at once; None where it does not say."""
        return self.num_embeddings, getattr(self.config.text_config, "max_position_embeddings", None)

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        frame_mask: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        spatial_temperature: float | None = None,
        spatial_gamma: float | None = None,
        caption_mask: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> StoryAttnModelOutput:
        """Read B stories of T frames.

        Args:
            pixel_values (`(B, T, 3, H, W)`): frames, normalised by the processor.
            frame_mask (`(B, T)`, *optional*): 1 for frames, 0 for padding at the end; default all 1.
            input_ids, attention_mask (`(B, T, L)`, *optional*): captions; a caption whose mask is all 0 is missing.
            spatial_temperature, spatial_gamma (`float`, *optional*): in place of the configured or learned values.
            caption_mask (`(B, T)`, *optional*): 0 for captions that are not read with the story, as if they were
                missing; they have their place in the shared space all the same. Default all 1.
            output_attentions, output_hidden_states (`bool`, *optional*): adds `attentions` and `hidden_states` of the
                story transformer; default: as configured.

        Raises:
            ValueError: for a tensor of the wrong shape, with what it got and what it expected.
        """
        inputs = pixel_values, frame_mask, input_ids, attention_mask
        options = spatial_temperature, spatial_gamma, caption_mask, output_attentions, output_hidden_states
        return self.encode(*inputs, *options).output

    def encode(
        self,
        pixel_values: torch.Tensor,
        frame_mask: torch.Tensor | None,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        spatial_temperature: float | None = None,
        spatial_gamma: float | None = None,
        caption_mask: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> EncodedStories:
        """Read stories as `forward` does, with its arguments, and return what frame decoder and losses read as well."""
        frame_mask = self.check_inputs(pixel_values, frame_mask, input_ids, attention_mask, caption_mask)
        shape = pixel_values.shape[:2]
        features, detail, feature_maps = self.vision_encoder(pixel_values.flatten(0, 1))
        attended = self.spatial_attention(features, spatial_temperature, spatial_gamma)
        visual_tokens, gated, attention_maps = attended  # (B*T, K, D), (B*T, h, w, D), (B*T, heads, h, w)
        text, text_mask, token_states = self.read_captions(input_ids, attention_mask, shape)  # (B*T, 1+L, D)
        image_embeds, text_embeds = self._shared_space(feature_maps, visual_tokens, token_states, text, text_mask)
        read_mask = text_mask
        if caption_mask is not None:
            tokens_mask = text_mask[:, 1:] & caption_mask.flatten()[:, None].bool()
            read_mask = torch.cat([text_mask[:, :1], tokens_mask], dim=1)
        fused_tokens = self._fuse(visual_tokens, gated, text, read_mask)
        states = self.story_transformer(
            visual_tokens.unflatten(0, shape),
            fused_tokens.unflatten(0, shape),
            frame_mask,
            self.config.output_hidden_states if output_hidden_states is None else output_hidden_states,
            self.config.output_attentions if output_attentions is None else output_attentions,
        )
        output = StoryAttnModelOutput(
            last_hidden_state=states.last,
            image_embeds=image_embeds.unflatten(0, shape),
            text_embeds=text_embeds.unflatten(0, shape),
            spatial_attentions=attention_maps.unflatten(0, shape),
            describe_states=states.seen,
            continue_states=states.fused,
            logit_scale=self.logit_scale.exp().clamp(max=100.0).squeeze(0),
            hidden_states=states.hidden_states,
            attentions=states.attentions,
        )
        per_frame = (None if x is None else x.unflatten(0, shape) for x in (text, text_mask, read_mask, gated, detail))
        return EncodedStories(output, frame_mask, *per_frame, feature_maps)

    def read_captions(
        self, input_ids: torch.Tensor | None, attention_mask: torch.Tensor | None, shape: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Encode captions, each behind a learned state, which stands alone where a caption is missing.

        Args:
            input_ids, attention_mask (`(B, T, L)`, *optional*): the captions.
            shape (`tuple[int, int]`): B and T.

        Returns:
            states `(B * T, 1 + L, D)`, their mask, and the states of the text encoder `(B * T, L, C)`.
        """
        first = self.no_caption.expand(shape[0] * shape[1], 1, -1)
        first_mask = torch.ones(first.shape[:2], dtype=torch.bool, device=first.device)
        if input_ids is None:
            return first, first_mask, first.new_zeros(first.shape[0], 0, hidden_width(self.config.text_config))
        ids, mask = input_ids.flatten(0, 1).long(), attention_mask.flatten(0, 1).bool()
        readable = mask.clone()
        readable[:, 0] |= ~mask.any(1)  # an encoder must have something to read
        token_states = self.text_encoder(input_ids=ids, attention_mask=readable.long()).last_hidden_state
        states = self.text_input(token_states)
        return torch.cat([first.to(states.dtype), states], dim=1), torch.cat([first_mask, mask], dim=1), token_states

    def _shared_space(
        self,
        feature_maps: list[torch.Tensor],
        visual_tokens: torch.Tensor,
        token_states: torch.Tensor,
        text: torch.Tensor,
        text_mask: torch.Tensor,
    ) -> list[torch.Tensor]:
        """Project pictures and captions into the shared space, as unit vectors `(B * T, P)` each."""
        if self.config.align_encoder_features:
            pooled = pooled_maps(feature_maps), mean_of_tokens(token_states, text_mask[:, 1:])
        else:
            pooled = visual_tokens.flatten(1), mean_and_max_of_tokens(text, text_mask)
        projections = self.image_projection, self.text_projection
        return [F.normalize(project(values).float(), dim=-1) for project, values in zip(projections, pooled)]

    def _fuse(
        self,
        visual_tokens: torch.Tensor,
        gated: torch.Tensor,
        text: torch.Tensor,
        text_mask: torch.Tensor,
    ) -> torch.Tensor:
        """Fuse frames with the captions that are read with them: fused tokens `(B * T, K + M, D)`."""
        if self.fusion is not None:
            visual_tokens, text = self.fusion(visual_tokens, gated.flatten(1, 2), text, text_mask)
        return torch.cat([visual_tokens, self.text_pooling(text, text_mask)], dim=1)

    def check_inputs(
        self,
        pixel_values: torch.Tensor,
        frame_mask: torch.Tensor | None,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        caption_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Check arguments of `forward`; values only where that costs nothing, see `input_checks`.

        Args:
            pixel_values, frame_mask, input_ids, attention_mask, caption_mask: as in `forward`.

        Returns:
            the frame mask `(B, T)`, bool.

        Raises:
            ValueError: for a tensor of another shape, type or range, with what it got and what it expected.
        """
        check_frames(pixel_values, self.config)
        shape, checks = pixel_values.shape[:2], ValueChecks(pixel_values, self.training)
        if frame_mask is not None:
            check_frame_mask(frame_mask, shape, checks)
        check_captions(("input_ids", "attention_mask"), input_ids, attention_mask, shape, self.limits, checks)
        if caption_mask is not None:
            check_mask("caption_mask", caption_mask, shape, checks)
        if not self.training:  # a training skips the steps whose loss is no number
            check_frame_values(pixel_values, self.config, checks)
        checks.run()
        if frame_mask is None:
            return torch.ones(shape, dtype=torch.bool, device=pixel_values.device)
        return frame_mask.bool()


class StoryAttnForConditionalGeneration(
    PretrainedPartsMixin,
    GenerationStoryAttnMixin,
    CaptionReadoutMixin,
    FrameReadoutMixin,
    StoryLossMixin,
    DecoderEmbeddingsMixin,
    StoryAttnPreTrainedModel,
    GenerationMixin,
):
    """[`StoryAttnModel`] with its read-outs: captions by a causal language model, frames by the frame decoder."""

    output_modalities = ("text", "image")

    def __init__(self, config: StoryAttnConfig):
        super().__init__(config)
        self.model = StoryAttnModel(config)
        self.text_decoder = build_part(AutoModelForCausalLM, config.decoder_config)
        self.prefix = nn.Linear(config.hidden_size, hidden_width(config.decoder_config))
        self.prefix_kind = nn.Parameter(torch.empty(2, config.hidden_size))
        encoder = self.model.vision_encoder
        self.frame_decoder = FrameDecoder(config, encoder.grid, encoder.detail_channels)
        self._perceptual = []  # filled at first use; a list, so that no module is registered
        self.post_init()
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            setattr(self.generation_config, name, getattr(config, name))

    def save_pretrained(self, save_directory: str | PathLike, **kwargs) -> None:
        """Save as the library does; where the code goes along, `config.json` names the pipeline that is part of it."""
        if self._auto_class is not None:
            self.config.custom_pipelines = copy.deepcopy(CUSTOM_PIPELINES)
        super().save_pretrained(save_directory, **kwargs)

    @property
    def _writes_in_training(self) -> bool:
        """Whether some caption has a loss."""
        return any(self.config.loss_weights[name] for name in ("describe", "next_caption"))

    @property
    def _paints_in_training(self) -> bool:
        """Whether some painted frame has a loss."""
        return any(weight for name, weight in self.config.loss_weights.items() if name not in LOSSES_WITHOUT_FRAMES)

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        frame_mask: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        return_loss: bool = False,
        use_next_caption: bool = True,
        next_caption_mask: torch.Tensor | None = None,
        reconstructed: torch.Tensor | None = None,
        loss_counts: dict[str, torch.Tensor] | None = None,
        spatial_temperature: float | None = None,
        spatial_gamma: float | None = None,
        caption_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        transition_mask: torch.Tensor | None = None,
        object_maps: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> StoryAttnOutput:
        """Run one pass over B stories of T frames: all T - 1 transitions, all T reconstructions, all captions.

        Args, besides those of [`StoryAttnModel`] (what `caption_mask` hides is a target all the same):
            return_loss: adds `loss` and `loss_parts`. loss_counts, transition_mask, object_maps: see [`Supervision`].
            use_next_caption, next_caption_mask (`(B, T - 1)`): if frame t + 1 is predicted by its caption; default 1.
            reconstructed (`(B, R)`): frames to reconstruct, -1 for none; default all. In training both are drawn.
            decoder_input_ids, decoder_attention_mask (`(B, T, M)`): captions for `config.decoder_tokenizer`.
        """
        inputs = pixel_values, frame_mask, input_ids, attention_mask
        options = spatial_temperature, spatial_gamma, caption_mask, output_attentions, output_hidden_states
        (stories, shown), frames = self._read_stories(inputs, options), self.unnormalize(pixel_values)
        tasks = self._draw_tasks(stories.frame_mask, attention_mask, use_next_caption, next_caption_mask, reconstructed)
        captions = self.decoder_captions(input_ids, attention_mask, decoder_input_ids, decoder_attention_mask)
        needs_all = not (self.training and return_loss)  # no work for what has no loss
        read_out = self._all_frames(stories, shown, frames, *tasks, object_maps, needs_all or self._paints_in_training)
        if needs_all or self._writes_in_training:
            read_out |= self._all_caption_logits(stories.output, *captions, caption_mask)
        result = StoryAttnOutput(**stories.output, **read_out)
        if return_loss:
            targets = frames, stories.frame_mask, captions, *tasks, self.model.grid, read_out["noise_levels"]
            further = transition_mask, object_maps
            self._add_loss(result, Supervision(*targets, *further), stories.feature_maps, loss_counts)
        return result
