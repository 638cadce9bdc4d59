"""Writing captions, painting the next frame, and carrying a story on."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel

from .caption_readout import TASKS
from .custom_generation import with_custom_generate
from .frame_sampling import frame_sampling
from .generation_options import generation_options
from .input_checks import ValueChecks, check_captions
from .layers import select_last
from .outputs import EncodedStories
from .pictures import shortened
from .story_continuation import StoryContinuationMixin
from .story_inputs import kind_of

MODES = ("text", "image")
FRAME_OPTIONS = ("num_frame_steps", "frame_guidance_scale", "generator")  # of a generative frame decoder
MOST_TOKENS = 1_000_000  # of a text decoder without limit; the library takes memory for all of them


class GenerationStoryAttnMixin(StoryContinuationMixin):
    """`generate`, `predict_next_frame` and `continue_story` of [`StoryAttnForConditionalGeneration`]."""

    @with_custom_generate
    @torch.no_grad()
    def generate(
        self,
        pixel_values: torch.Tensor | None = None,
        frame_mask: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        task: str = "continue",
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        generation_mode: str = "text",
        **generation_kwargs,
    ) -> torch.Tensor:
        """Write a caption for each of B stories, or paint its next frame.

        Args:
            pixel_values, frame_mask, input_ids, attention_mask: as in [`StoryAttnModel`].
            task: `"continue"` writes the caption after the last frame; `"describe"` writes that of the last frame, from
                the pictures and the captions before it, without reading its caption.
            decoder_input_ids, decoder_attention_mask: as in [`StoryAttnForConditionalGeneration`].
            generation_mode: `"text"`, or `"image"` for what `predict_next_frame` gives, which takes its
                `num_frame_steps`, `frame_guidance_scale`, `generator` and `num_return_sequences` and ignores all that
                concerns writing. The library's any-to-any pipeline asks for it.
            generation_kwargs: arguments of the library's `generate` (`max_new_tokens`, `num_beams`, ...) that win over
                `generation_config`; up to `max_caption_length` tokens are written where neither has a length.
                `max_length`, `min_length` and penalties count what is written, without the start token; `encoder_*`
                look at the captions that are read. `spatial_temperature` and `spatial_gamma` as in [`StoryAttnModel`].

        Returns:
            token ids `(B * num_return_sequences, n)`, without the start token; or as many frames, as there.

        Raises:
            ValueError: for an unknown task or mode, for options that cannot work, see `generation_options`, and for
                what [`StoryAttnModel`] refuses.
        """
        _check_choices(generation_mode=(generation_mode, MODES), task=(task, TASKS))
        spatial = [generation_kwargs.pop(name, None) for name in ("spatial_temperature", "spatial_gamma")]
        options = {name: generation_kwargs.pop(name, None) for name in FRAME_OPTIONS}
        if generation_mode == "image":
            options["num_return_sequences"] = generation_kwargs.get("num_return_sequences")
            inputs = pixel_values, frame_mask, input_ids, attention_mask, None, None, *spatial
            return self.predict_next_frame(*inputs, **options)
        _refuse_frame_options(options)
        stories = self.model.encode(pixel_values, frame_mask, input_ids, attention_mask, *spatial)
        captions = self.decoder_captions(input_ids, attention_mask, decoder_input_ids, decoder_attention_mask)
        return self._write(stories, *captions, task, **generation_kwargs)

    def _write(
        self,
        stories: EncodedStories,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        task: str,
        **generation_kwargs,
    ) -> torch.Tensor:
        """Write what `generate` returns for encoded stories; captions are in the ids of the text decoder."""
        output, frame_mask = stories.output, stories.frame_mask
        states = output.describe_states if task == "describe" else output.continue_states
        context = self._context_of_last(states, frame_mask, input_ids, attention_mask, task)
        prefix, mask = self._prefix(select_last(states, frame_mask), *context, task)
        captions = input_ids, self._read_before_writing(attention_mask, frame_mask, task)
        options = self.config, self.generation_config, len(frame_mask), captions, self._room_behind(mask)
        config, others = generation_options(*options, **generation_kwargs)
        if config.prompt_lookup_num_tokens is not None:  # for one story, whose padding the library would misplace
            prefix, mask = prefix[:, mask[0].bool()], mask[:, mask[0].bool()]
        start = torch.full((len(prefix), 1), self.config.bos_token_id, device=prefix.device)
        start = self.text_decoder.get_input_embeddings()(start).to(prefix.dtype)
        decoder = _uncached(self.text_decoder) if config.use_cache is False else self.text_decoder
        with _naming_options(generation_kwargs):
            return decoder.generate(
                inputs_embeds=torch.cat([prefix, start], dim=1),
                attention_mask=torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1),
                generation_config=config,
                **others,
            )

    def _room_behind(self, mask: torch.Tensor) -> int:
        """Return how many tokens the text decoder can write behind the longest of prefixes with a mask `(N, S)`."""
        positions = getattr(self.config.decoder_config, "max_position_embeddings", None)
        return positions - int(mask.sum(1).max()) if positions else MOST_TOKENS

    def _read_before_writing(
        self, attention_mask: torch.Tensor | None, frame_mask: torch.Tensor, task: str
    ) -> torch.Tensor | None:
        """Mask what is not read before a caption is written: its own caption, where a frame is described."""
        if attention_mask is None or task != "describe":
            return attention_mask
        is_earlier = frame_mask.cumsum(1) < frame_mask.sum(1, keepdim=True)  # (B, T)
        return attention_mask * is_earlier[..., None]

    def _context_of_last(
        self,
        states: torch.Tensor,
        frame_mask: torch.Tensor,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        task: str,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Select ids and mask `(B, S)` of the captions that the text decoder reads before it writes the next one."""
        if input_ids is None:
            empty = torch.zeros(len(states), 0, dtype=torch.long, device=states.device)
            return empty, empty
        ids, mask = self._last_captions(input_ids, attention_mask, task)
        return select_last(ids, frame_mask), select_last(mask, frame_mask)

    @torch.no_grad()
    def predict_next_frame(
        self,
        pixel_values: torch.Tensor | None = None,
        frame_mask: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        next_input_ids: torch.Tensor | None = None,
        next_attention_mask: torch.Tensor | None = None,
        spatial_temperature: float | None = None,
        spatial_gamma: float | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        num_frame_steps: int | None = None,
        frame_guidance_scale: float | None = None,
        generator: torch.Generator | None = None,
        num_return_sequences: int | None = None,
    ) -> torch.Tensor:
        """Paint the frame after the last one of each story; a generative frame decoder samples it.

        Args:
            pixel_values, frame_mask, input_ids, attention_mask, spatial_...: as in [`StoryAttnModel`].
            next_input_ids, next_attention_mask (`(B, L)`, *optional*): the caption of the frame to paint.
            decoder_input_ids, decoder_attention_mask: not read; they are among what the processor gives.
            num_frame_steps: steps of the sampling, 1 to 8; default 4. One gives the mean of what may come.
            frame_guidance_scale: above 1 it leads a sample away from what would be painted without the caption, or
                without the story where there is no caption (Ho & Salimans 2022); default 1.
            generator: of the noise; default torch's own. The noise is the same for all stories of a batch.
            num_return_sequences: frames of each story, which then follow one another; default 1.

        Returns:
            frames `(B * num_return_sequences, 3, H, W)` in [0, 1].

        Raises:
            ValueError: for one of `next_input_ids` and `next_attention_mask` alone, for a tensor of another shape or
                range, and for the last four options with a regressing frame decoder.
        """
        options = num_frame_steps, frame_guidance_scale, generator, num_return_sequences
        sampling, inputs = frame_sampling(self.config.samples_frames, *options), (pixel_values, frame_mask)
        stories = self.model.encode(*inputs, input_ids, attention_mask, spatial_temperature, spatial_gamma)
        names, checks = ("next_input_ids", "next_attention_mask"), ValueChecks(pixel_values, self.training)
        check_captions(names, next_input_ids, next_attention_mask, pixel_values.shape[:1], self.model.limits, checks)
        checks.run()
        tensors = pixel_values, next_input_ids, next_attention_mask
        return self._next_frame(*_repeated(stories, tensors, num_return_sequences or 1), sampling)


def _repeated(stories: EncodedStories, tensors: tuple[torch.Tensor | None, ...], number: int) -> tuple:
    """Return each encoded story, and each row of the tensors, `number` times in a row."""
    rows = (None if values is None else values.repeat_interleave(number, dim=0) for values in tensors)
    return stories.repeat(number), *rows


def _check_choices(**choices: tuple[object, tuple[str, ...]]) -> None:
    for name, (value, expected) in choices.items():
        if value not in expected:
            got = f"{name}: got {shortened(repr(value), 80)}"
            raise ValueError(f"{got}, expected one of {', '.join(map(repr, expected))}")


def _refuse_frame_options(options: dict) -> None:
    for name, value in options.items():
        if value is not None:
            raise ValueError(f"{name}: got {kind_of(value)}, expected none with generation_mode 'text'")


@contextmanager
def _naming_options(options: dict) -> Iterator[None]:
    """Name the options under which the library can draw no token, in place of an error that does not."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if not any(sign in str(error) for sign in ("probability tensor", "found invalid values")):
            raise
        got = shortened(", ".join(f"{name} {kind_of(value)}" for name, value in options.items()))
        raise ValueError(f"generate: got {got or 'no option'}, expected some token to have a probability") from error


def _uncached(decoder: PreTrainedModel) -> PreTrainedModel:
    """Return a view of `decoder` that reads everything again for each new token.

    The library's `generate` sets `use_cache` wherever a text begins with embeddings.
    """
    view = copy.copy(decoder)

    def prepare(
        input_ids: torch.Tensor,
        inputs_embeds: torch.Tensor | None,
        past_key_values: object,
        next_sequence_length: int | None,
        is_first_iteration: bool = False,
        **kwargs,
    ):
        tokens = decoder.get_input_embeddings()(input_ids).to(inputs_embeds.dtype)
        return {**kwargs, "inputs_embeds": torch.cat([inputs_embeds, tokens], dim=1), "use_cache": False}

    view.prepare_inputs_for_generation = prepare
    return view
