"""What the models return."""

from dataclasses import dataclass, fields

import torch
from transformers.utils import ModelOutput


@dataclass
class StoryAttnModelOutput(ModelOutput):
    """
    Output of [`StoryAttnModel`] for B stories of T frames.

    Args:
        last_hidden_state (`(B, T * (2K + M), D)`): story states in the order V_1 F_1 V_2 F_2 ... V_T F_T.
        image_embeds (`(B, T, P)`): each frame in the shared space, of unit length; depends on that frame alone.
        text_embeds (`(B, T, P)`): each caption in the shared space, of unit length; depends on that caption alone.
        spatial_attentions (`(B, T, heads, h, w)`): where each head looked; sums to 1 over the positions.
        describe_states (`(B, T, K, D)`): states at V_t, which know frames <= t and captions < t.
        continue_states (`(B, T, K + M, D)`): states at F_t, which know frames and captions <= t.
        logit_scale (`()`): inverse temperature of the alignment of the two spaces.
        hidden_states (`tuple` of `(B, T * (2K + M), D)`): what each layer of the story transformer reads, then
            `last_hidden_state`; with `output_hidden_states=True`.
        attentions (`tuple` of `(B, heads, T * (2K + M), T * (2K + M))`): attention weights of these layers; with
            `output_attentions=True`.
    """

    last_hidden_state: torch.FloatTensor | None = None
    image_embeds: torch.FloatTensor | None = None
    text_embeds: torch.FloatTensor | None = None
    spatial_attentions: torch.FloatTensor | None = None
    describe_states: torch.FloatTensor | None = None
    continue_states: torch.FloatTensor | None = None
    logit_scale: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class StoryAttnOutput(StoryAttnModelOutput):
    """
    Output of [`StoryAttnForConditionalGeneration`]: that of [`StoryAttnModel`] and what is read out of it.

    Args:
        loss (`()`): weighted sum of `loss_parts`, with `return_loss=True`.
        loss_parts (`dict[str, torch.Tensor]`): each part by name, unweighted, with `return_loss=True`.
        predicted_frames (`(B, T - 1, 3, H, W)`): in [0, 1]; index t predicts frame t + 1 from what comes before it. A
            generative frame decoder samples them from noise that is the same at each call; in training it predicts them
            from the true frame with noise. `None`, as all that is painted, in a training without a loss of frames.
        painted_frames (`(B, T - 1, 3, H, W)`): the same without anything copied.
        lit_frames (`(B, T - 1, 3, H, W)`): frame t in the light of frame t + 1, as it may be copied; with
            `use_frame_copy`.
        moved_frames (`(B, T - 1, 3, H, W)`): pieces of the frames up to t, moved to where they are in frame t + 1; with
            `use_frame_copy` and `use_frame_motion`.
        reconstructed_frames (`(B, T, 3, H, W)`): in [0, 1]; each frame from its own features. In training only
            `num_reconstructed_frames` of them, drawn at random.
        noise_levels (`(B, T - 1)`): how much of what each prediction reads of its frame is noise, from 0 to 1; in the
            training of a generative frame decoder.
        object_logits (`(B, T - 1, names)`): logits that an object of a name changes in frame t + 1; with
            `object_names`.
        object_places (`(B, T - 1, names, rows * columns)`): logits of the cell in which its centre then is.
        object_sizes (`(B, T - 1, names, 2)`): logarithms of the rows and columns of cells that it then covers.
        describe_logits (`(B, T, L, V)`): position i of caption t predicts its token i + 1 from the pictures up to t.
            Neither logits are computed in training where no caption has a loss.
        next_caption_logits (`(B, T - 1, L, V)`): the same for caption t + 1 from all that comes before it.
    """

    loss: torch.FloatTensor | None = None
    loss_parts: dict[str, torch.FloatTensor] | None = None
    predicted_frames: torch.FloatTensor | None = None
    painted_frames: torch.FloatTensor | None = None
    lit_frames: torch.FloatTensor | None = None
    moved_frames: torch.FloatTensor | None = None
    reconstructed_frames: torch.FloatTensor | None = None
    noise_levels: torch.FloatTensor | None = None
    object_logits: torch.FloatTensor | None = None
    object_places: torch.FloatTensor | None = None
    object_sizes: torch.FloatTensor | None = None
    describe_logits: torch.FloatTensor | None = None
    next_caption_logits: torch.FloatTensor | None = None


@dataclass
class EncodedStories:
    """
    What [`StoryAttnModel.encode`] reads from B stories of T frames.

    Args:
        output (`StoryAttnModelOutput`): what the model returns.
        frame_mask (`(B, T)`, bool): False for padding.
        text_states (`(B, T, 1 + L, D)`), text_mask (`(B, T, 1 + L)`, bool): a learned state, then those of the caption.
        read_mask (`(B, T, 1 + L)`, bool): `text_mask` without the captions that are not read with the story.
        gated_features (`(B, T, h, w, D)`): feature maps behind the gate of the spatial attention.
        detail_features (`(B, T, C, h', w')`, *optional*): finer maps of the vision encoder.
        feature_maps (`list` of `(B * T, C, h, w)`): all maps of the vision encoder, the finest first.
    """

    output: StoryAttnModelOutput
    frame_mask: torch.Tensor
    text_states: torch.Tensor
    text_mask: torch.Tensor
    read_mask: torch.Tensor
    gated_features: torch.Tensor
    detail_features: torch.Tensor | None
    feature_maps: list[torch.Tensor]

    def repeat(self, number: int) -> "EncodedStories":
        """Return each story `number` times in a row, as `num_return_sequences` captions of it follow one another."""
        batch = len(self.frame_mask)

        def repeat(value: object) -> object:  # a tensor of B or B * T rows
            if isinstance(value, torch.Tensor) and value.ndim:
                return value.unflatten(0, (batch, -1)).repeat_interleave(number, dim=0).flatten(0, 1)
            return [repeat(one) for one in value] if isinstance(value, (list, tuple)) else value

        if number == 1:
            return self
        output = StoryAttnModelOutput(**{name: repeat(value) for name, value in self.output.items()})
        others = {field.name: repeat(getattr(self, field.name)) for field in fields(self) if field.name != "output"}
        return EncodedStories(output=output, **others)
