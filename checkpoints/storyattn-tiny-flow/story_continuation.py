"""Carrying a story on: writing the next caption, painting its frame, and so on, for one future or several."""

import torch
from PIL import Image
from transformers import ProcessorMixin

from .familiarity import warn_if_unfamiliar
from .frame_sampling import FrameOptions, FrameSampling, check_sequences, seeded
from .outputs import EncodedStories
from .story import Page, Stories, Story, open_stories
from .story_inputs import captions_by_step, kind_of
from .story_memory import read_pages, with_references
from .story_ranking import RANKINGS, ranked


class StoryContinuationMixin:
    """`continue_story` of [`StoryAttnForConditionalGeneration`]."""

    @torch.no_grad()
    def continue_story(
        self,
        processor: ProcessorMixin,
        frames: Story | list,
        captions: list | None = None,
        num_steps: int = 1,
        return_attention: bool = False,
        next_captions: list | None = None,
        num_frame_steps: int | None = None,
        frame_guidance_scale: float | None = None,
        generator: torch.Generator | None = None,
        rank_by: str | None = None,
        reference_frames: list | None = None,
        reference_captions: list | None = None,
        **generation_kwargs,
    ) -> Story | Stories:
        """Carry a story, or B stories, on: write the next caption, paint its frame, and so on.

        Args:
            processor: the [`StoryAttnProcessor`] of the model.
            frames: the pictures so far of one story, of all kinds that the processor takes, or a list of B such lists.
                A long one is read by its last and `num_memory_frames` earlier ones. A [`Story`] goes on where it ends.
            captions (*optional*): one text or `None` a frame; for B stories a list of B such lists.
            num_steps: captions and frames to add, at least 1 and as many as there are `next_captions`.
            return_attention: keep the maps of the spatial attention.
            next_captions (*optional*): texts to paint, one a step, before the model writes; for B stories B lists.
            num_frame_steps, frame_guidance_scale, generator: as in `predict_next_frame`; it draws captions, too.
            rank_by (*optional*): puts the best future first, by `"likelihood"` of captions or `"similarity"` of both.
            reference_frames, reference_captions (*optional*): pictures that are read before each story and are no part
                of it, such as portraits, and a text or `None` each; a list for all, or B lists. A [`Story`] keeps them.
            generation_kwargs: as in `generate`, also for painting. Each of `num_return_sequences` captions (drawn by
                default), or frames that a generative decoder samples for `next_captions`, begins a future of its own.

        Returns:
            [`Story`], given and new pages. For B stories, or several futures, [`Stories`], those of one in a row.

        Raises:
            ValueError: for arguments out of range, and whatever the processor refuses.
        """
        options = FrameOptions(num_frame_steps, frame_guidance_scale, generator).checked(self.config.samples_frames)
        self._check_continuation(processor, num_steps, rank_by, generation_kwargs)
        stories, is_one, texts = self._opened(frames, captions, reference_frames, reference_captions, next_captions)
        told = self._carry_on(processor, stories, num_steps, return_attention, texts, options, generation_kwargs)
        futures = ranked(self, processor, stories, told, rank_by)
        return futures[0] if is_one and len(futures) == 1 else futures

    def _opened(
        self,
        frames: Story | list,
        captions: list | None,
        reference_frames: list | None,
        reference_captions: list | None,
        next_captions: list | None,
    ) -> tuple[list[Story], bool, list[list[str]]]:
        """Open stories with their references; whether one was given that is not in a list; and the texts by step."""
        stories, is_one = open_stories(frames, captions)
        stories = with_references(stories, reference_frames, reference_captions, *self._reading_limits)
        return stories, is_one, captions_by_step(next_captions, None if is_one else len(stories))

    @property
    def _reading_limits(self) -> tuple[int, int]:
        """The most pages that are read at once, and how many of them are earlier ones of a longer story."""
        return self.config.max_frames - 1, self.config.num_memory_frames

    def _check_continuation(
        self, processor: ProcessorMixin, num_steps: int, rank_by: str | None, generation_kwargs: dict
    ) -> None:
        """Raise `ValueError` for arguments of `continue_story` that it refuses."""
        if generation_kwargs.get("return_dict_in_generate"):
            raise ValueError("return_dict_in_generate: got True, expected False: stories are carried on by token ids")
        if not callable(getattr(processor, "postprocess_frames", None)):
            raise ValueError(f"processor: got {kind_of(processor)}, expected the StoryAttnProcessor of the model")
        if not isinstance(num_steps, int) or num_steps < 1:
            raise ValueError(f"num_steps: got {num_steps!s:.80}, expected a whole number of at least 1")
        check_sequences(generation_kwargs.get("num_return_sequences"))
        if rank_by not in (None, *RANKINGS):
            raise ValueError(f"rank_by: got {kind_of(rank_by)}, expected one of {', '.join(RANKINGS)}")

    def _carry_on(
        self,
        processor: ProcessorMixin,
        stories: list[Story],
        num_steps: int,
        return_attention: bool,
        texts: list[list[str]],
        frame_options: FrameOptions,
        generation_kwargs: dict,
    ) -> list[Story]:
        """Take `num_steps`, or more for more `texts`, which are given for the first steps, one a story."""
        number, options = len(stories), dict(generation_kwargs)
        futures = options.get("num_return_sequences") or 1
        if futures != 1 and not options.keys() & {"do_sample", "num_beams", "generation_config"}:
            options["do_sample"] = True
        is_likeliest = options.get("do_sample") is False and (options.get("num_beams") or 1) == 1
        if self.config.samples_frames and (texts or is_likeliest):  # one text has as many frames as are asked for
            stories = [story for story in stories for _ in range(futures)]
            options["num_return_sequences"] = 1
        for step in range(max(num_steps, len(texts))):
            given = texts[step] if step < len(texts) else None
            if given is not None:
                given = [text for text in given for _ in range(len(stories) // number)]
            common = return_attention, given, frame_options, number
            stories = self._continue_once(processor, stories, *common, **options)
            if given is None:
                options["num_return_sequences"] = 1
        return stories

    def _continue_once(
        self,
        processor: ProcessorMixin,
        stories: list[Story],
        return_attention: bool,
        texts: list[str] | None,
        frame_options: FrameOptions,
        num_given: int,
        spatial_temperature: float | None = None,
        spatial_gamma: float | None = None,
        **generation_kwargs,
    ) -> list[Story]:
        """Take one step of `continue_story`: return `num_return_sequences` longer stories for each; one by its text.

        The stories are futures of `num_given` ones.
        """
        last = [read_pages(story, *self._reading_limits) for story in stories]
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
            with seeded(frame_options.generator, self.device):
                ids = self._write(encoded, *decoder_captions, "continue", **generation_kwargs)
            texts = processor.batch_decode(ids, skip_special_tokens=True)
        number = len(texts) // len(stories)
        sampling = frame_options.sampling(self.config.samples_frames, len(texts) // num_given)
        repeated = encoded.repeat(number), pixel_values.repeat_interleave(number, dim=0)
        painted = self._paint_texts(processor, *repeated, texts, sampling)
        maps = [None] * len(stories)
        if return_attention:
            attentions = encoded.output.spatial_attentions
            maps = [one[: len(story)].float().cpu() for one, story in zip(attentions, last)]
        new_pages = [
            Page(frame, text, True, is_written, maps[index // number])
            for index, (frame, text) in enumerate(zip(painted, texts))
        ]
        before = [story for story in stories for _ in range(number)]
        return [Story.from_pages([*story, page], story.references) for story, page in zip(before, new_pages)]

    def _paint_texts(
        self,
        processor: ProcessorMixin,
        encoded: EncodedStories,
        pixel_values: torch.Tensor,
        texts: list[str],
        sampling: FrameSampling | None,
    ) -> list[Image.Image]:
        """Paint the next frame of each encoded story by its text."""
        tokens = processor.tokenize_captions([[text] for text in texts]).to(self.device)
        next_caption = tokens["input_ids"][:, 0], tokens["attention_mask"][:, 0]
        return processor.postprocess_frames(self._next_frame(encoded, pixel_values, *next_caption, sampling))
