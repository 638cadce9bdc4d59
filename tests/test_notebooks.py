"""The notebooks run from top to bottom in a fresh kernel, and lie in the repository without outputs."""

import importlib.util
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))

missing = [name for name in ("nbclient", "ipykernel") if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@pytest.fixture
def read():
    """Read a notebook of the current format."""
    import nbformat

    return lambda path: nbformat.read(path, as_version=4)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_lies_here_without_outputs(path, read):
    cells = [cell for cell in read(path).cells if cell.cell_type == "code"]
    assert cells and all(cell.outputs == [] and cell.execution_count is None for cell in cells)


@pytest.mark.slow
def test_three_pictures_run_from_top_to_bottom(read, tmp_path):
    from nbclient import NotebookClient

    (tmp_path / "checkpoints").symlink_to(ROOT / "checkpoints")
    notebook = read(ROOT / "notebooks" / "your_three_pictures.ipynb")
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [output.data["text/html"].count("<figure") for output in outputs if "text/html" in output.get("data", {})]
    # The pictures, the story, its descriptions, the four best, the attention, another continuation, three futures.
    assert shown == [3, 6, 3, 4, 5, 2, 15]
    printed = [output.text for output in outputs if output.get("name") == "stdout"]
    assert "\n6. (written) " in printed[0] and printed[-1].count("(written)") == 3
    for name, pages in (("story.gif", 6), ("second_future.gif", 6)):
        with Image.open(tmp_path / name) as animation:
            assert animation.n_frames == pages
    assert {path.suffix for path in tmp_path.glob("story.*")} == {".png", ".gif", ".pdf", ".html"}


@pytest.mark.slow
def test_forty_pictures_run_from_top_to_bottom(read, tmp_path):
    from nbclient import NotebookClient

    (tmp_path / "checkpoints").symlink_to(ROOT / "checkpoints")
    notebook = read(ROOT / "notebooks" / "your_forty_pictures.ipynb")
    changes = {"STEPS = 200": "STEPS = 2", "range(1, 9)": "range(1, 4)"}
    changes["flags = ["] = 'flags = ["--max_eval_windows=1", "--max_test_windows=1", '
    for old, new in changes.items():
        (cell,) = (cell for cell in notebook.cells if old in cell.source)
        cell.source = cell.source.replace(old, new)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(output.text for cell in notebook.cells for output in cell.get("outputs", []) if "text" in output)
    assert "On held-out stories" in printed and "your-name/my-stories" in printed
    assert (tmp_path / "mine.png").is_file() and len(list(tmp_path.glob("my_stories/*/*.png"))) == 15
