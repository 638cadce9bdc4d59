"""The four parts of a model that are exported: each is a module over tensors, for one story without padding.

text_encoder     captions -> their states
story_encoder    frames, states of their captions -> story state, feature maps
frame_decoder    story state, feature maps, states of the next caption -> the next frame
text_decoder     story state, the last captions, the caption so far -> logits of its next token
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from storyattn import StoryAttnForConditionalGeneration
from storyattn.frame_decoder import FrameInputs
from storyattn.frame_readout import join_context
from storyattn.outputs import EncodedStories
from torch import nn

PART_NAMES = ("text_encoder", "story_encoder", "frame_decoder", "text_decoder")
FRAMES, TOKENS = 3, 7  # of the example inputs, by which a graph is traced; any numbers above 1


class Graph(NamedTuple):
    """
    A part of a model, and how it is traced.

    Args:
        module: the part, in evaluation mode.
        inputs: example tensors by name.
        outputs: names of what it returns.
    """

    module: nn.Module
    inputs: dict[str, torch.Tensor]
    outputs: tuple[str, ...]


class TextEncoder(nn.Module):
    """Encodes captions, each behind a learned state, which stands alone where a caption is missing."""

    def __init__(self, model: StoryAttnForConditionalGeneration):
        super().__init__()
        self.model = model.model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Encode ids and mask `(N, L)`, all 0 for a missing caption: states `(N, 1 + L, D)`."""
        return self.model.read_captions(input_ids[:, None], attention_mask[:, None], (input_ids.shape[0], 1))[0]


class StoryEncoder(nn.Module):
    """Reads a story of T frames: what `StoryAttnModel.encode` does behind the text encoder."""

    def __init__(self, model: StoryAttnForConditionalGeneration):
        super().__init__()
        self.whole = model

    def forward(
        self, pixel_values: torch.Tensor, text_states: torch.Tensor, attention_mask: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Read frames and captions.

        Args:
            pixel_values (`(1, T, 3, H, W)`): the frames, normalised.
            text_states (`(T, 1 + L, D)`): states of their captions, by `TextEncoder`.
            attention_mask (`(T, L)`): 1 for tokens of captions.

        Returns:
            `story_state (1, K + M, D)`; `attention_maps (1, T, heads, h, w)`; `gated_features (1, T, h, w, D)`; where
            the model has them `detail_features (1, T, C, h', w')`; and with `frame_context_captions` what the frame
            decoder reads of the last captions, `earlier_states (1, S, D)` and `earlier_mask (1, S)` of 0 and 1.
        """
        model, shape = self.whole.model, pixel_values.shape[:2]
        frame_mask = torch.ones(shape, dtype=torch.bool)
        text_mask = torch.cat([torch.ones_like(attention_mask[:, :1]), attention_mask], dim=1).bool()
        features, detail, maps = model.vision_encoder(pixel_values.flatten(0, 1))
        visual_tokens, gated, attention_maps = model.spatial_attention(features)
        fused = model._fuse(visual_tokens, gated, text_states, text_mask)
        states = model.story_transformer(visual_tokens[None], fused[None], frame_mask)
        read = {"story_state": states.fused[:, -1], "attention_maps": attention_maps[None]}
        read["gated_features"] = gated[None]
        if detail is not None:
            read["detail_features"] = detail[None]
        if model.config.frame_context_captions:
            per_frame = (None if x is None else x[None] for x in (text_states, text_mask, text_mask, gated, detail))
            earlier, mask = self.whole._earlier_captions(EncodedStories(None, frame_mask, *per_frame, maps))
            read |= {"earlier_states": earlier[:, -1], "earlier_mask": mask[:, -1].long()}
        return read


class FramePainter(nn.Module):
    """Paints the next frame: what `predict_next_frame` does behind the encoders."""

    def __init__(self, model: StoryAttnForConditionalGeneration):
        super().__init__()
        self.whole = model

    def forward(
        self,
        pixel_values: torch.Tensor,
        story_state: torch.Tensor,
        gated_features: torch.Tensor,
        next_states: torch.Tensor,
        next_mask: torch.Tensor,
        detail_features: torch.Tensor | None = None,
        earlier_states: torch.Tensor | None = None,
        earlier_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Paint a frame.

        Args:
            pixel_values (`(1, T, 3, H, W)`): the frames so far, normalised.
            story_state, gated_features, detail_features, earlier_states, earlier_mask: of `StoryEncoder`.
            next_states (`(1, 1 + L, D)`), next_mask (`(1, L)`): the caption of the frame, by `TextEncoder`; a mask of 0
                paints without a caption.

        Returns:
            the frame `(1, 3, H, W)` in [0, 1].
        """
        frames = self.whole.unnormalize(pixel_values)
        number = frames.shape[1]
        text_mask = torch.cat([torch.ones_like(next_mask[:, :1]), next_mask], dim=1).bool()
        reads_caption = next_mask.bool().any(-1, keepdim=True)
        context, mask = join_context(story_state[:, None], next_states[:, None], text_mask[:, None], reads_caption)
        if earlier_states is not None:
            context = torch.cat([context, earlier_states[:, None]], dim=2)
            mask = torch.cat([mask, earlier_mask[:, None].bool()], dim=2)
        last, visible = torch.full((1, 1), number - 1), torch.ones(1, 1, number, dtype=torch.bool)
        read = FrameInputs(frames, gated_features, detail_features, context, mask, last, visible, num_predicted=1)
        return self.whole.frame_decoder(read).frames[:, 0]


class CaptionWriter(nn.Module):
    """Gives the logits of the next token of the next caption, without a cache: all is read anew for each token."""

    def __init__(self, model: StoryAttnForConditionalGeneration):
        super().__init__()
        self.whole = model

    def forward(self, context_ids: torch.Tensor, story_state: torch.Tensor, caption_ids: torch.Tensor) -> torch.Tensor:
        """Read the story and the caption so far.

        Args:
            context_ids (`(1, S)`): ids of the last captions in a row, each with its start and end token; S may be 0.
            story_state (`(1, K + M, D)`): of `StoryEncoder`.
            caption_ids (`(1, n)`): the start token, then what has been written.

        Returns:
            logits `(1, V)`.
        """
        decoder = self.whole.text_decoder
        prefix, _ = self.whole._prefix(story_state, context_ids, torch.ones_like(context_ids), "continue")
        tokens = decoder.get_input_embeddings()(caption_ids).to(prefix.dtype)
        embeds = torch.cat([prefix, tokens], dim=1)
        mask = torch.ones(embeds.shape[:2], dtype=torch.long)
        options = {"attention_mask": mask, "position_ids": mask.cumsum(-1) - 1, "use_cache": False}
        return decoder(inputs_embeds=embeds, logits_to_keep=1, **options).logits[:, -1]


# The dimensions of inputs that have any size, by name.
DYNAMIC = {
    "input_ids": {0: "frames", 1: "tokens"},
    "attention_mask": {0: "frames", 1: "tokens"},
    "text_states": {0: "frames", 1: "states"},
    "pixel_values": {1: "frames"},
    "gated_features": {1: "frames"},
    "detail_features": {1: "frames"},
    "earlier_states": {1: "earlier"},
    "earlier_mask": {1: "earlier"},
    "next_states": {1: "next_states"},
    "next_mask": {1: "next_tokens"},
    "context_ids": {1: "context"},
    "caption_ids": {1: "written"},
    "story_state": {},
}


def build_graphs(model: StoryAttnForConditionalGeneration) -> dict[str, Graph]:
    """Return the parts of a model by name, with example inputs of FRAMES frames and captions of TOKENS tokens."""
    encoder, reader = TextEncoder(model).eval(), StoryEncoder(model).eval()
    ids = torch.ones(FRAMES, TOKENS, dtype=torch.long)
    captions = {"input_ids": ids, "attention_mask": ids.clone()}  # the same tensor would be taken for one input
    frames = torch.zeros(1, FRAMES, 3, *model.config.image_size)
    with torch.no_grad():
        states = encoder(**captions)
        story = {"pixel_values": frames, "text_states": states, "attention_mask": ids}
        read = reader(**story)
    names = tuple(read)
    read.pop("attention_maps")
    paint = {"pixel_values": frames, **read, "next_states": states[:1], "next_mask": ids[:1]}
    write = {"context_ids": ids[:1], "story_state": read["story_state"], "caption_ids": ids[:1, 1:]}
    return {
        "text_encoder": Graph(encoder, captions, ("text_states",)),
        "story_encoder": Graph(reader, story, names),
        "frame_decoder": Graph(FramePainter(model).eval(), paint, ("frame",)),
        "text_decoder": Graph(CaptionWriter(model).eval(), write, ("logits",)),
    }
