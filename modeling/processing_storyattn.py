"""StoryAttnProcessor: stories of pictures and captions to tensors, and back."""

import copy
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoTokenizer
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin

from .image_processing_storyattn import StoryAttnImageProcessor
from .part_tokenizers import part_tokenizers

DECODER_TOKENIZER = "decoder_tokenizer"  # the folder, within a saved one, that holds it
# What pipelines of the library give along, and stories have no use for.
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

    def __init__(self, image_processor=None, tokenizer=None, max_caption_length=64, decoder_tokenizer=None, **kwargs):
        super().__init__(image_processor, tokenizer, **kwargs)
        self.max_caption_length = max_caption_length
        self.decoder_tokenizer = decoder_tokenizer

    @classmethod
    def from_pretrained_parts(cls, config, text=None, decoder=None, tokenizer=None) -> "StoryAttnProcessor":
        """The processor of the model that `from_pretrained_parts` built of the same parts.

        Args:
            config (`StoryAttnConfig`): of that model.
            text, decoder, tokenizer: as in [`StoryAttnForConditionalGeneration.from_pretrained_parts`].

        Raises `ValueError` where a part has no tokenizer, and where neither a part nor a tokenizer is given.
        """
        tokenizers = part_tokenizers(text, decoder, tokenizer)
        if not tokenizers:
            raise ValueError("tokenizer: found none and no pretrained text or decoder, expected one of them")
        return build_processor(config, *tokenizers)

    @property
    def tokenizers(self) -> dict:
        """The tokenizers by what the names of their tensors begin with: `""`, and `"decoder_"` where there are two."""
        two = self.decoder_tokenizer is not None
        return {"": self.tokenizer, **({"decoder_": self.decoder_tokenizer} if two else {})}

    def __call__(
        self, frames=None, captions=None, return_tensors="pt", images=None, text=None, **kwargs
    ) -> BatchFeature:
        """Tensors of B stories, padded to the longest of T frames and L tokens.

        Args:
            frames (`list[list[PIL.Image.Image]]`): per story its pictures; paths, URLs and arrays are read as well.
            captions (`list[list[str | None]]`, *optional*): per story one text a picture; None or blank: there is none.
            return_tensors (`str`): `"pt"`.
            images, text: in place of the two, as the library's image-text-to-text and any-to-any pipelines give them. A
                text: one story of the picture or list of pictures, whose last has that caption. A list of texts: as
                many stories, each with its picture or list of pictures.

        Returns:
            `pixel_values (B, T, 3, H, W)`, normalised; `frame_mask (B, T)`; and with captions `input_ids` and
            `attention_mask (B, T, L)`, each caption with its start and end token, a missing one all masked; with two
            tokenizers also the text decoder's `decoder_input_ids` and `decoder_attention_mask (B, T, M)`.

        Raises `ValueError` for no story, an empty story, what is no picture or no text, or unequal numbers of pictures
        and captions, naming the story.
        """
        if unknown := [name for name in kwargs if name not in OF_PIPELINES]:
            raise TypeError(f"{type(self).__name__}: found the argument {unknown[0]!r}, expected frames and captions")
        if return_tensors != "pt":
            raise ValueError(f"return_tensors: got {return_tensors!r}, expected 'pt'")
        if images is not None or text is not None:
            frames, captions = _stories_of_images(images, text)
        _check_stories(frames, captions)
        data = self._pixels(frames)
        if captions is not None:
            data.update(self.tokenize_captions(captions, num_frames=data["frame_mask"].shape[1]))
        return BatchFeature(data)

    def tokenize_captions(self, captions: list[list[str | None]], num_frames: int | None = None) -> BatchFeature:
        """What `__call__` gives of captions; T is `num_frames` or that of the longest story."""
        data = BatchFeature()
        for kind in self.tokenizers:
            tokens = iter(self.encode_captions([caption for story in captions for caption in story], kind))
            data.update(self.pad_captions([[next(tokens) for _ in story] for story in captions], num_frames, kind))
        return data

    def encode_captions(self, captions: list[str | None], kind: str = "") -> list[list[int]]:
        """Ids of each caption with start and end token, cut to `max_caption_length`; none where there is no caption.

        `kind` is one of `tokenizers`.
        """
        told = [index for index, caption in enumerate(captions) if caption and caption.strip()]
        encoded: list[list[int]] = [[] for _ in captions]
        if not told:
            return encoded
        room = self.max_caption_length - 2
        # A caption that happens to hold "</s>" is text like any other.
        options = {"add_special_tokens": False, "split_special_tokens": True, "truncation": True, "max_length": room}
        tokenizer = self.tokenizers[kind]
        start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
        for index, ids in zip(told, tokenizer([captions[index] for index in told], **options)["input_ids"]):
            encoded[index] = [start, *ids, end]
        return encoded

    def pad_captions(
        self, encoded: list[list[list[int]]], num_frames: int | None = None, kind: str = ""
    ) -> BatchFeature:
        """Tensors of ids that `encode_captions` gave of the same `kind`: per story those of each of its captions."""
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

    def _pixels(self, frames) -> dict[str, torch.Tensor]:
        pictures = [self._opened(frame, b, t) for b, story in enumerate(frames) for t, frame in enumerate(story)]
        flat = self.image_processor(pictures, return_tensors="pt")["pixel_values"]
        mask = _frame_mask([len(story) for story in frames])
        pixels = flat.new_zeros(*mask.shape, *flat.shape[1:])
        pixels[mask.bool()] = flat
        return {"pixel_values": pixels, "frame_mask": mask}

    def batch_frames(self, stories: list[np.ndarray]) -> BatchFeature:
        """As `__call__` without captions, of frames that are ready: per story `(n, height, width, 3)`, uint8."""
        mask = _frame_mask([len(story) for story in stories])
        pixels = np.zeros((*mask.shape, 3, *stories[0].shape[1:3]), np.float32)
        for place, story in zip(pixels, stories):  # one by one: no copy of a whole batch is made on the way
            place[: len(story)] = self.image_processor.to_values(story)
        return BatchFeature({"pixel_values": torch.from_numpy(pixels), "frame_mask": mask})

    def _opened(self, frame, story: int, position: int):
        try:
            return self.image_processor.fetch_images(frame)
        except (OSError, ValueError) as error:
            found = f"frames: story {story}, frame {position}: found no picture at {frame!r}"
            raise ValueError(f"{found}, expected an image file or URL: {str(error)[:200]}") from error

    def postprocess_frames(self, frames: torch.Tensor) -> list[Image.Image]:
        """Frames `(N, 3, H, W)` in [0, 1], as `predict_next_frame` gives them, as pictures."""
        return self.image_processor.postprocess(frames)

    def batch_decode(self, *args, **kwargs) -> list[str]:
        """As `batch_decode` of the tokenizer that the text decoder has."""
        return (self.decoder_tokenizer or self.tokenizer).batch_decode(*args, **kwargs)

    def decode(self, *args, **kwargs) -> str:
        """As `decode` of the tokenizer that the text decoder has."""
        return (self.decoder_tokenizer or self.tokenizer).decode(*args, **kwargs)

    def post_process_image_text_to_text(self, generated_outputs, skip_special_tokens=True, **kwargs) -> list[str]:
        """Texts of what `generate` wrote `(N, n)`. Of captions `(B, T, L)` none: what is written repeats no prompt."""
        if generated_outputs.ndim == 3:
            return [""] * len(generated_outputs)
        return self.batch_decode(generated_outputs, skip_special_tokens=skip_special_tokens, **kwargs)

    def post_process_multimodal_output(
        self, generated_outputs, skip_special_tokens=True, generation_mode=None, **kwargs
    ) -> list:
        """What `generate` gave in that `generation_mode`, as texts or, of `"image"`, as pictures."""
        if generation_mode == "image":
            return self.postprocess_frames(generated_outputs)
        return self.post_process_image_text_to_text(generated_outputs, skip_special_tokens, **kwargs)

    @property
    def model_input_names(self) -> list[str]:
        """What `__call__` gives."""
        texts = [f"{kind}{name}" for kind in self.tokenizers for name in ("input_ids", "attention_mask")]
        return ["pixel_values", "frame_mask", *texts]

    @classmethod
    def get_attributes(cls) -> list[str]:
        """What every processor has; the library would also ask for the second tokenizer, where there is one."""
        return ["image_processor", "tokenizer"]

    def to_dict(self) -> dict:
        """As the library's, with the folder of the second tokenizer, where there is one."""
        with_name = copy.copy(self)
        with_name.decoder_tokenizer = DECODER_TOKENIZER
        values = super(StoryAttnProcessor, with_name).to_dict()
        if self.decoder_tokenizer is None:
            values.pop(DECODER_TOKENIZER)
        return values

    @classmethod
    def get_processor_dict(cls, pretrained_model_name_or_path, **kwargs) -> tuple[dict, dict]:
        """As the library's, with the second tokenizer loaded, where there is one."""
        values, rest = super().get_processor_dict(pretrained_model_name_or_path, **kwargs)
        if DECODER_TOKENIZER in values:
            subfolder = "/".join(filter(None, (kwargs.pop("subfolder", ""), values[DECODER_TOKENIZER])))
            second = AutoTokenizer.from_pretrained(pretrained_model_name_or_path, subfolder=subfolder, **kwargs)
            values[DECODER_TOKENIZER] = second
        return values, rest

    def save_pretrained(self, save_directory, push_to_hub: bool = False, **kwargs):
        """As the library's; a second tokenizer has a folder of its own within `save_directory`."""
        files = super().save_pretrained(save_directory)
        if self.decoder_tokenizer is not None:
            self.decoder_tokenizer.save_pretrained(Path(save_directory, DECODER_TOKENIZER))
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", Path(save_directory).name), **kwargs)
        return files


def build_processor(config, tokenizer, decoder_tokenizer=None) -> StoryAttnProcessor:
    """The processor of a model of `config`, with a `tokenizer` that has pad, start and end tokens.

    `decoder_tokenizer` is that of the text decoder where it has one of its own.
    """
    return StoryAttnProcessor(
        build_image_processor(config),
        tokenizer,
        max_caption_length=config.max_caption_length,
        decoder_tokenizer=decoder_tokenizer,
    )


def build_image_processor(config) -> StoryAttnImageProcessor:
    """The image processor of a model of `config`."""
    height, width = config.image_size
    size = {"height": height, "width": width}
    return StoryAttnImageProcessor(size=size, image_mean=config.image_mean, image_std=config.image_std)


def _frame_mask(lengths: list[int]) -> torch.Tensor:
    """`(B, T)`: 1 where a story of so many frames has one."""
    return (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()


def _stories_of_images(images, text) -> tuple[list, list]:
    """Frames and captions of stories of `images`, the last of each with its one `text`."""
    texts, stories = (text, images) if isinstance(text, (list, tuple)) else ([text], [images])
    if not isinstance(stories, (list, tuple)) or len(stories) != len(texts):
        found = f"{len(stories)}" if isinstance(stories, (list, tuple)) else type(stories).__name__
        raise ValueError(f"images: got {found} for {len(texts)} texts, expected a picture or list of pictures a text")
    frames = [list(story) if isinstance(story, (list, tuple)) else [story] for story in stories]
    return frames, [[None] * (len(story) - 1) + [told] for story, told in zip(frames, texts)]


def _check_stories(frames, captions) -> None:
    if not isinstance(frames, (list, tuple)) or not frames:
        raise ValueError(f"frames: got {type(frames).__name__} of no story, expected a list of stories")
    for index, story in enumerate(frames):
        if not isinstance(story, (list, tuple)):
            raise ValueError(f"frames: story {index} is a {type(story).__name__}, expected a list of pictures")
        if not story:
            raise ValueError(f"frames: story {index} is empty, expected at least one picture")
        for position, frame in enumerate(story):
            if not isinstance(frame, (Image.Image, np.ndarray, torch.Tensor, str)):
                kind = type(frame).__name__
                raise ValueError(f"frames: story {index}, frame {position} is a {kind}, expected a picture")
    if captions is None:
        return
    if len(captions) != len(frames):
        raise ValueError(f"captions: got {len(captions)} stories, expected as many as in frames, {len(frames)}")
    for index, (story, texts) in enumerate(zip(frames, captions)):
        if not isinstance(texts, (list, tuple)) or len(texts) != len(story):
            found = f"{len(texts)} captions" if isinstance(texts, (list, tuple)) else f"a {type(texts).__name__}"
            raise ValueError(f"captions: story {index} has {found} for {len(story)} frames, expected one a frame")
        for position, text in enumerate(texts):
            if not isinstance(text, (str, type(None))):
                kind = type(text).__name__
                raise ValueError(f"captions: story {index}, caption {position} is a {kind}, expected a text or None")
