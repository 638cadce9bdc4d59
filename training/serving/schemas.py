"""The JSON of requests and answers."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from storyattn.generation_options import MOST, SMALLEST_TEMPERATURE

# The smallest PNG file: one grey pixel, for the examples of the documentation.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
DATA_URI = f"data:image/png;base64,{PIXEL}"
FRAMES = "pictures in their order, each as base64 or as a data URI"

Pictures = Annotated[list[str | bytes], Field(min_length=1)]


class Request(BaseModel):
    """What all requests have in common: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class WritingRequest(Request):
    """A story, and how its captions are written."""

    frames: Pictures = Field(description=FRAMES)
    num_beams: int = Field(1, ge=1, le=MOST["num_beams"], description="beams of the search for captions")
    max_new_tokens: int | None = Field(None, ge=1, description="longest caption in tokens; null: the model's")
    do_sample: bool = Field(False, description="draw captions instead of taking the likeliest")
    temperature: float = Field(1.0, ge=SMALLEST_TEMPERATURE, le=1e6, description="of drawn captions")
    seed: int = Field(0, ge=0, lt=2**32, description="of drawn captions")

    def options(self) -> dict[str, object]:
        """Return the options of `generate`."""
        options: dict[str, object] = {"num_beams": self.num_beams, "do_sample": self.do_sample}
        if self.do_sample:
            options["temperature"] = self.temperature
        if self.max_new_tokens is not None:
            options["max_new_tokens"] = self.max_new_tokens
        return options


class ContinueRequest(WritingRequest):
    """A story to continue."""

    captions: list[str | None] | None = Field(None, description="a caption or null for each picture; null: none")
    num_steps: int = Field(1, ge=1, description="captions and frames to add")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"frames": [DATA_URI, DATA_URI], "captions": ["A fox wakes up.", None], "num_steps": 2}]
        }
    )


class DescribeRequest(WritingRequest):
    """Pictures of a story to describe."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"frames": [DATA_URI, DATA_URI]}]})


class SearchRequest(Request):
    """Pictures and texts to compare."""

    pictures: Pictures = Field(description="pictures, each as base64 or as a data URI")
    texts: list[str] = Field(min_length=1, description="captions, or words to look for")

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"pictures": [DATA_URI], "texts": ["A red fox.", "It rains."]}]}
    )


class ContinueAnswer(BaseModel):
    """What was added to the story."""

    captions: list[str] = Field(description="the new captions")
    frames: list[str] = Field(description="the new frames, PNG files in data URIs")


class DescribeAnswer(BaseModel):
    """The captions of the pictures."""

    captions: list[str] = Field(description="a caption for each picture, read with those before it")


class SearchAnswer(BaseModel):
    """How near pictures and texts lie in the shared space."""

    similarities: list[list[float]] = Field(description="a row for each picture: its cosine with each text")
    pictures_by_text: list[list[int]] = Field(description="for each text: the numbers of the pictures, nearest first")
    texts_by_picture: list[list[int]] = Field(description="for each picture: the numbers of the texts, nearest first")


class HealthAnswer(BaseModel):
    """What is served."""

    status: str
    model: str
    device: str
    image_size: list[int] = Field(description="height and width of frames in pixels")
    max_frames: int = Field(description="frames that the model reads at most; of longer stories the last ones")
    waiting: int = Field(description="requests that wait for the model")


class ErrorAnswer(BaseModel):
    """What was wrong with a request."""

    error: str = Field(examples=["frames[0]: got 3 bytes, expected an image file such as PNG or JPEG"])
