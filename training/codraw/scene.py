"""
Read scene strings of CoDraw.

A scene is `N,` and then N times eight fields: file name, index, object index, type index, x, y, depth, flip. A comma
may stand at the end. A place of -10000 says that the picture is not on the canvas.
"""

import math

from .clip_art import DEPTH_SCALES, FILE_NAME, TYPES, ClipArt, num_pictures

FIELDS = ("file", "index", "object index", "type index", "x", "y", "depth", "flip")
ABSENT = -10000.0


def parse_scene(text: str, where: str) -> list[ClipArt]:
    """
    Return the clip art on the canvas of a scene string, in its order; pictures that are not on the canvas are left out.

    `where` says in errors which scene it is. Raises `ValueError`, naming the field, for anything that is not as the
    format says.
    """
    count, *fields = text.removesuffix(",").split(",")
    expected = _whole(count, "number of objects", where) * len(FIELDS)
    if len(fields) != expected:
        raise ValueError(f"{where}: number of fields: got {len(fields)}, expected {expected}")
    objects = []
    for start in range(0, expected, len(FIELDS)):
        placed = _parse_object(fields[start : start + len(FIELDS)], f"{where}, object {start // len(FIELDS)}")
        if placed is not None:
            objects.append(placed)
    return objects


def _parse_object(fields: list[str], where: str) -> ClipArt | None:
    """Return the clip art of eight fields, `None` where it is not on the canvas."""
    file, index, object_index, type_index, x, y, depth, flip = fields
    name = FILE_NAME.fullmatch(file)
    if name is None or int(name[2]) >= num_pictures(name[1]):
        raise ValueError(f"{where}: file: got {file!r}, expected the name of a CoDraw picture such as s_3s.png")
    group, number = name[1], int(name[2])
    _whole(index, "index", where)
    _expect(object_index, "object index", where, [str(number)])
    _expect(type_index, "type index", where, [str(TYPES.index(group))])
    _expect(depth, "depth", where, [str(level) for level in range(len(DEPTH_SCALES))])
    _expect(flip, "flip", where, ["0", "1"])
    place = _real(x, "x", where), _real(y, "y", where)
    return None if ABSENT in place else ClipArt(group, number, *place, int(depth), flip == "1")


def _expect(value: str, field: str, where: str, choices: list[str]) -> None:
    if value not in choices:
        raise ValueError(f"{where}: {field}: got {value!r}, expected {' or '.join(choices)}")


def _whole(value: str, field: str, where: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise ValueError(f"{where}: {field}: got {value!r}, expected a whole number")
    return int(value)


def _real(value: str, field: str, where: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{where}: {field}: got {value!r}, expected a number")
    return number
