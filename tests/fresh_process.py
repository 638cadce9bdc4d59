"""Run programs as somebody does who has not installed the package."""

import os
import subprocess
import sys
from pathlib import Path

WITHOUT_PACKAGE = "import sys\nsys.modules['storyattn'] = None  # an import of it fails\n"


def run_without_package(code: str, cwd: Path, *arguments: str, **environment: str) -> str:
    """Run a program in a fresh process that cannot import `storyattn`; return what it prints.

    Args:
        code: the program.
        cwd: folder that it runs in, which gets the cache of remote code, too.
        arguments: its command line.
        environment: variables that are added or changed.
    """
    command = [sys.executable, "-c", WITHOUT_PACKAGE + code, *arguments]
    variables = {**os.environ, "HF_MODULES_CACHE": str(cwd / "modules"), **environment}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=variables)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
