"""The versions of installed packages."""

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def package_version(name: str) -> str | None:
    """
    Return the version of a package by the name that pip knows it by.

    `None` where its metadata are missing, as when it is imported from a folder. The version of `storyattn` is then
    that of the checkout.
    """
    try:
        return version(name)
    except PackageNotFoundError:
        project = CHECKOUT / "pyproject.toml"
        if name != "storyattn" or not project.is_file():
            return None
        match = re.search(r'^version = "(.+)"$', project.read_text(encoding="utf-8"), re.MULTILINE)
        return match[1] if match else None
