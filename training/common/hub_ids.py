"""Tell the id of a Hub repository from a path."""

from pathlib import Path


def is_hub_id(name: str) -> bool:
    """Whether `name` can only be meant as `owner/name` on the Hub: it looks like that, and no such path is here."""
    return name.count("/") == 1 and name[0] not in "./~" and not Path(name).exists()
