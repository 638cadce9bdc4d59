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

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedModel
from transformers import initialization as init
from transformers.generation import GenerationMixin
from transformers.utils import can_return_tuple

from .configuration_storyattn import StoryAttnConfig
from .frame_copier import ZeroConv
from .frame_decoder import FrameDecoder, Paintings
from .fusion import CrossModalFusion, TextPooling
from .losses import (
    PerceptualLoss,
    alignment_loss,
    attention_loss,
    caption_loss,
    changed_loss,
    masked_mean,
    pixel_losses,
    unit_channels,
)
from .outputs import StoryAttnModelOutput, StoryAttnOutput
from .pipeline_storyattn import CUSTOM_PIPELINES
from .pretrained_parts import PretrainedPartsMixin
from .spatial_attention import SpatialAttention
from .story_transformer import StoryTransformer
from .storytelling import TASKS, StorytellingMixin
from .supervision import Supervision
from .vision_encoder import VisionEncoder, build_part, pooled_maps


class StoryAttnPreTrainedModel(PreTrainedModel):
    """Initialisation and loading that the StoryAttn models share."""

    config_class = StoryAttnConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    # A device map leaves them whole; the parts of transformers name their own.
    _no_split_modules = ["SpatialAttention", "CrossModalLayer", "TextPooling", "StoryTransformer", "FrameDecoder"]

    def set_attn_implementation(self, attn_implementation: str | dict, *args, **kwargs) -> None:
        """As the library's; a part that does not know `sdpa`, which the library refuses, keeps `eager`: the same."""
        if attn_implementation == "sdpa":
            attn_implementation = {"": "sdpa"}
            for name in self.config.sub_configs:
                own = getattr(self.config, name)
                parts = [part for part in self.modules() if isinstance(part, PreTrainedModel) and part.config is own]
                if parts:
                    known = all(part._supports_sdpa for part in parts)
                    attn_implementation[name] = "sdpa" if known else "eager"
        super().set_attn_implementation(attn_implementation, *args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Scales linear and convolutional weights by their fan-in; each part fills the parameters it holds itself."""
        if isinstance(module, ZeroConv):
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
        elif isinstance(module, (StoryTransformer, TextPooling, FrameDecoder)):
            module.reset_parameters(init.normal_)
        elif isinstance(module, StoryAttnModel):
            init.normal_(module.no_caption, std=1.0)
            init.constant_(module.logit_scale, self.config.logit_scale_init_value)
        elif isinstance(module, StoryAttnForConditionalGeneration):
            init.normal_(module.prefix_kind, std=0.5)


class StoryAttnModel(StoryAttnPreTrainedModel):
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
        size = config.hidden_size
        self.vision_encoder = VisionEncoder(config)
        self.text_encoder = build_part(AutoModel, config.text_config)
        if getattr(self.text_encoder, "pooler", None) is not None:
            self.text_encoder.pooler = None
        self.text_input = nn.Sequential(nn.Linear(_width(config.text_config), size), nn.LayerNorm(size))
        self.no_caption = nn.Parameter(torch.empty(size))
        self.spatial_attention = SpatialAttention(config)
        self.fusion = CrossModalFusion(config) if config.use_cross_modal_fusion else None
        self.text_pooling = TextPooling(config)
        image_width, text_width = size * config.num_visual_tokens, 2 * size
        if config.align_encoder_features:
            image_width, text_width = self.vision_encoder.num_channels, _width(config.text_config)
        self.image_projection = nn.Linear(image_width, config.projection_dim)
        self.text_projection = nn.Linear(text_width, config.projection_dim)
        self.logit_scale = nn.Parameter(torch.empty(1))
        self.story_transformer = StoryTransformer(config)
        self.post_init()

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the maps of the spatial attention."""
        return self.vision_encoder.grid

    def get_input_embeddings(self) -> nn.Module:
        """The token embedding of the text encoder."""
        return self.text_encoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the token embedding of the text encoder."""
        self.text_encoder.set_input_embeddings(value)

    def resize_token_embeddings(self, new_num_tokens=None, pad_to_multiple_of=None, mean_resizing=True) -> nn.Embedding:
        """As the library's, of the text encoder."""
        written = self.config.decoder_config.vocab_size
        embeddings = super().resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)
        self.config.text_config.vocab_size = embeddings.num_embeddings
        if self.config.decoder_tokenizer:  # the library takes the decoder's for the one that was resized
            self.config.decoder_config.vocab_size = written
        return embeddings

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
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
        """Reads B stories of T frames.

        Args:
            pixel_values (`(B, T, 3, H, W)`): frames, normalised by the processor.
            frame_mask (`(B, T)`, *optional*): 1 for frames that are there, 0 for padding at the end; default all 1.
            input_ids, attention_mask (`(B, T, L)`, *optional*): captions; a caption whose mask is all 0 is missing.
            spatial_temperature, spatial_gamma (`float`, *optional*): in place of the configured or learned values.
            caption_mask (`(B, T)`, *optional*): 0 for captions that are not read with the story, as if they were
                missing; they have their place in the shared space all the same. Default all 1.
            output_attentions, output_hidden_states (`bool`, *optional*): adds `attentions` and `hidden_states` of the
                story transformer; default: as configured.

        Raises `ValueError` for tensors of the wrong shape, naming what was found and expected.
        """
        inputs = (pixel_values, frame_mask, input_ids, attention_mask)
        wanted = output_attentions, output_hidden_states
        return self.encode(*inputs, spatial_temperature, spatial_gamma, caption_mask, *wanted)["output"]

    def encode(
        self,
        pixel_values,
        frame_mask,
        input_ids,
        attention_mask,
        temperature=None,
        gamma=None,
        caption_mask=None,
        output_attentions=None,
        output_hidden_states=None,
    ) -> dict:
        """As `forward`; returns the `output`, and what the frame decoder reads besides.

        That is `gated` features `(B,T,h,w,D)`, `detail` maps `(B,T,C,h',w')` or None, states of the captions in `text
        (B,T,1+L,D)` with `text_mask`, `frame_mask`, and all `maps (B*T,C,h,w)` of the vision encoder.
        """
        frame_mask = self.check_inputs(pixel_values, frame_mask, input_ids, attention_mask)
        shape = pixel_values.shape[:2]
        features, detail, levels = self.vision_encoder(pixel_values.flatten(0, 1))
        seen, gated, maps = self.spatial_attention(features, temperature, gamma)  # (B*T, K, D), (B*T, h, w, D)
        text, text_mask, words = self.text_states(input_ids, attention_mask, shape)  # (B*T, L, D)
        if self.config.align_encoder_features:
            pooled = pooled_maps(levels), mean_of_words(words, text_mask[:, 1:])
        else:
            pooled = seen.flatten(1), mean_and_largest(text, text_mask)
        image_embeds, text_embeds = (
            F.normalize(projection(values).float(), dim=-1)
            for projection, values in zip((self.image_projection, self.text_projection), pooled)
        )
        visual, read, read_mask = seen, text, text_mask
        if caption_mask is not None:
            words = text_mask[:, 1:] & caption_mask.flatten()[:, None].bool()
            read_mask = torch.cat([text_mask[:, :1], words], dim=1)
        if self.fusion is not None:
            visual, read = self.fusion(seen, gated.flatten(1, 2), text, read_mask)
        fused = torch.cat([visual, self.text_pooling(read, read_mask)], dim=1)
        states = self.story_transformer(
            seen.unflatten(0, shape),
            fused.unflatten(0, shape),
            frame_mask,
            self.config.output_hidden_states if output_hidden_states is None else output_hidden_states,
            self.config.output_attentions if output_attentions is None else output_attentions,
        )
        output = StoryAttnModelOutput(
            last_hidden_state=states.last,
            image_embeds=image_embeds.unflatten(0, shape),
            text_embeds=text_embeds.unflatten(0, shape),
            spatial_attentions=maps.unflatten(0, shape),
            describe_states=states.seen,
            continue_states=states.fused,
            logit_scale=self.logit_scale.exp().clamp(max=100.0).squeeze(0),
            hidden_states=states.hidden_states,
            attentions=states.attentions,
        )
        return {
            "output": output,
            "gated": gated.unflatten(0, shape),
            "detail": None if detail is None else detail.unflatten(0, shape),
            "text": text.unflatten(0, shape),
            "text_mask": text_mask.unflatten(0, shape),
            "frame_mask": frame_mask,
            "maps": levels,
        }

    def text_states(self, input_ids, attention_mask, shape) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """States of captions `(B,T,L)` as `(B*T, 1 + L, D)` with their mask, and the text encoder's own `(B*T, L, C)`.

        A learned state comes first; where a caption is missing, it stands alone.
        """
        first = self.no_caption.expand(shape[0] * shape[1], 1, -1)
        there = torch.ones(first.shape[:2], dtype=torch.bool, device=first.device)
        if input_ids is None:
            return first, there, first.new_zeros(first.shape[0], 0, _width(self.config.text_config))
        ids, mask = input_ids.flatten(0, 1), attention_mask.flatten(0, 1).bool()
        readable = mask.clone()
        readable[:, 0] |= ~mask.any(1)  # an encoder must have something to read
        words = self.text_encoder(input_ids=ids, attention_mask=readable.long()).last_hidden_state
        states = self.text_input(words)
        return torch.cat([first.to(states.dtype), states], dim=1), torch.cat([there, mask], dim=1), words

    def check_inputs(self, pixel_values, frame_mask, input_ids, attention_mask) -> torch.Tensor:
        """The boolean frame mask `(B,T)`; raises `ValueError` for shapes that do not fit."""
        expected = (3, *self.config.image_size)
        if pixel_values.dim() != 5 or tuple(pixel_values.shape[2:]) != expected:
            raise ValueError(f"pixel_values: got shape {tuple(pixel_values.shape)}, expected (B, T, *{expected})")
        shape = pixel_values.shape[:2]
        for name, value in (("frame_mask", frame_mask), ("input_ids", input_ids), ("attention_mask", attention_mask)):
            if value is not None and value.shape[:2] != shape:
                raise ValueError(f"{name}: got shape {tuple(value.shape)}, expected {tuple(shape)} first")
        if (input_ids is None) != (attention_mask is None):
            raise ValueError("input_ids and attention_mask: got one without the other, expected both or neither")
        if frame_mask is None:
            return torch.ones(shape, dtype=torch.bool, device=pixel_values.device)
        return frame_mask.bool()


class StoryAttnForConditionalGeneration(
    PretrainedPartsMixin, StorytellingMixin, StoryAttnPreTrainedModel, GenerationMixin
):
    """[`StoryAttnModel`] with its read-outs: captions by a causal language model, frames by the frame decoder."""

    output_modalities = ("text", "image")

    def __init__(self, config: StoryAttnConfig):
        super().__init__(config)
        self.model = StoryAttnModel(config)
        self.text_decoder = build_part(AutoModelForCausalLM, config.decoder_config)
        self.prefix = nn.Linear(config.hidden_size, _width(config.decoder_config))
        self.prefix_kind = nn.Parameter(torch.empty(2, config.hidden_size))
        encoder = self.model.vision_encoder
        self.frame_decoder = FrameDecoder(config, encoder.grid, encoder.detail_channels)
        self._perceptual = []  # filled at first use; a list, so that no module is registered
        self.post_init()
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            setattr(self.generation_config, name, getattr(config, name))

    def get_input_embeddings(self) -> nn.Module:
        """The token embedding of the text decoder."""
        return self.text_decoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the token embedding of the text decoder."""
        self.text_decoder.set_input_embeddings(value)

    def resize_token_embeddings(self, new_num_tokens=None, pad_to_multiple_of=None, mean_resizing=True) -> nn.Embedding:
        """As the library's, of the text decoder, and of the text encoder where they share a tokenizer.

        Where they do not, that of the text encoder is resized by `model.base_model.resize_token_embeddings`.
        """
        options = new_num_tokens, pad_to_multiple_of, mean_resizing
        if not self.config.decoder_tokenizer:
            self.model.resize_token_embeddings(*options)
        return super().resize_token_embeddings(*options)

    def get_output_embeddings(self) -> nn.Module:
        """The output layer of the text decoder."""
        return self.text_decoder.get_output_embeddings()

    def set_output_embeddings(self, value: nn.Module) -> None:
        """Replaces the output layer of the text decoder."""
        self.text_decoder.set_output_embeddings(value)

    def save_pretrained(self, save_directory, **kwargs):
        """As the library's; where the model's code goes along, `config.json` names the pipeline that is part of it."""
        if self._auto_class is not None:
            self.config.custom_pipelines = copy.deepcopy(CUSTOM_PIPELINES)
        return super().save_pretrained(save_directory, **kwargs)

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
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
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> StoryAttnOutput:
        """One pass over B stories of T frames: all T - 1 transitions, all T reconstructions, all captions.

        Args:
            pixel_values, frame_mask, input_ids, attention_mask, spatial_temperature, spatial_gamma, caption_mask,
            output_attentions, output_hidden_states:
                as in [`StoryAttnModel`]; what `caption_mask` hides is written, aligned and painted all the same.
            return_loss (`bool`): adds `loss` and `loss_parts`.
            use_next_caption (`bool`): the painted frame t + 1 may read caption t + 1.
            next_caption_mask (`(B, T - 1)`, *optional*): 1 where it does; default: everywhere, but that training
                withholds it from a share `next_caption_dropout` of the transitions, at random.
            reconstructed (`(B, R)`, *optional*): indices of the frames to reconstruct, -1 for none; default: all, and
                in training `num_reconstructed_frames` of each story, at random.
            loss_counts (`dict[str, torch.Tensor]`, *optional*): numbers of `loss_counts` that the parts of the loss
                are divided by in place of this batch's own. With the mean of the counts of several batches, the mean of
                their losses is that of one large batch.
            decoder_input_ids, decoder_attention_mask (`(B, T, M)`, *optional*): the captions for a text decoder that
                has a tokenizer of its own (`config.decoder_tokenizer`).
        """
        inputs = (pixel_values, frame_mask, input_ids, attention_mask)
        wanted = output_attentions, output_hidden_states
        story = self.model.encode(*inputs, spatial_temperature, spatial_gamma, caption_mask, *wanted)
        output, frames = story["output"], self.unnormalize(pixel_values)
        told = self._told(attention_mask, frames, use_next_caption, next_caption_mask)
        rebuilt = self._rebuilt(story["frame_mask"]) if reconstructed is None else reconstructed
        paintings, number = self._paint_all(story, frames, told, rebuilt.clamp(min=0)), frames.shape[1] - 1
        result = StoryAttnOutput(
            **output,
            predicted_frames=paintings.frames[:, :number],
            painted_frames=paintings.painted[:, :number],
            lit_frames=paintings.lit,
            moved_frames=paintings.moved,
            reconstructed_frames=paintings.frames[:, number:],
        )
        words, words_mask = self.decoder_words(input_ids, attention_mask, decoder_input_ids, decoder_attention_mask)
        if words is not None:
            read = words_mask if caption_mask is None else words_mask * caption_mask[..., None]
            told_before = self._last_captions(words, read, "describe")
            result.describe_logits = self._caption_logits(
                output.describe_states, words, words_mask, *told_before, "describe"
            )
            told_so_far = (told[:, :-1] for told in self._last_captions(words, read, "continue"))
            result.next_caption_logits = self._caption_logits(
                output.continue_states[:, :-1], words[:, 1:], words_mask[:, 1:], *told_so_far, "continue"
            )
        if return_loss:
            trained = Supervision(frames, story["frame_mask"], words_mask, told, rebuilt, self.model.grid)
            counts = trained.counts() if loss_counts is None else loss_counts
            result.loss_parts = self._loss_parts(result, frames, story["maps"], words, words_mask, trained, counts)
            weighted = (self.config.loss_weights[name] * part for name, part in result.loss_parts.items())
            result.loss = sum(weighted, start=frames.new_zeros(()))
        return result

    @torch.no_grad()
    def loss_counts(
        self,
        pixel_values: torch.Tensor,
        frame_mask: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        next_caption_mask: torch.Tensor | None = None,
        reconstructed: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        **kwargs,
    ) -> dict[str, torch.Tensor]:
        """How many frames, tokens and pairs a batch has for the parts of the loss, see [`Supervision`]; for `forward`.

        Arguments as in `forward`, whose `next_caption_mask` and `reconstructed` must be the same; others, which change
        no number, are passed over.
        """
        frame_mask = self.model.check_inputs(pixel_values, frame_mask, input_ids, attention_mask)
        frames = self.unnormalize(pixel_values)
        told = self._told(attention_mask, frames, True, next_caption_mask)
        rebuilt = self._rebuilt(frame_mask) if reconstructed is None else reconstructed
        _, words_mask = self.decoder_words(input_ids, attention_mask, decoder_input_ids, decoder_attention_mask)
        return Supervision(frames, frame_mask, words_mask, told, rebuilt, self.model.grid).counts()

    def decoder_words(self, input_ids, attention_mask, decoder_input_ids=None, decoder_attention_mask=None) -> tuple:
        """Ids and mask of the captions as the text decoder knows them, `None` without captions.

        Raises `ValueError` where it has a tokenizer of its own and its ids are not given.
        """
        if not self.config.decoder_tokenizer or input_ids is None:
            return input_ids, attention_mask
        if decoder_input_ids is None or decoder_attention_mask is None:
            raise ValueError(
                "decoder_input_ids and decoder_attention_mask: got input_ids without them, expected them as well, as "
                "the text decoder has a tokenizer of its own; the processor gives them"
            )
        return decoder_input_ids, decoder_attention_mask

    def unnormalize(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """The processor's `pixel_values (..., 3, H, W)` as pictures in [0, 1]."""
        mean, std = (pixel_values.new_tensor(v)[:, None, None] for v in (self.config.image_mean, self.config.image_std))
        return (pixel_values * std + mean).clamp(0, 1)

    def perceptual_distance(self, predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Perceptual distance `(N,)` of pictures `(N,3,H,W)` in [0, 1], by `perceptual_model` or the own encoder."""
        return self._perceptual_loss().distances(predicted, target)

    def _perceptual_loss(self) -> PerceptualLoss:
        if not self._perceptual:
            if self.config.perceptual_model is None:
                network = self.model.vision_encoder.backbone
            else:
                network = AutoModel.from_pretrained(self.config.perceptual_model).eval().requires_grad_(False)
            self._perceptual.append(PerceptualLoss(network, self.config.image_mean, self.config.image_std))
        self._perceptual[0].network.to(self.device)  # one of its own is no part of the model that was moved there
        return self._perceptual[0]

    def _told(self, attention_mask, frames, use_next_caption: bool, next_caption_mask) -> torch.Tensor:
        """`(B, T - 1)`: whether the painting of frame t + 1 may read caption t + 1."""
        shape = (frames.shape[0], frames.shape[1] - 1)
        if attention_mask is None or not use_next_caption:
            return torch.zeros(shape, dtype=torch.bool, device=frames.device)
        told = attention_mask[:, 1:].any(-1)
        if next_caption_mask is not None:
            return told & next_caption_mask.bool()
        if self.training and self.config.next_caption_dropout:
            told = told & (torch.rand(shape, device=told.device) >= self.config.next_caption_dropout)
        return told

    def _paint_all(self, story, frames, told, rebuilt) -> Paintings:
        """The T - 1 predictions and what they are mixed of, then the R reconstructions, all in one pass."""
        output = story["output"]
        batch, number = frames.shape[:2]
        steps = torch.arange(number, device=frames.device)
        caption = story["text"][:, 1:], story["text_mask"][:, 1:]
        context, context_mask = self._context(output.continue_states[:, :-1], *caption, told)
        seen = output.describe_states[torch.arange(batch, device=frames.device)[:, None], rebuilt]  # (B, R, K, D)
        seen_mask = torch.arange(context.shape[2], device=frames.device) < seen.shape[2]
        seen = F.pad(seen, (0, 0, 0, context.shape[2] - seen.shape[2]))
        source = torch.cat([steps[:-1].expand(batch, -1), rebuilt], dim=1)  # (B, T - 1 + R)
        is_predicted = torch.arange(source.shape[1], device=frames.device)[:, None] < number - 1
        visible = (source[..., None] >= steps) & story["frame_mask"][:, None] & is_predicted
        visible |= source[..., None] == steps
        return self.frame_decoder(
            frames,
            story["gated"],
            story["detail"],
            torch.cat([context, seen], dim=1),
            torch.cat([context_mask, seen_mask.expand(*rebuilt.shape, -1)], dim=1),
            source,
            visible,
            num_predicted=number - 1,
        )

    def _rebuilt(self, frame_mask: torch.Tensor) -> torch.Tensor:
        """`(B, R)`: the frames to reconstruct; all T in evaluation, in training some that are there, at random."""
        batch, number = frame_mask.shape
        if not self.training or number <= self.config.num_reconstructed_frames:
            return torch.arange(number, device=frame_mask.device).expand(batch, -1)
        order = torch.rand(batch, number, device=frame_mask.device) + frame_mask
        return order.topk(self.config.num_reconstructed_frames, dim=1).indices

    def _context(self, states, text, text_mask, told) -> tuple[torch.Tensor, torch.Tensor]:
        """What a painting reads: states `(B,N,K,D)` and, where `told (B,N)`, the caption's `(B,N,L,D)`; the mask."""
        always = torch.ones(*states.shape[:3], dtype=torch.bool, device=states.device)
        context = torch.cat([states, text.to(states.dtype)], dim=2)
        return context, torch.cat([always, text_mask & told[..., None]], dim=2)

    def _prefix(self, states, told_ids, told_mask, task: str) -> tuple[torch.Tensor, torch.Tensor]:
        """What the text decoder reads before the words: captions `told_ids (N,S)` verbatim, then `states (N,K,D)`.

        Returns embeddings `(N, S + K, E)` and their mask.
        """
        prefix = self.prefix(states + self.prefix_kind[TASKS.index(task)].to(states.dtype))
        told = self.text_decoder.get_input_embeddings()(told_ids).to(prefix.dtype)
        mask = torch.cat([told_mask, told_mask.new_ones(prefix.shape[:2])], dim=1)
        return torch.cat([told, prefix], dim=1), mask

    def _last_captions(self, input_ids, attention_mask, task: str) -> tuple[torch.Tensor, torch.Tensor]:
        """For each of T frames its `decoder_context_captions` last captions in a row, padded on the left.

        To describe frame t those before it, to continue from frame t its own as well. Captions `(B,T,L)` give ids and
        mask `(B, T, decoder_context_captions * L)`.
        """
        count, own = self.config.decoder_context_captions, int(task == "continue")
        if not count:
            return input_ids[..., :0], attention_mask[..., :0]
        number = input_ids.shape[1]
        rows = []
        for values in (input_ids, attention_mask):
            before = F.pad(values, (0, 0, count - own, 0))[:, : number + count - 1]
            rows.append(before.unfold(1, count, 1).transpose(2, 3).flatten(2))  # (B, T, count * L)
        ids, mask = rows
        mask, order = mask.sort(dim=-1, stable=True)  # what is masked comes first
        return ids.gather(-1, order), mask

    def _caption_logits(self, states, input_ids, attention_mask, told_ids, told_mask, task: str) -> torch.Tensor:
        """`states (B,N,K,D)`, captions `(B,N,L)`: logits `(B,N,L,V)` of the tokens that follow each position."""
        shape = states.shape[:2]
        if 0 in shape:  # stories of one frame have no next caption, and decoders refuse to read nothing
            return states.new_zeros(*shape, input_ids.shape[-1], self.config.vocab_size)
        prefix, prefix_mask = self._prefix(*(x.flatten(0, 1) for x in (states, told_ids, told_mask)), task)
        words = self.text_decoder.get_input_embeddings()(input_ids.flatten(0, 1))
        mask = torch.cat([prefix_mask, attention_mask.flatten(0, 1)], dim=1)
        kept = input_ids.shape[-1]
        if not isinstance(kept, int):  # a length that `torch.export` leaves open would be taken for one place
            kept = torch.arange(-kept, 0, device=words.device)
        logits = self.text_decoder(
            inputs_embeds=torch.cat([prefix, words.to(prefix.dtype)], dim=1),
            attention_mask=mask,
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
            use_cache=False,
            logits_to_keep=kept,
        ).logits
        return logits.unflatten(0, shape)

    def _loss_parts(self, result, frames, maps, input_ids, attention_mask, trained, counts) -> dict[str, torch.Tensor]:
        """Every part of the loss whose weight is not 0, by name, unweighted; means over `counts` of what is trained."""
        weights, parts = self.config.loss_weights, self._perceptual_parts(result, frames, maps, trained, counts)
        target, story_index = frames[:, 1:], torch.arange(len(frames), device=frames.device)[:, None]
        for name, made, true, there in (
            ("next_frame", result.predicted_frames, target, trained.next_frame),
            ("reconstruction", result.reconstructed_frames, frames[story_index, trained.rebuilt], trained.rebuilt_mask),
        ):
            if any(weights[f"{name}_{kind}"] for kind in ("l1", "mse", "edge")):
                losses = pixel_losses(made, true, there, counts[name], self.config.edge_window)
                parts |= {f"{name}_{kind}": value for kind, value in losses.items()}
        changed = target, trained.changed_pixels, trained.changed, counts["changed"]
        if weights["next_frame_changed"]:
            parts["next_frame_changed"] = changed_loss(result.predicted_frames, *changed)
        for name, made in (("painted", result.painted_frames), ("moved", result.moved_frames)):
            if weights[f"next_frame_{name}"] and made is not None:
                everywhere = masked_mean((made - target).abs(), trained.told, counts["told"])
                parts[f"next_frame_{name}"] = everywhere + changed_loss(made, *changed)
        if weights["next_frame_lit"] and result.lit_frames is not None:
            lit = (result.lit_frames - target).abs()
            parts["next_frame_lit"] = masked_mean(lit, trained.told, counts["told"])
        if weights["attention"] and self.config.use_spatial_attention:
            maps = result.spatial_attentions
            parts["attention"] = attention_loss(maps, trained.moving_cells, trained.moving, counts["moving"])
        if input_ids is not None:
            parts |= self._text_loss_parts(result, input_ids, attention_mask, trained, counts)
        return {name: part for name, part in parts.items() if weights[name]}

    def _perceptual_parts(self, result, frames, maps, trained, counts) -> dict[str, torch.Tensor]:
        """The perceptual losses, in one pass; the maps of the true frames are those that the story was read with."""
        if not any(self.config.loss_weights[f"{name}_perceptual"] for name in ("next_frame", "reconstruction")):
            return {}
        loss, number = self._perceptual_loss(), frames.shape[1] - 1
        with torch.no_grad():
            own = self.config.perceptual_model is None
            known = unit_channels(maps) if own else loss.features(frames.flatten(0, 1))
        steps = torch.arange(1, number + 1, device=frames.device).expand(len(frames), -1)
        true = torch.cat([steps, trained.rebuilt], dim=1)  # (B, T - 1 + R)
        story_index = torch.arange(len(frames), device=frames.device)[:, None]
        wanted = [level.unflatten(0, frames.shape[:2])[story_index, true].flatten(0, 1) for level in known]
        made = torch.cat([result.predicted_frames, result.reconstructed_frames], dim=1)
        distances = loss.distances_to(made.flatten(0, 1), wanted).unflatten(0, true.shape)
        predicted = masked_mean(distances[:, :number], trained.next_frame, counts["next_frame"])
        rebuilt = masked_mean(distances[:, number:], trained.rebuilt_mask, counts["reconstruction"])
        return {"next_frame_perceptual": predicted, "reconstruction_perceptual": rebuilt}

    def _text_loss_parts(self, result, input_ids, attention_mask, trained, counts) -> dict[str, torch.Tensor]:
        """Those parts of the loss that captions have."""
        weights, parts = self.config.loss_weights, {}
        if weights["describe"]:
            described = result.describe_logits, input_ids, attention_mask
            parts["describe"] = caption_loss(*described, counts["describe"])
        if weights["next_caption"]:
            written = result.next_caption_logits, input_ids[:, 1:], attention_mask[:, 1:]
            parts["next_caption"] = caption_loss(*written, counts["next_caption"])
        if weights["alignment"]:
            embeds = result.image_embeds, result.text_embeds, result.logit_scale
            parts["alignment"] = alignment_loss(*embeds, trained.captioned, counts["captioned"], self.training)
        return parts


def _width(config) -> int:
    """Width of the hidden states of a text model, whatever its configuration calls it."""
    return getattr(config, "hidden_size", None) or config.d_model


def mean_of_words(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Means `(N,C)` of states `(N,L,C)` over the places of `mask (N,L)`; zeros where there are none."""
    there = mask[..., None]
    return (states * there).sum(1) / there.sum(1).clamp(min=1)


def mean_and_largest(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Means and maxima `(N,2C)` of states `(N,L,C)` over the places of `mask (N,L)`, of which there is one at least."""
    largest = states.masked_fill(~mask[..., None], -torch.inf).amax(1)
    return torch.cat([mean_of_words(states, mask), largest], dim=-1)
