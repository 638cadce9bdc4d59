"""Read SCONE's files: sequences of five instructions, each with the state that it leads to."""

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .states import State, parse_state

SPLITS = {"train": "train", "validation": "dev", "test": "test"}  # split: how the files call it
NUM_STEPS = 5
DATA = "data"  # the folder of the repository that has a folder for each domain


@dataclass(frozen=True)
class Sequence:
    """A sequence: `states[0]` is the initial one, and `instructions[i]` leads from `states[i]` to `states[i + 1]`."""

    name: str
    states: tuple[State, ...]
    instructions: tuple[str, ...]


def file_name(domain: str, split: str) -> str:
    """Return the path, below the folder `data`, of the sequences of a domain and a split of `SPLITS`."""
    return f"{domain}/{SPLITS[split]}_sequences.json"


def open_source(source: Path) -> Callable[[str], bytes]:
    """
    Return a function that gives the bytes of a file by its path below `data`.

    `source` is the repository or its folder `data`, as a folder or as the ZIP archive that GitHub makes of it. Raises
    `ValueError` where it is neither; so does the function for a file that is not in it.
    """
    if source.is_dir():
        root = source / DATA if (source / DATA).is_dir() else source
        return lambda name: _read_file(root / name)
    if not source.is_file():
        raise ValueError(f"source: got {str(source)!r}, expected a folder or a ZIP archive")
    if not zipfile.is_zipfile(source):
        raise ValueError(f"source: got {str(source)!r}, a damaged or another file, expected a folder or a ZIP archive")
    return lambda name: _read_member(source, name)


def parse_sequences(content: bytes, name: str, domain: str) -> list[Sequence]:
    """
    Read and check the sequences of a file.

    Args:
        content: the bytes of the file, a JSON list.
        name: how errors call the file.
        domain: a key of `DOMAINS`.

    Returns:
        The sequences in the order of the file.

    Raises:
        ValueError: with the file, the sequence and the field, for what has another form, a state that is not legal, an
            instruction without a word, or a name that occurs twice.
    """
    try:
        rows = json.loads(content)
    except ValueError as error:
        raise ValueError(f"{name}: got no JSON, expected a list of sequences: {error}") from error
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{name}: got {type(rows).__name__} of no sequence, expected a list of them")
    sequences = [_parse(row, f"{name}: sequence {number}", domain) for number, row in enumerate(rows)]
    seen = set()
    for sequence in sequences:
        if sequence.name in seen:
            raise ValueError(f"{name}: sequence {sequence.name!r}: got this identifier twice, expected it once")
        seen.add(sequence.name)
    return sequences


def _parse(row: object, where: str, domain: str) -> Sequence:
    name = _field(row, "identifier", str, where)
    where = f"{where}, {name!r}"
    steps = _field(row, "utterances", list, where)
    if len(steps) != NUM_STEPS:
        raise ValueError(f"{where}, utterances: got {len(steps)}, expected {NUM_STEPS}")
    states, instructions = [_state(row, "initial_env", where, domain)], []
    for number, step in enumerate(steps):
        place = f"{where}, utterances[{number}]"
        instruction = " ".join(_field(step, "instruction", str, place).split())
        if not instruction:
            raise ValueError(f"{place}.instruction: got no word, expected an instruction")
        instructions.append(instruction)
        states.append(_state(step, "after_env", place, domain))
    return Sequence(name, tuple(states), tuple(instructions))


def _state(row: dict, field: str, where: str, domain: str) -> State:
    try:
        return parse_state(domain, _field(row, field, str, where))
    except ValueError as error:
        said = str(error)
        raise ValueError(said if said.startswith(where) else f"{where}.{field}: {said}") from error


def _field(row: object, field: str, kind: type, where: str) -> object:
    value = row.get(field) if isinstance(row, dict) else None
    if not isinstance(value, kind):
        raise ValueError(f"{where}.{field}: got {value!r}, expected a {kind.__name__}")
    return value


def _read_file(path: Path) -> bytes:
    if not path.is_file():
        raise ValueError(f"source: got no file {path}, expected SCONE's folder {DATA!r}")
    return path.read_bytes()


def _read_member(archive: Path, name: str) -> bytes:
    """A file of an archive, whatever the folders above it are called."""
    try:
        with zipfile.ZipFile(archive) as members:
            files = [member for member in members.namelist() if f"/{member}".endswith(f"/{name}")]
            if len(files) != 1:
                raise ValueError(f"{archive}: got {len(files)} files {name}, expected one")
            return members.read(files[0])
    except (zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{archive}: damaged ({error}), expected a ZIP archive") from error
