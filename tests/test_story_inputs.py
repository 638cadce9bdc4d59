"""Processor and pipeline accept the same stories and refuse the same, with the same messages."""

import base64
import io

import numpy as np
import pytest
import torch
from conftest import SMALL_CONFIG, draw_story
from PIL import Image
from storyattn import Story, StoryAttnConfig, StoryAttnForConditionalGeneration
from transformers import pipeline

PICTURE = Image.new("RGB", (96, 64), "blue")


class Pipeline:
    """A pipeline whose model returns nothing new, and what its processor makes of the stories that the model gets."""

    def __init__(self, processor):
        config = StoryAttnConfig(**SMALL_CONFIG)
        config.adapt_to_tokenizer(processor.tokenizer)
        model = StoryAttnForConditionalGeneration(config).eval()
        model.continue_story = self.continue_story
        self.pipeline = pipeline("story-continuation", model=model, processor=processor)

    def continue_story(self, processor, frames, captions):
        self.inputs = processor(frames=frames, captions=captions)
        return [Story.from_pages([])]

    def __call__(self, story: dict) -> dict[str, torch.Tensor]:
        self.pipeline([story])
        return self.inputs


@pytest.fixture(scope="module")
def readers(small_processor) -> dict:
    """Readers of a story, each of which gives the tensors that the model reads."""
    fields = ("frames", "captions")
    return {
        "processor": lambda story: small_processor(**{name: [story.get(name)] for name in fields}),
        "pipeline": Pipeline(small_processor),
    }


def picture_kinds(picture: Image.Image, folder) -> dict:
    """The same picture in every form that is accepted."""
    array, file = np.asarray(picture), io.BytesIO()
    picture.save(folder / "page.png")
    picture.save(file, "PNG")
    tensor = torch.from_numpy(array.copy())
    return {
        "PIL": picture,
        "path": str(folder / "page.png"),
        "Path": folder / "page.png",
        "bytes": file.getvalue(),
        "bytearray": bytearray(file.getvalue()),
        "row with bytes": {"bytes": file.getvalue(), "path": None},
        "row with a path": {"bytes": None, "path": str(folder / "page.png")},
        "base64": base64.b64encode(file.getvalue()).decode(),
        "data URL": f"DATA:Image/PNG;base64,{base64.b64encode(file.getvalue()).decode()}",
        "URL of a file": f"File://{folder}/page%2Epng",
        "array": array,
        "16 bits": array.astype(np.uint16) * 257,
        "floats": array.astype(np.float32) / 255,
        "channels first": array.transpose(2, 0, 1),
        "64 bits": array.astype(np.int64),
        "tensor": tensor,
        "requires grad": (tensor / 255).requires_grad_(),
        "half": (tensor.permute(2, 0, 1) / 255).half(),
        "bfloat16": (tensor / 255).bfloat16(),
    }


def test_both_accept_pictures_of_every_kind(readers, tmp_path):
    pictures = draw_story(1, num_frames=2)["frames"]
    expected = readers["processor"]({"frames": pictures})
    tolerance = {"half": 0.01, "bfloat16": 0.02}  # two steps of 255 are 0.016
    for kind, picture in picture_kinds(pictures[0], tmp_path).items():
        read = {name: reader({"frames": [picture, pictures[1]]}) for name, reader in readers.items()}
        for name, inputs in read.items():
            apart = (inputs["pixel_values"] - expected["pixel_values"]).abs().max()
            assert apart <= tolerance.get(kind, 0), (name, kind, apart)
        assert torch.equal(read["processor"]["pixel_values"], read["pipeline"]["pixel_values"]), kind
    white = readers["processor"]({"frames": [Image.new("RGB", (96, 64), "white"), pictures[1]]})
    assert (white["pixel_values"] - expected["pixel_values"]).abs().max() > 0.5, "this would compare nothing"


@pytest.mark.parametrize("kind", ["array", "tensor", "tuple"])
def test_both_accept_stacked_and_listed_pictures(readers, kind):
    pictures = draw_story(1, num_frames=2)["frames"]
    stacked = np.stack([np.asarray(picture) for picture in pictures])
    frames = {"array": stacked, "tensor": torch.from_numpy(stacked), "tuple": tuple(pictures)}[kind]
    for reader in readers.values():
        expected, inputs = reader({"frames": pictures}), reader({"frames": frames})
        assert torch.equal(inputs["pixel_values"], expected["pixel_values"])


@pytest.mark.parametrize("captions", [None, ["The fox walks.", None], ("The fox walks.", "  ")])
def test_both_accept_captions_that_are_missing(readers, captions):
    story = {"frames": [PICTURE] * 2, "captions": captions}
    first, second = (reader(story) for reader in readers.values())
    assert first["attention_mask"].any(-1).tolist() == [[captions is not None, False]]
    assert torch.equal(first["input_ids"], second["input_ids"])


REFUSED = {
    "a path": {"frames": "page.png"},
    "an array of a picture": {"frames": np.zeros((4, 4, 3), np.uint8)},
    "no pictures": {"frames": []},
    "None": {"frames": [PICTURE, None]},
    "a list in a list": {"frames": [[PICTURE]]},
    "a row without file": {"frames": [{"bytes": None, "path": None}]},
    "another dictionary": {"frames": [{"image": PICTURE}]},
    "a text for captions": {"frames": [PICTURE], "captions": "A fox."},
    "too few captions": {"frames": [PICTURE] * 2, "captions": ["a"]},
    "a number for a caption": {"frames": [PICTURE], "captions": [5]},
    "no such file": {"frames": [PICTURE, "nowhere.png"]},
    "bytes of no picture": {"frames": [b"Once upon a time"]},
    "a row with bytes of no picture": {"frames": [{"bytes": b"Once upon a time", "path": None}]},
    "seven channels": {"frames": [np.zeros((5, 6, 7), np.uint8)]},
    "no pixels": {"frames": [np.zeros((0, 4, 3), np.uint8)]},
    "64 bits": {"frames": [np.full((4, 4), 2**40)]},
    "half a character": {"frames": [PICTURE], "captions": ["A \ud800 fox."]},
    "floats up to 255": {"frames": [np.full((4, 4, 3), 200.0)]},
    "a nested tensor": {"frames": [torch.nested.nested_tensor([torch.zeros(3, 9)])]},
    "a long name": {"frames": [f"{'x' * 5000}.png"]},
    "a folder": {"frames": ["/"]},
    "an address in capital letters": {"frames": ["HTTP://127.0.0.1:9/page.png"]},
    "not a number": {"frames": [torch.full((3, 4, 4), torch.nan)]},
}


@pytest.mark.parametrize("case", REFUSED)
def test_both_refuse_the_same_with_the_same_message(readers, case):
    messages = []
    for reader in readers.values():
        with pytest.raises(ValueError, match=r"^(frames|captions): story 0.*: got .*, expected ") as refused:
            reader(REFUSED[case])
        messages.append(str(refused.value))
    assert messages[0] == messages[1] and "\n" not in messages[0] and len(messages[0]) < 350
    assert ("refused" in messages[0]) == (case == "an address in capital letters")  # it was tried
