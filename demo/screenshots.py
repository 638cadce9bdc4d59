"""
Open the app in headless Chromium and take pictures of it, to look at, and for the project's README.

    python demo/screenshots.py
    python demo/screenshots.py --all --output FOLDER

The first writes `demo.png` (1280 pixels wide) and `demo_phone.png` (390) into docs/figures, the second takes five views
at each width. It needs playwright and an installed chromium.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import urlopen

if TYPE_CHECKING:
    from playwright.sync_api import Page

HERE = Path(__file__).parent
DESKTOP, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}
START_SECONDS = 300  # a busy machine may need many of them
WAIT_SECONDS = 60  # for what the page shows


def find_chromium() -> str | None:
    """Return the path of the installed chromium, `None` where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def running_app(*arguments: str) -> Iterator[str]:
    """Serve the app on a free port while the block runs, and yield its address.

    Args:
        arguments: arguments of `app.py`.

    Raises:
        RuntimeError: the app ends by itself, or does not answer within `START_SECONDS`.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "GRADIO_SERVER_PORT": str(port), "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen([sys.executable, HERE / "app.py", *arguments], env=environment)
    try:
        _wait_until_served(process, url := f"http://127.0.0.1:{port}")
        yield url
    finally:
        process.terminate()
        process.wait()


@contextmanager
def open_page(url: str, viewport: dict[str, int], dark: bool = False) -> Iterator[tuple["Page", list[str]]]:
    """Open a page of headless Chromium; yield it once the app is drawn, and the addresses that it requests.

    Args:
        url: the address of the app.
        viewport: `width` and `height` in pixels.
        dark: whether the page has the dark theme.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        page = browser.new_page(viewport=viewport, device_scale_factor=1)
        page.set_default_timeout(1000 * WAIT_SECONDS)
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(f"{url}/?__theme={'dark' if dark else 'light'}")
        page.locator("#board img").first.wait_for()
        yield page, requests
        browser.close()


def load_example(page: "Page", number: int = 0) -> None:
    """Pick an example story and wait until its pages are shown."""
    _press(page, f"#example-{number}")


def continue_story(page: "Page", button: str = "#continue", steps: int | None = None) -> None:
    """Press a button that adds frames, and wait until all are painted.

    Args:
        page: the page.
        button: its selector.
        steps: how many frames to add; by default what the slider says.
    """
    if steps is not None:
        page.locator("#steps input[type=number]").fill(str(steps))
    _press(page, button)
    page.locator("#board .waiting").first.wait_for(state="detached")


def _press(page: "Page", button: str) -> None:
    """Press a button and wait until the story is drawn anew."""
    page.evaluate("document.querySelector('#board .strip').dataset.old = 'true'")
    page.locator(button).click()
    page.wait_for_function("!document.querySelector('#board .strip').dataset.old")


def paint_again(page: "Page", index: int, caption: str) -> None:
    """Change the caption of a painted frame, and wait until the frame is painted again."""
    card = page.locator("#board .card").nth(index)
    before = card.locator("img").get_attribute("src")
    card.locator(".caption").fill(caption)
    card.locator("[data-event=paint]").click()
    arguments = [index, before]
    page.wait_for_function(
        "([index, src]) => document.querySelectorAll('#board .card img')[index].src != src", arg=arguments
    )


def open_tab(page: "Page", name: str) -> None:
    """Open a tab and wait until it shows something."""
    page.get_by_role("tab", name=name).click()
    if name == "Find":
        page.locator("#query textarea, #query input").fill("The cat is by the clock tower.")
    if button := {"Describe": "#describe", "Find": "#find-frames"}.get(name):
        page.locator(button).click()
    shown = {"Describe": "#described .card", "Attention": "#overlays .card", "Find": "#ranking .card.best"}[name]
    page.locator(shown).first.wait_for()
    if name == "Describe":
        page.wait_for_function("!document.querySelector('#described').innerText.includes('…')")


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description="Takes pictures of the demo.")
    parser.add_argument("--output", default="docs/figures", help="folder for the pictures")
    parser.add_argument("--all", action="store_true", help="take all ten, not only the two of the README")
    arguments = parser.parse_args()
    with running_app() as url:
        for name, viewport in (("demo", DESKTOP), ("demo_phone", PHONE)):
            with open_page(url, viewport) as (page, _):
                path = Path(arguments.output, name)
                page.screenshot(path=path.with_suffix(".png"))
                if arguments.all:
                    _take_others(page, path)


def _take_others(page: "Page", path: Path) -> None:
    """Take the futures, a frame painted again, and the other tabs."""

    def take(view: str) -> None:
        page.wait_for_timeout(600)  # until the page has scrolled
        page.screenshot(path=path.with_name(f"{path.name}_{view}.png"))

    continue_story(page, "#future")
    page.locator(".future").first.wait_for()
    take("futures")
    page.locator(".choose").first.click()
    page.locator(".future").first.wait_for(state="detached")
    paint_again(page, 4, "Look, the fox arrives! Now the fox stands next to the well.")
    take("painted_again")
    page.evaluate("window.scrollTo(0, 0)")
    for tab in ("Attention", "Find"):
        open_tab(page, tab)
        take(tab.lower())


def _wait_until_served(process: subprocess.Popen, url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"app.py ended with status {process.returncode}, expected it to serve {url}")
        try:
            urlopen(url, timeout=5).close()
            return
        except (URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"app.py did not serve {url} within {START_SECONDS} seconds")


if __name__ == "__main__":
    main()
