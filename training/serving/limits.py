"""What a request may ask for at most."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Limits:
    """
    Limits of a server; whatever exceeds them is refused.

    Args:
        max_body_mb: size of a request in MB.
        max_frames: pictures of a request.
        max_pixels: pixels of a picture.
        max_steps: captions and frames that are added to a story.
        max_text_length: characters of a caption.
        max_batch_size: requests that the model reads as one batch.
        max_wait_ms: milliseconds that a request waits for others to be read with.
        max_queue: requests that wait for the model; more are told to try again later.
    """

    max_body_mb: int = 32
    max_frames: int = 32
    max_pixels: int = 16_000_000
    max_steps: int = 16
    max_text_length: int = 2000
    max_batch_size: int = 8
    max_wait_ms: float = 10.0
    max_queue: int = 64

    def __post_init__(self):
        for item in fields(self):
            value, least = getattr(self, item.name), 0 if item.name == "max_wait_ms" else 1
            if not least <= value < float("inf"):
                raise ValueError(f"{item.name}: got {value}, expected at least {least}")
