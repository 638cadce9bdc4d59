"""Freed memory is kept for the next step, and asked of the system once."""

import subprocess
import sys

import pytest

CODE = """
import resource, sys, torch
from storyattn.training.engine.malloc import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):  # with what comes to lie between them, one may not fit where the last was
    torch.ones(25_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc is on Linux")
def test_the_memory_of_a_freed_tensor_is_not_asked_for_again():
    """100 MB are 24,414 pages of 4 KiB."""
    faults = {}
    for how in ("kept", "given back"):
        ended = subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True)
        faults[how] = int(ended.stdout)
    assert faults["kept"] < 5 * 24_414 and faults["given back"] > 9 * 24_414
