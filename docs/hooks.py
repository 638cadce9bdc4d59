"""
Hooks of mkdocs: README.md, CONTRIBUTING.md and CHANGELOG.md become pages of the site.

A link to a file that is no page, such as the code, becomes plain text.
"""

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
ROOT_PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"(!?)\[([^\]]+)\]\((?!https?:|#)([^)\s#]+)(#[^)\s]*)?\)")
IMAGE = re.compile(r'(<img src=")docs/')


def on_files(files: Files, config: MkDocsConfig, **_) -> Files:
    """Add the pages that lie outside of docs/."""
    for name, page in ROOT_PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, **_) -> str:
    """Return the text of a page with links that hold in the site."""
    folder = "" if page.file.src_uri in ROOT_PAGES.values() else "docs"
    return IMAGE.sub(r"\1", LINK.sub(lambda link: site_link(link, folder), markdown))


def site_link(link: re.Match, folder: str) -> str:
    """Return a link of a page of `folder` as the site has it: to another page or a picture, else its text alone."""
    mark, text, target, anchor = link.groups(default="")
    path = os.path.normpath(os.path.join(folder, target))
    if path in ROOT_PAGES:
        return f"{mark}[{text}]({ROOT_PAGES[path]}{anchor})"
    if path.startswith(f"docs{os.sep}"):
        return f"{mark}[{text}]({Path(path).relative_to('docs').as_posix()}{anchor})"
    return text
