"""The read-out of frames: which ones are painted, and what the frame decoder reads for each."""

import torch
import torch.nn.functional as F

from .configuration_storyattn import StoryAttnConfig
from .frame_decoder import FrameInputs, FramePlan
from .frame_noise import NOISE_SCALE, NoisyFrames, add_noise, draw_levels
from .frame_sampling import GUIDED_LEVELS, FrameSampling, noise_levels, sample_frames
from .input_checks import ValueChecks, check_frame_indices, check_mask
from .layers import select_frames, select_last, sinusoid
from .outputs import EncodedStories

OWN_STEPS = 2  # of the sampling of frames that a training reads
# Fields of [`StoryAttnOutput`]: what is painted, and what the slots say.
FRAME_FIELDS = (
    "predicted_frames",
    "painted_frames",
    "lit_frames",
    "moved_frames",
    "reconstructed_frames",
    "noise_levels",
)
OBJECT_FIELDS = "object_logits", "object_places", "object_sizes"


class FrameReadoutMixin:
    """Reads frames out of encoded stories, for [`StoryAttnForConditionalGeneration`]."""

    def unnormalize(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Turn the processor's `pixel_values (..., 3, H, W)` into pictures in [0, 1]."""
        mean, std = pixel_scale(self.config, pixel_values)
        return (pixel_values * std + mean).clamp(0, 1)

    @property
    def _reads_changed_frames(self) -> bool:
        """Whether the frames that are read are not the true ones."""
        return self.training and max(self.config.context_noise, self.config.own_frames) > 0

    def _read_stories(self, inputs: tuple, options: tuple) -> tuple[EncodedStories, torch.Tensor]:
        """Read stories, in training some frames as the model paints them, and all with noise, as configured.

        Args:
            inputs: pixel values, frame mask, ids and mask, as in [`StoryAttnModel.encode`].
            options: its other arguments.

        Returns:
            what was read, and the frames `(B, T, 3, H, W)` in [0, 1] that may be copied, without noise.
        """
        pixel_values, *others = inputs
        shown = self._with_own_frames(inputs, options)
        return self.model.encode(self._with_context_noise(shown), *others, *options), self.unnormalize(shown)

    @torch.no_grad()
    def _with_own_frames(self, inputs: tuple, options: tuple) -> torch.Tensor:
        """Replace a share of normalised frames `(B, T, 3, H, W)`, not the first, by what the model paints for them."""
        pixel_values, share = inputs[0], self.config.own_frames if self.training else 0.0
        if not share or pixel_values.shape[1] < 2:
            return pixel_values
        stories, frames = self.model.encode(*inputs, *options), self.unnormalize(pixel_values)
        reads_caption = stories.text_mask[:, 1:, 1:].any(-1)
        nothing = torch.zeros(len(frames), 0, dtype=torch.long, device=frames.device)
        read = self._inputs_of_all(stories, frames, reads_caption, nothing, drops_story=False)
        plan, noisy = self.frame_decoder(read, paints=False), None
        if self.config.samples_frames:
            noise = NOISE_SCALE * torch.randn_like(frames[:, 1:].float())
            noisy = self._sampled(plan, noise, noise_levels(OWN_STEPS))
        painted = self.frame_decoder(plan, noisy).frames
        mean, std = pixel_scale(self.config, frames)
        painted = F.pad((painted.to(frames.dtype) - mean) / std, (0, 0, 0, 0, 0, 0, 1, 0))  # (B, T, 3, H, W)
        is_own = stories.frame_mask & (torch.rand(frames.shape[:2], device=frames.device) < share)
        is_own[:, 0] = False
        return torch.where(is_own[..., None, None, None], painted, pixel_values)

    def _with_context_noise(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Add noise of a level up to `context_noise` for each story to frames `(B, T, 3, H, W)`, in training."""
        if not (self.training and self.config.context_noise):
            return pixel_values
        levels = self.config.context_noise * torch.rand(len(pixel_values), device=pixel_values.device)
        _, std = pixel_scale(self.config, pixel_values)
        noise = torch.randn_like(pixel_values) * levels.to(pixel_values.dtype)[:, None, None, None, None]
        return pixel_values + noise / std

    def _all_frames(
        self,
        stories: EncodedStories,
        frames: torch.Tensor,
        targets: torch.Tensor,
        next_caption_mask: torch.Tensor,
        reconstructed: torch.Tensor,
        object_maps: torch.Tensor | None = None,
        paints: bool = True,
    ) -> dict[str, torch.Tensor | None]:
        """Paint the T - 1 predictions, with what they are mixed of, and the R reconstructions, all in one pass.

        A generative decoder reads the true next frames with noise in training, and samples the predictions otherwise.

        Args:
            stories (`EncodedStories`): what the model read.
            frames (`(B, T, 3, H, W)`): its frames in [0, 1].
            targets (`(B, T, 3, H, W)`): the true ones, which noise is added to.
            next_caption_mask (`(B, T - 1)`, bool): True where the predicted frame t + 1 reads caption t + 1.
            reconstructed (`(B, R)`): indices of the frames to reconstruct; -1 counts as 0.
            object_maps (`(B, T, names, cells)`, *optional*): as in [`Supervision`]; read in training.
            paints: whether frames are painted; without, only the slots say what changes.

        Returns:
            fields of [`StoryAttnOutput`].
        """
        inputs = self._inputs_of_all(stories, frames, next_caption_mask, reconstructed)
        changing = object_maps[:, 1:].bool() if object_maps is not None and self.training else None
        if not paints:
            objects = self.frame_decoder(inputs.predicted(), changing=changing, paints=False).objects
            return {**dict.fromkeys(FRAME_FIELDS), **dict(zip(OBJECT_FIELDS, objects or ()))}
        number, noisy = inputs.num_predicted, self._noisy_frames(inputs, targets)
        decoded = self.frame_decoder(inputs, noisy, changing)
        return {
            "predicted_frames": decoded.frames[:, :number],
            "painted_frames": decoded.painted[:, :number],
            "lit_frames": decoded.lit,
            "moved_frames": decoded.moved,
            "reconstructed_frames": decoded.frames[:, number:],
            "noise_levels": noisy.level if noisy is not None and self.training else None,
            **dict(zip(OBJECT_FIELDS, decoded.objects or ())),
        }

    def _noisy_frames(self, inputs: FrameInputs, targets: torch.Tensor) -> NoisyFrames | None:
        """Return what a generative decoder reads to predict frames: in training the true ones with noise."""
        if not self.config.samples_frames:
            return None
        number = inputs.num_predicted
        if self.training:
            return add_noise(targets[:, 1:], draw_levels((len(targets), number), targets.device))
        if not number:
            nothing = targets[:, :0].float()
            return NoisyFrames(nothing, nothing.new_ones(nothing.shape[:2]))
        sampling = FrameSampling(num_sequences=number)  # fixed noise for each place in a story
        noise = sampling.noise(number, targets.shape[2:]).to(targets.device).expand(len(targets), -1, -1, -1, -1)
        return self._sampled(self.frame_decoder(inputs.predicted(), paints=False), noise, sampling.levels)

    def _sampled(self, plan: FramePlan, noise: torch.Tensor, levels: list[float]) -> NoisyFrames:
        """Take all steps but the last from noise to the frames of a plan, see `sample_frames`."""
        return sample_frames(lambda noisy: self.frame_decoder(plan, noisy).frames, noise, levels)

    def _inputs_of_all(
        self,
        stories: EncodedStories,
        frames: torch.Tensor,
        next_caption_mask: torch.Tensor,
        reconstructed: torch.Tensor,
        drops_story: bool = True,
    ) -> FrameInputs:
        """Return what the frame decoder reads to paint `_all_frames`, which has these arguments.

        `drops_story`: in training the story is withheld from a share of the frames, as configured.
        """
        output, reconstructed = stories.output, reconstructed.clamp(min=0)
        batch, num_predicted, device = frames.shape[0], frames.shape[1] - 1, frames.device
        reads_story = self._reads_story(next_caption_mask) if drops_story else None
        context, context_mask = self._context_of_predictions(stories, next_caption_mask, reads_story)
        described = select_frames(output.describe_states, reconstructed)  # (B, R, K, D)
        described_mask = torch.arange(context.shape[2], device=device) < described.shape[2]
        described = F.pad(described, (0, 0, 0, context.shape[2] - described.shape[2]))
        steps = torch.arange(num_predicted, device=device).expand(batch, -1)
        source = torch.cat([steps, reconstructed], dim=1)  # (B, T - 1 + R)
        visible = _visible_frames(stories.frame_mask, source, num_predicted)
        if reads_story is not None:
            reads = F.pad(reads_story, (0, reconstructed.shape[1]), value=True)
            visible = without_story(visible, source, reads)
        return FrameInputs(
            frames,
            stories.gated_features,
            stories.detail_features,
            torch.cat([context, described], dim=1),
            torch.cat([context_mask, described_mask.expand(*reconstructed.shape, -1)], dim=1),
            source,
            visible,
            num_predicted,
        )

    def _reads_story(self, transitions: torch.Tensor) -> torch.Tensor | None:
        """Draw for transitions `(B, T - 1)` whether they read the story, bool; `None` where all of them do."""
        if not (self.training and self.config.story_dropout):
            return None
        return torch.rand(transitions.shape, device=transitions.device) >= self.config.story_dropout

    def _context_of_predictions(
        self, stories: EncodedStories, next_caption_mask: torch.Tensor, reads_story: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the T - 1 predictions read, `(B, T - 1, S, D)`, and its mask `(B, T - 1, S)`."""
        captions = stories.text_states[:, 1:], stories.text_mask[:, 1:]
        earlier, earlier_mask = self._earlier_captions(stories)
        states = stories.output.continue_states[:, :-1]
        return join_context(states, *captions, next_caption_mask, (earlier[:, :-1], earlier_mask[:, :-1]), reads_story)

    def _next_frame(
        self,
        stories: EncodedStories,
        pixel_values: torch.Tensor,
        next_input_ids: torch.Tensor | None,
        next_attention_mask: torch.Tensor | None,
        sampling: FrameSampling | None,
    ) -> torch.Tensor:
        """Paint the frame `(B, 3, H, W)` after the last one of each story, by its caption `(B, L)` if there is one.

        With `sampling`, which a generative decoder needs, `num_sequences` of the B stories in a row are the same story.
        """
        inputs = stories, pixel_values, next_input_ids, next_attention_mask
        decoder, unguided = self.frame_decoder, None
        plan = decoder(self._inputs_of_next(*inputs), paints=False)
        if sampling is None:
            return decoder(plan).frames[:, 0]
        if sampling.guidance_scale != 1:
            unguided = decoder(self._inputs_of_next(*inputs, without_condition=True), paints=False)

        def predict(noisy: NoisyFrames) -> torch.Tensor:
            clean = decoder(plan, noisy).frames
            low, high = GUIDED_LEVELS
            if unguided is None or not low <= noisy.level[0, 0] <= high:
                return clean
            away = decoder(unguided, noisy).frames
            return (away + sampling.guidance_scale * (clean - away)).clamp(0, 1)

        noise = sampling.noise(len(pixel_values), pixel_values.shape[2:]).to(pixel_values.device)
        return predict(sample_frames(predict, noise[:, None], sampling.levels))[:, 0]

    def _inputs_of_next(
        self,
        stories: EncodedStories,
        pixel_values: torch.Tensor,
        next_input_ids: torch.Tensor | None,
        next_attention_mask: torch.Tensor | None,
        without_condition: bool = False,
    ) -> FrameInputs:
        """Return what the frame decoder reads to paint `_next_frame`.

        `without_condition` leaves out the caption; where there is none, the story before the last frame.
        """
        mask = stories.frame_mask
        last = mask.sum(1, keepdim=True) - 1  # (B, 1)
        states = select_last(stories.output.continue_states, mask)[:, None]
        reads_caption = torch.zeros_like(last, dtype=torch.bool)
        if next_input_ids is not None:
            next_input_ids, next_attention_mask = next_input_ids[:, None], next_attention_mask[:, None]
            reads_caption = next_attention_mask.bool().any(-1)
        text, text_mask, _ = self.model.read_captions(next_input_ids, next_attention_mask, last.shape)
        text, text_mask = text.unflatten(0, last.shape), text_mask.unflatten(0, last.shape)
        earlier = tuple(select_frames(values, last) for values in self._earlier_captions(stories))
        visible, reads_story = mask[:, None], None
        if without_condition:
            reads_story, reads_caption = reads_caption, torch.zeros_like(reads_caption)
            visible = without_story(visible, last, reads_story)
        context, context_mask = join_context(states, text, text_mask, reads_caption, earlier, reads_story)
        read = self.unnormalize(pixel_values), stories.gated_features, stories.detail_features
        return FrameInputs(*read, context, context_mask, last, visible, num_predicted=1)

    def _earlier_captions(self, stories: EncodedStories) -> tuple[torch.Tensor, torch.Tensor]:
        """Join the last `frame_context_captions` captions up to each of T frames, the latest first, as far as read.

        Returns states `(B, T, S, D)`, which know how far back they are, and their mask `(B, T, S)`.
        """
        states, mask = stories.text_states[:, :, 1:], stories.read_mask[:, :, 1:]
        shifted, masks = [states[:, :, :0]], [mask[:, :, :0]]
        for age in range(min(self.config.frame_context_captions, mask.shape[1])):
            code = sinusoid(mask.new_tensor(age + 1, dtype=torch.float32), states.shape[-1]).to(states.dtype)
            shifted.append(F.pad(states + code, (0, 0, 0, 0, age, 0))[:, : mask.shape[1]])
            masks.append(F.pad(mask, (0, 0, age, 0))[:, : mask.shape[1]])
        return torch.cat(shifted, dim=2), torch.cat(masks, dim=2)

    def _draw_tasks(
        self,
        frame_mask: torch.Tensor,
        attention_mask: torch.Tensor | None,
        use_next_caption: bool,
        next_caption_mask: torch.Tensor | None,
        reconstructed: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Choose what the frame decoder paints, at random in training where the caller does not say.

        Args:
            frame_mask (`(B, T)`, bool), attention_mask (`(B, T, L)`, *optional*): of the stories.
            use_next_caption, next_caption_mask, reconstructed: as in [`StoryAttnForConditionalGeneration.forward`].

        Returns:
            `(B, T - 1)`, bool: whether the predicted frame t + 1 reads caption t + 1; and `(B, R)`: the indices of the
            frames to reconstruct.

        Raises:
            ValueError: for a tensor of another shape or range.
        """
        checks = ValueChecks(frame_mask, self.training)
        if next_caption_mask is not None:
            shape = frame_mask.shape[0], frame_mask.shape[1] - 1
            check_mask("next_caption_mask", next_caption_mask, shape, checks)
        if reconstructed is not None:
            check_frame_indices("reconstructed", reconstructed, tuple(frame_mask.shape), checks)
        checks.run()
        reads_caption = self._next_caption_mask(frame_mask, attention_mask, use_next_caption, next_caption_mask)
        return reads_caption, self._random_frames(frame_mask) if reconstructed is None else reconstructed.long()

    def _next_caption_mask(
        self,
        frame_mask: torch.Tensor,
        attention_mask: torch.Tensor | None,
        use_next_caption: bool,
        next_caption_mask: torch.Tensor | None,
    ) -> torch.Tensor:
        shape = frame_mask.shape[0], frame_mask.shape[1] - 1
        if attention_mask is None or not use_next_caption:
            return torch.zeros(shape, dtype=torch.bool, device=frame_mask.device)
        mask = attention_mask[:, 1:].bool().any(-1)
        if next_caption_mask is not None:
            return mask & next_caption_mask.bool()
        if self.training and self.config.next_caption_dropout:
            mask = mask & (torch.rand(shape, device=mask.device) >= self.config.next_caption_dropout)
        return mask

    def _random_frames(self, frame_mask: torch.Tensor) -> torch.Tensor:
        """Draw `num_reconstructed_frames` frames of each story in training; all T in evaluation."""
        batch, number = frame_mask.shape
        if not self.training or number <= self.config.num_reconstructed_frames:
            return torch.arange(number, device=frame_mask.device).expand(batch, -1)
        order = torch.rand(batch, number, device=frame_mask.device) + frame_mask  # padding comes last
        return order.topk(self.config.num_reconstructed_frames, dim=1).indices


def _visible_frames(frame_mask: torch.Tensor, source: torch.Tensor, num_predicted: int) -> torch.Tensor:
    """Mark the frames `(B, N, T)` that are read: up to `source (B, N)` to predict, it alone to reconstruct."""
    steps = torch.arange(frame_mask.shape[1], device=source.device)
    is_predicted = torch.arange(source.shape[1], device=source.device)[:, None] < num_predicted
    visible = (source[..., None] >= steps) & frame_mask[:, None] & is_predicted
    return visible | (source[..., None] == steps)


def pixel_scale(config: StoryAttnConfig, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and spread of normalised pixels, each `(3, 1, 1)`, of the type and on the device of a tensor."""
    mean, std = (like.new_tensor(values)[:, None, None] for values in (config.image_mean, config.image_std))
    return mean, std


def without_story(visible: torch.Tensor, source: torch.Tensor, reads_story: torch.Tensor) -> torch.Tensor:
    """Leave of the visible frames `(B, N, T)` only `source (B, N)` where `reads_story (B, N)` is False."""
    steps = torch.arange(visible.shape[2], device=visible.device)
    return visible & (reads_story[..., None] | (source[..., None] == steps))


def join_context(
    states: torch.Tensor,
    text_states: torch.Tensor,
    text_mask: torch.Tensor,
    reads_caption: torch.Tensor,
    earlier: tuple[torch.Tensor, torch.Tensor] | None = None,
    reads_story: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Join story state, caption and earlier captions for N frames to paint.

    Args:
        states (`(B, N, K, D)`): the story states.
        text_states (`(B, N, L, D)`), text_mask (`(B, N, L)`, bool): the captions.
        reads_caption (`(B, N)`, bool): False for frames that are painted without their caption.
        earlier (*optional*): states `(B, N, S, D)` of earlier captions and their mask `(B, N, S)`.
        reads_story (`(B, N)`, bool, *optional*): False for frames that are painted without the story, whose state is
            then 0 and whose earlier captions are masked.

    Returns:
        `(B, N, K + L + S, D)` and its mask.
    """
    always = torch.ones(*states.shape[:3], dtype=torch.bool, device=states.device)
    parts, masks = [states, text_states], [always, text_mask & reads_caption[..., None]]
    if earlier is not None:
        parts, masks = [*parts, earlier[0]], [*masks, earlier[1]]
    if reads_story is not None:
        parts[0] = states * reads_story[..., None, None].to(states.dtype)
        masks[2:] = [mask & reads_story[..., None] for mask in masks[2:]]
    return torch.cat([part.to(states.dtype) for part in parts], dim=2), torch.cat(masks, dim=2)
