"""A run is published on a Hub, by the client of huggingface_hub, and loaded from there as a stranger does."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from conftest import draw_story
from fresh_process import run_without_package
from hub_client import copy_with_other_weights, publish, reachable_hub, refused, skip_checks
from huggingface_hub import parse_eval_result_entries
from safetensors.torch import load_file
from storyattn import StoryAttnForConditionalGeneration, StoryAttnProcessor
from storyattn.training.publishing.release_files import published_files

pytestmark = pytest.mark.usefixtures("one_thread")

# Loads each of the named models, from a folder or from the Hub, and stores its outputs.
STRANGER = """
import json, sys

import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoModel, AutoModelForImageTextToText, AutoProcessor, pipeline

torch.set_num_threads(1)
pictures, captions = [Image.open("one.png"), Image.open("two.png")], ["The red fox walks to the left.", None]
errors = {}
for name, (repo, options) in json.loads(sys.argv[1]).items():
    options["trust_remote_code"] = True
    try:
        processor = AutoProcessor.from_pretrained(repo, **options)
        inputs = processor(frames=[pictures], captions=[captions], return_tensors="pt")
        encoder, model = (auto.from_pretrained(repo, **options) for auto in (AutoModel, AutoModelForImageTextToText))
        with torch.no_grad():
            outputs = {"hidden": encoder.eval()(**inputs).last_hidden_state}
            outputs["ids"] = model.eval().generate(**inputs, max_new_tokens=8, do_sample=False)
            outputs["frame"] = model.predict_next_frame(**inputs)
        pipe, story = pipeline("story-continuation", model=repo, **options), {"frames": pictures, "captions": captions}
        continuation = pipe(story, num_steps=2, return_attention=True, max_new_tokens=8)
        outputs["frames"] = torch.tensor([list(frame.tobytes()) for frame in continuation["frames"]])
        outputs["captions"] = torch.tensor(list(" / ".join(continuation["captions"]).encode()))
        outputs["maps"] = continuation["spatial_attentions"][-1]
        save_file({**inputs, **{key: value.contiguous() for key, value in outputs.items()}}, f"{name}.safetensors")
    except Exception as error:
        errors[name] = f"{type(error).__name__}: {error}"
print(json.dumps(errors))
"""


@pytest.fixture(scope="module")
def hub():
    with reachable_hub() as server:
        yield server


@pytest.fixture
def unchecked(monkeypatch):
    skip_checks(monkeypatch)


@pytest.fixture(scope="module")
def run(hub, launch, tmp_path_factory) -> Path:
    """The folder of a run of two steps, which has published itself as `user/tale`."""
    folder = tmp_path_factory.mktemp("runs") / "tale"
    launch(folder, max_train_steps=2, push_to_hub=True)
    return folder


@pytest.fixture(scope="module")
def published(hub, run, tmp_path_factory) -> dict:
    """The same repository after a second model, in shards; the folders and commits of both.

    `user/secret` is private, `user/pushed` is what `push_to_hub` of the library sends; both have the first model.
    """
    first = hub.head("user/tale").oid
    second = shutil.copytree(run, tmp_path_factory.mktemp("runs") / "second")
    model = StoryAttnForConditionalGeneration.from_pretrained(run)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    (second / "model.safetensors").unlink()
    model.save_pretrained(second, max_shard_size="60KB")
    with pytest.MonkeyPatch.context() as patch:
        skip_checks(patch)
        publish(second, "user/tale", "--tag", "v2")
        publish(run, "user/secret", "--private")
    StoryAttnForConditionalGeneration.from_pretrained(run).push_to_hub("user/pushed", max_shard_size="60KB")
    StoryAttnProcessor.from_pretrained(run).push_to_hub("user/pushed")
    return {"folders": (run, second), "commits": (first, hub.head("user/tale").oid)}


@pytest.fixture
def changed(run, tmp_path) -> Path:
    return copy_with_other_weights(run, tmp_path / "changed")


def test_training_publishes_a_commit_of_what_is_listed_and_pins_the_card_to_it(hub, run):
    commit = hub.repositories["user/tale"].history("main")[-2]
    pinned = hub.repositories["user/tale"].history("main")[-3]
    assert pinned.title == f"Pin the quick start to {commit.oid[:10]}"
    assert f'revision="{commit.oid}", code_revision="{commit.oid}"' in pinned.files["README.md"].content.decode()
    assert {**pinned.files, "README.md": None} == {**commit.files, "README.md": None}
    assert commit.title.startswith("Publish") and hub.repositories["user/tale"].commits[commit.parent].parent is None
    names = {name for name in commit.files if "/" not in name}
    assert {path.name for path in run.glob("*.py")} <= names
    needed = {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "modeling_storyattn.py"}
    assert names >= {*needed, "README.md", "results.json", "recipe.yaml", "metrics.jsonl", ".gitattributes"}
    figures = {f"figures/{path.name}" for path in (run / "figures").iterdir()}
    assert figures >= {"figures/evaluation.png", "figures/story_1.png"}
    function = {"custom_generate/generate.py", "custom_generate/README.md"}
    assert {name for name in commit.files if "/" in name} == figures | function, "the data set is not on the Hub"
    changed = {".gitattributes", "README.md", "recipe.yaml", "results.json"}
    assert all(blob.content == (run / name).read_bytes() for name, blob in commit.files.items() if name not in changed)
    sent, local = commit.files["README.md"].content.decode(), (run / "README.md").read_text()
    assert 'from_pretrained("user/tale", trust' in sent and 'from_pretrained(".", trust' in local
    assert "<Gallery />" in sent and "<Gallery />" not in local and "](figures/story_1.png)" in local
    assert (run / "checkpoints").is_dir() and "push_to_hub" not in (run / "recipe.yaml").read_text()
    assert commit.files["model.safetensors"].is_lfs and not commit.files["config.json"].is_lfs


def test_a_card_that_somebody_edited_is_sent_as_it_is(hub, changed, unchecked):
    with (changed / "README.md").open("a", encoding="utf-8") as card:
        card.write("\nAnother paragraph.\n")
    publish(changed, "user/edited")
    sent = hub.head("user/edited").files["README.md"].content
    paths = read_flags(changed)["dataset"], read_flags(changed)["config"]
    expected = (changed / "README.md").read_text()
    for path in (*paths, json.loads((changed / "results.json").read_text())["model"]):
        expected = expected.replace(path, Path(path).name)
    assert sent.decode() == expected and b"user/edited" not in sent


def read_flags(folder: Path) -> dict:
    return yaml.safe_load((folder / "recipe.yaml").read_text())


def test_no_path_of_this_machine_is_sent(hub, changed, unchecked, capsys):
    """The last part of a path alone is sent; the folder itself stays as it is."""
    local = [read_flags(changed)[name] for name in ("dataset", "config")]
    odd = "/jane's home/my stories/tales"
    for name, key in (("recipe.yaml", "dataset"), ("results.json", "dataset")):
        text = (changed / name).read_text()
        assert local[0] in text
        (changed / name).write_text(text.replace(f'"{key}": "{local[0]}"', f'"{key}": "{odd}"'))
    with (changed / "recipe_first.yaml").open("w") as recipe:
        yaml.safe_dump({"dataset": odd, "config_overrides": "perceptual_model=/models/eyes", "seed": 1}, recipe)
    before = {name: (changed / name).read_bytes() for name in ("recipe.yaml", "results.json", "README.md")}
    publish(changed, "user/paths")
    files = hub.head("user/paths").files
    for name in ("recipe.yaml", "recipe_first.yaml", "results.json", "README.md"):
        text = files[name].content.decode()
        assert not [path for path in (*local, odd, "jane", "/models", "/tmp") if path in text], name
    flags = yaml.safe_load(files["recipe_first.yaml"].content)
    assert flags == {"config_overrides": "perceptual_model=eyes", "dataset": "tales", "seed": 1}
    results = json.loads(files["results.json"].content)
    assert results["dataset"] == "tales" and f"--dataset={Path(local[0]).name}" in results["command"].split()
    assert results["metrics"] == json.loads(before["results.json"])["metrics"]
    assert all((changed / name).read_bytes() == content for name, content in before.items())
    listed = capsys.readouterr().out.split("local paths are sent as their last part: ")[1].splitlines()[0]
    assert odd in listed and "/models/eyes" in listed and local[1] in listed


def test_a_second_commit_takes_away_what_the_folder_lacks(hub, published):
    repository, (first, second) = hub.repositories["user/tale"], published["commits"]
    assert repository.history("main")[2].oid == first != second
    assert first not in repository.commits[second].files["README.md"].content.decode(), "the pin is the new one"
    assert repository.tags == {"v2": second}
    files = set(repository.commits[second].files)
    assert "model.safetensors" in repository.commits[first].files and "model.safetensors" not in files
    shards = {path.name for path in published["folders"][1].glob("model-*.safetensors")}
    assert len(shards) > 1 and files >= {*shards, "model.safetensors.index.json", ".gitattributes"}


def test_a_stranger_finds_the_same_models(hub, published, tmp_path):
    """In a process without the package, whose caches are empty: bit for bit what the folders give."""
    first, second = map(str, published["folders"])
    sources = {
        "first": (first, {}),
        "second": (second, {}),
        "main": ("user/tale", {}),
        "pinned": ("user/tale", {"revision": published["commits"][0]}),
        "tagged": ("user/tale", {"revision": "v2"}),
        "pushed": ("user/pushed", {}),
        "private": ("user/secret", {"token": "hf_read"}),
        "stranger": ("user/secret", {}),
        "somebody": ("user/secret", {"token": "hf_other"}),
    }
    for name, picture in zip(("one.png", "two.png"), draw_story(3)["frames"]):
        picture.save(tmp_path / name)
    environment = {"HF_TOKEN": "", "HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.url}
    environment |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    printed = run_without_package(STRANGER, tmp_path, json.dumps(sources), **environment)
    errors = json.loads(printed.splitlines()[-1])
    assert set(errors) == {"stranger", "somebody"} and all("user/secret" in error for error in errors.values()), errors
    outputs = {name: load_file(tmp_path / f"{name}.safetensors") for name in sources if name not in errors}
    same = {"main": "second", "tagged": "second", "pinned": "first", "private": "first", "pushed": "first"}
    for name, local in same.items():
        assert outputs[name].keys() == outputs[local].keys()
        assert all(torch.equal(outputs[name][key], outputs[local][key]) for key in outputs[local]), name
    assert not torch.equal(outputs["first"]["hidden"], outputs["second"]["hidden"])
    with_token = {step for step, *_, headers in hub.requests if "authorization" in headers}
    assert "commit" in with_token and "resolve" in with_token and not with_token & {"upload", "download"}


def test_push_to_hub_of_the_library_sends_all_that_is_needed(hub, published, tmp_path):
    """Weights in shards, processor, and the code of both; that a stranger finds the same model is the test above."""
    for name, blob in hub.head("user/pushed").files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(blob.content)
    files, _ = published_files(tmp_path)
    assert {"model.safetensors.index.json", "pipeline_storyattn.py", "fusion.py"} <= files.keys()


def test_the_same_once_more_is_no_commit_and_a_branch_leaves_main(hub, run, unchecked, capsys):
    publish(run, "user/branches")
    main = hub.head("user/branches").oid
    publish(run, "user/branches")
    assert hub.head("user/branches").oid == main and "nothing has changed" in capsys.readouterr().out
    (run / "LICENSE").write_text("MIT")
    try:
        publish(run, "user/branches", "--revision", "try/one", "--tag", "v1")
    finally:
        (run / "LICENSE").unlink()
    repository = hub.repositories["user/branches"]
    assert repository.branches["main"] == main and repository.history("try/one")[2].oid == main
    assert "LICENSE" in repository.find("v1").files and repository.tags["v1"] == repository.branches["try/one"]
    assert "'v1'" in refused(run, "user/branches", "--tag", "v1")
    assert "expected a branch" in refused(run, "user/branches", "--revision", "v1")
    assert "expected a private one" in refused(run, "user/branches", "--private")


def test_a_dry_run_lists_what_is_sent_and_uses_no_network(hub, run, unchecked, tmp_path, capsys):
    folder = shutil.copytree(run, tmp_path / "run")
    stray = ("pytorch_model.bin", "events.log", "notes.py", "model-00001-of-00002.safetensors", "logs/one.txt")
    for name in stray:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    (folder / "recipe_first.yaml").write_text("seed: 1")
    before = len(hub.requests)
    publish(folder, "user/dry", "--dry_run")
    sent, _, left = capsys.readouterr().out.partition("left out: ")
    assert len(hub.requests) == before and "user/dry" not in hub.repositories
    assert "  model.safetensors " in sent and "  figures/evaluation.png " in sent and "  recipe_first.yaml " in sent
    for name in (*stray[:-1], "logs/ (1 file)", "checkpoints/ ("):
        assert name in left and name not in sent


def test_a_collection_gets_the_model_once(hub, run, unchecked, capsys):
    publish(run, "user/shelf", "--collection", "Picture stories")
    (slug,) = [slug for slug, one in hub.collections.items() if one["title"] == "Picture stories"]
    assert f"/collections/{slug}" in capsys.readouterr().out
    for name in ("Picture stories", slug):
        publish(run, "user/shelf", "--collection", name)
    publish(run, "user/shelf-2", "--collection", slug)
    assert [(item["id"], item["type"]) for item in hub.collections[slug]["items"]] == [
        ("user/shelf", "model"),
        ("user/shelf-2", "model"),
    ]
    assert "collection: got 'user/shelf', expected a slug" in refused(run, "user/shelf", "--collection", "user/shelf")
    before = hub.head("user/shelf").oid
    missing = f"user/none-{'0' * 24}"
    assert missing in refused(run, "user/shelf", "--collection", missing) and hub.head("user/shelf").oid == before


def test_the_benchmark_and_the_newer_version_are_sent_by_flags(hub, run, changed, unchecked):
    flags = ["--benchmark", "user/world", "--new_version", "user/tale-2"]
    publish(run, "user/measured", *flags)
    files = hub.head("user/measured").files
    (name,) = [name for name in files if name.startswith(".eval_results/")]
    entries = parse_eval_result_entries(yaml.safe_load(files[name].content))
    results = json.loads((run / "results.json").read_text())
    values = {entry.task_id: entry.value for entry in entries}
    assert values["test_next_frame_l1"] == results["metrics"]["next_frame"]["l1"]
    assert {(entry.dataset_id, entry.source_user, entry.date) for entry in entries} == {
        ("user/world", "user", results["date"])
    }
    assert "new_version: user/tale-2\n" in files["README.md"].content.decode()
    assert "new_version: got 'x', expected user/name" in refused(run, "user/measured", "--new_version", "x")
    with (changed / "README.md").open("a", encoding="utf-8") as card:
        card.write("\nAnother paragraph.\n")
    assert "README.md that was edited" in refused(changed, "user/measured", *flags)
