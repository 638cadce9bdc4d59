"""What of a folder is published, and which folders and cards are refused before anything is sent."""

import shutil
from pathlib import Path

import pytest
from hub_client import refused, write_release
from safetensors.torch import load_file, save_file
from storyattn.training.publishing.release_files import check_card, check_loads, published_files


@pytest.fixture(scope="module")
def release(small_processor, tmp_path_factory) -> Path:
    """A folder such as training leaves; nothing may be written there."""
    return write_release(tmp_path_factory.mktemp("releases") / "tale", small_processor)


@pytest.fixture
def folder(release, tmp_path) -> Path:
    """A copy of it."""
    return shutil.copytree(release, tmp_path / "copy")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("license: mit", "license: [", "cannot be read"),
        ("license: mit\n", "", "license"),
        ("library_name: transformers", "library_name: keras", "'keras'"),
        ("- storyattn\n", "- 7\n", "tags: got 7"),
        ("value: ", "value: .nan #", "model-index"),
        ("figures/evaluation.png", "figures/none.png", "'figures/none.png'"),
    ],
)
def test_a_card_that_the_hub_would_not_take_is_refused(release, tmp_path, old, new, message):
    files, _ = published_files(release)
    check_card(files)
    text = files["README.md"].read_text()
    assert old in text
    card = tmp_path / "README.md"
    card.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match="README.md") as error:
        check_card({**files, "README.md": card})
    assert message in str(error.value)


@pytest.mark.parametrize(("text", "content"), [("a: [", "no YAML"), ("- a", "a list")])
def test_a_recipe_that_is_no_mapping_is_refused(folder, text, content):
    (folder / "recipe_first.yaml").write_text(text)
    assert f"recipe_first.yaml: got {content}, expected a recipe" in refused(folder, "user/recipe", "--dry_run")


def test_folders_that_lack_something_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="folder: got '.*nothing', expected the folder of a trained model"):
        published_files(tmp_path / "nothing")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="got none of model.safetensors"):
        published_files(folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}')
    with pytest.raises(ValueError, match="without model-00001-of-00002.safetensors"):
        published_files(folder)
    (folder / "pytorch_model.bin").rename(folder / "model.safetensors")
    with pytest.raises(ValueError, match="got both of model.safetensors"):
        published_files(folder)
    (folder / "README.md").unlink()
    with pytest.raises(ValueError, match=r"without README\.md"):
        published_files(folder)


def test_a_folder_that_a_stranger_cannot_load_is_refused(folder):
    weights = load_file(folder / "model.safetensors")
    weights.pop("spatial_attention.log_temperature", None) or weights.popitem()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="does not load in a fresh process, expected one that does: .*missing_keys"):
        check_loads(published_files(folder)[0])
