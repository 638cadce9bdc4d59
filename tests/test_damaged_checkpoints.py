"""Damaged checkpoints are passed over, and `storyattn checkpoints` lists them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from checkpointed_run import DAMAGES, CheckpointedRun
from storyattn.training.cli import checkpoints as checkpoints_cli
from storyattn.training.engine.checkpoints import find_checkpoint, list_checkpoints, save_checkpoint, verify_checkpoint


@pytest.fixture
def run(tmp_path) -> CheckpointedRun:
    return CheckpointedRun(tmp_path / "run")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over(damage, run, caplog):
    damages, message = DAMAGES[damage]
    earlier, later = run.train_and_save(), run.train_and_save()
    assert find_checkpoint("latest", run.folder) == later
    damages(later)
    assert message in verify_checkpoint(later)
    assert find_checkpoint("latest", run.folder) == earlier
    (warning,) = [record.getMessage() for record in caplog.records]
    assert f"{later} is damaged: " in warning and message in warning and f"{earlier} is used instead" in warning
    with pytest.raises(ValueError) as raised:
        find_checkpoint(str(later), run.folder)
    assert str(later) in str(raised.value) and message in str(raised.value)
    assert find_checkpoint(str(earlier), run.folder) == earlier

    damages(earlier)
    with pytest.raises(FileNotFoundError) as missing:
        find_checkpoint("latest", run.folder)
    assert str(earlier) in str(missing.value) and str(later) in str(missing.value) and message in str(missing.value)


def test_only_complete_checkpoints_are_listed(run):
    first, second, third = (run.train_and_save() for _ in range(3))
    assert list_checkpoints(run.folder) == [first, second, third]
    os.truncate(second / "model.safetensors", 100)
    (first / "manifest.json").unlink()
    assert list_checkpoints(run.folder) == [third]


@pytest.fixture
def listed(capsys) -> Callable[[Path], tuple[int, list[str]]]:
    """Run `storyattn checkpoints`; returns its exit status and lines."""

    def run_command(folder: Path) -> tuple[int, list[str]]:
        capsys.readouterr()
        try:
            checkpoints_cli.main([str(folder)])
            status = 0
        except SystemExit as ended:
            status = ended.code
        printed = capsys.readouterr()
        return status, [*printed.out.splitlines(), *printed.err.splitlines()]

    return run_command


def test_checkpoints_are_listed(run, listed):
    run.train_and_save(best=True)
    run.train(1)
    state = {"step": 2, "seconds": 630.0, "eval": {"loss": 1.25}}
    state["command"] = "train.py --output_dir 'my run' --resume_from_checkpoint latest"
    save_checkpoint(run.accelerator, run.model, run.optimizer, run.ema, run.folder, state, None)
    status, (header, first, second, best, *_, command) = listed(run.folder)
    assert status == 0 and header.split()[:3] == ["checkpoint", "written", "MB"]
    assert first.split()[0] == "step-1" and first.split()[-4:] == ["1.5", "-", "best", "yes"]
    assert second.split()[0] == "step-2" and second.split()[-4:] == ["10.5", "1.2500", "-", "yes"]
    assert best.startswith("best (step 1) ") and best.endswith(" yes")
    size = sum(path.stat().st_size for path in (run.folder / "checkpoints" / "step-2").iterdir())
    assert second.split()[3] == f"{size / 1e6:.1f}"
    assert command == state["command"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_listed_as_such(damage, run, listed):
    damages, message = DAMAGES[damage]
    run.train_and_save()
    damages(run.train_and_save())
    status, lines = listed(run.folder)
    assert status == 1 and lines[1].endswith(" yes") and " no: " in lines[2] and message in lines[2]


def test_a_folder_without_checkpoints_is_one_line_and_status_2(tmp_path, listed):
    status, (line,) = listed(tmp_path)
    assert status == 2 and "got no checkpoint in" in line
    status, (line,) = listed(tmp_path / "nowhere")
    assert status == 2 and "expected the output_dir of a run" in line
