"""Publishing where something goes wrong: faults of the network and the Hub, refusals, and control-C."""

import shlex
from pathlib import Path

import pytest
from conftest import refused_line
from hub_client import (
    copy_with_other_weights,
    publish,
    reachable_hub,
    refused,
    skip_checks,
    write_release,
)
from huggingface_hub import HfApi, hf_hub_download
from storyattn.training import cli
from storyattn.training.arguments import TrainingArguments
from storyattn.training.publishing.hub import Upload, check_ref, one_reason
from storyattn.training.publishing.publish import push_to_hub
from storyattn.training.publishing.release_files import published_files

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def hub():
    with reachable_hub() as server:
        yield server


@pytest.fixture(autouse=True)
def unchecked(monkeypatch):
    skip_checks(monkeypatch)


@pytest.fixture(scope="module")
def release(small_processor, tmp_path_factory) -> Path:
    """A folder such as training leaves."""
    return write_release(tmp_path_factory.mktemp("releases") / "tale", small_processor)


@pytest.fixture
def changed(release, tmp_path) -> Path:
    return copy_with_other_weights(release, tmp_path / "changed")


# Faults


@pytest.mark.parametrize(
    ("step", "fault", "message"),
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
def test_a_fault_leaves_main_as_it_was_and_a_rerun_works(hub, release, changed, step, fault, message):
    publish(release, "user/faults")
    before = hub.head("user/faults")
    hub.faults[step] = [fault] * 20
    line = refused(changed, "user/faults")
    assert message in line and "main stays as it was" in line and line.startswith("storyattn publish: ")
    assert hub.head("user/faults") is before
    hub.faults.clear()
    publish(changed, "user/faults")
    after = hub.head("user/faults")
    assert hub.repositories["user/faults"].history("main")[2] is before
    assert after.files["model.safetensors"].content == (changed / "model.safetensors").read_bytes()


def test_a_card_that_could_not_be_pinned_is_pinned_by_a_rerun(hub, changed, capsys):
    hub.faults["commit"] = [None, *[500] * 20]
    line = refused(changed, "user/unpinned", "--tag", "v1")
    sent = hub.head("user/unpinned")
    assert f"main has the commit {sent.oid[:10]}, whose README.md is not up to date, and the command can be" in line
    assert "model.safetensors" in sent.files and not hub.repositories["user/unpinned"].tags
    hub.faults.clear()
    publish(changed, "user/unpinned", "--tag", "v1")
    pinned = hub.head("user/unpinned", "v1")
    assert pinned.parent == sent.oid and f'revision="{sent.oid}"'.encode() in pinned.files["README.md"].content


@pytest.mark.parametrize("fault", ["drop", 429, 500])
def test_an_upload_survives_a_passing_fault(hub, release, changed, fault):
    publish(release, "user/faults")
    before = hub.head("user/faults").oid
    hub.faults["upload"] = [fault]
    publish(changed, "user/faults")
    assert hub.repositories["user/faults"].history("main")[2].oid == before and not hub.faults["upload"]


def test_a_commit_that_came_in_between_is_not_overwritten(hub, release, changed):
    publish(release, "user/between")
    upload = Upload("user/between", published_files(changed)[0])
    theirs = hub.repositories["user/between"].commit("main", hub.head("user/between").files, "somebody else")
    with pytest.raises(OSError, match="another commit came in between"):
        upload.send("mine")
    assert hub.head("user/between").oid == theirs


def test_a_download_goes_on_where_it_broke_off(hub, release, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    publish(release, "user/download")
    before = len(hub.requests)
    hub.faults["download"] = ["drop"]
    path = hf_hub_download("user/download", "model.safetensors", cache_dir=tmp_path)
    assert Path(path).read_bytes() == (release / "model.safetensors").read_bytes()
    _, again = [headers for step, *_, headers in hub.requests[before:] if step == "download"]
    assert again["range"] == f"bytes={Path(path).stat().st_size // 2 // 1000 * 1000}-"


# Refusals


def test_a_token_that_may_not_write_is_refused(hub, release, monkeypatch):
    publish(release, "user/tale")
    monkeypatch.setenv("HF_TOKEN", "hf_read")
    before = len(hub.requests)
    assert "may only read" in refused(release, "user/read")
    assert [step for step, *_ in hub.requests[before:]] == ["whoami"]
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert "without the right to write to user/tale" in refused(release, "user/tale")
    assert "without the right to write to user/read" in refused(release, "user/read")
    monkeypatch.setenv("HF_TOKEN", "hf_unknown")
    assert "does not know" in refused(release, "user/read")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("storyattn.training.publishing.hub.get_token", lambda: None)
    assert "token: got none" in refused(release, "user/read")
    assert "user/read" not in hub.repositories


def test_a_missing_network_is_one_line(hub, release, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert "network: http://127.0.0.1:9 cannot be reached" in refused(release, "user/tale")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refused(release, "user/tale")


@pytest.mark.parametrize("name", ["", "a b", "a..b", "v1~", "-v", "/v", "v/", "v.", "a//b", "v.lock", "@{1}", "a:b"])
def test_a_name_that_git_refuses_is_refused_before_anything_is_sent(hub, release, name):
    before = len(hub.requests)
    for flag in ("revision", "tag"):
        line = refused(release, "user/refs", f"--{flag}={name}", "--dry_run")
        assert f"{flag}: got {name!r}, expected a name" in line
    assert len(hub.requests) == before


@pytest.mark.parametrize("name", ["v1", "v1.0-rc_2", "try/one", "a@b", "Größe"])
def test_a_name_that_git_takes_is_taken(name):
    assert check_ref("tag", name) == name


def test_a_missing_repository_is_named(hub):
    with pytest.raises(OSError, match="repo_id: got user/nowhere, expected a repo"), one_reason("user/nowhere"):
        HfApi().model_info("user/nowhere")


def test_training_that_cannot_publish_is_refused_before_it_starts(hub, launch, tmp_path):
    def refused_run(**flags) -> str:
        return refused_line(lambda argv: launch(tmp_path / "run", **flags), [])

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", "hf_read")
        assert "may only read" in refused_run(push_to_hub=True)
    assert "push_to_hub" in refused_run(push_to_hub=True, baseline="no_context")
    assert "repo_id" in refused_run(push_to_hub=True, hub_model_id="a/b/c")
    assert "hub_model_id: got user/x" in refused_run(hub_model_id="user/x")
    line = refused_run(push_to_hub=True, hub_model_id="somebody/x")
    assert "repo_id: got 'somebody/x', expected a repository of user, whose token it is" in line
    HfApi().create_repo("user/open")
    line = refused_run(push_to_hub=True, hub_model_id="user/open", hub_private_repo=True)
    assert "private: got the public repository user/open, expected a private one" in line
    assert not [path for path in (tmp_path / "run").rglob("*") if path.name == "recipe.yaml"]


def test_a_run_that_could_not_publish_says_how_to(hub, release):
    hub.faults["create"] = [500]
    command = f"storyattn publish {release} --repo_id user/later --private"
    with pytest.raises(OSError, match=f"trained but not published: .*status 500.*: {command}"):
        push_to_hub(TrainingArguments(str(release), push_to_hub=True, hub_private_repo=True), "user/later")
    cli.main(shlex.split(command)[1:])
    assert hub.repositories["user/later"].private


@pytest.fixture
def interrupted():
    """Control-C in the middle of the upload, once."""
    with pytest.MonkeyPatch.context() as patch:

        def interrupt(*arguments, **options):
            patch.undo()
            raise KeyboardInterrupt

        patch.setattr("huggingface_hub.HfApi.create_commit", interrupt)
        yield


def last_line(capsys) -> str:
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    return printed.splitlines()[-1]


def test_an_interrupted_upload_is_one_line(hub, release, changed, interrupted, capsys):
    publish(release, "user/broken", "--dry_run")
    with pytest.raises(SystemExit) as ended:
        publish(changed, "user/broken", "--tag", "v1")
    assert ended.value.code == 130 and len(hub.repositories["user/broken"].commits) == 1
    outcome, again = last_line(capsys).split("; to try again: ")
    assert outcome == "storyattn publish: broken off; user/broken has all of the commit or nothing of it"
    assert again == f"storyattn publish {changed} --repo_id user/broken --tag v1"
    cli.main(shlex.split(again)[1:])
    assert "model.safetensors" in hub.head("user/broken", "v1").files


def test_an_interrupted_upload_of_a_run_is_one_line(hub, launch, interrupted, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        launch(tmp_path / "mine", max_train_steps=1, push_to_hub=True)
    assert ended.value.code == 130 and len(hub.repositories["user/mine"].commits) == 1
    outcome, again = last_line(capsys).split("; to try again: ")
    assert outcome.startswith("push_to_hub: the model is trained, publishing it was broken off; user/mine has")
    cli.main(shlex.split(again)[1:])
    assert "model.safetensors" in hub.head("user/mine").files
