"""The documentation: links, paths, code, commands, tables and navigation of README.md, CONTRIBUTING.md and docs/."""

import argparse
import ast
import importlib
import re
import runpy
import subprocess
import sys
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import yaml
from storyattn.training import train
from storyattn.training.arguments import parse_arguments
from storyattn.training.cli import main as storyattn

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(ROOT.glob("docs/*.md"))
CARDS = sorted(ROOT.glob("checkpoints/*/README.md"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")
REPOSITORY_PATH = re.compile(r"(?:modeling|training|configuration|tests|benchmarks|demo|docs|checkpoints)/[\w./-]*")
# What the pages call; each becomes a function of the shell that writes down its arguments.
PROGRAMS = "accelerate hf make npm pip pre-commit pytest python python3 ruff sbatch source storyattn"
BRITISH = re.compile(r"licence|colour|neighbour|behaviour|normalis|initialis|\bgrey\b|\bcentre\b", re.IGNORECASE)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


class Parsed(BaseException):
    """Raised once a program has parsed its arguments, in place of going on."""


@pytest.fixture
def parse_only(monkeypatch):
    """Stop every program after it has parsed its arguments; run in the root of the repository."""
    parse = argparse.ArgumentParser.parse_args

    def stop(parser, *arguments, **options):
        parse(parser, *arguments, **options)
        raise Parsed

    def parsed(*arguments, **options):
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.setattr(train, "train", parsed)
    monkeypatch.setitem(sys.modules, "gradio", MagicMock())  # takes long to import
    monkeypatch.syspath_prepend(ROOT / "demo")
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.chdir(ROOT)
    return monkeypatch


def text_of(page: Path) -> str:
    """Return the text of a page."""
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of a page in a language."""
    return [code for name, code in FENCE.findall(text_of(page)) if name == language]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(script: str) -> list[list[str]]:
    """Return the commands that a shell script runs, each with its arguments; an unknown program fails."""
    record = f"for name in {PROGRAMS}; do eval \"$name() {{ printf '%s\\0' $name \\\"\\$@\\\" $'\\n'; }}\"; done"
    done = subprocess.run(["bash", "-c", f"PATH=\n{record}\n{script}"], capture_output=True, text=True)
    assert not done.stderr, done.stderr
    return [command.split("\0")[:-1] for command in done.stdout.split("\n\0") if command]


def inline_commands(page: Path) -> list[list[str]]:
    """Return the commands with flags that stand in a line of text."""
    spans = INLINE.findall(FENCE.sub("", text_of(page)))
    shown = [span for span in spans if " --" in span and span.split()[0] in PROGRAMS.split()]
    return [command for span in shown for command in commands(span)]


def check_command(command: list[str], monkeypatch) -> None:
    """Parse a command by its own parser; raises `ValueError` or `SystemExit` where it does not fit."""
    program, *arguments = command
    if "train.py" in arguments:
        launcher, flags = arguments[: arguments.index("train.py")], arguments[arguments.index("train.py") + 1 :]
        assert all(Path(word).is_file() for word in launcher if word.endswith(".yaml"))
        if flags != ["--help"]:
            parse_arguments(flags)
    elif program == "storyattn":
        with pytest.raises(Parsed):
            storyattn(arguments)
    elif program == "python" and arguments[0].endswith(".py"):
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(Parsed):
            runpy.run_path(arguments[0], run_name="__main__")
    elif program == "make":
        assert re.search(rf"^{arguments[0]}:", text_of(ROOT / "Makefile"), re.MULTILINE), arguments
    elif program == "pip":
        for extra in re.findall(r"\.\[(\w+)\]", " ".join(arguments)):
            assert f"\n{extra} = [" in text_of(ROOT / "pyproject.toml"), extra
    elif program == "sbatch":
        job, recipe, *_ = arguments
        assert (ROOT / job).is_file() and (ROOT / recipe).is_file()
    elif program == "pytest":
        assert all(list(ROOT.glob(word)) for word in arguments)


@pytest.mark.parametrize("page", PAGES + CARDS, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_are_alive(page):
    for target in (markdown or html for markdown, html in LINK.findall(FENCE.sub("", text_of(page)))):
        if re.match(r"https?:|mailto:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@every_page
def test_paths_and_the_names_in_them_exist(page):
    paths = [span for span in INLINE.findall(FENCE.sub("", text_of(page))) if REPOSITORY_PATH.fullmatch(span)]
    assert not [path for path in paths if not (ROOT / path).exists()]
    placed = re.findall(r"`(\w+)`\s+(?:in|of)\s+`([\w/]+\.py)`", text_of(page))
    assert not [(name, path) for name, path in placed if not re.search(rf"\b{name}\b", text_of(ROOT / path))]


@every_page
def test_python_compiles_and_its_imports_resolve(page):
    for code in blocks(page, "python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Import):
                for name in node.names:
                    importlib.import_module(name.name)
            elif isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                assert not [name.name for name in node.names if not hasattr(module, name.name)], node.module


@every_page
def test_commands_parse(page, parse_only):
    lines = [command for script in blocks(page, "bash") for command in commands(script)]
    for command in lines + inline_commands(page):
        check_command(command, parse_only)


def test_a_wrong_command_does_not_pass(parse_only):
    wrong = ["python train.py --presett tiny", "storyattn tell --model x --unknown 1", "make nothing"]
    for script in [*wrong, "python benchmarks/training.py --threads none", 'pip install -e ".[nothing]"']:
        with pytest.raises((ValueError, SystemExit, AssertionError)):
            check_command(commands(script)[0], parse_only)
    with pytest.raises(AssertionError, match="unknown"):
        commands("unknown --flag")


def test_the_readme_fits_one_page_and_its_example_runs(monkeypatch, tmp_path):
    readme = ROOT / "README.md"
    assert len(text_of(readme).splitlines()) <= 220
    (example,) = blocks(readme, "python")
    (tmp_path / "checkpoints").symlink_to(ROOT / "checkpoints")
    monkeypatch.chdir(tmp_path)
    variables = {}
    exec(compile(example, "README.md", "exec"), variables)
    story = variables["story"]
    assert story.num_given == 2 and len(story) == 4 and all(story.continuation.captions)
    assert (tmp_path / "story.png").stat().st_size > 10_000


def test_tables_and_cards_hold_the_numbers_of_the_results():
    tables = runpy.run_path(str(ROOT / "docs" / "tables.py"))
    stale = [str(path.relative_to(ROOT)) for path, text in tables["fresh_files"]().items() if text_of(path) != text]
    assert not stale, "make tables writes them anew"
    used = {name for page in PAGES for name in re.findall(r"<!-- table: (\S+) -->", text_of(page))}
    assert used == set(tables["TABLES"])
    block = "<!-- table: headline -->\n| 1 |\n<!-- end table -->"
    assert "| Measure |" in tables["fill"](block) and "| 1 |" not in tables["fill"](block)


def test_the_site_lists_every_page():
    navigation = yaml.safe_load(text_of(ROOT / "mkdocs.yml"))["nav"]
    listed = [page for section in navigation for entry in section.values() for page in entries(entry)]
    root_pages = {"index.md", "contributing.md", "changelog.md"}  # docs/hooks.py makes them
    assert sorted(listed) == sorted({path.name for path in ROOT.glob("docs/*.md")} | root_pages)
    linked = set(re.findall(r"\]\(docs/([\w.]+)", text_of(ROOT / "README.md")))
    assert set(listed) - root_pages <= linked


def entries(entry: str | list[dict]) -> list[str]:
    """Return the pages of an entry of the navigation: a page, or a section."""
    return [entry] if isinstance(entry, str) else [page for item in entry for page in item.values()]


@every_page
def test_spelling_is_american(page):
    prose = INLINE.sub("", FENCE.sub("", text_of(page)))
    assert not BRITISH.findall(re.sub(r"\]\([^)]*\)", "]", prose))


def test_versions_agree():
    version = re.search(r'^version = "(.+)"$', text_of(ROOT / "pyproject.toml"), re.MULTILINE)[1]
    citation = yaml.safe_load(text_of(ROOT / "CITATION.cff"))
    assert str(citation["version"]) == version and citation["cff-version"] == "1.2.0"
    assert f"\n## {version} - {citation['date-released']}\n" in text_of(ROOT / "CHANGELOG.md")
