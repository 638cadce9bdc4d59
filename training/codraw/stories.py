"""Turn dialogues of CoDraw into rows of a data set of picture stories."""

import io

import numpy as np
from datasets import Features, Image, List, Value
from PIL import Image as PILImage

from .clip_art import FACES, POSES
from .dialogues import Dialogue, Step
from .renderer import CanvasRenderer, Sighting

LICENSE, LICENSE_NAME = "cc-by-nc-4.0", "CC BY-NC 4.0"
CREDITS = {  # the same for every story
    "title": "CoDraw",
    "source": "https://github.com/facebookresearch/CoDraw",
    "license": LICENSE,
    "text_by": "Jin-Hwa Kim et al. (CoDraw, 2019)",
    "images_by": "C. Lawrence Zitnick and Devi Parikh (Abstract Scenes, 2013)",
}
FEATURES = Features(
    {
        "story_id": Value("string"),
        "frames": List(Image()),
        "captions": List(Value("string")),
        "boxes": List(List({"entity": Value("string"), "kind": Value("string"), "box": List(Value("int32"))})),
        "clip_art": List(
            List(
                {
                    "class_id": Value("int32"),
                    "name": Value("string"),
                    "x": Value("float32"),
                    "y": Value("float32"),
                    "depth": Value("int32"),
                    "flip": Value("bool"),
                    "pose": Value("string"),
                    "face": Value("string"),
                    "visible": Value("float32"),
                }
            )
        ),
        **dict.fromkeys(CREDITS, Value("string")),
    }
)


def story_row(dialogue: Dialogue, steps: list[Step], captions: str, renderer: CanvasRenderer) -> dict:
    """
    Return the story of a dialogue, a row of `FEATURES`: the empty canvas without a caption, then every step.

    Args:
        dialogue: gives the story's name.
        steps: the merged turns.
        captions: "teller" or "dialogue", see `Step.caption`.
        renderer: draws the frames.
    """
    canvases = [[], *(step.canvas for step in steps)]
    looks = [renderer.look(canvas) for canvas in canvases]
    return {
        "story_id": dialogue.name,
        "frames": [{"bytes": _to_png(renderer.draw(canvas)), "path": None} for canvas in canvases],
        "captions": [None, *(step.caption(captions) for step in steps)],
        "boxes": [[_box(sighting) for sighting in look if sighting.is_visible] for look in looks],
        "clip_art": [[_clip_art(sighting) for sighting in look] for look in looks],
        **CREDITS,
    }


def _box(sighting: Sighting) -> dict:
    return {"entity": sighting.clip_art.name, "kind": sighting.clip_art.kind, "box": sighting.box}


def _clip_art(sighting: Sighting) -> dict:
    clip_art = sighting.clip_art
    return {
        **{name: getattr(clip_art, name) for name in ("class_id", "name", "x", "y", "depth", "flip")},
        "pose": None if clip_art.pose is None else POSES[clip_art.pose],
        "face": None if clip_art.face is None else FACES[clip_art.face],
        "visible": sighting.share,
    }


def _to_png(frame: np.ndarray) -> bytes:
    file = io.BytesIO()
    PILImage.fromarray(frame).save(file, "PNG")
    return file.getvalue()
