"""Freed memory is kept for the next step, and asked of the system once."""

import resource
import sys
from pathlib import Path

import pytest
import torch
from forked_programs import Program
from storyattn.training.engine.malloc import keep_freed_memory


def count_faults(keep: bool, path: Path) -> None:
    """Write how often the system was asked for a page while twenty large tensors were allocated and freed."""
    if keep:
        assert keep_freed_memory()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):  # with what comes to lie between them, the first ones may not fit where the last was
        torch.ones(10_000_000)
    path.write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before))


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc is on Linux")
def test_the_memory_of_a_freed_tensor_is_not_asked_for_again(tmp_path):
    """40 MB are 9,766 pages of 4 KiB."""
    faults = {}
    for keep in (True, False):
        assert Program(count_faults, keep, tmp_path / "faults", out=tmp_path / "log").wait(60) == 0
        faults[keep] = int((tmp_path / "faults").read_text())
    assert faults[True] < 10 * 9_766 and faults[False] > 19 * 9_766
