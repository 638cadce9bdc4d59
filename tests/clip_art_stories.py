"""Short stories in the style of clip art, drawn here: a child, a dog, a ball and the weather on a meadow."""

import random
from pathlib import Path

from PIL import Image, ImageDraw

WIDTH, HEIGHT = 500, 400
CHILDREN = {"Jenny": (232, 90, 150), "Mike": (60, 110, 220), "Tom": (240, 150, 40), "Ann": (120, 70, 180)}
PLACES = {"on the left": 90, "in the middle": 250, "on the right": 410}
NUM_PAGES = 5


def write_stories(folder: Path, num_stories: int = 8, seed: int = 0) -> Path:
    """Write stories as folders of numbered pictures with a text file beside each; return the folder."""
    for number in range(num_stories):
        story = folder / f"story {number + 1}"
        story.mkdir(parents=True)
        for page, (picture, caption) in enumerate(draw_story(random.Random(f"{seed}/{number}")), start=1):
            picture.save(story / f"{page}.png")
            (story / f"{page}.txt").write_text(caption)
    return folder


def draw_story(rng: random.Random) -> list[tuple[Image.Image, str]]:
    """Return the pages of a story."""
    child, place = rng.choice(list(CHILDREN)), rng.choice(list(PLACES))
    scene = {"child": child, "at": place, "sun": False, "dog": None, "ball": None, "rain": False}
    pages = [(draw(scene), f"{child} stands {place}.")]
    for event in rng.sample(["sun", "dog", "ball", "walk", "rain"], NUM_PAGES - 1):
        elsewhere = rng.choice([name for name in PLACES if name != scene["at"]])
        if event == "walk":
            scene["at"], caption = elsewhere, f"{child} walks and stops {elsewhere}."
        elif event in ("dog", "ball"):
            scene[event] = elsewhere
            caption = f"A dog comes and stands {elsewhere}." if event == "dog" else f"A ball lies {elsewhere}."
        else:
            scene[event] = True
            caption = "The sun comes out." if event == "sun" else "It starts to rain."
        pages.append((draw(scene), caption))
    return pages


def draw(scene: dict) -> Image.Image:
    """Draw a scene."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), (150, 205, 245))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 220, WIDTH, HEIGHT), fill=(120, 190, 90))
    pen.rectangle((20, 120, 40, 230), fill=(120, 80, 50))
    pen.ellipse((-20, 40, 80, 150), fill=(50, 140, 60))
    if scene["sun"]:
        pen.ellipse((400, 20, 470, 90), fill=(255, 220, 50))
    if scene["dog"]:
        x = PLACES[scene["dog"]] - 40
        pen.ellipse((x - 35, 300, x + 35, 345), fill=(140, 90, 50))
        pen.ellipse((x + 15, 270, x + 55, 310), fill=(140, 90, 50))
        for leg in (-25, 15):
            pen.rectangle((x + leg, 335, x + leg + 10, 365), fill=(110, 70, 40))
    if scene["ball"]:
        x = PLACES[scene["ball"]] + 50
        pen.ellipse((x - 22, 330, x + 22, 374), fill=(220, 50, 50), outline=(255, 255, 255), width=4)
    x = PLACES[scene["at"]]
    pen.rectangle((x - 25, 225, x + 25, 310), fill=CHILDREN[scene["child"]])
    pen.ellipse((x - 25, 165, x + 25, 225), fill=(250, 215, 180))
    pen.arc((x - 12, 190, x + 12, 212), 20, 160, fill=(150, 60, 60), width=3)
    for side in (-20, 6):
        pen.rectangle((x + side, 310, x + side + 14, 360), fill=(70, 60, 90))
    if scene["rain"]:
        for drop in range(60):
            left, top = (drop * 197) % WIDTH, (drop * drop * 61) % HEIGHT
            pen.line((left, top, left - 6, top + 18), fill=(90, 120, 200), width=3)
    return picture
