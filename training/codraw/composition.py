"""
Compose scenes at random from the clip art of CoDraw, in the manner of real ones.

Children and animals stand on the ground, weather is above, hats sit on heads, food and toys lie in hands or about.
Nothing of a real scene goes into one.
"""

import numpy as np

from .clip_art import CANVAS_HEIGHT, CANVAS_WIDTH, CHILDREN, ClipArt, class_of
from .renderer import CanvasRenderer

DEPTH_PROBABILITIES = (0.5, 0.25, 0.25)
CHILD_PROBABILITY = 0.8  # of each of the two
EMPTY_PROBABILITY = 0.02
MEAN_OTHERS, MOST_OTHERS = 6.0, 15  # things beside the children
ATTACHED = {"c": 0.7, "e": 0.4, "t": 0.4}  # probability that a thing is worn or held
STANDING = ("p", "hb0", "hb1", "a")
GROUND = (225, 450)  # pixels of the canvas between which things stand
SKY = (-10, 150)  # and fly


def compose_scene(rng: np.random.Generator, renderer: CanvasRenderer, pictures: list[tuple[str, int]]) -> list[ClipArt]:
    """
    Return a scene of at most one picture of a class.

    Args:
        rng: draws everything.
        renderer: knows how large the pictures are.
        pictures: group and number of those to choose from.
    """
    if rng.random() < EMPTY_PROBABILITY:
        return []
    classes: dict[int, list[tuple[str, int]]] = {}
    for picture in pictures:
        classes.setdefault(class_of(*picture), []).append(picture)
    chosen = [options for options in classes.values() if options[0][0] in CHILDREN]
    chosen = [options for options in chosen if rng.random() < CHILD_PROBABILITY]
    others = [options for options in classes.values() if options[0][0] not in CHILDREN]
    count = min(len(others), MOST_OTHERS, int(rng.poisson(MEAN_OTHERS)))
    chosen += [others[index] for index in rng.choice(len(others), count, replace=False)]
    scene: list[ClipArt] = []
    for options in chosen:
        scene.append(_place(rng, renderer, *options[rng.integers(len(options))], scene))
    return [scene[index] for index in rng.permutation(len(scene))]


def _place(
    rng: np.random.Generator, renderer: CanvasRenderer, group: str, number: int, scene: list[ClipArt]
) -> ClipArt:
    """Return the picture at a likely place of a scene that it goes into."""
    owners = [other for other in scene if other.group in (*CHILDREN, "a")]
    if owners and rng.random() < ATTACHED.get(group, 0):
        return _attach(rng, renderer, group, number, owners[rng.integers(len(owners))])
    depth, flip = int(rng.choice(len(DEPTH_PROBABILITIES), p=DEPTH_PROBABILITIES)), bool(rng.integers(2))
    x = rng.uniform(-0.02, 1.02) * CANVAS_WIDTH
    if group == "s":
        y = rng.uniform(*SKY)
    elif group in STANDING and rng.random() < 0.85:
        _, height = _size(renderer, ClipArt(group, number, x, 0, depth, flip))
        y = rng.uniform(*GROUND) - height / 2
    else:
        y = rng.uniform(0.1, 0.98) * CANVAS_HEIGHT
    return ClipArt(group, number, float(round(x)), float(round(y)), depth, flip)


def _attach(rng: np.random.Generator, renderer: CanvasRenderer, group: str, number: int, owner: ClipArt) -> ClipArt:
    """Return the picture on the head of another, or for food and toys in its hands."""
    width, height = _size(renderer, owner)
    if group == "c":
        x, y = rng.normal(0, 0.12) * width, rng.uniform(-0.6, -0.25) * height
    else:
        x, y = rng.choice([-1, 1]) * rng.uniform(0.1, 0.7) * width, rng.uniform(-0.5, 0.4) * height
    flip = owner.flip if rng.random() < 0.8 else not owner.flip
    return ClipArt(group, number, float(round(owner.x + x)), float(round(owner.y + y)), owner.depth, flip)


def _size(renderer: CanvasRenderer, clip_art: ClipArt) -> tuple[float, float]:
    """Return the width and height of what the picture shows, in pixels of the canvas."""
    sprite = renderer.sprite(clip_art.group, clip_art.number, clip_art.depth, clip_art.flip)
    rows, columns = sprite.alpha.shape[:2]
    return columns * CANVAS_WIDTH / renderer.width, rows * CANVAS_HEIGHT / renderer.height
