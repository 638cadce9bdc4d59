"""`storyattn serve`: answers equal those of the model alone, requests are batched, and wrong ones are refused."""

import base64
import io
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from conftest import draw_story, refused_line
from fastapi.testclient import TestClient
from PIL import Image
from storyattn.training.cli import serve as serve_cli
from storyattn.training.serving import app as app_module
from storyattn.training.serving.app import create_app
from storyattn.training.serving.batch_queue import ClosedError
from storyattn.training.serving.limits import Limits
from storyattn.training.telling import describe_stories

STORIES = [draw_story(seed, num_frames) for seed, num_frames in ((0, 2), (1, 2), (2, 1))]


def as_png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def as_text(picture: Image.Image) -> str:
    return base64.b64encode(as_png(picture)).decode()


def body(story: dict, **more) -> dict:
    return {"frames": [as_text(frame) for frame in story["frames"]], **more}


def as_pixels(uri: str) -> np.ndarray:
    start, _, content = uri.partition(",")
    assert start == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"), dtype=int)


@pytest.fixture
def serve(small_model, small_processor):
    """Return a function that serves the small model with limits; its clients end with the test."""
    clients = []

    def start(**limits) -> TestClient:
        client = TestClient(create_app(small_model, small_processor, "small", Limits(**limits)))
        clients.append(client.__enter__())
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


def test_a_story_is_continued_as_the_model_alone_does(serve, small_model, small_processor):
    story = STORIES[0]
    client = serve()
    expected = small_model.continue_story(small_processor, story["frames"], story["captions"], 2).continuation
    answer = client.post("/continue", json=body(story, captions=story["captions"], num_steps=2)).json()
    assert answer["captions"] == [caption.strip() for caption in expected.captions]
    for uri, frame in zip(answer["frames"], expected.frames, strict=True):
        assert (as_pixels(uri) == np.asarray(frame, dtype=int)).all()


def test_pictures_are_described_as_the_model_alone_does(serve, small_model, small_processor):
    story = STORIES[1]
    (expected,) = describe_stories(small_model, small_processor, [story["frames"]], max_new_tokens=5)
    answer = serve().post("/describe", json=body(story, max_new_tokens=5))
    assert answer.json() == {"captions": expected} and len(expected) == 2


def test_search_gives_the_cosines_of_the_model(serve, small_model, small_processor):
    frames, texts = STORIES[0]["frames"] + STORIES[1]["frames"], ["A red fox.", "The owl.", "It rains."]
    answer = serve().post("/search", json={"pictures": [as_text(frame) for frame in frames], "texts": texts}).json()
    inputs = small_processor(frames=[frames[:3]], captions=[texts], return_tensors="pt")
    with torch.no_grad():
        output = small_model.base_model(**inputs)
    cosines = torch.tensor(answer["similarities"])
    assert cosines.shape == (4, 3)
    torch.testing.assert_close(cosines[:3], output.image_embeds[0] @ output.text_embeds[0].T, atol=1e-5, rtol=0)
    assert answer["texts_by_picture"] == cosines.argsort(1, descending=True).tolist()
    assert answer["pictures_by_text"] == cosines.T.argsort(1, descending=True).tolist()


def test_uploads_and_data_uris_mean_the_same_as_base64(serve):
    client, story = serve(), STORIES[0]
    captions = ["A fox.", None]
    expected = client.post("/continue", json=body(story, captions=captions)).json()
    uris = [f"data:image/png;base64,{as_text(frame)}" for frame in story["frames"]]
    assert client.post("/continue", json={"frames": uris, "captions": captions}).json() == expected
    files = [("frames", ("a.png", as_png(frame), "image/png")) for frame in story["frames"]]
    form = {"captions": ["A fox.", ""], "num_steps": "1"}
    assert client.post("/continue", files=files, data=form).json() == expected


def together(client: TestClient, bodies: list[dict], path: str = "/continue") -> list:
    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(lambda values: client.post(path, json=values), bodies))


def metric(client: TestClient, line: str) -> float:
    (found,) = [row for row in client.get("/metrics").text.splitlines() if row.startswith(f"{line} ")]
    return float(found.split()[-1])


def test_requests_that_arrive_together_are_one_batch_with_the_answers_of_each(serve):
    bodies = [body(story, captions=story["captions"]) for story in STORIES]
    alone = serve(max_batch_size=1)
    expected = [alone.post("/continue", json=values).json() for values in bodies]
    client = serve(max_batch_size=3, max_wait_ms=5000)
    answers = [answer.json() for answer in together(client, bodies)]
    assert metric(client, "storyattn_batch_size_sum") == 3 and metric(client, "storyattn_batch_size_count") == 1
    for answer, other in zip(answers, expected):
        assert answer["captions"] == other["captions"]
        assert abs(as_pixels(answer["frames"][0]) - as_pixels(other["frames"][0])).max() <= 1


def test_requests_with_other_options_are_batches_of_their_own(serve):
    client = serve(max_batch_size=3, max_wait_ms=1500)
    answers = together(client, [body(STORIES[0], num_steps=steps) for steps in (1, 2, 1)])
    assert [len(answer.json()["frames"]) for answer in answers] == [1, 2, 1]
    assert metric(client, "storyattn_batch_size_count") == 2


def test_drawn_captions_follow_their_seed_and_not_their_neighbours(serve):
    client = serve(max_batch_size=3, max_wait_ms=50)
    bodies = [body(STORIES[0], do_sample=True, temperature=2.0, seed=seed) for seed in (1, 1, 2)]
    first, same, other = (answer.json() for answer in together(client, bodies))
    assert first == same != other


def test_a_full_queue_answers_503_with_retry_after(small_model, small_processor, monkeypatch):
    begun, end = threading.Event(), threading.Event()

    def run(self, operation: object, items: list) -> list:
        begun.set()
        assert end.wait(30)
        return [["A fox."] for _ in items]

    monkeypatch.setattr(app_module.StoryModel, "run", run)
    limits = Limits(max_queue=1, max_batch_size=1)
    with TestClient(create_app(small_model, small_processor, "small", limits)) as client:
        with ThreadPoolExecutor(2) as pool:
            running = pool.submit(client.post, "/describe", json=body(STORIES[2]))
            assert begun.wait(30)
            waiting = pool.submit(client.post, "/describe", json=body(STORIES[2]))
            while client.get("/health").json()["waiting"] < 1:
                pass
            assert metric(client, "storyattn_queue_length") == 1
            refused = client.post("/describe", json=body(STORIES[2]))
            end.set()
        assert refused.status_code == 503 and refused.headers["Retry-After"] == "1"
        assert refused.json() == {"error": "queue: got 1 requests that wait, expected less; try again later"}
        assert running.result().json() == waiting.result().json() == {"captions": ["A fox."]}


LARGE = as_text(Image.new("RGB", (50, 50)))
FRAME = as_text(Image.new("RGB", (40, 30)))
REFUSED = {
    "no_frame": ({"frames": []}, 422, "frames: got [], expected another value: "),
    "nothing": ({}, 422, "frames: got nothing, expected it"),
    "captions": ({"frames": [FRAME], "captions": []}, 422, "captions: got 0, expected 1, one for each picture"),
    "a_text": ({"frames": ["no picture"]}, 422, "frames[0]: got 'no picture', expected base64 or a data URI"),
    "a_path": ({"frames": ["/etc/passwd"]}, 422, "frames[0]: got '/etc/passwd', expected base64"),
    "an_url": ({"frames": ["http://localhost/a.png"]}, 422, "frames[0]: got 'http://localhost/a.png', expected base64"),
    "no_image": ({"frames": ["AAAA"]}, 422, "frames[0]: got 3 bytes, expected an image file"),
    "pixels": ({"frames": [LARGE]}, 422, "frames[0]: got 50x50 pixels, expected at most 2000"),
    "frames": ({"frames": [LARGE] * 4}, 422, "frames: got 4 pictures, expected at most 3"),
    "steps": ({"frames": [FRAME], "num_steps": 3}, 422, "num_steps: got 3, expected at most 2"),
    "no_step": ({"frames": [FRAME], "num_steps": 0}, 422, "num_steps: got 0, expected another value: "),
    "text": ({"frames": [FRAME], "captions": ["a" * 11]}, 422, "captions[0]: got 11 characters, expected at most 10"),
    "unknown": ({"frames": [FRAME], "steps": 3}, 422, "steps: got it, expected no such field"),
    "tokens": ({"frames": [FRAME], "max_new_tokens": 10**6}, 422, "max_new_tokens: got int 1000000, expected at most "),
    "body": ({"frames": ["A" * 1_000_001]}, 413, "body: got more than 1000000 bytes"),
}


def test_what_exceeds_the_limits_is_refused_in_one_line(serve):
    limits = {"max_frames": 3, "max_steps": 2, "max_text_length": 10, "max_body_mb": 1, "max_pixels": 2000}
    client = serve(**limits)
    for values, status, message in REFUSED.values():
        answer = client.post("/continue", json=values)
        assert answer.status_code == status, values
        assert answer.json()["error"].startswith(message), answer.json()
        assert len(answer.json()["error"].splitlines()) == 1
    assert metric(client, 'storyattn_errors_total{endpoint="/continue",status="413"}') == 1


def test_other_bodies_and_paths_are_refused_as_json(serve):
    client = serve(max_body_mb=1)
    for content, kind, status, message in (
        (b"{", "application/json", 400, "body: got no JSON"),
        (b"[]", "application/json", 422, "body: got [], expected another value"),
        (b"frames", "text/plain", 415, "content-type: got text/plain, expected application/json or multipart"),
        (iter([b"x" * 600_000] * 2), "application/json", 413, "body: got more than 1000000 bytes"),
        (b"--a", "multipart/form-data", 400, "/describe: "),
    ):
        answer = client.post("/describe", content=content, headers={"content-type": kind})
        assert answer.status_code == status and answer.json()["error"].startswith(message), answer.text
    assert client.get("/nowhere").json() == {"error": "/nowhere: Not Found"}
    assert client.get("/describe").status_code == 405


def test_a_fault_of_one_story_does_not_fail_those_read_with_it(small_model, small_processor, monkeypatch):
    def run(self, operation: object, items: list) -> list:
        if any(len(story.frames) == 1 for story in items):
            raise ValueError("frames: got 1, expected 2")
        return [["A fox."] for _ in items]

    monkeypatch.setattr(app_module.StoryModel, "run", run)
    limits = Limits(max_batch_size=3, max_wait_ms=5000)
    with TestClient(create_app(small_model, small_processor, "small", limits)) as client:
        answers = together(client, [body(story) for story in STORIES], "/describe")
    assert [answer.status_code for answer in answers] == [200, 200, 422]
    assert answers[2].json() == {"error": "frames: got 1, expected 2"}


def test_an_unexpected_error_is_counted_and_tells_no_secret(small_model, small_processor, monkeypatch):
    def run(self, operation: object, items: list) -> list:
        raise RuntimeError("secret")

    monkeypatch.setattr(app_module.StoryModel, "run", run)
    with TestClient(create_app(small_model, small_processor)) as client:
        answer = client.post("/describe", json=body(STORIES[0]))
        assert answer.status_code == 500 and "secret" not in answer.text and answer.json()["error"]
        assert metric(client, 'storyattn_errors_total{endpoint="/describe",status="500"}') == 1


def test_health_and_documentation(serve):
    client = serve()
    health = client.get("/health").json()
    assert health == {
        "status": "ok",
        "model": "small",
        "device": "cpu",
        "image_size": [32, 48],
        "max_frames": 3,
        "waiting": 0,
    }
    paths = client.get("/openapi.json").json()["paths"]
    for path in ("/continue", "/describe", "/search"):
        content = paths[path]["post"]["requestBody"]["content"]
        assert set(content) == {"application/json", "multipart/form-data"}
        answer = client.post(path, json=content["application/json"]["example"])
        assert answer.status_code == 200, answer.text


def test_requests_that_wait_are_answered_before_the_server_ends(small_model, small_processor):
    app = create_app(small_model, small_processor, "small", Limits(max_batch_size=8, max_wait_ms=600_000))
    with TestClient(app) as client, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.post, "/describe", json=body(STORIES[2]))
        while client.get("/health").json()["waiting"] < 1:
            pass
        app.state.server.queue.close()
        assert waiting.result().status_code == 200
        assert client.post("/describe", json=body(STORIES[2])).status_code == 503


def test_the_queue_ends_with_the_server(small_model, small_processor):
    app = create_app(small_model, small_processor)
    with TestClient(app) as client:
        assert client.get("/health").status_code == 200
    with pytest.raises(ClosedError):
        app.state.server.queue.submit("describe", None)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--port", "99999"), "port: got 99999, expected a whole number from 0 to 65535"),
        (("--max_queue", "0"), "max_queue: got 0, expected at least 1"),
        (("--host", "nowhere.invalid", "--port", "0"), "host and port: got nowhere.invalid and 0, expected an address"),
        (("--port", "0"), "model: got '/nowhere/model', expected a folder"),
    ],
)
def test_wrong_flags_are_refused_before_a_model_is_loaded(flags, message):
    assert message in refused_line(serve_cli.main, ["/nowhere/model", *flags])


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(serve_cli, "find_spec", lambda name: None if name == "uvicorn" else object())
    line = refused_line(serve_cli.main, ["/nowhere/model"])
    assert line == "storyattn serve: serve: got no package uvicorn, expected it: pip install 'storyattn[serve]'"
