"""Rows in the format of daniel3303/StoryReasoning, and files of them."""

from pathlib import Path

from datasets import Dataset, Features, Image, List, Value
from encoded_pictures import encoded_frame, plain_picture
from PIL import ImageDraw

FEATURES = {
    "story_id": Value("string"),
    "images": List(Image()),
    "frame_count": Value("int32"),
    "chain_of_thought": Value("string"),
    "story": Value("string"),
}
STORY = """<gdi image1>
<gdo char1>Mara</gdo> <gda char1>pushed open</gda> <gdo obj1>the heavy
door</gdo> and stepped into <gdl bg1>the dim hall</gdl>.
</gdi>

<gdi image2>
<gdo char2>An old man</gdo> <gda char2>looked up</gda>; <gdo char1 char2>they</gdo> had not met in years.
</gdi>
"""
THOUGHT = """## Image 1

### Characters

| Character ID | Name | Description | Emotions | Actions | Narrative Function | Bounding Box |
|--------------|------|-------------|----------|---------|--------------------|--------------|
| char1 | Mara | A woman \\| tall | calm | enters | protagonist | 20,10,60,90 |

### Objects

| Object ID | Description | Function | Interaction | Narrative Function | Bounding Box |
|-----------|-------------|----------|-------------|--------------------|--------------|
| obj1 | a door | opens | pushed | threshold | 100,0,150,100 |

### Setting

| Setting Element | Description | Mood | Time | Narrative Function |
|---|---|---|---|---|
| Location | a hall | dim | night | 1,2,3,4 |

## Image 2

### Characters

| Character ID | Name | Bounding Box |
|---|---|---|
| char2 | An old man | 5,5,45,95 |
| char1 | Mara | 60,5,90,95 |

## Narrative Structure

### Characters

| Character ID | Bounding Box |
|---|---|
| char9 | 1,2,3,4 |
"""


def picture(size: tuple[int, int] = (200, 100), box: tuple[int, int, int, int] = (100, 0, 150, 100)) -> dict:
    """Return a black film frame with a white box, encoded."""
    image = plain_picture((0, 0, 0), size)
    ImageDraw.Draw(image).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill="white")
    return encoded_frame(image)


def row(story_id: str = "a", count: int = 2, **changes: object) -> dict:
    """Return a row of `count` images, with changed columns."""
    images = [picture() for _ in range(count)]
    texts = {"chain_of_thought": THOUGHT, "story": STORY}
    return {"story_id": story_id, "images": images, "frame_count": count, **texts, **changes}


def write(folder: Path, split: str, rows: list[dict], **features: object) -> str:
    """Write rows as a split of a data set, and return the folder's name."""
    folder.mkdir(exist_ok=True)
    dataset = Dataset.from_list(rows, features=Features({**FEATURES, **features}))
    dataset.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return str(folder)
