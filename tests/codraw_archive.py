"""A small copy of CoDraw's layout: clip art drawn here, a few dialogues, and archives of both."""

import json
from pathlib import Path

from PIL import Image, ImageDraw
from storyattn.training.codraw.clip_art import TYPES, all_pictures, class_of

SIZES = {  # width and height of the pictures of a group, in pixels of the canvas
    "s": (80, 50),
    "p": (160, 120),
    "hb0": (60, 120),
    "hb1": (60, 120),
    "a": (70, 60),
    "c": (50, 30),
    "e": (40, 40),
    "t": (40, 40),
}
SKY, GRASS = (70, 220, 230), (90, 160, 80)


def draw_pictures(folder: Path) -> Path:
    """Draw the background and all pictures: the left third of each is dark, and each class has its color."""
    folder.mkdir(parents=True)
    background = Image.new("RGBA", (500, 400), (*SKY, 255))
    background.paste((*GRASS, 255), (0, 200, 500, 400))
    background.save(folder / "background.png")
    for group, number in all_pictures():
        width, height = SIZES[group]
        picture = Image.new("RGBA", (width, height), (0, 0, 0, 0))
        draw = ImageDraw.Draw(picture)
        draw.rectangle((0, 0, width - 1, height - 1), fill=(*color(group, number), 255))
        draw.rectangle((0, 0, width // 3 - 1, height - 1), fill=(30, 30, 30, 255))
        picture.save(folder / f"{group}_{number}s.png")
    return folder


def color(group: str, number: int) -> tuple[int, int, int]:
    """Return the color of a picture; no two classes have the same."""
    index = class_of(group, number)
    return 255 - 60 * (index % 4), 60 * (index // 4 % 4), 60 * (index // 16)


def scene(*objects: tuple) -> str:
    """Return the scene string of objects (file without `s.png`, x, y, depth, flip); x `None`: not on the canvas."""
    fields = [str(len(objects))]
    for index, (name, x, y, depth, flip) in enumerate(objects):
        group, number = name.split("_")
        place = ("-10000", "-10000") if x is None else (str(x), str(y))
        fields += [f"{name}s.png", str(index), number, str(TYPES.index(group)), *place, str(depth), str(flip)]
    return ",".join(fields) + ","


SUN, BOY, GIRL = ("s_3", 400, 50, 0, 0), ("hb0_12", 150, 250, 0, 0), ("hb1_4", 300, 250.5, 1, 1)
DIALOGUES = {
    "train_00001": [
        ("hi", "hi", None),
        ("a big Sun on the right .", "ok", [SUN]),
        ("", "ok what else ?", [SUN]),
        ("a boy is kicking", "done", [SUN, BOY]),
        ("that 's it", "thank you", [SUN, BOY]),
    ],
    "train_00002": [("a girl", "ok", [GIRL]), ("and a boy , left", "", [GIRL, BOY])],
    "val_00003": [("", "what is there ?", [SUN]), ("a boy", "ok", [BOY, SUN])],
    "test_00004": [("a girl", "ok", [GIRL]), ("a boy", "ok", [GIRL, BOY]), ("a sun", "ok", [GIRL, BOY, SUN])],
}


def write_dialogues(folder: Path, dialogues: dict[str, list[tuple]] = DIALOGUES) -> Path:
    """Write dialogues, turns of (Teller, Drawer, objects on the canvas), as files."""
    folder.mkdir(parents=True)
    absent = ("t_3", None, None, 0, 1)
    for name, turns in dialogues.items():
        before, dialog = "", []
        for number, (teller, drawer, objects) in enumerate(turns, start=1):
            after = "" if objects is None else scene(absent, *objects)
            turn = {"seq_t": str(number), "msg_t": teller, "msg_d": drawer, "abs_b": before, "abs_d": after}
            dialog.append(turn)
            before = after or before
        document = {"image_id": int(name[-5:]), "abs_t": scene(SUN), "dialog": dialog}
        (folder / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


def write_source(folder: Path) -> Path:
    """Write a copy of the repository with the pictures and the dialogues."""
    draw_pictures(folder / "Pngs")
    write_dialogues(folder / "output")
    return folder
