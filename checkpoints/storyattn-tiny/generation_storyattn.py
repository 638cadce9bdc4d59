"""Writing captions, painting the next frame, and carrying a story on."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel, ProcessorMixin

from .caption_readout import TASKS
from .custom_generation import with_custom_generate
from .familiarity import warn_if_unfamiliar
from .generation_options import generation_options
from .input_checks import ValueChecks, check_captions
from .layers import select_last
from .outputs import EncodedStories
from .pictures import shortened
from .story import Page, Stories, Story, open_stories
from .story_inputs import captions_by_step, kind_of

MODES = ("text", "image")
MOST_TOKENS = 1_000_000  # of a text decoder without limit; the library takes memory for all of them


class GenerationStoryAttnMixin:
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
            generation_mode: `"text"`, or `"image"` for what `predict_next_frame` gives, which ignores all that concerns
                writing. The library's any-to-any pipeline asks for it.
            generation_kwargs: arguments of the library's `generate` (`max_new_tokens`, `num_beams`, ...) that win over
                `generation_config`; up to `max_caption_length` tokens are written where neither has a length.
                `max_length`, `min_length` and penalties count what is written, without the start token; `encoder_*`
                look at the captions that are read. `spatial_temperature` and `spatial_gamma` as in [`StoryAttnModel`].

        Returns:
            token ids `(B * num_return_sequences, n)`, without the start token; or frames `(B, 3, H, W)` in [0, 1].

        Raises:
            ValueError: for an unknown task or mode, for options that cannot work, see `generation_options`, and for
                what [`StoryAttnModel`] refuses.
        """
        for name, value, expected in (("generation_mode", generation_mode, MODES), ("task", task, TASKS)):
            if value not in expected:
                raise ValueError(
                    f"{name}: got {shortened(repr(value), 80)}, expected one of {', '.join(map(repr, expected))}"
                )
        spatial = [generation_kwargs.pop(name, None) for name in ("spatial_temperature", "spatial_gamma")]
        stories = self.model.encode(pixel_values, frame_mask, input_ids, attention_mask, *spatial)
        if generation_mode == "image":
            return self._next_frame(stories, pixel_values, None, None)
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
    ) -> torch.Tensor:
        """Paint the frame after the last one of each story.

        Args:
            pixel_values, frame_mask, input_ids, attention_mask, spatial_temperature, spatial_gamma:
                as in [`StoryAttnModel`].
            next_input_ids, next_attention_mask (`(B, L)`, *optional*): the caption of the frame to paint.
            decoder_input_ids, decoder_attention_mask: not read; they are among what the processor gives.

        Returns:
            frames `(B, 3, H, W)` in [0, 1].

        Raises:
            ValueError: for one of `next_input_ids` and `next_attention_mask` without the other, and for a tensor of
                another shape or range.
        """
        stories = self.model.encode(
            pixel_values, frame_mask, input_ids, attention_mask, spatial_temperature, spatial_gamma
        )
        names, checks = ("next_input_ids", "next_attention_mask"), ValueChecks(pixel_values, self.training)
        check_captions(names, next_input_ids, next_attention_mask, pixel_values.shape[:1], self.model.limits, checks)
        checks.run()
        return self._next_frame(stories, pixel_values, next_input_ids, next_attention_mask)

    @torch.no_grad()
    def continue_story(
        self,
        processor: ProcessorMixin,
        frames: Story | list,
        captions: list | None = None,
        num_steps: int = 1,
        return_attention: bool = False,
        next_captions: list | None = None,
        **generation_kwargs,
    ) -> Story | Stories:
        """Carry a story, or B stories, on: write the next caption, paint its frame, and so on.

        Args:
            processor (`StoryAttnProcessor`): turns pictures and texts into tensors and back.
            frames: the frames so far of one story, a list of pictures of all kinds that the processor takes; or a
                list of B such lists. The last `max_frames - 1` are read. A [`Story`] goes on where it ends.
            captions (*optional*): one text or `None` a frame; for B stories a list of B such lists.
            num_steps: captions and frames to add, at least 1 and as many as there are `next_captions`.
            return_attention: also keep the maps of the spatial attention of each step.
            next_captions (*optional*): texts to paint, one a step, before the model writes; for B stories B lists.
            generation_kwargs: as in `generate`, but for `return_dict_in_generate`. Each of `num_return_sequences`
                captions begins a future of its own. `spatial_temperature` and `spatial_gamma` hold for painting, too.

        Returns:
            [`Story`], with the given and the new pages. For B stories, or several futures, [`Stories`], a list of
            `B * num_return_sequences`, the futures of a story in a row.

        Raises:
            ValueError: for `num_steps` below 1, `return_dict_in_generate`, another processor, and whatever it refuses.
        """
        if generation_kwargs.get("return_dict_in_generate"):
            raise ValueError("return_dict_in_generate: got True, expected False: stories are carried on by token ids")
        if not callable(getattr(processor, "postprocess_frames", None)):
            raise ValueError(f"processor: got {kind_of(processor)}, expected the StoryAttnProcessor of the model")
        if not isinstance(num_steps, int) or num_steps < 1:
            raise ValueError(f"num_steps: got {num_steps!s:.80}, expected a whole number of at least 1")
        stories, is_one = open_stories(frames, captions)
        texts = captions_by_step(next_captions, None if is_one else len(stories))
        for step in range(max(num_steps, len(texts))):
            text = texts[step] if step < len(texts) else None
            stories = self._continue_once(processor, stories, return_attention, text, **generation_kwargs)
            if text is None:
                generation_kwargs["num_return_sequences"] = 1
        return stories[0] if is_one and len(stories) == 1 else Stories(stories)

    def _continue_once(
        self,
        processor: ProcessorMixin,
        stories: list[Story],
        return_attention: bool,
        texts: list[str] | None,
        spatial_temperature: float | None = None,
        spatial_gamma: float | None = None,
        **generation_kwargs,
    ) -> list[Story]:
        """Take one step of `continue_story`: return `num_return_sequences` longer stories for each; one by its text."""
        last = [story[-(self.config.max_frames - 1) :] for story in stories]
        frames, captions = [story.frames for story in last], [story.captions for story in last]
        inputs = processor(frames=frames, captions=captions, return_tensors="pt").to(self.device, self.dtype)
        encoder_captions = inputs["input_ids"], inputs["attention_mask"]
        pixel_values, spatial = inputs["pixel_values"], (spatial_temperature, spatial_gamma)
        encoded = self.model.encode(pixel_values, inputs["frame_mask"], *encoder_captions, *spatial)
        if not any(page.is_painted for story in last for page in story):
            warn_if_unfamiliar(self, encoded.output, inputs["attention_mask"])
        is_written = texts is None
        if is_written:
            decoder_captions = inputs.get("decoder_input_ids"), inputs.get("decoder_attention_mask")
            decoder_captions = self.decoder_captions(*encoder_captions, *decoder_captions)
            ids = self._write(encoded, *decoder_captions, "continue", **generation_kwargs)
            texts = processor.batch_decode(ids, skip_special_tokens=True)
        tokens = processor.tokenize_captions([[text] for text in texts]).to(self.device)
        next_caption = tokens["input_ids"][:, 0], tokens["attention_mask"][:, 0]
        number = len(texts) // len(stories)
        pixel_values = pixel_values.repeat_interleave(number, dim=0)
        painted = processor.postprocess_frames(self._next_frame(encoded.repeat(number), pixel_values, *next_caption))
        maps = [None] * len(stories)
        if return_attention:
            attentions = encoded.output.spatial_attentions
            maps = [one[: len(story)].float().cpu() for one, story in zip(attentions, last)]
        new_pages = [
            Page(frame, text, True, is_written, maps[index // number])
            for index, (frame, text) in enumerate(zip(painted, texts))
        ]
        return [Story.from_pages([*stories[index // number], page]) for index, page in enumerate(new_pages)]


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
