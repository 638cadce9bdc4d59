"""Files in SCONE's format, with sequences of this project's making."""

import json
import random
import zipfile
from functools import cache
from pathlib import Path

from storyattn.training.scone.sequences import SPLITS, file_name
from storyattn.training.scone.states import DOMAINS, random_state

NUMBERS = {"train": 4, "validation": 2, "test": 3}
# A story of `scene` whose first instruction describes what is there: each of the others is one step late.
LATE = [
    "a man in red and a man in blue stand apart",
    "the man in red moves to the right",
    "a man in green appears on the far left",
    "the man in blue leaves",
    "the man in green moves one step to the right",
]
LATE_STATES = ["1:__ 2:r_ 7:b_", "1:__ 3:r_ 7:b_", "1:g_ 3:r_ 7:b_", "1:g_ 3:r_", "1:__ 2:g_ 3:r_", "1:__ 2:g_ 4:r_"]


@cache
def distinct_states(domain: str, number: int = 200) -> list[str]:
    """Draw legal states, no two the same."""
    rng, states = random.Random(domain), {}
    while len(states) < number:
        states[str(random_state(domain, rng))] = None
    return list(states)


def sequence(domain: str, name: str) -> dict:
    """Return a sequence of states that no other has; each instruction says what becomes of the state."""
    split, number = name.split("-")
    first = 6 * (10 * ("train", "dev", "test").index(split) + int(number))
    states = distinct_states(domain)[first : first + 6]
    steps = [
        {"instruction": f"make it {state or 'nothing'}", "after_env": state, "actions": ["drawn"]}
        for state in states[1:]
    ]
    return {"identifier": name, "initial_env": states[0], "utterances": steps}


def late_sequence(name: str) -> dict:
    """Return a sequence of `scene` whose instructions run one step behind."""
    states = [scene(text) for text in LATE_STATES]
    steps = [{"instruction": text, "after_env": state, "actions": []} for text, state in zip(LATE, states[1:])]
    return {"identifier": name, "initial_env": states[0], "utterances": steps}


def scene(people: str) -> str:
    """Write a state of `scene` out of its places with people."""
    places = dict(place.split(":") for place in people.split())
    return " ".join(f"{number}:{places.get(str(number), '__')}" for number in range(1, 11))


def write_source(root: Path) -> Path:
    """Write a repository with all domains and splits."""
    for domain in DOMAINS:
        for split, number in NUMBERS.items():
            rows = [sequence(domain, f"{SPLITS[split]}-{index}") for index in range(number)]
            write(root, domain, split, rows)
    return root


def write(root: Path, domain: str, split: str, rows: list) -> None:
    """Write one file of the repository."""
    path = root / "data" / file_name(domain, split)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows))


def archive_of(root: Path, archive: Path) -> Path:
    """Write the ZIP archive of a repository, below one folder as GitHub's."""
    with zipfile.ZipFile(archive, "w") as members:
        for path in sorted(root.rglob("*.json")):
            members.write(path, f"scone-0123abc/{path.relative_to(root)}")
    return archive
