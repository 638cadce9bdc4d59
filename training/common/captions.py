"""Look at captions."""


def has_text(caption: str | None) -> bool:
    """Return whether a caption exists and is not blank."""
    return bool(caption and caption.strip())
