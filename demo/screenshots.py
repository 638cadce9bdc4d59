"""
Open the app in headless Chromium and take the pictures of the project's README.

    python demo/screenshots.py

writes `demo.png` (1280 pixels wide) and `demo_phone.png` (390) into docs/figures. It needs
playwright and an installed chromium.
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
        page.set_default_timeout(1000 * START_SECONDS)
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(f"{url}/?__theme={'dark' if dark else 'light'}")
        page.locator("#continue").wait_for()
        yield page, requests
        browser.close()


def load_example(page: "Page", number: int = 0) -> None:
    """Pick an example story and wait until its frames are shown."""
    page.locator(f"#example-{number}").click()
    page.locator("#frames img").nth(3).wait_for()


def continue_story(page: "Page", steps: int) -> None:
    """Add `steps` frames and wait until all are painted."""
    page.locator("#steps input[type=number]").fill(str(steps))
    page.locator("#continue").click()
    page.locator(".card.generated img").nth(steps - 1).wait_for()


def main() -> None:
    """Write the two pictures."""
    parser = argparse.ArgumentParser(description="Takes pictures of the demo.")
    parser.add_argument("--output", default="docs/figures", help="folder for the pictures")
    arguments = parser.parse_args()
    with running_app() as url:
        for name, viewport in (("demo", DESKTOP), ("demo_phone", PHONE)):
            with open_page(url, viewport) as (page, _):
                load_example(page, 1)
                continue_story(page, 4)
                if name == "demo_phone":
                    page.locator(".card.generated").last.scroll_into_view_if_needed()
                page.screenshot(path=Path(arguments.output, f"{name}.png"))


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
