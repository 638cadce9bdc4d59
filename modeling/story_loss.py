"""What a batch of stories trains, and every part of its loss by name."""

import torch
from transformers import AutoModel

from .configuration_storyattn import StoryAttnConfig
from .contrastive_loss import alignment_loss
from .flow_loss import MOST_LEVEL_OF_DETAIL, candidate_flow_loss, detail_losses, flow_loss
from .input_checks import ValueChecks, check_mask
from .layers import select_frames
from .losses import (
    attention_loss,
    caption_loss,
    changed_loss,
    changed_pixels,
    masked_mean,
    moving_cells,
    pixel_losses,
    relative_loss,
)
from .object_slots import PlacedObjects, object_loss
from .outputs import StoryAttnOutput
from .perceptual_loss import PerceptualLoss, unit_channels

# What `Supervision.counts` counts, in this order.
COUNTED = (
    "next_frame",
    "next_frame_captioned",
    "changed",
    "reconstruction",
    "moving",
    "describe",
    "next_caption",
    "captioned",
)


class Supervision:
    """Targets of B stories of T frames, and masks of the places that the parts of the loss average over.

    - `frames (B, T, 3, H, W)`, `input_ids` and `attention_mask (B, T, L)`: the targets.
    - `next_frame (B, T - 1)`: transitions between two frames that are no padding and follow one another;
      `next_frame_captioned`: those in which the predicted frame reads its caption; `changed`: those of the latter in
      which a pixel changes, at `changed_pixels (B, T - 1, H, W)`.
    - `regressed (B, T - 1)`: transitions that are predicted without noise, or from pure noise with their caption;
      `noise_levels (B, T - 1)`.
    - `reconstructed (B, R)`: indices of the frames to reconstruct; `reconstruction`: their mask.
    - `object_maps (B, T - 1, names, cells)`: boxes of the objects that change in the next frame; `None` without maps.
    - `moving (B, T)`: frames in which something moves, at `moving_cells (B, T, h, w)`.
    - `describe (B, T, L - 1)`, `next_caption (B, T - 1, L - 1)`: tokens to predict; `captioned (B, T)`: pairs to align.
      `None` without captions.

    Args:
        frames (`(B, T, 3, H, W)`): in [0, 1].
        frame_mask (`(B, T)`, bool): False for padding.
        captions (`tuple`): ids and mask `(B, T, L)` in the tokens of the text decoder, or two `None`.
        next_caption_mask (`(B, T - 1)`, bool): True where the predicted frame t + 1 reads caption t + 1.
        reconstructed (`(B, R)`): indices of the frames to reconstruct, -1 for none.
        grid (`tuple[int, int]`): rows and columns of the attention maps.
        noise_levels (`(B, T - 1)`, *optional*): how much noise a generative frame decoder read in each next frame.
        transition_mask (`(B, T - 1)`, *optional*): 0 where frame t + 1 does not follow frame t, and has no loss.
        object_maps (`(B, T, names, cells)`, *optional*): 1 in the box of an object of a name that changes in frame t.

    Raises:
        ValueError: for a mask of another shape or range.
    """

    def __init__(
        self,
        frames: torch.Tensor,
        frame_mask: torch.Tensor,
        captions: tuple[torch.Tensor | None, torch.Tensor | None],
        next_caption_mask: torch.Tensor,
        reconstructed: torch.Tensor,
        grid: tuple[int, int],
        noise_levels: torch.Tensor | None = None,
        transition_mask: torch.Tensor | None = None,
        object_maps: torch.Tensor | None = None,
    ):
        self.frames, (self.input_ids, self.attention_mask) = frames, captions
        follows = torch.ones_like(frame_mask[:, 1:])
        if transition_mask is not None:
            checks = ValueChecks(frames, training=True)
            check_mask("transition_mask", transition_mask, tuple(follows.shape), checks)
            checks.run()
            follows = transition_mask.bool()
        self.next_frame = frame_mask[:, 1:] & frame_mask[:, :-1] & follows
        self.next_frame_captioned = self.next_frame & next_caption_mask
        self.noise_levels = noise_levels
        self.regressed = (
            torch.ones_like(self.next_frame) if noise_levels is None else (noise_levels == 1) & next_caption_mask
        )
        self.changed_pixels = changed_pixels(frames[:, 1:], frames[:, :-1])
        self.changed = self.next_frame_captioned & self.changed_pixels.flatten(2).any(-1)
        self.reconstructed = reconstructed.clamp(min=0)
        self.reconstruction = frame_mask.gather(1, self.reconstructed) & (reconstructed >= 0)
        self.moving_cells = moving_cells(frames.float(), frame_mask, grid)
        self.moving = frame_mask & self.moving_cells.flatten(2).any(-1)
        self.object_maps = None if object_maps is None else object_maps[:, 1:].bool()
        self.describe = self.next_caption = self.captioned = None
        if self.attention_mask is not None:
            self.describe = self.attention_mask[:, :, 1:].bool()
            self.next_caption = self.attention_mask[:, 1:, 1:].bool() & follows[..., None]
            self.captioned = self.attention_mask.any(-1) & frame_mask

    def counts(self) -> dict[str, torch.Tensor]:
        """Count the places of each mask of `COUNTED` as float tensors `()`; 0 for a mask that is None."""
        nothing = torch.zeros((), device=self.frames.device)
        masks = {name: getattr(self, name) for name in COUNTED}
        return {name: nothing if mask is None else mask.sum().float() for name, mask in masks.items()}

    def true_reconstructions(self) -> torch.Tensor:
        """Select the frames to reconstruct: `(B, R, 3, H, W)`."""
        return select_frames(self.frames, self.reconstructed)


class StoryLossMixin:
    """The loss of [`StoryAttnForConditionalGeneration`], what it averages over, and the distance that it uses."""

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
        transition_mask: torch.Tensor | None = None,
        **kwargs,
    ) -> dict[str, torch.Tensor]:
        """Count the frames, tokens and pairs that the parts of the loss average over, see [`Supervision`].

        With the mean counts of several batches, the mean of their losses is that of one large batch.

        Args:
            pixel_values, frame_mask, input_ids, attention_mask, next_caption_mask, reconstructed, decoder_input_ids,
            decoder_attention_mask, transition_mask: as in `forward`, which must get the same `next_caption_mask`,
            `reconstructed` and `transition_mask`.
            kwargs: further arguments of `forward`, which change no count.

        Returns:
            each count by its name in `COUNTED`, `()`.
        """
        frame_mask = self.model.check_inputs(pixel_values, frame_mask, input_ids, attention_mask)
        chosen = self._draw_tasks(frame_mask, attention_mask, True, next_caption_mask, reconstructed)
        captions = self.decoder_captions(input_ids, attention_mask, decoder_input_ids, decoder_attention_mask)
        frames = self.unnormalize(pixel_values)
        targets = frames, frame_mask, captions, *chosen, self.model.grid
        return Supervision(*targets, transition_mask=transition_mask).counts()

    def _add_loss(
        self,
        result: StoryAttnOutput,
        supervision: Supervision,
        feature_maps: list[torch.Tensor],
        counts: dict[str, torch.Tensor] | None,
    ) -> None:
        """Set `loss_parts` of the result, every part whose weight is not 0, and their weighted sum `loss`.

        Args:
            result (`StoryAttnOutput`): what the model gave for the stories.
            supervision (`Supervision`): the targets.
            feature_maps (`list` of `(B * T, C, h, w)`): maps of the vision encoder for the frames that it read.
            counts (`dict[str, torch.Tensor]`, *optional*): what the sums of the parts are divided by; default: the
                counts of the supervision.
        """
        weights, counts = self.config.loss_weights, supervision.counts() if counts is None else counts
        parts, distances = {}, None
        is_noisy = supervision.noise_levels is not None
        names = ("next_frame", "reconstruction", *(["flow"] if is_noisy else []))
        if any(weights[f"{name}_perceptual"] for name in names):
            distances = self._perceptual_distances(result, supervision, feature_maps)
            parts |= _perceptual_parts(distances, supervision, counts)
        if is_noisy:
            parts |= _flow_parts(result, supervision, counts, self.config, distances)
        parts |= _pixel_parts(result, supervision, counts, self.config)
        parts |= _candidate_parts(result, supervision, counts, weights)
        if result.object_logits is not None and supervision.object_maps is not None:
            mask = supervision.next_frame, counts["next_frame"]
            named = PlacedObjects(result.object_logits, result.object_places, result.object_sizes)
            parts["next_frame_objects"] = object_loss(named, supervision.object_maps, self.config.frame_grid, *mask)
        if weights["attention"] and self.config.use_spatial_attention:
            moving = supervision.moving_cells, supervision.moving, counts["moving"]
            parts["attention"] = attention_loss(result.spatial_attentions, *moving)
        if supervision.input_ids is not None:
            parts |= _caption_parts(result, supervision, counts, weights, across_processes=self.training)
        result.loss_parts = {name: part for name, part in parts.items() if weights[name]}
        weighted = (weights[name] * part for name, part in result.loss_parts.items())
        result.loss = sum(weighted, start=supervision.frames.new_zeros(()))

    def _perceptual_distances(
        self, result: StoryAttnOutput, supervision: "Supervision", feature_maps: list[torch.Tensor]
    ) -> torch.Tensor:
        """Compare predictions and reconstructions in one pass with the maps of the true frames: `(B, T - 1 + R)`."""
        perceptual, frames = self._perceptual_loss(), supervision.frames
        with torch.no_grad():
            shares_network = self.config.perceptual_model is None and not self._reads_changed_frames
            maps = unit_channels(feature_maps) if shares_network else perceptual.features(frames.flatten(0, 1))
        number = frames.shape[1] - 1
        steps = torch.arange(1, number + 1, device=frames.device).expand(len(frames), -1)
        targets = torch.cat([steps, supervision.reconstructed], dim=1)  # (B, T - 1 + R)
        by_frame = (level.unflatten(0, frames.shape[:2]) for level in maps)
        target_maps = [select_frames(level, targets).flatten(0, 1) for level in by_frame]
        predicted = torch.cat([result.predicted_frames, result.reconstructed_frames], dim=1)
        return perceptual.distances_to(predicted.flatten(0, 1), target_maps).unflatten(0, targets.shape)

    def perceptual_distance(self, predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Compute the perceptual distance `(N,)` of pictures `(N, 3, H, W)` in [0, 1], by `config.perceptual_model`."""
        return self._perceptual_loss().distances(predicted, target)

    def _perceptual_loss(self) -> PerceptualLoss:
        if not self._perceptual:
            if self.config.perceptual_model is None:
                network = self.model.vision_encoder.backbone
            else:
                network = AutoModel.from_pretrained(self.config.perceptual_model).eval().requires_grad_(False)
            self._perceptual.append(PerceptualLoss(network, self.config.image_mean, self.config.image_std))
        self._perceptual[0].network.to(self.device)  # a network of its own does not move with the model
        return self._perceptual[0]


def _perceptual_parts(
    distances: torch.Tensor, supervision: "Supervision", counts: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Average the perceptual distances of predictions and of reconstructions, `(B, T - 1 + R)`."""
    number = supervision.next_frame.shape[1]
    mask = supervision.next_frame & supervision.regressed
    next_frame = masked_mean(distances[:, :number], mask, counts["next_frame"])
    reconstruction = masked_mean(distances[:, number:], supervision.reconstruction, counts["reconstruction"])
    return {"next_frame_perceptual": next_frame, "reconstruction_perceptual": reconstruction}


def _flow_parts(
    output: StoryAttnOutput,
    supervision: "Supervision",
    counts: dict[str, torch.Tensor],
    config: StoryAttnConfig,
    distances: torch.Tensor | None,
) -> dict[str, torch.Tensor]:
    """Compare what is predicted from noisy frames with the true next frames."""
    levels, count = supervision.noise_levels, counts["next_frame"]
    compared, mask = (output.predicted_frames, supervision.frames[:, 1:]), supervision.next_frame
    parts = {"flow_mse": flow_loss(*compared, levels, mask, count)}
    for name, candidate in (("painted", output.painted_frames), ("moved", output.moved_frames)):
        if config.loss_weights[f"flow_{name}"] and candidate is not None:
            places = supervision.changed_pixels, levels, mask, count
            parts[f"flow_{name}"] = candidate_flow_loss(candidate, compared[1], *places)
    if any(config.loss_weights[f"flow_{kind}"] for kind in ("l1", "perceptual", "edge")):
        distances = None if distances is None else distances[:, : levels.shape[1]]
        mask = mask & (levels < MOST_LEVEL_OF_DETAIL)
        details = detail_losses(*compared, distances, mask, count, config.edge_window)
        parts |= {f"flow_{name}": value for name, value in details.items()}
    return parts


def _pixel_parts(
    output: StoryAttnOutput, supervision: "Supervision", counts: dict[str, torch.Tensor], config: StoryAttnConfig
) -> dict[str, torch.Tensor]:
    """Compare predictions and reconstructions with the true frames, pixel by pixel."""
    parts, regressed = {}, supervision.next_frame & supervision.regressed
    for name, predicted, target, mask in (
        ("next_frame", output.predicted_frames, supervision.frames[:, 1:], regressed),
        ("reconstruction", output.reconstructed_frames, supervision.true_reconstructions(), supervision.reconstruction),
    ):
        if any(config.loss_weights[f"{name}_{kind}"] for kind in ("l1", "mse", "edge")):
            losses = pixel_losses(predicted, target, mask, counts[name], config.edge_window)
            parts |= {f"{name}_{kind}": value for kind, value in losses.items()}
    return parts


def _candidate_parts(
    output: StoryAttnOutput, supervision: "Supervision", counts: dict[str, torch.Tensor], weights: dict[str, float]
) -> dict[str, torch.Tensor]:
    """Compare the changed pixels of predictions, and each candidate that they are mixed of, with the next frame."""
    parts, target = {}, supervision.frames[:, 1:]
    changed = target, supervision.changed_pixels, supervision.changed & supervision.regressed, counts["changed"]
    captioned = supervision.next_frame_captioned & supervision.regressed, counts["next_frame_captioned"]
    if weights["next_frame_changed"]:
        parts["next_frame_changed"] = changed_loss(output.predicted_frames, *changed)
    if weights["next_frame_relative"]:
        parts["next_frame_relative"] = relative_loss(output.predicted_frames, *changed)
    for name, candidate in (("painted", output.painted_frames), ("moved", output.moved_frames)):
        if weights[f"next_frame_{name}"] and candidate is not None:
            everywhere = masked_mean((candidate - target).abs(), *captioned)
            parts[f"next_frame_{name}"] = everywhere + changed_loss(candidate, *changed)
    if weights["next_frame_lit"] and output.lit_frames is not None:
        parts["next_frame_lit"] = masked_mean((output.lit_frames - target).abs(), *captioned)
    return parts


def _caption_parts(
    output: StoryAttnOutput,
    supervision: "Supervision",
    counts: dict[str, torch.Tensor],
    weights: dict[str, float],
    across_processes: bool,
) -> dict[str, torch.Tensor]:
    """Compare the predicted tokens with those of the captions, and align captions and pictures."""
    parts, input_ids, attention_mask = {}, supervision.input_ids, supervision.attention_mask
    if weights["describe"]:
        described = output.describe_logits, input_ids, attention_mask
        parts["describe"] = caption_loss(*described, counts["describe"])
    if weights["next_caption"]:
        continued = output.next_caption_logits, input_ids[:, 1:], attention_mask[:, 1:]
        parts["next_caption"] = caption_loss(*continued, counts["next_caption"])
    if weights["alignment"]:
        embeds = output.image_embeds, output.text_embeds, output.logit_scale
        pairs = supervision.captioned, counts["captioned"]
        parts["alignment"] = alignment_loss(*embeds, *pairs, across_processes)
    return parts
