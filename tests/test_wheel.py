"""The wheel: what `pip install .` leaves works outside of the checkout."""

import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COPIED = ("modeling", "training", "configuration", "pyproject.toml", "README.md", "LICENSE", "model_card.md")
CHECK = """
import sys
sys.path.insert(0, sys.argv[1])
import storyattn
assert storyattn.__file__.startswith(sys.argv[1]), storyattn.__file__
from importlib.metadata import entry_points, version
from storyattn.training import cli
from storyattn.training.evaluation.caption_metrics import text_scores
from storyattn.training.models.presets import load_preset, preset_names
from storyattn.training.storyworld import generate_story
for name in preset_names():
    load_preset(name)
print(sorted(preset_names()), version("storyattn"))
print(generate_story(0, "train")["captions"][0])
assert text_scores(["The fox naps."], ["The fox naps."])["chrf"] == 100
for command in cli.COMMANDS:
    try:
        cli.main([command, "--help"])
    except SystemExit as ended:
        assert not ended.code, command
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of a copy of what it is made of; nothing is downloaded."""
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("not installed: setuptools, which builds the wheel")
    source = tmp_path_factory.mktemp("source")
    for name in COPIED:
        kind = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        kind(ROOT / name, source / name)
    build = "from setuptools.build_meta import build_wheel; print(build_wheel('dist'))"
    (source / "dist").mkdir()
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (built,) = (source / "dist").glob("*.whl")
    return built


def test_it_holds_all_packages_and_what_they_read(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in ROOT.glob("training/**/*.py"):
        assert f"storyattn/{path.relative_to(ROOT).as_posix()}" in names
    for path in (*ROOT.glob("configuration/*.json"), *ROOT.glob("configuration/*/*.yaml")):
        assert f"storyattn/{path.relative_to(ROOT).as_posix()}" in names
    assert any(name.endswith("share/storyattn/model_card.md") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "demo/"))]


@pytest.mark.slow
def test_it_works_where_the_checkout_is_not(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    command = [sys.executable, "-c", CHECK, str(tmp_path / "installed")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "['base', 'small', 'tiny']" in done.stdout and "usage: storyattn publish" in done.stdout
