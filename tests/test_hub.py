"""Publishing on a Hub, with the client of huggingface_hub, and loading what was published as a stranger does."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from conftest import draw_story, refused_line
from hub_server import HubServer
from huggingface_hub import HfApi, hf_hub_download
from safetensors.torch import load_file, save_file
from storyattn import StoryAttnForConditionalGeneration, StoryAttnProcessor
from storyattn.training import cli
from storyattn.training import train as train_module
from storyattn.training.arguments import TrainingArguments
from storyattn.training.publishing import publish as publish_module
from storyattn.training.publishing.hub import Upload, check_ref, one_reason
from storyattn.training.publishing.publish import push_to_hub
from storyattn.training.publishing.release_files import check_card, check_loads, published_files

pytestmark = pytest.mark.usefixtures("one_thread")

# Loads each of the named models, of a folder or of the Hub, and keeps what it gives.
STRANGER = """
import json, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "storyattn":
            raise ModuleNotFoundError("storyattn is not installed", name=name)

sys.meta_path.insert(0, Missing())
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
            found = {"hidden": encoder.eval()(**inputs).last_hidden_state}
            found["ids"] = model.eval().generate(**inputs, max_new_tokens=8, do_sample=False)
            found["frame"] = model.predict_next_frame(**inputs)
        tell = pipeline("story-continuation", model=repo, **options)
        told = tell({"frames": pictures, "captions": captions}, num_steps=2, return_attention=True, max_new_tokens=8)
        found["told"] = torch.tensor([list(frame.tobytes()) for frame in told["frames"]])
        found["texts"] = torch.tensor(list(" / ".join(told["captions"]).encode()))
        found["maps"] = told["spatial_attentions"][-1]
        save_file({**inputs, **{key: value.contiguous() for key, value in found.items()}}, f"{name}.safetensors")
    except Exception as error:
        errors[name] = f"{type(error).__name__}: {error}"
print(json.dumps(errors))
"""


@pytest.fixture(scope="module")
def hub():
    """A Hub that the client in this process talks to, with a token that may write to `user/`."""
    with HubServer() as server, pytest.MonkeyPatch.context() as patch:
        constants = {"ENDPOINT": server.url, "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True}
        constants["HUGGINGFACE_CO_URL_TEMPLATE"] = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        for name, value in constants.items():
            patch.setattr(f"huggingface_hub.constants.{name}", value)
        patch.setenv("HF_TOKEN", "hf_write")
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        yield server


@pytest.fixture
def unchecked(monkeypatch):
    """Publishes without the fresh process, which `run` goes through, and without waiting to try again."""
    monkeypatch.setattr(publish_module, "check_loads", lambda files: None)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)


def run_flags(output_dir, stories_folder, small_config_file, **flags) -> list[str]:
    sizes = {"train_batch_size": 4, "eval_batch_size": 4, "max_eval_windows": 4, "max_test_windows": 4}
    flags = {"config": small_config_file, "dataset": stories_folder, "output_dir": output_dir, **sizes, **flags}
    return [f"--{name}={value}" for name, value in flags.items()]


@pytest.fixture(scope="module")
def run(hub, stories_folder, small_config_file, tmp_path_factory) -> Path:
    """The folder of a run of two steps, which has published itself as `user/tale`."""
    folder = tmp_path_factory.mktemp("runs") / "tale"
    train_module.main(run_flags(folder, stories_folder, small_config_file, max_train_steps=2, push_to_hub=True))
    return folder


@pytest.fixture(scope="module")
def published(hub, run, tmp_path_factory) -> dict:
    """The same repository after a second model, in shards; the folders and commits of both."""
    first = hub.head("user/tale").oid
    second = shutil.copytree(run, tmp_path_factory.mktemp("runs") / "second")
    model = StoryAttnForConditionalGeneration.from_pretrained(run)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    (second / "model.safetensors").unlink()
    model.save_pretrained(second, max_shard_size="60KB")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish_module, "check_loads", lambda files: None)
        publish(second, "user/tale", "--tag", "v2")
        publish(run, "user/secret", "--private")
    return {"folders": (run, second), "commits": (first, hub.head("user/tale").oid)}


def publish(folder, *arguments: str) -> None:
    repo_id, *flags = arguments
    cli.main(["publish", str(folder), "--repo_id", repo_id, *flags])


def refused(folder, *arguments: str) -> str:
    """The one line with which publishing is refused."""
    return refused_line(lambda argv: publish(folder, *argv), list(arguments))


@pytest.fixture
def changed(run, tmp_path):
    """A copy of the run with weights in another file, so that they have to be uploaded."""
    folder = shutil.copytree(run, tmp_path / "changed")
    weights = folder / "model.safetensors"
    save_file(load_file(weights), weights, {"format": "pt", "of": tmp_path.name})
    return folder


# What is published


def test_training_publishes_one_commit_of_what_is_listed(hub, run):
    one = hub.repositories["user/tale"].history("main")[-2]
    assert one.title.startswith("Publish") and hub.repositories["user/tale"].commits[one.parent].parent is None
    names = {name for name in one.files if "/" not in name}
    assert {path.name for path in run.glob("*.py")} <= names
    needed = {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "modeling_storyattn.py"}
    assert names >= {*needed, "README.md", "results.json", "recipe.yaml", "metrics.jsonl", ".gitattributes"}
    figures = {f"figures/{path.name}" for path in (run / "figures").iterdir()}
    assert {name for name in one.files if "/" in name} == figures >= {"figures/evaluation.png"}
    changed = {".gitattributes", "README.md", "recipe.yaml", "results.json"}
    assert all(blob.content == (run / name).read_bytes() for name, blob in one.files.items() if name not in changed)
    sent, local = one.files["README.md"].content.decode(), (run / "README.md").read_text()
    assert 'model_id = "user/tale"' in sent and 'model_id = "."' in local, "the quick start loads what is published"
    assert (run / "checkpoints").is_dir() and "push_to_hub" not in (run / "recipe.yaml").read_text()
    assert one.files["model.safetensors"].is_lfs and not one.files["config.json"].is_lfs


def test_a_card_that_somebody_edited_is_sent_as_it_is(hub, changed, unchecked):
    with (changed / "README.md").open("a", encoding="utf-8") as card:
        card.write("\nOf my own.\n")
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
    """But its last part; the folder itself stays as it is."""
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


@pytest.mark.parametrize(("text", "found"), [("a: [", "no YAML"), ("- a", "a list")])
def test_a_recipe_that_is_none_is_refused(changed, text, found):
    (changed / "recipe_first.yaml").write_text(text)
    assert f"recipe_first.yaml: found {found}, expected a recipe" in refused(changed, "user/recipe", "--dry_run")


def test_a_second_commit_takes_away_what_the_folder_lacks(hub, published):
    repository, (first, second) = hub.repositories["user/tale"], published["commits"]
    assert repository.commits[second].parent == first != second
    assert repository.tags == {"v2": second}
    files = set(repository.commits[second].files)
    assert "model.safetensors" in repository.commits[first].files and "model.safetensors" not in files
    shards = {path.name for path in published["folders"][1].glob("model-*.safetensors")}
    assert len(shards) > 1 and files >= {*shards, "model.safetensors.index.json", ".gitattributes"}


def test_a_stranger_finds_the_same_models(hub, published, tmp_path):
    """In a process without the package, whose caches are empty: bit for bit what the folders give."""
    first, second = map(str, published["folders"])
    wanted = {
        "first": (first, {}),
        "second": (second, {}),
        "main": ("user/tale", {}),
        "pinned": ("user/tale", {"revision": published["commits"][0]}),
        "tagged": ("user/tale", {"revision": "v2"}),
        "private": ("user/secret", {"token": "hf_read"}),
        "stranger": ("user/secret", {}),
        "somebody": ("user/secret", {"token": "hf_other"}),
    }
    for name, picture in zip(("one.png", "two.png"), draw_story(3)["frames"]):
        picture.save(tmp_path / name)
    environment = {name: value for name, value in os.environ.items() if name != "HF_TOKEN"}
    environment |= {"HF_HOME": str(tmp_path / "home"), "HF_MODULES_CACHE": str(tmp_path / "modules")}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", STRANGER, json.dumps(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert not done.returncode, done.stderr[-3000:]
    errors = json.loads(done.stdout.splitlines()[-1])
    assert set(errors) == {"stranger", "somebody"} and all("user/secret" in error for error in errors.values()), errors
    found = {name: load_file(tmp_path / f"{name}.safetensors") for name in wanted if name not in errors}
    for name, local in {"main": "second", "tagged": "second", "pinned": "first", "private": "first"}.items():
        assert found[name].keys() == found[local].keys()
        assert all(torch.equal(found[name][key], found[local][key]) for key in found[local]), name
    assert not torch.equal(found["first"]["hidden"], found["second"]["hidden"])
    given = {step for step, *_, headers in hub.requests if "authorization" in headers}
    assert "commit" in given and "resolve" in given and not given & {"upload", "download"}


def test_the_librarys_own_push_to_hub_sends_what_a_stranger_loads(hub, run, tmp_path):
    """Weights in shards, processor, and the code of both."""
    model, processor = StoryAttnForConditionalGeneration.from_pretrained(run), StoryAttnProcessor.from_pretrained(run)
    model.push_to_hub("user/own", max_shard_size="60KB")
    processor.push_to_hub("user/own")
    folder = tmp_path / "own"
    for name, blob in hub.head("user/own").files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(blob.content)
    files, _ = published_files(folder)
    assert {"model.safetensors.index.json", "pipeline_storyattn.py", "fusion.py"} <= files.keys()
    check_loads(files)


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
    assert repository.branches["main"] == main and repository.find("try/one").parent == main
    assert "LICENSE" in repository.find("v1").files and repository.tags["v1"] == repository.branches["try/one"]
    assert "'v1'" in refused(run, "user/branches", "--tag", "v1")
    assert "expected a branch" in refused(run, "user/branches", "--revision", "v1")
    assert "expected a private one" in refused(run, "user/branches", "--private")


def test_a_dry_run_tells_what_is_sent_and_asks_nobody(hub, run, unchecked, tmp_path, capsys):
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


# Faults


@pytest.mark.parametrize(
    ("step", "fault", "told"),
    [
        ("upload", "drop", "broke off"),
        ("upload", 500, "status 500"),
        ("upload", "wrong_hash", "does not match its hash"),
        ("batch", 429, "too many requests"),
        ("preupload", "drop", "broke off"),
        ("commit", "drop", "broke off"),
        ("commit", 500, "status 500"),
        ("commit", 429, "too many requests"),
    ],
)
def test_a_fault_leaves_main_as_it_was_and_a_rerun_works(hub, run, changed, unchecked, step, fault, told):
    publish(run, "user/faults")
    before = hub.head("user/faults")
    hub.faults[step] = [fault] * 20
    line = refused(changed, "user/faults")
    assert told in line and "main stays as it was" in line and line.startswith("storyattn publish: ")
    assert hub.head("user/faults") is before
    hub.faults.clear()
    publish(changed, "user/faults")
    after = hub.head("user/faults")
    assert after.parent == before.oid
    assert after.files["model.safetensors"].content == (changed / "model.safetensors").read_bytes()


@pytest.mark.parametrize("fault", ["drop", 429, 500])
def test_a_passing_fault_of_an_upload_is_got_over(hub, run, changed, unchecked, fault):
    publish(run, "user/faults")
    before = hub.head("user/faults").oid
    hub.faults["upload"] = [fault]
    publish(changed, "user/faults")
    assert hub.head("user/faults").parent == before and not hub.faults["upload"]


def test_a_commit_that_came_in_between_is_kept(hub, run, changed, unchecked):
    publish(run, "user/between")
    upload = Upload("user/between", published_files(changed)[0])
    theirs = hub.repositories["user/between"].commit("main", hub.head("user/between").files, "somebody else")
    with pytest.raises(OSError, match="another commit came in between"):
        upload.send("mine")
    assert hub.head("user/between").oid == theirs


def test_a_download_goes_on_where_it_broke_off(hub, run, unchecked, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    publish(run, "user/download")
    before = len(hub.requests)
    hub.faults["download"] = ["drop"]
    path = hf_hub_download("user/download", "model.safetensors", cache_dir=tmp_path)
    assert Path(path).read_bytes() == (run / "model.safetensors").read_bytes()
    _, again = [headers for step, *_, headers in hub.requests[before:] if step == "download"]
    assert again["range"] == f"bytes={Path(path).stat().st_size // 2 // 1000 * 1000}-"


# Refusals


def test_a_token_that_may_not_write_is_told(hub, run, unchecked, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_read")
    before = len(hub.requests)
    assert "may only read" in refused(run, "user/read")
    assert [step for step, *_ in hub.requests[before:]] == ["whoami"]
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert "without the right to write to user/tale" in refused(run, "user/tale")
    assert "without the right to write to user/read" in refused(run, "user/read")
    monkeypatch.setenv("HF_TOKEN", "hf_unknown")
    assert "does not know" in refused(run, "user/read")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("storyattn.training.publishing.hub.get_token", lambda: None)
    assert "token: found none" in refused(run, "user/read")
    assert "user/read" not in hub.repositories


def test_no_network_is_told(hub, run, unchecked, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert "network: http://127.0.0.1:9 cannot be reached" in refused(run, "user/tale")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refused(run, "user/tale")


@pytest.mark.parametrize("name", ["", "a b", "a..b", "v1~", "-v", "/v", "v/", "v.", "a//b", "v.lock", "@{1}", "a:b"])
def test_a_name_that_git_refuses_is_refused_before_anything_is_sent(hub, run, name):
    before = len(hub.requests)
    for flag in ("revision", "tag"):
        assert f"{flag}: found {name!r}, expected a name" in refused(run, "user/refs", f"--{flag}={name}", "--dry_run")
    assert len(hub.requests) == before


@pytest.mark.parametrize("name", ["v1", "v1.0-rc_2", "try/one", "a@b", "Größe"])
def test_a_name_that_git_takes_is_taken(name):
    assert check_ref("tag", name) == name


def test_a_repository_that_is_not_there_is_told(hub):
    with pytest.raises(OSError, match="found no repository user/nowhere"), one_reason("user/nowhere"):
        HfApi().model_info("user/nowhere")


def test_training_that_cannot_publish_is_refused_before_it_starts(hub, stories_folder, small_config_file, tmp_path):
    def refused_run(**flags) -> str:
        return refused_line(train_module.main, run_flags(tmp_path / "run", stories_folder, small_config_file, **flags))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", "hf_read")
        assert "may only read" in refused_run(push_to_hub=True)
    assert "push_to_hub" in refused_run(push_to_hub=True, baseline="no_context")
    assert "repo_id" in refused_run(push_to_hub=True, hub_model_id="a/b/c")
    assert "hub_model_id: found user/x" in refused_run(hub_model_id="user/x")
    assert not [path for path in (tmp_path / "run").rglob("*") if path.name == "recipe.yaml"]


def test_a_run_that_could_not_publish_says_how_to(hub, run, unchecked):
    hub.faults["create"] = [500]
    told = f"storyattn publish {run} --repo_id user/later --private"
    with pytest.raises(OSError, match=f"trained but not published: .*status 500.*: {told}"):
        push_to_hub(TrainingArguments(str(run), push_to_hub=True, hub_private_repo=True), "user/later")
    cli.main(shlex.split(told)[1:])
    assert hub.repositories["user/later"].private


@pytest.fixture
def interrupted(monkeypatch):
    """Control-C in the middle of the upload, once."""

    def interrupt(*arguments, **options):
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr("huggingface_hub.HfApi.create_commit", interrupt)


def last_line(capsys) -> str:
    told = capsys.readouterr().err
    assert "Traceback" not in told
    return told.splitlines()[-1]


def test_an_interrupted_upload_is_one_line(hub, run, changed, unchecked, interrupted, capsys):
    publish(run, "user/broken", "--dry_run")
    with pytest.raises(SystemExit) as ended:
        publish(changed, "user/broken", "--tag", "v1")
    assert ended.value.code == 130 and len(hub.repositories["user/broken"].commits) == 1
    told, again = last_line(capsys).split("; to try again: ")
    assert told == "storyattn publish: broken off; user/broken has all of the commit or nothing of it"
    assert again == f"storyattn publish {changed} --repo_id user/broken --tag v1"
    cli.main(shlex.split(again)[1:])
    assert "model.safetensors" in hub.head("user/broken", "v1").files


def test_an_interrupted_upload_of_a_run_is_one_line(
    hub, stories_folder, small_config_file, unchecked, interrupted, tmp_path, capsys
):
    flags = run_flags(tmp_path / "mine", stories_folder, small_config_file, max_train_steps=1, push_to_hub=True)
    with pytest.raises(SystemExit) as ended:
        train_module.main(flags)
    assert ended.value.code == 130 and len(hub.repositories["user/mine"].commits) == 1
    told, again = last_line(capsys).split("; to try again: ")
    assert told.startswith("push_to_hub: the model is trained, publishing it was broken off; user/mine has")
    cli.main(shlex.split(again)[1:])
    assert "model.safetensors" in hub.head("user/mine").files


# Checks


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("license: mit", "license: [", "cannot be read"),
        ("license: mit\n", "", "license"),
        ("library_name: transformers", "library_name: keras", "'keras'"),
        ("- storyattn\n", "- 7\n", "tags: found 7"),
        ("value: ", "value: .nan #", "model-index"),
        ("figures/evaluation.png", "figures/none.png", "'figures/none.png'"),
    ],
)
def test_a_card_that_the_hub_would_not_take_is_refused(run, tmp_path, old, new, told):
    files, _ = published_files(run)
    check_card(files)
    text = files["README.md"].read_text()
    assert old in text
    card = tmp_path / "README.md"
    card.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match="README.md") as error:
        check_card({**files, "README.md": card})
    assert told in str(error.value)


def test_folders_that_lack_something_are_refused(changed, tmp_path):
    with pytest.raises(ValueError, match="found no folder"):
        published_files(tmp_path / "nothing")
    (changed / "model.safetensors").rename(changed / "pytorch_model.bin")
    with pytest.raises(ValueError, match="found none of model.safetensors"):
        published_files(changed)
    (changed / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}')
    with pytest.raises(ValueError, match="found no model-00001-of-00002.safetensors"):
        published_files(changed)
    (changed / "pytorch_model.bin").rename(changed / "model.safetensors")
    with pytest.raises(ValueError, match="found both of model.safetensors"):
        published_files(changed)
    (changed / "README.md").unlink()
    with pytest.raises(ValueError, match=r"found no README\.md"):
        published_files(changed)


def test_a_folder_that_a_stranger_cannot_load_is_refused(changed):
    weights = load_file(changed / "model.safetensors")
    weights.pop("spatial_attention.log_temperature", None) or weights.popitem()
    save_file(weights, changed / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="does not load in a fresh process, expected that it does: .*missing_keys"):
        check_loads(published_files(changed)[0])
