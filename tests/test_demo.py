"""The demo, driven in headless Chromium: its app runs in another process, offline, without the package."""

import importlib.util
import sys
from pathlib import Path

import pytest
from conftest import SMALL_CONFIG
from storyattn import StoryAttnConfig, StoryAttnForConditionalGeneration

DEMO = Path(__file__).parents[1] / "demo"
EXAMPLE = DEMO / "examples" / "the_sheep_and_the_key"
sys.path.append(str(DEMO))
from screenshots import DESKTOP, PHONE, continue_story, find_chromium, load_example, open_page, running_app  # noqa: E402
from story import Storyteller, read_story  # noqa: E402

missing = [name for name in ("gradio", "playwright") if importlib.util.find_spec(name) is None]
missing += [] if find_chromium() else ["chromium"]
browser = pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@pytest.fixture(scope="module")
def url():
    with running_app() as address:
        yield address


def width_of(page) -> float:
    return page.locator(".gradio-container").bounding_box()["width"]


@browser
@pytest.mark.slow
def test_a_story_is_continued_and_a_slider_moves_the_overlay(url):
    with open_page(url, DESKTOP) as (page, requests):
        page.locator("#continue").click()
        assert "frames: got none" in page.locator(".toast-body").inner_text()
        load_example(page)
        continue_story(page, 2)
        assert page.locator(".card.generated img").count() == 2
        assert all(len(text) > 10 for text in page.locator(".card.generated span").all_inner_texts())

        page.get_by_role("tab", name="Attention").click()
        overlays = page.locator("#overlays img")
        overlays.nth(3).wait_for()
        before = overlays.first.get_attribute("src")
        for slider in ("temperature", "gamma"):
            page.locator(f"#{slider} input[type=range]").press("End")
            page.wait_for_function("before => document.querySelector('#overlays img').src != before", arg=before)
            before = overlays.first.get_attribute("src")

        page.get_by_role("tab", name="Find").click()
        page.locator("#query textarea, #query input").fill("The cat")
        page.locator("#find-frames").click()
        page.locator("#frame-ranking .card.best img").wait_for()

        page.locator("#captions textarea").fill("One line alone.")
        page.locator("#find-frames").click()
        page.get_by_text("captions: got 1 line, expected 4").wait_for()
    assert [address for address in requests if not address.startswith((url, "data:", "blob:"))] == []


@browser
@pytest.mark.slow
def test_frames_are_described_and_captions_found(url):
    with open_page(url, DESKTOP) as (page, _):
        width = width_of(page)
        load_example(page)
        captions = page.locator("#captions textarea").input_value().split("\n")
        page.get_by_role("tab", name="Describe").click()
        page.locator("#describe").click()
        described = page.locator(".card").filter(has_text="described")
        described.nth(3).wait_for()
        assert described.locator("img").count() == 4
        assert all("elephant" in text for text in described.locator("span").all_inner_texts())
        assert width_of(page) == width, "the page became wider"

        page.get_by_role("tab", name="Find").click()
        page.locator("#find-captions").click()
        page.get_by_text("picture: got none").wait_for()
        page.locator("#picture input[type=file]").set_input_files(EXAMPLE / "1.png")
        page.locator("#picture img").wait_for()
        page.locator("#find-captions").click()
        ranking = page.locator("#caption-ranking li")
        ranking.nth(3).wait_for()
        texts = ranking.all_inner_texts()
        assert sorted(text.split(" ", 1)[1] for text in texts) == sorted(captions) and captions[0] in texts[0]
        cosines = [float(text.split()[0]) for text in texts]
        assert cosines == sorted(cosines, reverse=True) and cosines[0] > cosines[-1]


@browser
@pytest.mark.slow
def test_nothing_is_wider_than_a_phone(url):
    with open_page(url, PHONE) as (page, _):
        load_example(page)
        for tab in ("Describe", "Attention", "Find", "Continue"):
            chosen = page.get_by_role("tab", name=tab)
            assert chosen.is_visible()
            chosen.click()
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], tab
        continue_story(page, 1)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@pytest.mark.parametrize("use_spatial_attention", [True, False])
def test_attention_is_shown_where_the_model_has_some(use_spatial_attention):
    pytest.importorskip("gradio")
    from app import build_app

    config = StoryAttnConfig(**SMALL_CONFIG, use_spatial_attention=use_spatial_attention)
    teller = Storyteller.__new__(Storyteller)
    teller.model = StoryAttnForConditionalGeneration(config)
    tabs = [block["props"].get("label") for block in build_app(teller).get_config_file()["components"]]
    assert ("Attention" in tabs) == use_spatial_attention and "Continue" in tabs


def test_the_app_does_not_import_the_package():
    for path in DEMO.glob("*.py"):
        imports = [line for line in path.read_text().splitlines() if line.startswith(("import ", "from "))]
        assert path.name == "draw_examples.py" or not any("storyattn" in line for line in imports), path


def test_each_frame_has_a_line():
    gallery = [("one", None), ("two", None)]
    assert read_story(gallery, " A fox.\nIt wakes. \n\n") == (["one", "two"], ["A fox.", "It wakes."])
    assert read_story(gallery, "A fox.\n")[1] == ["A fox.", None]
    assert read_story(gallery, "\nIt wakes.")[1] == [None, "It wakes."]
    assert read_story(gallery, " \n")[1] == [None, None]
    with pytest.raises(ValueError, match="captions: got 3 lines, expected 2"):
        read_story(gallery, "A fox.\nIt wakes.\nIt eats.")
    with pytest.raises(ValueError, match="frames: got none"):
        read_story(None, "A fox.")
