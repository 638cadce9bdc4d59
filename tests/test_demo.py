"""The demo, driven in headless Chromium: its app runs in another process, offline, without the package."""

import importlib.util
import json
import pickle
import sys
from pathlib import Path

import pytest
from conftest import SMALL_CONFIG
from PIL import Image
from storyattn import Story, StoryAttnConfig, StoryAttnForConditionalGeneration
from storyattn.training.storyworld import characters, props, settings

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "demo"
OPENING, FIRST = (DEMO / "examples" / name for name in ("the_farmer_in_the_rain", "the_boy_at_the_windmill"))
sys.path.append(str(DEMO))
from board import EXAMPLES, Board, open_example  # noqa: E402
from knowledge import model_line  # noqa: E402
from screenshots import (  # noqa: E402
    DESKTOP,
    PHONE,
    continue_story,
    find_chromium,
    load_example,
    open_page,
    open_tab,
    paint_again,
    running_app,
)
from story import MAX_PAGES, Storyteller, check_captions, check_count, check_texts  # noqa: E402

missing = [name for name in ("gradio", "playwright") if importlib.util.find_spec(name) is None]
missing += [] if find_chromium() else ["chromium"]
NEEDS_BROWSER = pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")
ERROR = ".toast-body"


def browser(test):
    """Mark a test that drives the page."""
    return NEEDS_BROWSER(pytest.mark.slow(test))


@pytest.fixture(scope="module")
def url():
    with running_app() as address:
        yield address


@pytest.fixture(scope="module")
def opened(url):
    """The page as it opens and the addresses that it asks for; all tests of this file share it."""
    with open_page(url, DESKTOP) as (page, requests):
        yield page, requests


@pytest.fixture
def page(opened):
    """The shared page, which shows the first example."""
    page, _ = opened
    page.get_by_role("tab", name="Story").click()
    load_example(page, 0)
    yield page
    page.locator(".toast-close").evaluate_all("buttons => buttons.forEach(button => button.click())")


def captions_of(page) -> list[str]:
    return page.locator("#board .caption").all_inner_texts()


def sources_of(page) -> list[str]:
    return page.locator("#board img").evaluate_all("images => images.map(image => image.src)")


def story_of(folder: Path) -> list[str]:
    given = (folder / "captions.txt").read_text().splitlines()
    return given + json.loads((folder / "continuation.json").read_text())["captions"]


@browser
def test_it_opens_with_a_finished_story(opened):
    page, _ = opened
    assert captions_of(page) == story_of(OPENING)
    assert page.locator("#board .painted img").count() == 4
    page.get_by_text("16 drawn characters").wait_for()
    image = page.locator("#board img").first
    assert image.bounding_box()["width"] == 288
    assert image.evaluate("image => [image.naturalWidth, getComputedStyle(image).imageRendering]") == [96, "pixelated"]


@browser
def test_the_three_buttons(page):
    before = captions_of(page)
    continue_story(page, steps=2)
    first = captions_of(page)
    assert len(first) == 10 and first[:8] == before
    for _ in range(4):  # a sample may be the same once
        continue_story(page, "#like")
        second = captions_of(page)
        assert len(second) == 10 and second[:8] == before
        if second != first:
            break
    assert second != first

    continue_story(page, "#future")
    futures = page.locator(".future")
    assert futures.count() == 3
    texts = [futures.nth(index).locator(".text").all_inner_texts() for index in range(3)]
    assert len({tuple(text) for text in texts}) > 1 and all(len(text) == 2 for text in texts)
    futures.nth(2).locator(".choose").click()
    futures.first.wait_for(state="detached")
    assert captions_of(page) == before + texts[2]


@browser
def test_a_frame_is_painted_again_from_its_edited_caption(page):
    before = sources_of(page)
    text = 'Look, the fox arrives! Now the fox stands next to the "old" {{oak}} & ${x} <b>stump</b>.'
    page.locator("#board .caption").nth(1).fill("The girl walks.")
    paint_again(page, 5, text)
    captions, sources = captions_of(page), sources_of(page)
    assert captions[5] == text and captions[1] == "The girl walks."
    assert [index for index in range(8) if sources[index] != before[index]] == [5]
    continue_story(page, "#like")
    assert captions_of(page)[:6] == captions[:6] and sources_of(page)[:6] == sources[:6], "the edit was lost"
    load_example(page, 0)
    page.locator("#board .caption").nth(1).fill("The girl walks.")
    load_example(page, 0)
    assert captions_of(page) == story_of(FIRST), "the example was not read again"


@browser
def test_the_story_becomes_the_input(page):
    page.locator("#board .caption").nth(7).fill("The end.")
    page.locator("#use").click()
    page.locator("#board .painted").first.wait_for(state="detached")
    assert captions_of(page) == [*story_of(FIRST)[:7], "The end."]
    page.locator("#board [data-event=remove]").nth(0).click()
    page.locator("#board .card").nth(7).wait_for(state="detached")
    continue_story(page, "#like", steps=1)
    assert captions_of(page)[:7] == [*story_of(FIRST)[1:7], "The end."]
    assert page.locator("#board .painted").count() == 1


@browser
@pytest.mark.parametrize(("button", "kind"), [("#save-png", "PNG"), ("#save-gif", "GIF")])
def test_the_story_is_downloaded(page, tmp_path, button, kind):
    with page.expect_download() as download:
        page.locator(button).click()
    assert download.value.suggested_filename == f"story.{kind.lower()}"
    download.value.save_as(tmp_path / "story")
    with Image.open(tmp_path / "story") as picture:
        assert picture.format == kind and (kind == "PNG" or picture.n_frames == 8)


@browser
def test_pictures_are_uploaded_and_broken_ones_named_at_once(page, tmp_path):
    (tmp_path / "torn.png").write_bytes((FIRST / "2.png").read_bytes()[:200])
    (tmp_path / "letter.jpg").write_text("Dear fox")
    before = captions_of(page)
    files = [FIRST / "1.png", tmp_path / "torn.png", tmp_path / "letter.jpg"]
    page.locator("input[type=file]").nth(0).set_input_files(files)
    error = page.locator(ERROR).first.inner_text()
    assert "torn.png: got" in error and "letter.jpg: got" in error and "1.png: got" not in error
    assert captions_of(page) == before

    page.locator("input[type=file]").nth(0).set_input_files([FIRST / "1.png", FIRST / "2.png"])
    page.locator("#board .card").nth(2).wait_for(state="detached")
    page.locator("input[type=file]").nth(1).set_input_files([FIRST / "3.png"])
    page.locator("#board .card").nth(2).wait_for()
    assert captions_of(page) == ["", "", ""]
    page.locator("#board .caption").nth(0).fill("The girl is in the forest.")
    continue_story(page, steps=1)
    assert captions_of(page)[:3] == ["The girl is in the forest.", "", ""] and captions_of(page)[3]


@browser
def test_frames_are_described_and_found(page, tmp_path):
    open_tab(page, "Describe")
    described = page.locator("#described .card")
    assert described.count() == 8
    texts = described.locator(".text").all_inner_texts()
    assert all(texts) and "grandmother" in texts[0], "the opening names who is there"
    open_tab(page, "Find")
    best = page.locator("#ranking .card").first.get_attribute("class")
    assert "best" in best and page.locator("#ranking .card").count() == 8

    (tmp_path / "torn.png").write_bytes(b"torn")
    picture = page.locator("input[type=file]").nth(2)
    picture.set_input_files(tmp_path / "torn.png")
    page.locator(ERROR).filter(has_text="torn.png: got 4 bytes").wait_for()
    picture.set_input_files(FIRST / "1.png")
    ranking = page.locator("#ranking li")
    ranking.nth(7).wait_for()
    texts = [text.split(" ", 1) for text in ranking.all_inner_texts()]
    assert texts[0][1] == story_of(FIRST)[0] and sorted(text for _, text in texts) == sorted(story_of(FIRST))
    cosines = [float(cosine) for cosine, _ in texts]
    assert cosines == sorted(cosines, reverse=True) and cosines[0] > cosines[-1]


@browser
def test_a_slider_moves_the_attention(page):
    open_tab(page, "Attention")
    overlays = page.locator("#overlays img")
    assert overlays.count() == 8
    for control, key in (("#temperature input[type=range]", "End"), ("#gamma input[type=range]", "End"), ("#gate", "")):
        before = overlays.first.get_attribute("src")
        page.locator(control).press(key) if key else page.locator(control).click()
        page.wait_for_function("before => document.querySelector('#overlays img').src != before", arg=before)


@browser
def test_too_long_a_story_is_refused(page):
    page.locator("input[type=file]").nth(1).set_input_files([FIRST / "1.png"] * (MAX_PAGES - 7))
    page.locator(ERROR).filter(has_text=f"frames: got {MAX_PAGES + 1}, expected 1 to {MAX_PAGES}").wait_for()
    assert len(captions_of(page)) == 8


@browser
def test_a_phone_shows_the_first_button_and_nothing_is_wider(page):
    page.set_viewport_size(PHONE)
    page.evaluate("window.scrollTo(0, 0)")
    box = page.locator("#continue").bounding_box()
    assert box["y"] + box["height"] <= PHONE["height"]
    continue_story(page, steps=1)
    for tab in ("Describe", "Attention", "Find"):
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], tab
        open_tab(page, tab)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.set_viewport_size(DESKTOP)


@browser
def test_the_endpoints(url):
    from gradio_client import Client, exceptions, handle_file

    client = Client(url, verbose=False)
    endpoints = client.view_api(return_format="dict")
    assert set(endpoints["named_endpoints"]) == {"/continue", "/describe", "/search"}
    assert not endpoints["unnamed_endpoints"]
    frames = [handle_file(str(FIRST / f"{number}.png")) for number in range(1, 5)]
    captions = (FIRST / "captions.txt").read_text().splitlines()

    new = client.predict(frames, captions, 2, api_name="/continue")
    assert [page["caption"] for page in new] == story_of(FIRST)[4:6]
    assert Image.open(new[0]["image"]).tobytes() == Image.open(FIRST / "5.png").tobytes()
    sampled = [client.predict(frames, captions, 1, seed, api_name="/continue")[0]["caption"] for seed in (3, 3, 4, 5)]
    assert sampled[0] == sampled[1] and len(set(sampled)) > 1
    described = client.predict(frames, [], api_name="/describe")
    assert len(described) == 4 and all(described) and "grandmother" in described[0]
    answer, best = client.predict(frames, captions[:2], api_name="/search")
    assert len(answer["scores"]) == 4 and answer["best_texts"][0] == 0
    assert [page["caption"] for page in best] == captions[:2]
    for arguments, message in (
        ((frames, captions, 7, 0), "num_steps: got 7, expected 1 to 6"),
        ((frames, captions[:1], 1, 0), "captions: got 1, expected 4"),
        ((None, None, 1, 0), "frames: got none"),
    ):
        with pytest.raises(exceptions.AppError, match=message):
            client.predict(*arguments, api_name="/continue")


@browser
def test_the_page_asks_no_other_host(opened, url):
    assert [address for address in opened[1] if not address.startswith((url, "data:", "blob:"))] == []


@pytest.mark.parametrize("use_spatial_attention", [True, False])
def test_attention_is_shown_where_the_model_has_some(use_spatial_attention):
    pytest.importorskip("gradio")
    from app import build_app

    config = StoryAttnConfig(**SMALL_CONFIG, use_spatial_attention=use_spatial_attention)
    teller = Storyteller.__new__(Storyteller)
    teller.model = StoryAttnForConditionalGeneration(config)
    tabs = [block["props"].get("label") for block in build_app(teller, "A line.").get_config_file()["components"]]
    assert ("Attention" in tabs) == use_spatial_attention and "Story" in tabs


def test_the_app_does_not_import_the_package():
    for path in DEMO.glob("*.py"):
        imports = [line for line in path.read_text().splitlines() if line.startswith(("import ", "from "))]
        assert path.name == "draw_examples.py" or not any("storyattn" in line for line in imports), path


def test_the_line_of_a_model_says_what_it_knows(tmp_path):
    counts = len(characters.CHARACTERS), len(settings.SETTINGS), len(props.PROPS)
    line = model_line(str(ROOT / "checkpoints" / "storyattn-tiny"))
    assert "StoryWorld: {} drawn characters, {} places, {} things".format(*counts) in line
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n\n# Stories of dogs\n\n## Use\n")
    assert model_line(str(tmp_path)).startswith("This model is Stories of dogs.")
    (tmp_path / "README.md").unlink()
    assert model_line(str(tmp_path)).startswith(f"This model is {tmp_path.name}.")


def test_a_board_keeps_what_was_edited():
    pages = Story([Image.new("RGB", (8, 8))] * 4, ["One.", None, "Three.", "Four."], [False, False, True, True])
    board = Board(pages, 2)
    edited = board.with_captions(["One.", "Two.", "Three.", "4"])
    assert edited.story.captions == ["One.", "Two.", "Three.", "4"]
    assert [page.is_written for page in edited.story] == [False, False, True, False]
    assert board.with_captions(["One."]) == board and board.with_captions(None) == board
    assert (board.without(0).start, board.without(3).start) == (1, 2) and len(board.without(0).story) == 3
    assert board.with_painted(pages, 2).start == 3 and board.with_painted(pages, 2).num_continued == 1
    assert board.as_given().story.num_given == 4 and board.as_given().num_continued == 0


def test_examples_are_finished_stories():
    teller = Storyteller.__new__(Storyteller)
    teller.model = StoryAttnForConditionalGeneration(StoryAttnConfig(**SMALL_CONFIG))
    for folder in EXAMPLES:
        board = open_example(teller, folder)
        assert board.start == 4 and board.story.num_given == 4 and board.num_continued == 4
        assert all(board.story.captions)


def test_a_gpu_is_borrowed_for_what_runs_the_model(monkeypatch):
    """As on ZeroGPU: the arguments go to another process, so they are pickled, and are small."""
    sizes = {}

    def lend(function):
        def run(*arguments):
            sizes[function.__name__] = len(pickle.dumps(arguments))
            return function(*arguments)

        return run

    monkeypatch.setattr("story.on_gpu", lend)
    teller = Storyteller(str(ROOT / "checkpoints" / "storyattn-tiny"))
    story = open_example(teller, FIRST).story[:2]
    assert len(list(teller.continue_story(story, 1))) == 1
    teller.describe(story.frames, story.captions)
    teller.paint_again(story, 1)
    teller.attention_maps(story.frames, 1.0)
    teller.similarity(story.frames, ["A fox."])
    teller.futures(story, 1)
    assert len(sizes) == 6 and max(sizes.values()) < 100_000


def test_captions_and_counts_are_checked():
    assert check_captions(None, 2) == check_captions([], 2) == [None, None]
    assert check_captions([" A fox. ", ""], 2) == ["A fox.", None]
    with pytest.raises(ValueError, match="captions: got 1, expected 2"):
        check_captions(["A fox."], 2)
    for captions in ("A fox.", [1, 2]):
        with pytest.raises(ValueError, match="captions: got something else"):
            check_captions(captions, 2)
    check_texts(["A fox."])
    for texts in (None, [], "A fox.", ["A fox.", None], [" "]):
        with pytest.raises(ValueError, match="texts: got"):
            check_texts(texts)
    check_count("frames", MAX_PAGES, MAX_PAGES)
    for count in (0, MAX_PAGES + 1):
        with pytest.raises(ValueError, match=f"frames: got {count}, expected 1 to {MAX_PAGES}"):
            check_count("frames", count, MAX_PAGES)
