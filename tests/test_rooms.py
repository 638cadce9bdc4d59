"""The rooms of the code: who may import whom, and how large a file or a function may be. Read from the source alone."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# From the ground floor up: a room may import its own files and those of the floors below.
FLOORS = (
    {"common"},
    {"storyworld", "figures", "codraw"},
    {"data", "models", "scone"},
    {"evaluation", "inspection", "picture_books", "arguments", "telling"},
    {"engine", "serving", "export"},
    {"publishing"},
    {"model_kinds", "needs", "earlier_trainings"},
    {"train", "estimation"},
    {"cli"},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
SOURCES = [
    path
    for folder in ("modeling", "training", "demo", "benchmarks", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "__pycache__" not in path.parts
]


def imports(source: str, package: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the modules that `source`, of a file in `package`, imports by relative or `storyattn` names.

    Imports for types alone, below `if TYPE_CHECKING`, are left out.
    """
    tree, names = ast.parse(source), []
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = (*base, *(node.module or "").split("."))
            names += [tuple(filter(None, (*module, alias.name))) for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [tuple(alias.name.split(".")) for alias in node.names]
    return names


def upward_imports(source: str, path: tuple[str, ...]) -> list[str]:
    """Return the imports that lead from `path`, below `training/`, to a room of its own floor or of one above."""
    package, room = ("storyattn", "training", *path[:-1]), path[0]
    targets = [name[2] for name in imports(source, package) if name[:2] == ("storyattn", "training") and len(name) > 2]
    return [target for target in targets if target != room and FLOOR_OF[target] >= FLOOR_OF[room]]


def test_training_imports_downwards_only():
    upward = {}
    for path in (ROOT / "training").rglob("*.py"):
        parts = path.relative_to(ROOT / "training").with_suffix("").parts
        if parts != ("__init__",):
            upward[parts] = upward_imports(path.read_text(encoding="utf-8"), parts)
    assert {parts: targets for parts, targets in upward.items() if targets} == {}


def test_an_import_from_above_is_noticed():
    for line in ("from ..cli import evaluate", "from ..cli.evaluate import main", "from storyattn.training import cli"):
        assert upward_imports(line, ("data", "windows")) == ["cli"]
    assert upward_imports("from .. import train", ("data", "windows")) == ["train"]
    assert upward_imports("from ...engine.loop import METRICS", ("models", "baselines", "base")) == ["engine"]
    assert upward_imports("from ..common.errors import one_line\nfrom .sources import x", ("data", "windows")) == []


def test_an_import_for_types_may_come_from_above():
    source = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from ..arguments import DataArguments\n"
    assert upward_imports(source, ("data", "windows")) == []
    assert upward_imports(f"{source}\nfrom ..cli import data\n", ("data", "windows")) == ["cli"]


def test_the_published_files_import_one_another_and_nothing_of_training():
    for path in (ROOT / "modeling").glob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert all(name[0] != "storyattn" for name in imports(source, ("modeling",))), path.name
        levels = {node.level for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)}
        assert levels <= {0, 1}, path.name


def test_few_files_stand_directly_in_training():
    assert len(list((ROOT / "training").glob("*.py"))) <= 12


def test_a_file_and_a_function_are_read_in_one_sitting():
    sources = {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in SOURCES}
    assert [str(path) for path, source in sources.items() if len(source.splitlines()) > 400] == []
    long = [
        f"{path}: {node.name}"
        for path, source in sources.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno - node.lineno >= 45
    ]
    assert long == []
