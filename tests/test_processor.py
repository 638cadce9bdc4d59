"""The processor: pictures of any kind, captions with and without text, and clear errors."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from storyattn import StoryAttnImageProcessor

RED, BLUE = (200, 30, 40), (20, 60, 220)


def halves(size=(96, 64)) -> Image.Image:
    """Red to the left, blue to the right."""
    picture = Image.new("RGB", size, RED)
    picture.paste(BLUE, (size[0] // 2, 0, *size))
    return picture


def as_frames(processor, pictures) -> torch.Tensor:
    """`(N, 3, 32, 48)` in [0, 1]."""
    return processor(frames=[pictures], return_tensors="pt")["pixel_values"][0] * 0.5 + 0.5


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "YCbCr", "HSV"])
def test_colour_modes_give_the_same_frame(small_processor, mode):
    frame, expected = as_frames(small_processor, [halves().convert(mode), halves()])
    assert (frame - expected).abs().mean() < 0.02


@pytest.mark.parametrize("mode", ["L", "1", "I", "F", "I;16"])
def test_grey_modes_keep_their_brightness(small_processor, mode):
    if mode == "I;16":
        picture = Image.fromarray(np.full((64, 96), 128 * 257, np.uint16))
    elif mode == "1":
        picture = Image.new("L", (96, 64), 255).convert("1")
    else:
        picture = Image.new("L", (96, 64), 128).convert(mode)
    expected = 1.0 if mode == "1" else 128 / 255
    assert torch.allclose(as_frames(small_processor, [picture]), torch.tensor(expected), atol=0.01)


def test_transparent_pictures_lie_on_white(small_processor):
    clear = Image.new("RGBA", (96, 64), (0, 0, 0, 0))
    palette = Image.new("P", (96, 64), 0)
    palette.putpalette([10, 20, 30] * 256)
    palette.info["transparency"] = 0
    grey = Image.new("LA", (96, 64), (0, 0))
    assert torch.allclose(as_frames(small_processor, [clear, palette, grey]), torch.tensor(1.0), atol=1e-3)


def test_grey_of_16_bits_is_scaled_alike_be_it_dark_or_bright(small_processor, tmp_path):
    for value in (200, 40_000):
        array = np.full((64, 96), value, np.uint16)
        Image.fromarray(array).save(tmp_path / "deep.png")
        frames = as_frames(small_processor, [Image.fromarray(array), array[..., None], str(tmp_path / "deep.png")])
        assert torch.allclose(frames, torch.tensor(value / 65535), atol=0.005)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_files_lie_on_white_too(small_processor, tmp_path, mode):
    Image.new("RGBA", (96, 64), (0, 0, 0, 0)).convert(mode).save(tmp_path / "clear.png")
    assert torch.allclose(as_frames(small_processor, [str(tmp_path / "clear.png")]), torch.tensor(1.0), atol=1e-3)


def test_pictures_are_turned_upright(small_processor):
    lying = halves((64, 96)).rotate(90, expand=True)  # red below
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees to the right
    file = io.BytesIO()
    lying.save(file, "PNG", exif=exif)
    upright = as_frames(small_processor, [Image.open(file)])[0]
    assert torch.allclose(upright, as_frames(small_processor, [halves((64, 96))])[0], atol=0.02)


def test_a_frame_is_filled_and_cropped_at_its_centre(small_processor):
    wide = Image.new("RGB", (300, 64), BLUE)
    wide.paste(RED, (102, 0, 198, 64))  # what is left of it at 3:2
    assert (
        as_frames(small_processor, [wide])[0] - as_frames(small_processor, [Image.new("RGB", (96, 64), RED)])[0]
    ).abs().max() < 0.1
    for size in ((1, 1), (7, 500), (500, 7), (48, 32)):
        frame = as_frames(small_processor, [Image.new("RGB", size, BLUE)])
        assert frame.shape == (1, 3, 32, 48)
        assert torch.allclose(frame[0, :, 16, 24], torch.tensor(BLUE) / 255, atol=1e-3)


def test_without_crop_the_whole_picture_is_stretched():
    stretch = StoryAttnImageProcessor(size={"height": 32, "width": 48}, do_center_crop=False)
    crop = StoryAttnImageProcessor(size={"height": 32, "width": 48})
    wide = halves((400, 64))
    left = [one([wide], return_tensors="pt")["pixel_values"][0, 0, 16] for one in (stretch, crop)]
    assert left[0][0] == left[1][0]
    assert stretch.transform_boxes([[0, 0, 200, 64]], (64, 400)) == [[0, 0, 24, 32]]
    assert crop.transform_boxes([[152, 0, 200, 32]], (64, 400)) == [[0, 0, 24, 16]]


def test_boxes_follow_their_pictures(small_processor):
    picture = Image.new("RGB", (200, 100), (0, 0, 0))
    picture.paste((255, 255, 255), (80, 40, 120, 60))
    frame = as_frames(small_processor, [picture])[0, 0]
    ((x1, y1, x2, y2),) = small_processor.image_processor.transform_boxes([[80, 40, 120, 60]], (100, 200))
    rows, columns = (frame > 0.5).nonzero(as_tuple=True)
    assert abs(columns.min() - x1) <= 1 and abs(columns.max() + 1 - x2) <= 1
    assert abs(rows.min() - y1) <= 1 and abs(rows.max() + 1 - y2) <= 1
    ((x1, _, x2, _),) = small_processor.image_processor.transform_boxes([[0, 0, 10, 10]], (100, 200))
    assert x1 == x2, "what the crop cuts off has no area"


def test_stories_are_padded_and_masked(small_processor):
    first, second = halves(), Image.new("RGB", (10, 10), RED)
    inputs = small_processor(
        frames=[[first, second, first], [second]],
        captions=[["The red fox walks.", None, "  "], ["Owl."]],
        return_tensors="pt",
    )
    assert inputs["pixel_values"].shape == (2, 3, 3, 32, 48)
    assert inputs["frame_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert inputs["input_ids"].shape == inputs["attention_mask"].shape
    assert inputs["attention_mask"].sum(-1).gt(0).tolist() == [[True, False, False], [True, False, False]]
    tokenizer = small_processor.tokenizer
    ids = inputs["input_ids"][0, 0][inputs["attention_mask"][0, 0].bool()]
    assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
    assert (inputs["input_ids"][inputs["attention_mask"] == 0] == tokenizer.pad_token_id).all()


@pytest.mark.parametrize("text", ["The red fox walks.", "Füchse – “naïve” ☂🦊", "a\nb\tc", "x" * 5])
def test_captions_come_back_as_they_were(small_processor, text):
    ids = small_processor.tokenizer(text)["input_ids"]
    assert small_processor.batch_decode([ids], skip_special_tokens=True) == [text]
    assert small_processor.decode(ids) == text


def test_special_tokens_in_a_caption_are_text(small_processor):
    text, tokenizer = "A </s>, <s>.", small_processor.tokenizer
    ids = small_processor.tokenize_captions([[text]])["input_ids"][0]
    assert not set(ids[0, 1:-1].tolist()) & set(tokenizer.all_special_ids)
    assert small_processor.batch_decode(ids, skip_special_tokens=True) == [text]


def test_long_captions_are_cut_and_still_end(small_processor):
    ids = small_processor.tokenize_captions([["They danced. " * 60]])["input_ids"][0, 0]
    assert len(ids) == small_processor.max_caption_length
    assert ids[-1] == small_processor.tokenizer.eos_token_id


def test_frames_come_back_as_they_were(small_processor):
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (32, 48, 3), dtype=np.uint8))
    (back,) = small_processor.postprocess_frames(as_frames(small_processor, [picture]))
    assert back.mode == "RGB" and np.abs(np.asarray(back, int) - np.asarray(picture, int)).max() <= 1


def test_arrays_tensors_and_paths_are_pictures_too(small_processor, tmp_path):
    picture = halves()
    picture.save(tmp_path / "a.png")
    array = np.asarray(picture)
    kinds = [picture, array, torch.from_numpy(array.copy()).permute(2, 0, 1), str(tmp_path / "a.png")]
    frames = as_frames(small_processor, kinds)
    assert all(torch.equal(frame, frames[0]) for frame in frames)


@pytest.mark.parametrize(
    ("frames", "captions", "message"),
    [
        ([], None, "frames: got no story, expected a list of stories"),
        ([[]], None, "story 0: got no picture"),
        ([[halves()], []], None, "story 1: got no picture"),
        ([halves()], None, "story 0: got Image, expected a list of pictures"),
        ([[halves(), 7]], None, "story 0, frame 1: got int 7"),
        ([[halves()]], [["a"], ["b"]], "got 2 stories, expected as many stories as in frames, 1"),
        ([[halves()]], "a", "got str 'a', expected as many stories as in frames, 1"),
        ([[halves(), halves()]], [["a"]], "story 0: got 1 captions for 2 frames"),
        ([[halves()]], ["a"], "story 0: got str 'a', expected a list of texts"),
        ([[halves()], [halves()] * 2], [["a"], ["b", 5]], "story 1, caption 1: got int 5"),
        ([[halves()], [halves(), "nowhere.png"]], None, "story 1, frame 1: got 'nowhere.png', expected a picture"),
    ],
)
def test_what_is_wrong_is_named(small_processor, frames, captions, message):
    with pytest.raises(ValueError, match=message):
        small_processor(frames=frames, captions=captions, return_tensors="pt")
    with pytest.raises(ValueError, match="'np'"):
        small_processor(frames=[[halves()]], return_tensors="np")


@pytest.mark.parametrize("broken", ["text", "cut"])
def test_a_file_that_is_no_image_is_named(small_processor, tmp_path, broken):
    path = tmp_path / "page.png"
    halves().save(path)
    path.write_bytes(b"Once upon a time" if broken == "text" else path.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"story 0, frame 1: got '.*page.png', expected a picture"):
        small_processor(frames=[[halves(), str(path)]], return_tensors="pt")
