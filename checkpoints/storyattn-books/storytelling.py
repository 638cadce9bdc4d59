"""Read-outs of a whole story: writing captions, painting the next frame, and telling on."""

import copy

import torch

from .outputs import StoryContinuation

TASKS = ("describe", "continue")
MODES = ("text", "image")


class StorytellingMixin:
    """`generate`, `predict_next_frame` and `continue_story` of [`StoryAttnForConditionalGeneration`]."""

    @torch.no_grad()
    def generate(
        self,
        pixel_values,
        frame_mask=None,
        input_ids=None,
        attention_mask=None,
        task="continue",
        decoder_input_ids=None,
        decoder_attention_mask=None,
        generation_mode="text",
        **generation_kwargs,
    ) -> torch.Tensor:
        """Writes a caption for each of B stories, or paints its next frame.

        Args:
            pixel_values, frame_mask, input_ids, attention_mask: as in [`StoryAttnModel`].
            task (`str`): `"continue"` writes the caption after the last frame; `"describe"` writes that of the last
                frame from the pictures and the captions before it, its own caption unread.
            decoder_input_ids, decoder_attention_mask: as in [`StoryAttnForConditionalGeneration`].
            generation_mode (`str`): `"text"`, or `"image"` for what `predict_next_frame` gives; no caption is written
                for it and all that concerns writing is passed over. The library's any-to-any pipeline asks for it.
            generation_kwargs: whatever `generate` of the text decoder takes (`max_new_tokens`, `num_beams`, ...), over
                what `generation_config` says; with no length in either, up to `max_caption_length` tokens are written.
                `spatial_temperature` and `spatial_gamma` as in [`StoryAttnModel`].

        Returns:
            token ids `(B * num_return_sequences, n)`, without the start token; frames `(B, 3, H, W)` in [0, 1].

        Raises `ValueError` for an unknown task or mode, and for `guidance_scale` without `negative_prompt_ids`.
        """
        if generation_mode not in MODES:
            raise ValueError(f"generation_mode: got {generation_mode!r}, expected one of {', '.join(map(repr, MODES))}")
        if task not in TASKS:
            raise ValueError(f"task: got {task!r}, expected one of {', '.join(map(repr, TASKS))}")
        spatial = [generation_kwargs.pop(name, None) for name in ("spatial_temperature", "spatial_gamma")]
        story = self.model.encode(pixel_values, frame_mask, input_ids, attention_mask, *spatial)
        if generation_mode == "image":
            return self._paint_next(story, pixel_values, None, None)
        words = self.decoder_words(input_ids, attention_mask, decoder_input_ids, decoder_attention_mask)
        return self._write(story, *words, task, **generation_kwargs)

    def _write(self, story, input_ids, attention_mask, task, **generation_kwargs) -> torch.Tensor:
        """`generate` for what `encode` has read; captions in the ids of the text decoder."""
        output, frame_mask = story["output"], story["frame_mask"]
        states = output.describe_states if task == "describe" else output.continue_states
        told = self._told_before(states, frame_mask, input_ids, attention_mask, task)
        prefix, mask = self._prefix(_at_last(states, frame_mask), *told, task)
        start = torch.full((len(prefix), 1), self.config.bos_token_id, device=prefix.device)
        start = self.text_decoder.get_input_embeddings()(start).to(prefix.dtype)
        embeds = torch.cat([prefix, start], dim=1)
        config = copy.deepcopy(generation_kwargs.pop("generation_config", None) or self.generation_config)
        for name in ("eos_token_id", "pad_token_id", "bos_token_id"):
            if getattr(config, name) is None:
                setattr(config, name, getattr(self.config, name))
        others = config.update(**generation_kwargs)  # streamers, stopping criteria and the like
        if config.guidance_scale not in (None, 1) and others.get("negative_prompt_ids") is None:
            found = f"guidance_scale: got {config.guidance_scale} without negative_prompt_ids"
            raise ValueError(f"{found}, expected both: what is read before the words has no ids to leave out")
        if config.max_length is None and config.max_new_tokens is None:
            config.max_new_tokens = self.config.max_caption_length
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        decoder = _rereading(self.text_decoder) if config.use_cache is False else self.text_decoder
        return decoder.generate(inputs_embeds=embeds, attention_mask=mask, generation_config=config, **others)

    def _told_before(self, states, frame_mask, input_ids, attention_mask, task) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask `(B, S)` of the captions that the text decoder reads verbatim before it writes the next one."""
        if input_ids is None:
            nothing = torch.zeros(len(states), 0, dtype=torch.long, device=states.device)
            return nothing, nothing
        ids, mask = self._last_captions(input_ids, attention_mask, task)
        return _at_last(ids, frame_mask), _at_last(mask, frame_mask)

    @torch.no_grad()
    def predict_next_frame(
        self,
        pixel_values,
        frame_mask=None,
        input_ids=None,
        attention_mask=None,
        next_input_ids=None,
        next_attention_mask=None,
        spatial_temperature=None,
        spatial_gamma=None,
        decoder_input_ids=None,
        decoder_attention_mask=None,
    ) -> torch.Tensor:
        """Paints the frame after the last one of each story.

        Args:
            pixel_values, frame_mask, input_ids, attention_mask, spatial_temperature, spatial_gamma:
                as in [`StoryAttnModel`].
            next_input_ids, next_attention_mask (`(B, L)`, *optional*): the caption of the frame to paint.
            decoder_input_ids, decoder_attention_mask: not read; they are among what the processor gives.

        Returns:
            frames `(B, 3, H, W)` in [0, 1].
        """
        if (next_input_ids is None) != (next_attention_mask is None):
            raise ValueError("next_input_ids and next_attention_mask: got one without the other, expected both")
        story = self.model.encode(
            pixel_values, frame_mask, input_ids, attention_mask, spatial_temperature, spatial_gamma
        )
        return self._paint_next(story, pixel_values, next_input_ids, next_attention_mask)

    def _paint_next(self, story, pixel_values, next_input_ids, next_attention_mask) -> torch.Tensor:
        """`predict_next_frame` for what `encode` has read."""
        mask = story["frame_mask"]
        last = mask.sum(1, keepdim=True) - 1  # (B, 1)
        states = _at_last(story["output"].continue_states, mask)[:, None]
        told = torch.zeros_like(last, dtype=torch.bool)
        if next_input_ids is not None:
            next_input_ids, next_attention_mask = next_input_ids[:, None], next_attention_mask[:, None]
            told = next_attention_mask.any(-1)
        text, text_mask, _ = self.model.text_states(next_input_ids, next_attention_mask, last.shape)
        text, text_mask = text.unflatten(0, last.shape), text_mask.unflatten(0, last.shape)
        context, context_mask = self._context(states, text, text_mask, told)
        paintings = self.frame_decoder(
            self.unnormalize(pixel_values),
            story["gated"],
            story["detail"],
            context,
            context_mask,
            last,
            mask[:, None],
            num_predicted=1,
        )
        return paintings.frames[:, 0]

    @torch.no_grad()
    def continue_story(
        self,
        processor,
        frames,
        captions=None,
        num_steps: int = 1,
        return_attention: bool = False,
        **generation_kwargs,
    ) -> StoryContinuation:
        """Carries B stories on: writes the next caption, paints its frame, and so on.

        Args:
            processor (`StoryAttnProcessor`): makes tensors of pictures and texts and back.
            frames (`list[list[PIL.Image.Image]]`): per story, the frames so far; the last `max_frames - 1` are read.
            captions (`list[list[str | None]]`, *optional*): per story, one caption a frame.
            num_steps (`int`): captions and frames to add, at least 1.
            return_attention (`bool`): also gives the maps of the spatial attention of each step.
            generation_kwargs: as in `generate`, but for `return_dict_in_generate`; of several sequences the first tells
                on. `spatial_temperature` and `spatial_gamma` hold for the painting as well.

        Returns:
            [`StoryContinuation`] with the new pictures and texts alone.

        Raises `ValueError` for `num_steps` below 1, `return_dict_in_generate`, and whatever the processor refuses.
        """
        if generation_kwargs.get("return_dict_in_generate"):
            raise ValueError("return_dict_in_generate: got True, expected False: stories are told on by token ids")
        if not isinstance(num_steps, int) or num_steps < 1:
            raise ValueError(f"num_steps: got {num_steps}, expected a whole number of at least 1")
        frames = [list(story) for story in frames]
        captions = [list(story) for story in captions] if captions else [[None] * len(story) for story in frames]
        result = StoryContinuation(frames=[[] for _ in frames], captions=[[] for _ in frames])
        if return_attention:
            result.spatial_attentions = [[] for _ in frames]
        read = self.config.max_frames - 1
        for _ in range(num_steps):
            last_frames, last_captions = ([story[-read:] for story in told] for told in (frames, captions))
            texts, images, maps = self._tell_next(processor, last_frames, last_captions, **generation_kwargs)
            for index, (text, image) in enumerate(zip(texts, images)):
                captions[index].append(text)
                frames[index].append(image)
                result.captions[index].append(text)
                result.frames[index].append(image)
                if return_attention:
                    there = len(last_frames[index])
                    result.spatial_attentions[index].append(maps[index, :there].float().cpu())
        return result

    def _tell_next(
        self, processor, frames, captions, spatial_temperature=None, spatial_gamma=None, **generation_kwargs
    ) -> tuple[list, list, torch.Tensor]:
        """One step of `continue_story`: the captions, the painted pictures, and the maps `(B, T, heads, h, w)`."""
        sequences = generation_kwargs.get("num_return_sequences", 1)
        inputs = processor(frames=frames, captions=captions, return_tensors="pt").to(self.device, self.dtype)
        texts_read = inputs.get("input_ids"), inputs.get("attention_mask")
        read = inputs["pixel_values"], inputs["frame_mask"], *texts_read
        story = self.model.encode(*read, spatial_temperature, spatial_gamma)
        words = self.decoder_words(*texts_read, inputs.get("decoder_input_ids"), inputs.get("decoder_attention_mask"))
        ids = self._write(story, *words, "continue", **generation_kwargs)[::sequences]
        texts = processor.batch_decode(ids, skip_special_tokens=True)
        told = processor.tokenize_captions([[text] for text in texts]).to(self.device)
        next_caption = told["input_ids"][:, 0], told["attention_mask"][:, 0]
        images = processor.postprocess_frames(self._paint_next(story, inputs["pixel_values"], *next_caption))
        return texts, images, story["output"].spatial_attentions


def _rereading(decoder):
    """A view of `decoder` that reads everything again for each new word.

    `generate` of the library sets `use_cache` wherever a text begins with embeddings.
    """
    view = copy.copy(decoder)

    def prepare(input_ids, inputs_embeds, past_key_values, next_sequence_length, is_first_iteration=False, **kwargs):
        words = decoder.get_input_embeddings()(input_ids).to(inputs_embeds.dtype)
        return {**kwargs, "inputs_embeds": torch.cat([inputs_embeds, words], dim=1), "use_cache": False}

    view.prepare_inputs_for_generation = prepare
    return view


def _at_last(states: torch.Tensor, frame_mask: torch.Tensor | None) -> torch.Tensor:
    """`states (B,T,...)` at the last frame that is there: `(B,...)`."""
    if frame_mask is None:
        return states[:, -1]
    return states[torch.arange(len(states), device=states.device), frame_mask.sum(1).long() - 1]
