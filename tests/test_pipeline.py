"""Pipelines: story-continuation, from a folder and in memory, and what the library's own do with a story model."""

import base64
import http.server
import io
import json
import threading

import numpy as np
import pytest
import torch
from conftest import SMALL_CONFIG, draw_story, small_config
from forked_programs import run_stranger
from PIL import Image
from storyattn import (
    StoryAttnConfig,
    StoryAttnForConditionalGeneration,
    StoryAttnProcessor,
    StoryContinuationPipeline,
)
from storyattn.training.models.baselines import NoContextConfig, NoContextModel
from transformers import AutoModelForMultimodalLM, pipeline

pytestmark = pytest.mark.usefixtures("one_thread")

TASK = "story-continuation"
GREEDY = {"do_sample": False, "max_new_tokens": 8}

# What a stranger does: no storyattn to import, only the folder; then he trains a little and saves again.
STRANGER = """
import sys
import json
import numpy as np
import torch
from transformers import pipeline
folder, again, page = sys.argv[1:]
story = {"frames": [page, page], "captions": ["The red fox walks.", None]}
options = {"num_steps": 2, "do_sample": False, "max_new_tokens": 8}
try:
    pipeline("story-continuation", model=folder, trust_remote_code=False)
except ValueError as error:
    assert "trust_remote_code" in str(error), error
else:
    raise AssertionError("loaded code without being trusted to")
tell = pipeline("story-continuation", model=folder, trust_remote_code=True)
continuation = tell(story, **options)
assert type(tell.model).__module__.startswith("transformers_modules"), type(tell.model)
in_memory = pipeline("story-continuation", model=tell.model, processor=tell.processor)(story, **options)
assert in_memory["captions"] == continuation["captions"]
describe = pipeline("image-text-to-text", model=folder, trust_remote_code=True)
described = describe(page, text="", max_new_tokens=8, generate_kwargs={"task": "describe", "do_sample": False})
with torch.no_grad():
    tell.model.prefix.bias.add_(0.01)
tell.model.save_pretrained(again)
tell.processor.save_pretrained(again)
frames = [np.asarray(frame).tolist() for frame in continuation["frames"]]
print(json.dumps({"captions": continuation["captions"], "frames": frames, "described": described[0]["generated_text"]}))
"""


@pytest.fixture(scope="module")
def model(small_processor) -> StoryAttnForConditionalGeneration:
    """A model whose text decoder is drawn so uneven that it writes something else for each story."""
    torch.manual_seed(2)
    decoder = {**SMALL_CONFIG["decoder_config"], "tie_word_embeddings": False}
    config = StoryAttnConfig(**{**SMALL_CONFIG, "decoder_config": decoder})
    config.adapt_to_tokenizer(small_processor.tokenizer)
    model = StoryAttnForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.text_decoder.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.5)
    return model


@pytest.fixture(scope="module")
def tell(model, small_processor) -> StoryContinuationPipeline:
    return pipeline(TASK, model=model, processor=small_processor)


@pytest.fixture(scope="module")
def folder(model, small_processor, tmp_path_factory):
    path = tmp_path_factory.mktemp("published") / "model"
    model.save_pretrained(path)
    small_processor.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def stories() -> list[dict]:
    """Stories of two, one, four and two frames; the last without captions."""
    drawn = [draw_story(seed, num_frames=number) for seed, number in enumerate((2, 1, 4, 2))]
    del drawn[-1]["captions"]
    return drawn


def same_pictures(first: list[Image.Image], second: list[Image.Image], tolerance: int = 0) -> bool:
    """Pixel by pixel, up to `tolerance` of 255."""
    pairs = [[np.asarray(picture, int) for picture in pair] for pair in zip(first, second)]
    return len(first) == len(second) and all(np.abs(a - b).max() <= tolerance for a, b in pairs)


def test_a_story_is_continued_as_by_continue_story(tell, model, small_processor, stories):
    assert isinstance(tell, StoryContinuationPipeline)
    story = stories[0]
    continuation = tell(story, num_steps=3, **GREEDY)
    expected = model.continue_story(small_processor, story["frames"], story["captions"], 3, **GREEDY).continuation
    assert set(continuation) == {"frames", "captions"}
    assert continuation["captions"] == expected.captions and len(set(continuation["captions"])) > 1
    assert same_pictures(continuation["frames"], expected.frames)
    assert len(tell(story, **GREEDY)["frames"]) == 1


def test_pictures_of_every_kind_are_the_same(tell, tmp_path):
    pictures = draw_story(1, num_frames=2)["frames"]
    array, file = np.asarray(pictures[0]), io.BytesIO()
    pictures[0].save(tmp_path / "page.png")
    pictures[0].save(file, "PNG")
    kinds = {
        "path": str(tmp_path / "page.png"),
        "Path": tmp_path / "page.png",
        "bytes": file.getvalue(),
        "base64": base64.b64encode(file.getvalue()).decode(),
        "array": array,
        "floats": array.astype(np.float32) / 255,
        "channels first": array.transpose(2, 0, 1),
        "tensor": torch.from_numpy(array.copy()),
        "half": (torch.from_numpy(array.copy()).permute(2, 0, 1) / 255).half(),
    }
    expected = tell({"frames": pictures}, **GREEDY)
    for kind, picture in kinds.items():
        continuation = tell({"frames": [picture, pictures[1]]}, **GREEDY)
        assert continuation["captions"] == expected["captions"], kind
        assert same_pictures(continuation["frames"], expected["frames"], tolerance=1), kind
    stacked = tell({"frames": np.stack([np.asarray(picture) for picture in pictures])}, **GREEDY)
    assert same_pictures(stacked["frames"], expected["frames"])
    other = tell({"frames": [Image.new("RGB", (96, 64), "white"), pictures[1]]}, **GREEDY)
    assert not same_pictures(other["frames"], expected["frames"], tolerance=1), "this would compare nothing"


def test_a_url_is_read_and_a_missing_one_named(tell, tmp_path):
    (picture,) = draw_story(1, num_frames=1)["frames"]
    picture.save(tmp_path / "page.png")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        continuation = tell({"frames": [f"{url}/page.png"]}, timeout=10, **GREEDY)
        with pytest.raises(ValueError, match=f"story 0, frame 1: got '{url}/no.png', expected a picture"):
            tell({"frames": [picture, f"{url}/no.png"]}, timeout=10)
        server.shutdown()
    assert same_pictures(continuation["frames"], tell({"frames": [picture]}, **GREEDY)["frames"])


@pytest.mark.parametrize("batch_size", [2, 3, 4])
def test_a_batch_equals_its_stories_one_by_one(tell, stories, batch_size):
    options = {"num_steps": 2, "return_attention": True, **GREEDY}
    alone, together = [tell(story, **options) for story in stories], tell(stories, batch_size=batch_size, **options)
    assert len({continuation["captions"][0] for continuation in alone}) > 1, "all alike: this would compare nothing"
    for story, one, other in zip(stories, alone, together):
        assert other["captions"][0] == one["captions"][0]
        assert same_pictures(one["frames"][:1], other["frames"][:1], tolerance=1)
        for first, second in zip(one["spatial_attentions"], other["spatial_attentions"]):
            assert torch.allclose(first, second, atol=1e-3)
        # The second step, from that very picture: a pixel that was rounded otherwise may change words.
        captions = [*story.get("captions", [None] * len(story["frames"])), other["captions"][0]]
        further = tell({"frames": [*story["frames"], other["frames"][0]], "captions": captions}, **GREEDY)
        assert further["captions"] == other["captions"][1:]
        assert same_pictures(further["frames"], other["frames"][1:], tolerance=1)


def test_lists_generators_and_data_sets_keep_their_order(tell, stories):
    expected = [continuation["captions"] for continuation in tell(stories, **GREEDY)]
    assert [continuation["captions"] for continuation in tell(tuple(stories), **GREEDY)] == expected

    class StoryDataset(torch.utils.data.Dataset):
        def __len__(self):
            return len(stories)

        def __getitem__(self, index):
            return stories[index]

    for inputs in ((story for story in stories), StoryDataset()):
        continuation = tell(inputs, batch_size=3, **GREEDY)
        assert not isinstance(continuation, list), "read all at once"
        assert [one["captions"] for one in continuation] == expected
    assert tell([]) == []


def test_attention_on_request(tell, model, small_processor, stories):
    continuation = tell(stories[0], num_steps=2, return_attention=True, **GREEDY)
    inputs = small_processor(frames=[stories[0]["frames"]], captions=[stories[0]["captions"]])
    with torch.no_grad():
        expected = model.base_model(**inputs).spatial_attentions[0]
    first, second = continuation["spatial_attentions"]
    assert torch.allclose(first, expected, atol=1e-6)
    assert second.shape == expected.shape and torch.allclose(second[0], first[1], atol=1e-6)
    assert torch.allclose(second.sum((-1, -2)), torch.ones(second.shape[:2]), atol=1e-5)
    sharp = tell(stories[0], return_attention=True, spatial_temperature=0.05, **GREEDY)["spatial_attentions"][0]
    assert sharp.max() > first.max()
    assert [maps.shape[0] for maps in tell(stories[1], num_steps=3, return_attention=True)["spatial_attentions"]] == [
        1,
        2,
        2,
    ]


def test_generation_arguments_of_the_call_win_over_those_of_the_pipeline(model, small_processor, stories):
    tell = pipeline(TASK, model=model, processor=small_processor, num_steps=2, max_new_tokens=2, do_sample=False)
    short, long = tell(stories[0]), tell(stories[0], num_steps=1, generate_kwargs={"max_new_tokens": 8})
    assert (len(short["captions"]), len(long["captions"])) == (2, 1)
    assert len(small_processor.tokenizer(short["captions"][0])["input_ids"]) <= 2 + 2
    assert long["captions"][0].startswith(short["captions"][0]) and long["captions"][0] != short["captions"][0]
    torch.manual_seed(0)
    drawn = {tell(stories[0], do_sample=True, max_new_tokens=8, temperature=3.0)["captions"][0] for _ in range(3)}
    assert len(drawn) > 1
    with pytest.raises(ValueError, match="beems"):
        tell(stories[0], beems=2)
    for number in (0, 1.5):
        with pytest.raises(ValueError, match=f"num_steps: got {number}, expected a whole number of at least 1"):
            tell(stories[0], num_steps=number)


PICTURE = Image.new("RGB", (96, 64), "blue")
BAD_STORIES = [
    (7, "stories: story 1: got int 7, expected a dictionary with 'frames'"),
    ({}, "stories: story 1: got fields none, expected 'frames' and, if any, 'captions'"),
    ({"frames": [PICTURE], "caption": ["a"]}, "stories: story 1: got fields 'caption', expected 'frames' and"),
    ({"frames": "page.png"}, "frames: story 1: got str 'page.png', expected a list of pictures"),
    ({"frames": []}, "frames: story 1: got no picture, expected at least one"),
    ({"frames": [PICTURE, None]}, "frames: story 1, frame 1: got NoneType, expected a path, URL, bytes"),
    ({"frames": [PICTURE], "captions": "A fox."}, "captions: story 1: got str 'A fox.', expected a list of texts"),
    ({"frames": [PICTURE] * 2, "captions": ["a"]}, "captions: story 1: got 1 captions for 2 frames, expected one"),
    ({"frames": [PICTURE], "captions": [5]}, "captions: story 1, caption 0: got int 5, expected a text or None"),
]
BAD_PICTURES = [
    ("nowhere.png", "got 'nowhere.png', expected a picture"),
    (b"Once upon a time", "got 16 bytes, expected a picture: cannot identify"),
    (np.zeros((5, 6, 7), np.uint8), r"got ndarray \(5, 6, 7\) of uint8, expected a picture: its shape"),
    (np.zeros((0, 4, 3), np.uint8), "its shape is none of"),
    (np.full((4, 4), 300), r"of int64, expected a picture: its whole numbers lie in \[300, 300\]"),
    (np.full((4, 4, 3), 200.0), r"its floats lie in \[200, 200\], not in \[0, 1\]"),
    (np.full((4, 4, 3), np.nan), "not in"),
]


@pytest.mark.parametrize(("story", "message"), BAD_STORIES)
def test_a_bad_story_is_named_before_any_is_continued(tell, model, monkeypatch, story, message):
    monkeypatch.setattr(model, "continue_story", lambda *args, **kwargs: pytest.fail("continuation already"))
    with pytest.raises(ValueError, match=message):
        tell([{"frames": [PICTURE]}, story])


@pytest.mark.parametrize(("picture", "message"), BAD_PICTURES)
def test_a_bad_picture_is_named(tell, picture, message):
    with pytest.raises(ValueError, match=f"frames: story 1, frame 2: .*{message}"):
        tell([{"frames": [PICTURE]}, {"frames": [PICTURE, PICTURE, picture]}], **GREEDY)


def test_what_is_no_story_and_a_picture_cut_short_are_named(tell, tmp_path):
    for wrong in ("page.png", 5, None):
        with pytest.raises(ValueError, match="stories: got .*, expected a dictionary with 'frames', or a list"):
            tell(wrong)
    PICTURE.save(tmp_path / "page.png")
    (tmp_path / "page.png").write_bytes((tmp_path / "page.png").read_bytes()[:60])
    with pytest.raises(ValueError, match=r"story 0, frame 0: got '.*page.png', expected a picture"):
        tell({"frames": [tmp_path / "page.png"]})


def test_the_folder_works_without_the_package_and_so_does_what_is_saved_of_it(tell, folder, tmp_path):
    PICTURE.save(tmp_path / "page.png")
    page = str(tmp_path / "page.png")
    expected = tell({"frames": [page, page], "captions": ["The red fox walks.", None]}, num_steps=2, **GREEDY)

    def visit(source, again):
        arguments = str(source), str(tmp_path / again), page
        printed = run_stranger(STRANGER, tmp_path, *arguments, modules=f"modules-{again}")
        return json.loads(printed.splitlines()[-1])

    second = visit(folder, "again")
    assert second["captions"] == expected["captions"]
    assert same_pictures([np.array(frame) for frame in second["frames"]], expected["frames"], tolerance=1)
    assert visit(tmp_path / "again", "once-more")["captions"]
    names = ("once-more", "again")
    first, second = (json.loads((tmp_path / name / "config.json").read_text())["custom_pipelines"] for name in names)
    assert first == second and list(first) == [TASK]


def test_every_saved_folder_names_the_pipeline_and_has_its_code(tell, folder, tmp_path):
    AutoModelForMultimodalLM.from_pretrained(folder).save_pretrained(tmp_path / "again")
    tell.save_pretrained(tmp_path / "pipeline")
    for path in (folder, tmp_path / "again", tmp_path / "pipeline"):
        continuation = json.loads((path / "config.json").read_text())["custom_pipelines"][TASK]
        module, name = continuation["impl"].split(".")
        assert f"class {name}(" in (path / f"{module}.py").read_text()
        assert continuation["pt"] == ["AutoModelForMultimodalLM"]
    loaded = pipeline(TASK, model=str(tmp_path / "pipeline"), trust_remote_code=True)
    assert isinstance(loaded.processor, StoryAttnProcessor)
    assert loaded.processor.max_caption_length == tell.processor.max_caption_length
    assert loaded({"frames": [PICTURE]}, **GREEDY)["captions"] == tell({"frames": [PICTURE]}, **GREEDY)["captions"]


def test_a_folder_without_code_names_no_pipeline(tmp_path):
    NoContextModel(NoContextConfig.from_model(small_config())).save_pretrained(tmp_path)
    assert "custom_pipelines" not in json.loads((tmp_path / "config.json").read_text())
    assert not list(tmp_path.glob("*.py"))


def test_half_precision(folder, stories):
    half = pipeline(TASK, model=str(folder), trust_remote_code=True, dtype=torch.bfloat16)
    (continuation,) = half([stories[0]], num_steps=2, return_attention=True, **GREEDY)
    assert half.model.dtype == torch.bfloat16 and len(continuation["frames"]) == 2
    assert continuation["spatial_attentions"][0].dtype == torch.float32


@pytest.mark.parametrize("task", ["image-text-to-text", "any-to-any"])
def test_the_librarys_pipelines_describe_and_write_on(model, small_processor, stories, task):
    pipe = pipeline(task, model=model, processor=small_processor)
    frames = stories[0]["frames"]

    def expected(pictures, captions, **kwargs):
        inputs = small_processor(frames=[pictures], captions=[captions])
        return small_processor.batch_decode(model.generate(**inputs, **GREEDY, **kwargs), skip_special_tokens=True)[0]

    described = pipe(images=frames[0], text="", generate_kwargs={"task": "describe", **GREEDY})
    assert described[0]["generated_text"] == expected([frames[0]], [None], task="describe")
    continuation = pipe(images=frames, text="A fox.", generate_kwargs=dict(GREEDY), return_full_text=False)
    assert continuation[0]["generated_text"] == expected(frames, [None, "A fox."])
    full = pipe(images=frames, text="A fox.", generate_kwargs=dict(GREEDY))
    assert full[0] == {"input_text": "A fox.", "generated_text": "A fox." + continuation[0]["generated_text"]}
    both = pipe(images=[frames, frames[:1]], text=["A fox.", "An owl."], generate_kwargs=dict(GREEDY))
    wanted = [expected(frames, [None, "A fox."]), expected(frames[:1], ["An owl."])]
    assert [one["generated_text"] for one in both] == ["A fox." + wanted[0], "An owl." + wanted[1]]
    beams = pipe(images=frames, text="A fox.", generate_kwargs={"num_beams": 2, **GREEDY}, return_full_text=False)
    assert beams[0]["generated_text"] == expected(frames, [None, "A fox."], num_beams=2)
    with pytest.raises(ValueError, match="images: got 2 for 3 texts"):
        pipe(images=frames, text=["a", "b", "c"])


def test_any_to_any_paints_the_next_frame(model, small_processor, stories):
    pipe = pipeline("any-to-any", model=model, processor=small_processor)
    frames = stories[0]["frames"]
    (painted,) = pipe(images=frames, text="A fox.", generation_mode="image")
    inputs = small_processor(frames=[frames], captions=[[None, "A fox."]])
    expected = small_processor.postprocess_frames(model.predict_next_frame(**inputs))
    assert same_pictures([painted["generated_image"]], expected)
    with pytest.raises(ValueError, match="generation_mode: got 'audio', expected one of 'text', 'image'"):
        model.generate(**inputs, generation_mode="audio")
