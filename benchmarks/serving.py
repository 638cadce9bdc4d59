"""
Measure how many requests a second `storyattn serve` answers, and how long each takes.

    python benchmarks/serving.py --model checkpoints/storyattn-tiny --clients 1 8 32

The server runs in a process of its own. Clients ask at the same time, each again once it has its answer. The first row
is `continue_story` called alone, in this process, without a server.
"""

import argparse
import base64
import http.client
import io
import json
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import measuring
import torch
from measuring import positive
from PIL import Image
from storyattn.training.common.errors import one_line
from storyattn.training.common.tables import markdown_table
from storyattn.training.models.load import load_model
from storyattn.training.storyworld import generate_story

LINE = "serving "  # how the line begins that the server prints once it listens
COLUMNS = ("clients", "requests per second", "median", "95th percentile", "mean batch")


def main(argv: list[str] | None = None) -> None:
    """Measure, print the table and write its numbers."""
    parser = measuring.new_parser(__doc__)
    parser.add_argument("--model", default="checkpoints/storyattn-tiny", help="folder or Hub id")
    parser.add_argument("--clients", nargs="+", type=positive, default=[1, 8, 32], help="that ask at the same time")
    parser.add_argument("--requests", type=positive, default=64, help="requests of each number of clients")
    parser.add_argument("--num_frames", type=positive, default=3, help="pictures of a request")
    parser.add_argument("--max_batch_size", type=positive, default=32, help="of the server")
    parser.add_argument("--max_wait_ms", type=float, default=10.0, help="of the server")
    parser.add_argument("--output", default="serving.json", help="file for the numbers (JSON)")
    arguments = parser.parse_args(argv)
    with one_line("benchmarks/serving.py"):
        rows = [measure_alone(arguments), *measure_served(arguments)]
        names = ("model", "requests", "num_frames", "max_batch_size", "max_wait_ms")
        document = {"hardware": measuring.hardware("cpu", torch.get_num_threads())}
        document |= {name: getattr(arguments, name) for name in names} | {"rows": rows}
        print(markdown_table(COLUMNS, [list(map(_shown, row.values())) for row in rows]))
        measuring.write_json(document, arguments.output)


def measure_alone(arguments: argparse.Namespace) -> dict:
    """Measure `continue_story` of one story after the other, without a server."""
    model, processor = load_model(arguments.model, "cpu")
    frames, captions = example_story(arguments.num_frames)
    seconds = []
    for _ in range(min(arguments.requests, 16) + 1):
        start = time.perf_counter()
        model.continue_story(processor, [frames], [captions])
        seconds.append(time.perf_counter() - start)
    return summary("none", seconds[1:], sum(seconds[1:]), 1.0)  # the first call also prepares the library


def measure_served(arguments: argparse.Namespace) -> list[dict]:
    """Measure each number of clients on one server."""
    flags = ["--port", "0", "--max_queue", str(max(arguments.clients))]
    flags += [f"--{name}={getattr(arguments, name)}" for name in ("max_batch_size", "max_wait_ms")]
    code = "from storyattn.training.cli.serve import main; main()"
    command = [sys.executable, "-c", code, arguments.model, *flags]
    frames, captions = example_story(arguments.num_frames)
    body = json.dumps({"frames": [as_base64(frame) for frame in frames], "captions": captions})
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            line = server.stdout.readline()
            if not line.startswith(LINE):
                raise ValueError(f"server: got {line!r}, expected a line that begins with {LINE!r}")
            address = line.split("http://")[1].split(";")[0]
            ask(address, body)
            return [measure_clients(address, body, number, arguments.requests) for number in arguments.clients]
        finally:
            server.terminate()


def measure_clients(address: str, body: str, num_clients: int, num_requests: int) -> dict:
    """Measure requests of so many clients, each of which waits for its answer before it asks again."""
    before, start = batch_sums(address), time.perf_counter()
    with ThreadPoolExecutor(num_clients) as pool:
        seconds = list(pool.map(lambda _: ask(address, body), range(num_requests)))
    total = time.perf_counter() - start
    requests, batches = (after - earlier for after, earlier in zip(batch_sums(address), before))
    return summary(str(num_clients), seconds, total, requests / batches)


def summary(clients: str, seconds: list[float], total: float, mean_batch: float) -> dict:
    """Return a row of the table."""
    ordered = sorted(seconds)
    return {
        "clients": clients,
        "requests_per_second": len(seconds) / total,
        "median_seconds": statistics.median(seconds),
        "percentile_95_seconds": ordered[int(0.95 * (len(ordered) - 1))],
        "mean_batch": mean_batch,
    }


def ask(address: str, body: str) -> float:
    """Ask the server to continue a story; return the seconds that it took."""
    start = time.perf_counter()
    get(address, "POST", "/continue", body)
    return time.perf_counter() - start


def batch_sums(address: str) -> tuple[float, float]:
    """Return how many requests the model has read, and in how many batches."""
    lines = get(address, "GET", "/metrics").splitlines()
    values = {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}
    return values["storyattn_batch_size_sum"], values["storyattn_batch_size_count"]


def get(address: str, method: str, path: str, body: str | None = None) -> str:
    """Return the text of an answer; raise `ValueError` for an error."""
    connection = http.client.HTTPConnection(address)
    connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    if response.status != 200:
        raise ValueError(f"server: got {response.status}, expected 200: {text[:200]}")
    return text


def example_story(num_frames: int) -> tuple[list[Image.Image], list[str]]:
    """Return frames and captions of a story of StoryWorld."""
    story = generate_story(0, "test", num_frames=max(num_frames, 2))
    return story["frames"][:num_frames], story["captions"][:num_frames]


def as_base64(picture: Image.Image) -> str:
    """Return a picture as a PNG file in base64."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")


def _shown(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}"


if __name__ == "__main__":
    main()
