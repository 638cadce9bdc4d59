"""StoryAttnProcessor: stories of pictures and captions to tensors, and back."""

import copy
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.feature_extraction_utils import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor
from transformers.processing_utils import ProcessorMixin

from .configuration_storyattn import StoryAttnConfig
from .image_processing_storyattn import StoryAttnImageProcessor
from .part_tokenizers import part_tokenizers
from .story_inputs import CheckedStory, check_stories, open_frame

DECODER_TOKENIZER = "decoder_tokenizer"  # the folder, within a saved one, that holds it
# Arguments that pipelines of the library pass, and that stories have no use for.
OF_PIPELINES = ("padding", "truncation", "videos", "audio", "add_special_tokens")


class StoryAttnProcessor(ProcessorMixin):
    """An image processor and a tokenizer, and the layout of stories: frames in order, one caption a frame.

    ```python
    >>> inputs = processor(frames=[[first, second]], captions=[["A fox wakes.", None]], return_tensors="pt")
    >>> processor.batch_decode(model.generate(**inputs), skip_special_tokens=True)
    ```

    Where the text decoder was pretrained with another tokenizer than the text encoder, `decoder_tokenizer` is the
    decoder's; captions are then given in the ids of both.
    """

    def __init__(
        self,
        image_processor: BaseImageProcessor | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        max_caption_length: int = 64,
        decoder_tokenizer: PreTrainedTokenizerBase | None = None,
        **kwargs,
    ):
        super().__init__(image_processor, tokenizer, **kwargs)
        self.max_caption_length = max_caption_length
        self.decoder_tokenizer = decoder_tokenizer

    @classmethod
    def from_pretrained_parts(
        cls,
        config: StoryAttnConfig,
        text: str | None = None,
        decoder: str | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> "StoryAttnProcessor":
        """Build the processor of the model that `from_pretrained_parts` built of the same parts.

        Args:
            config: of that model.
            text, decoder, tokenizer: as in [`StoryAttnForConditionalGeneration.from_pretrained_parts`].

        Returns:
            the processor, with two tokenizers where the parts have different ones.

        Raises:
            ValueError: where a part has no tokenizer, and where neither a part nor a tokenizer is given.
        """
        tokenizers = part_tokenizers(text, decoder, tokenizer)
        if not tokenizers:
            raise ValueError("tokenizer: got none and no pretrained text or decoder, expected one of them")
        return build_processor(config, *tokenizers)

    @property
    def tokenizers(self) -> dict:
        """The tokenizers by the prefix of their tensors' names: `""`, and `"decoder_"` where there are two."""
        two = self.decoder_tokenizer is not None
        return {"": self.tokenizer, **({"decoder_": self.decoder_tokenizer} if two else {})}

    def __call__(
        self,
        frames: list | None = None,
        captions: list | None = None,
        return_tensors: str = "pt",
        images: object = None,
        text: object = None,
        **kwargs,
    ) -> BatchFeature:
        """Turn B stories into tensors, padded to the longest of T frames and L tokens.

        Args:
            frames (`list[list[PIL.Image.Image]]`): per story its pictures, of all kinds that the pipeline
                "story-continuation" takes: paths, URLs, bytes, arrays and tensors as well.
            captions (`list[list[str | None]]`, *optional*): per story one text a picture; None or blank: it has none.
            return_tensors: `"pt"`.
            images, text: in place of the two, as the library's image-text-to-text and any-to-any pipelines give them. A
                text: one story of the picture or list of pictures, whose last has that caption. A list of texts: as
                many stories, each with its picture or list of pictures.

        Returns:
            `pixel_values (B, T, 3, H, W)`, normalised; `frame_mask (B, T)`; and with captions `input_ids` and
            `attention_mask (B, T, L)`, each caption with its start and end token, a missing one all masked; with two
            tokenizers also the text decoder's `decoder_input_ids` and `decoder_attention_mask (B, T, M)`.

        Raises:
            ValueError: for no story, a story without pictures, what is no picture or no text, and unequal numbers of
                pictures and captions, with the story and the place.
        """
        if unknown := [name for name in kwargs if name not in OF_PIPELINES]:
            raise TypeError(f"{type(self).__name__}: got the argument {unknown[0]!r}, expected frames and captions")
        if return_tensors != "pt":
            raise ValueError(f"return_tensors: got {return_tensors!r}, expected 'pt'")
        if images is not None or text is not None:
            frames, captions = _stories_of_images(images, text)
        stories = check_stories(frames, captions)
        data = self.batch_frames([self._frames(story) for story in stories])
        if captions is not None:
            texts = [story.captions for story in stories]
            data.update(self.tokenize_captions(texts, num_frames=data["frame_mask"].shape[1]))
        return data

    def _frames(self, story: CheckedStory) -> np.ndarray:
        """Open the pictures of a story: `(n, height, width, 3)`, uint8."""
        return np.stack([open_frame(story, position, self.image_processor) for position in range(len(story.frames))])

    def tokenize_captions(self, captions: list[list[str | None]], num_frames: int | None = None) -> BatchFeature:
        """Turn captions into the tensors of `__call__`; T is `num_frames`, by default that of the longest story."""
        data = BatchFeature()
        for kind in self.tokenizers:
            tokens = iter(self.encode_captions([caption for story in captions for caption in story], kind))
            data.update(self.pad_captions([[next(tokens) for _ in story] for story in captions], num_frames, kind))
        return data

    def encode_captions(self, captions: list[str | None], kind: str = "") -> list[list[int]]:
        """Encode each caption with start and end token, cut to `max_caption_length`, in ids of one of `tokenizers`.

        The ids of a missing or blank caption are an empty list.
        """
        captioned = [index for index, caption in enumerate(captions) if caption and caption.strip()]
        encoded: list[list[int]] = [[] for _ in captions]
        if not captioned:
            return encoded
        room = self.max_caption_length - 2
        # A caption that happens to hold "</s>" is text like any other.
        options = {"add_special_tokens": False, "split_special_tokens": True, "truncation": True, "max_length": room}
        tokenizer = self.tokenizers[kind]
        start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
        for index, ids in zip(captioned, tokenizer([captions[index] for index in captioned], **options)["input_ids"]):
            encoded[index] = [start, *ids, end]
        return encoded

    def pad_captions(
        self, encoded: list[list[list[int]]], num_frames: int | None = None, kind: str = ""
    ) -> BatchFeature:
        """Turn ids into tensors.

        Args:
            encoded: per story the ids of each of its captions, as `encode_captions` gives them.
            num_frames (*optional*): T; by default that of the longest story.
            kind: as in `encode_captions`, which of `tokenizers` the ids are of.

        Returns:
            `input_ids` and `attention_mask (B, T, L)`, with `kind` before their names.
        """
        num_frames = num_frames or max(map(len, encoded))
        length = max(1, *(len(caption) for story in encoded for caption in story))
        ids = np.full((len(encoded), num_frames, length), self.tokenizers[kind].pad_token_id)
        mask = np.zeros_like(ids)
        for b, story in enumerate(encoded):
            for t, caption in enumerate(story):
                ids[b, t, : len(caption)] = caption
                mask[b, t, : len(caption)] = 1
        tensors = {f"{kind}input_ids": torch.from_numpy(ids), f"{kind}attention_mask": torch.from_numpy(mask)}
        return BatchFeature(tensors)

    def batch_frames(self, stories: list[np.ndarray]) -> BatchFeature:
        """Turn stories of frames `(n, height, width, 3)`, uint8, of the right size into the tensors of `__call__`."""
        mask = _frame_mask([len(story) for story in stories])
        pixels = np.zeros((*mask.shape, 3, *stories[0].shape[1:3]), np.float32)
        for place, story in zip(pixels, stories):  # one by one: no copy of a whole batch is made on the way
            place[: len(story)] = self.image_processor.to_values(story)
        return BatchFeature({"pixel_values": torch.from_numpy(pixels), "frame_mask": mask})

    def postprocess_frames(self, frames: torch.Tensor) -> list[Image.Image]:
        """Turn frames `(N, 3, H, W)` in [0, 1], as `predict_next_frame` gives them, into pictures."""
        return self.image_processor.postprocess(frames)

    def batch_decode(self, *args, **kwargs) -> list[str]:
        """Decode ids as `batch_decode` of the text decoder's tokenizer does."""
        return (self.decoder_tokenizer or self.tokenizer).batch_decode(*args, **kwargs)

    def decode(self, *args, **kwargs) -> str:
        """Decode ids as `decode` of the text decoder's tokenizer does."""
        return (self.decoder_tokenizer or self.tokenizer).decode(*args, **kwargs)

    def post_process_image_text_to_text(
        self, generated_outputs: torch.Tensor, skip_special_tokens: bool = True, **kwargs
    ) -> list[str]:
        """Decode what `generate` wrote `(N, n)`; captions `(B, T, L)` give empty texts, as no prompt is repeated."""
        if generated_outputs.ndim == 3:
            return [""] * len(generated_outputs)
        return self.batch_decode(generated_outputs, skip_special_tokens=skip_special_tokens, **kwargs)

    def post_process_multimodal_output(
        self,
        generated_outputs: torch.Tensor,
        skip_special_tokens: bool = True,
        generation_mode: str | None = None,
        **kwargs,
    ) -> list:
        """Turn what `generate` gave into texts or pictures, as the library's pipelines ask for.

        Args:
            generated_outputs (`(N, n)` or `(N, 3, H, W)`): token ids, or frames with `generation_mode="image"`.
            skip_special_tokens: leaves special tokens out of the texts.
            generation_mode: as in `generate`.
            kwargs: as of `batch_decode`.

        Returns:
            texts, or pictures with `generation_mode="image"`.
        """
        if generation_mode == "image":
            return self.postprocess_frames(generated_outputs)
        return self.post_process_image_text_to_text(generated_outputs, skip_special_tokens, **kwargs)

    @property
    def model_input_names(self) -> list[str]:
        """Names of the tensors that `__call__` gives."""
        texts = [f"{kind}{name}" for kind in self.tokenizers for name in ("input_ids", "attention_mask")]
        return ["pixel_values", "frame_mask", *texts]

    @classmethod
    def get_attributes(cls) -> list[str]:
        """Name the parts of every processor; the library would also ask for a second tokenizer where there is none."""
        return ["image_processor", "tokenizer"]

    def to_dict(self) -> dict:
        """Describe the processor as the library does, with the folder of the second tokenizer, if there is one."""
        with_name = copy.copy(self)
        with_name.decoder_tokenizer = DECODER_TOKENIZER
        values = super(StoryAttnProcessor, with_name).to_dict()
        if self.decoder_tokenizer is None:
            values.pop(DECODER_TOKENIZER)
        return values

    @classmethod
    def get_processor_dict(cls, pretrained_model_name_or_path: str | PathLike, **kwargs) -> tuple[dict, dict]:
        """Read the values as the library does, with the second tokenizer loaded, if there is one."""
        values, rest = super().get_processor_dict(pretrained_model_name_or_path, **kwargs)
        if DECODER_TOKENIZER in values:
            subfolder = "/".join(filter(None, (kwargs.pop("subfolder", ""), values[DECODER_TOKENIZER])))
            second = AutoTokenizer.from_pretrained(pretrained_model_name_or_path, subfolder=subfolder, **kwargs)
            values[DECODER_TOKENIZER] = second
        return values, rest

    def save_pretrained(self, save_directory: str | PathLike, push_to_hub: bool = False, **kwargs) -> list[str]:
        """Save as the library does; a second tokenizer has a folder of its own within `save_directory`."""
        files = super().save_pretrained(save_directory)
        if self.decoder_tokenizer is not None:
            self.decoder_tokenizer.save_pretrained(Path(save_directory, DECODER_TOKENIZER))
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", Path(save_directory).name), **kwargs)
        return files


def build_processor(
    config: StoryAttnConfig,
    tokenizer: PreTrainedTokenizerBase,
    decoder_tokenizer: PreTrainedTokenizerBase | None = None,
) -> StoryAttnProcessor:
    """Build the processor of a model.

    Args:
        config: of the model.
        tokenizer: has pad, start and end tokens.
        decoder_tokenizer (*optional*): that of the text decoder where it has one of its own.
    """
    return StoryAttnProcessor(
        build_image_processor(config),
        tokenizer,
        max_caption_length=config.max_caption_length,
        decoder_tokenizer=decoder_tokenizer,
    )


def build_image_processor(config: StoryAttnConfig) -> StoryAttnImageProcessor:
    """Build the image processor of a model of `config`."""
    height, width = config.image_size
    size = {"height": height, "width": width}
    return StoryAttnImageProcessor(size=size, image_mean=config.image_mean, image_std=config.image_std)


def _frame_mask(lengths: list[int]) -> torch.Tensor:
    """Build the mask `(B, T)` of stories of so many frames: 1 for a frame, 0 for padding."""
    return (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()


def _stories_of_images(images: object, text: object) -> tuple[list, list]:
    """Build frames and captions of stories of `images`, the last of each with its one `text`."""
    texts, stories = (text, images) if isinstance(text, (list, tuple)) else ([text], [images])
    if not isinstance(stories, (list, tuple)) or len(stories) != len(texts):
        got = f"{len(stories)}" if isinstance(stories, (list, tuple)) else type(stories).__name__
        raise ValueError(f"images: got {got} for {len(texts)} texts, expected a picture or list of pictures a text")
    frames = [list(story) if isinstance(story, (list, tuple)) else [story] for story in stories]
    return frames, [[None] * (len(story) - 1) + [caption] for story, caption in zip(frames, texts)]
