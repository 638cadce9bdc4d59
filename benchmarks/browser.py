"""
Compare an export in headless Chromium with the model in PyTorch: the numbers, and the time of a painted frame.

    npm install --no-save onnxruntime-web@1.30.0 @huggingface/tokenizers@0.2.0
    storyattn export checkpoints/storyattn-tiny --output runs/browser --libraries node_modules
    python benchmarks/browser.py checkpoints/storyattn-tiny --export runs/browser

It needs playwright and an installed chromium. Both run on one thread.
"""

import argparse
import functools
import http.server
import shutil
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from storyattn.training.common.tables import text_table
from storyattn.training.models.load import load_model

if TYPE_CHECKING:
    from playwright.sync_api import Page

CAPTION = "The fox walks to the river and sits down."
READY_MS = 120_000  # until the page has loaded the model
# Reads a story of noise, whose frames all have the caption, and paints the next one as often as it is asked for.
IN_PAGE = """async ([frames, caption, repeats]) => {
    const { StoryModel } = await import("./story_model.js");
    window.model ??= await StoryModel.load();
    const [height, width] = model.settings.image_size;
    const pages = frames.map((pixels) => {
        return { frame: new ImageData(Uint8ClampedArray.from(pixels), width, height), caption };
    });
    const seconds = [];
    let frame, story;
    for (let i = 0; i < repeats; i++) {
        const start = performance.now();
        story = await model.read(pages);
        frame = await model.paintValues(story, caption);
        seconds.push((performance.now() - start) / 1000);
    }
    const { start } = model.tokenizers.decoder ?? model.tokenizers.text;
    return { frame: [...frame], logits: [...(await model.nextLogits(story, [start]))], seconds };
}"""


@contextmanager
def open_export(folder: str, viewport: dict[str, int]) -> Iterator["Page"]:
    """Serve an export, and open its page in headless Chromium once the model is loaded.

    Args:
        folder: of the export, with its JavaScript packages.
        viewport: `width` and `height` in pixels.

    Yields:
        the page; `page.requests` are the addresses that it asked for, `page.errors` the errors that it reported.
    """
    from playwright.sync_api import sync_playwright

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            """Print no line a request."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=viewport)
        page.requests, page.errors = [], []
        page.on("request", lambda request: page.requests.append(request.url))
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("console", lambda message: page.errors.append(message.text) if message.type == "error" else None)
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        page.get_by_text("Ready.").wait_for(timeout=READY_MS)
        yield page
        browser.close()
    server.shutdown()


@torch.no_grad()
def compare(page: "Page", model: torch.nn.Module, processor: Callable, number: int, repeats: int) -> list[str]:
    """Return a row of the table for a story of noise.

    Args:
        page: of `open_export`.
        model: in PyTorch.
        processor: of the model.
        number: of frames.
        repeats: how often a frame is painted; the median of their times is shown.
    """
    height, width = model.config.image_size
    frames = list(np.random.default_rng(number).integers(0, 256, (number, height, width, 3), dtype=np.uint8))
    opaque = [np.dstack([frame, np.full((height, width), 255, np.uint8)]).flatten().tolist() for frame in frames]
    got = page.evaluate(IN_PAGE, [opaque, CAPTION, repeats])
    story = processor(frames=[frames], captions=[[CAPTION] * number])
    following = processor.tokenize_captions([[CAPTION]])
    following = {f"next_{name}": values[:, 0] for name, values in following.items()}
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        painted = model.predict_next_frame(**story, **following)
        seconds.append(time.perf_counter() - start)
    longer = processor(frames=[[*frames, frames[0]]], captions=[[CAPTION] * (number + 1)])
    logits = model(**longer).next_caption_logits[0, -1, 0].numpy()
    differences = (painted.numpy().flatten() - got["frame"], logits - got["logits"])
    times = (got["seconds"], seconds)
    return [
        str(number),
        *(f"{np.abs(values).max():.1e}" for values in differences),
        *(f"{1000 * statistics.median(values):.0f} ms" for values in times),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Compares an export in Chromium with the model in PyTorch.")
    parser.add_argument("model", help="folder or Hub id of the model")
    parser.add_argument("--export", required=True, help="folder that storyattn export wrote, with --libraries")
    parser.add_argument("--repeats", type=int, default=9, help="how often each frame is painted")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model, processor = load_model(arguments.model, "cpu")
    with open_export(arguments.export, {"width": 1280, "height": 860}) as page:
        numbers = range(1, model.config.max_frames)
        rows = [compare(page, model, processor, number, arguments.repeats) for number in numbers]
    print(text_table(("frames", "pixels", "logits", "Chromium", "PyTorch"), rows))


if __name__ == "__main__":
    main()
