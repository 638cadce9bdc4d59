"""Say how to make stories readable that are in no known form."""

import json
from pathlib import Path

from .text_files import pictures_in

EXAMPLES = ("fox/1.png", "fox/2.png")
CAPTIONS = ("A fox wakes up.", "It rains.")


def metadata_hint(name: str) -> str:
    """Return two lines of `metadata.jsonl` that would make a data set readable, with files of the folder `name`."""
    folder = Path(name).expanduser()
    files = [file.relative_to(folder).as_posix() for file in pictures_in(folder)[:2]] if folder.is_dir() else []
    names = files if len(files) == 2 else EXAMPLES
    lines = [
        json.dumps({"file_name": file, "story": "fox", "position": position, "caption": caption}, ensure_ascii=False)
        for position, (file, caption) in enumerate(zip(names, CAPTIONS), start=1)
    ]
    return f"stories are read from metadata.jsonl beside the images with a line a frame: {lines[0]} {lines[1]}"
