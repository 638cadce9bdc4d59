"""`storyattn export`: parts of a model as ONNX files, and a page, which give what the model gives in PyTorch."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import draw_story, refused_line, small_config
from PIL import Image
from storyattn import StoryAttnForConditionalGeneration, StoryAttnProcessor
from storyattn.training.cli.export import main as export

ROOT = Path(__file__).parents[1]
sys.path += [str(ROOT / folder) for folder in ("benchmarks", "demo")]
from browser import open_export  # noqa: E402
from screenshots import PHONE, find_chromium  # noqa: E402

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
NEEDS_ONNX = pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")
LIBRARIES = ROOT / "node_modules"  # npm install --no-save onnxruntime-web@1.30.0 @huggingface/tokenizers@0.2.0
missing += [name for name in ("onnxruntime-web", "@huggingface/tokenizers") if not (LIBRARIES / name).is_dir()]
missing += [] if importlib.util.find_spec("playwright") else ["playwright"]
missing += [] if find_chromium() else ["chromium"]
NEEDS_BROWSER = pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")
TOLERANCE = 1e-3
CAPTIONS = ["The red fox walks.", None, "It is late, and the owl sleeps."]
NEXT_CAPTION = "The fox goes."
TEXTS = ["The gold hare walks to the left.", "  </s> Äh — “naïve” 12 foxes, don't!\n", " ", "long " * 40]


def with_onnx(test):
    """Mark a test that exports the small model."""
    return NEEDS_ONNX(pytest.mark.slow(test))


def in_browser(test):
    """Mark a test that runs the export in a browser."""
    return NEEDS_BROWSER(pytest.mark.slow(test))


@pytest.fixture(scope="module")
def model_folder(small_processor, tmp_path_factory) -> Path:
    """The small model, whose decoders read earlier captions word by word."""
    config = small_config(frame_context_captions=2, decoder_context_captions=2, max_frames=4)
    config.adapt_to_tokenizer(small_processor.tokenizer)
    torch.manual_seed(3)
    model = StoryAttnForConditionalGeneration(config)
    with torch.no_grad():  # what is written differs from token to token, and what is copied from place to place
        for weight in [*model.text_decoder.parameters(), *model.frame_decoder.copier.parameters()]:
            weight.add_(torch.randn_like(weight), alpha=0.2)
    folder = tmp_path_factory.mktemp("models") / "small"
    model.save_pretrained(folder)
    small_processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def exported(model_folder, tmp_path_factory) -> Path:
    """Its export, with the packages of the page where they are installed."""
    folder = tmp_path_factory.mktemp("exports") / "fp32"
    libraries = [] if missing else ["--libraries", str(LIBRARIES)]
    export([str(model_folder), "--output", str(folder), *libraries])
    return folder


@pytest.fixture(scope="module")
def expected(model_folder):
    """What the model gives in PyTorch for a story of three frames, the second of which has no caption."""
    model = StoryAttnForConditionalGeneration.from_pretrained(model_folder).eval()
    processor = StoryAttnProcessor.from_pretrained(model_folder)
    pictures = draw_story(5)["frames"][:3]
    frames = [processor.image_processor.to_frame(picture) for picture in pictures]
    inputs = processor(frames=[frames], captions=[CAPTIONS])
    tokens = processor.tokenize_captions([[NEXT_CAPTION]])
    following = {f"next_{name}": values[:, 0] for name, values in tokens.items()}
    story = processor(frames=[[*frames, frames[0]]], captions=[[*CAPTIONS, NEXT_CAPTION]])
    with torch.no_grad():
        logits = model(**story).next_caption_logits[0, -1]
    return {
        "processor": processor,
        "frames": frames,
        "inputs": inputs,
        "painted": model.predict_next_frame(**inputs, **following).numpy(),
        "unguided": model.predict_next_frame(**inputs).numpy(),
        "logits": logits[: len(tokens["input_ids"][0, 0])].numpy(),
        "written": model.generate(**inputs)[0].tolist(),
    }


@pytest.fixture(scope="module")
def story(exported, expected):
    """The same story, read by onnxruntime."""
    from storyattn.training.export.onnx_story import OnnxStory, load_parts

    ids = expected["processor"].encode_captions(CAPTIONS)
    return OnnxStory(load_parts(exported), expected["inputs"]["pixel_values"].numpy(), ids)


@with_onnx
def test_frames_are_painted_alike(story, expected):
    (caption,) = expected["processor"].encode_captions([NEXT_CAPTION])
    painted, unguided = story.paint(caption), story.paint([])
    assert np.abs(painted - expected["painted"]).max() < TOLERANCE
    assert np.abs(unguided - expected["unguided"]).max() < TOLERANCE
    assert np.abs(painted - unguided).max() > 10 * TOLERANCE, "the caption is not read"


@with_onnx
def test_captions_are_written_alike(story, expected):
    processor = expected["processor"]
    context = [token for ids in processor.encode_captions(CAPTIONS[-2:]) for token in ids]
    (caption,) = processor.encode_captions([NEXT_CAPTION])
    logits = np.concatenate([story.next_logits(context, caption[: n + 1]) for n in range(len(caption))])
    assert np.abs(logits - expected["logits"]).max() < TOLERANCE
    start, end = processor.tokenizer.bos_token_id, processor.tokenizer.eos_token_id
    assert story.write(context, start, end, processor.max_caption_length) == expected["written"]
    assert len(set(expected["written"])) > 1


@with_onnx
def test_the_command_compares_stories_of_each_length(exported):
    results = json.loads((exported / "parity.json").read_text())
    assert [row["frames"] for row in results["stories"]] == [1, 2, 3]
    assert all(row["pixels"] < TOLERANCE and row["logits"] < TOLERANCE for row in results["stories"])
    assert all(row["same_caption"] for row in results["stories"])
    assert results["bytes"] == {path.stem: path.stat().st_size for path in exported.glob("onnx/*.onnx")}


@with_onnx
def test_weights_are_stored_in_half_of_the_bytes(exported):
    import onnx
    import onnxruntime
    from storyattn.training.export.onnx_files import halve_weights

    content = (exported / "onnx" / "text_encoder.onnx").read_bytes()
    halved = onnx.load_from_string(content)
    halve_weights(halved)
    halved = halved.SerializeToString()
    number = sum(np.prod(weight.dims) for weight in onnx.load_from_string(content).graph.initializer)
    assert len(content) - len(halved) > 1.5 * number
    ids = np.arange(5, 17).reshape(2, 6)
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    whole, half = (onnxruntime.InferenceSession(file).run(None, inputs)[0] for file in (content, halved))
    assert 0 < np.abs(whole - half).max() < 0.02


def test_what_cannot_be_exported_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("storyattn.training.export.export.PACKAGES", ())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    line = refused_line(export, ["nothing", "--output", str(tmp_path / "full")])
    assert line.startswith("storyattn export: output: got") and "expected a new or an empty folder" in line
    line = refused_line(export, ["nothing", "--output", str(tmp_path / "new"), "--libraries", str(tmp_path)])
    assert "without onnxruntime-web/dist/" in line and "npm install onnxruntime-web@" in line
    monkeypatch.setattr("storyattn.training.export.export.PACKAGES", ("no_such_package",))
    line = refused_line(export, ["nothing", "--output", str(tmp_path / "new")])
    assert "got no package no_such_package" in line and "storyattn[export]" in line


@pytest.fixture(scope="module")
def page(exported):
    """The page on a phone."""
    with open_export(str(exported), PHONE) as page:
        yield page


IN_PAGE = """async ([frames, captions, caption, texts]) => {
    const { StoryModel } = await import("./story_model.js");
    const model = (window.model = await StoryModel.load());
    const pages = frames.map(([height, width, pixels], index) => {
        const frame = new ImageData(Uint8ClampedArray.from(pixels), width, height);
        return { frame, caption: captions[index] };
    });
    const story = await model.read(pages);
    const ids = model.encode(caption, "decoder");
    const logits = [];
    for (let n = 1; n <= ids.length; n++) logits.push([...(await model.nextLogits(story, ids.slice(0, n)))]);
    return {
        painted: [...(await model.paintValues(story, caption))],
        unguided: [...(await model.paintValues(story, ""))],
        written: await model.write(story),
        encoded: texts.map((text) => model.encode(text)),
        logits,
    };
}"""


@in_browser
def test_the_browser_gives_what_pytorch_gives(page, expected):
    opaque = [np.dstack([frame, np.full(frame.shape[:2], 255, np.uint8)]) for frame in expected["frames"]]
    frames = [[*frame.shape[:2], frame.flatten().tolist()] for frame in opaque]
    got = page.evaluate(IN_PAGE, [frames, CAPTIONS, NEXT_CAPTION, TEXTS])
    for name in ("painted", "unguided"):
        assert np.abs(np.array(got[name]) - expected[name].flatten()).max() < TOLERANCE
    assert np.abs(np.array(got["logits"]) - expected["logits"]).max() < TOLERANCE
    processor = expected["processor"]
    assert got["written"] == processor.decode(expected["written"], skip_special_tokens=True).strip()
    assert got["encoded"] == processor.encode_captions(TEXTS)


READ_PICTURE = """async ([url, width, height]) => {
    const { readFrame } = await import("./frames.js");
    const frame = await readFrame(await (await fetch(url)).blob(), width, height);
    return [...frame.data];
}"""


@in_browser
@pytest.mark.parametrize("size", [(131, 77), (40, 90), (20, 17)], ids=str)
def test_pictures_become_the_same_frames(page, expected, exported, size):
    noise = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    picture.save(exported / "picture.png")
    frame = expected["processor"].image_processor.to_frame(picture)
    got = page.evaluate(READ_PICTURE, [f"picture.png?{size}", frame.shape[1], frame.shape[0]])
    difference = np.array(got).reshape(*frame.shape[:2], 4)[..., :3].astype(int) - frame
    assert np.abs(difference).max() <= 1 and np.abs(difference).mean() < 0.05


@in_browser
def test_a_visitor_continues_a_story(page, tmp_path):
    page.get_by_role("button", name="Clear").click()
    assert page.get_by_role("button", name="Continue by itself").is_disabled()
    files = [tmp_path / f"{number}.png" for number in range(2)]
    for file, picture in zip(files, draw_story(7)["frames"]):
        picture.save(file)
    page.locator("#pictures").set_input_files(files)
    page.locator("#story figure").nth(1).wait_for()
    page.locator("#story figure textarea").first.fill("The fox walks.")
    page.get_by_role("button", name="Continue by itself").click()
    page.locator("#story figure.painted").wait_for()
    page.locator("#caption").fill("The owl sleeps.")
    page.get_by_role("button", name="Paint it").click()
    page.locator("#story figure.painted").nth(1).wait_for()
    page.get_by_text("Painted in").wait_for()
    assert page.locator("#story figure textarea").last.input_value() == "The owl sleeps."
    again = page.locator("#story figure.painted .again").first
    pixels = "canvas => canvas.toDataURL()"
    before = page.locator("#story figure.painted canvas").first.evaluate(pixels)
    page.locator("#story figure.painted textarea").first.fill("The gold hare walks to the left.")
    again.click()
    page.wait_for_function(
        "before => document.querySelector('#story figure.painted canvas').toDataURL() !== before", arg=before
    )
    assert page.errors == []
    assert {url.split("/")[2] for url in page.requests if url.startswith("http")} == {page.url.split("/")[2]}
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
