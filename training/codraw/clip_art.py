"""
The clip art of CoDraw: 126 pictures of 58 classes, and one of them placed on a canvas.

A picture's file is named by its group and its number there, such as `hb0_10s.png`. The boy (`hb0`) and the girl (`hb1`)
are one class each in 7 poses and 5 faces; every other picture is a class of its own.
"""

import re
from dataclasses import dataclass

CANVAS_HEIGHT, CANVAS_WIDTH = 400, 500  # pixels in which scenes give places
DEPTH_SCALES = (1.0, 0.7, 0.49)  # size of a picture at depth 0, 1 and 2
POSES = ("pointing", "arms up", "kicking", "running", "cross-legged", "sitting", "waving")
FACES = ("angry", "grinning", "smiling", "sad", "surprised")

# By the prefix of a file: what its pictures are, and the names of their classes.
GROUPS = {
    "s": ("sky", ("helicopter", "balloon", "cloud", "sun", "lightning", "rain", "rocket", "airplane")),
    "p": (
        "large object",
        ("bee", "slide", "sandbox", "grill", "swings", "tent", "table", "pine tree", "oak tree", "apple tree"),
    ),
    "hb0": ("child", ("boy",)),
    "hb1": ("child", ("girl",)),
    "a": ("animal", ("bear", "cat", "dog", "duck", "owl", "snake")),
    "c": (
        "clothing",
        (
            "cap",
            "crown",
            "chef hat",
            "pirate hat",
            "winter hat",
            "rainbow hat",
            "wizard hat",
            "viking hat",
            "glasses",
            "sunglasses",
        ),
    ),
    "e": ("food", ("pie", "pizza", "hot dog", "ketchup", "mustard", "burger", "drink")),
    "t": (
        "toy",
        (
            "baseball",
            "bucket",
            "beach ball",
            "basketball",
            "soccer ball",
            "tennis ball",
            "football",
            "frisbee",
            "bat",
            "balloons",
            "glove",
            "shovel",
            "racket",
            "kite",
            "fire",
        ),
    ),
}
TYPES = tuple(GROUPS)  # a scene's type index counts them
CHILDREN = ("hb0", "hb1")
CLASS_NAMES = tuple(name for _, names in GROUPS.values() for name in names)
CLASS_KINDS = tuple(kind for kind, names in GROUPS.values() for _ in names)
NUM_CLASSES = len(CLASS_NAMES)
FIRST_CLASS = {prefix: CLASS_NAMES.index(names[0]) for prefix, (_, names) in GROUPS.items()}
FILE_NAME = re.compile(r"(hb0|hb1|[spacet])_(\d+)s\.png")


@dataclass(frozen=True)
class ClipArt:
    """
    A picture on a canvas.

    `group` is the prefix of its file and `number` its place there; `x` and `y` are its center in pixels of the canvas,
    `depth` 0 (near) to 2 (far); `flip` mirrors it.
    """

    group: str
    number: int
    x: float
    y: float
    depth: int
    flip: bool

    @property
    def file(self) -> str:
        """The name of the picture's file."""
        return f"{self.group}_{self.number}s.png"

    @property
    def class_id(self) -> int:
        """The class, 0 to 57."""
        return class_of(self.group, self.number)

    @property
    def name(self) -> str:
        """The name of the class."""
        return CLASS_NAMES[self.class_id]

    @property
    def kind(self) -> str:
        """What the class is, such as "animal"."""
        return CLASS_KINDS[self.class_id]

    @property
    def pose(self) -> int | None:
        """The pose of a child, 0 to 6; `None` for anything else."""
        return self.number // len(FACES) if self.group in CHILDREN else None

    @property
    def face(self) -> int | None:
        """The face of a child, 0 to 4; `None` for anything else."""
        return self.number % len(FACES) if self.group in CHILDREN else None


def class_of(group: str, number: int) -> int:
    """Return the class, 0 to 57, of picture `number` of a group."""
    return FIRST_CLASS[group] + (0 if group in CHILDREN else number)


def num_pictures(group: str) -> int:
    """Return how many pictures a group has."""
    return len(POSES) * len(FACES) if group in CHILDREN else len(GROUPS[group][1])


def all_pictures() -> list[tuple[str, int]]:
    """Return the group and the number of every picture, in the order of the classes."""
    return [(group, number) for group in GROUPS for number in range(num_pictures(group))]
