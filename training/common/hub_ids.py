"""Tell the id of a Hub repository from a path."""

from pathlib import Path


def is_hub_id(name: str) -> bool:
    """Return whether `name` can only mean `owner/name` on the Hub: it has that form, and no such path exists."""
    return name.count("/") == 1 and name[0] not in "./~" and not Path(name).exists()
