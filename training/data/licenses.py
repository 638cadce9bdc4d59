"""Which licences data sets and models have, by what they say of themselves."""

from collections import Counter
from pathlib import Path

from datasets import Dataset
from huggingface_hub import DatasetCard, ModelCard

LICENCE_COLUMNS = ("license", "licence")


def known_licences(name: str, splits: dict[str, Dataset]) -> dict[str, int]:
    """How many stories have each licence, by a column, else by what the data set says of itself."""
    number = sum(map(len, splits.values()))
    for column in LICENCE_COLUMNS:
        found = Counter()
        for rows in splits.values():
            found.update(map(str, filter(None, rows[column][:])) if column in rows.column_names else ())
        if found:
            return dict(found.most_common())
    said = next((rows.info.license for rows in splits.values() if rows.info and rows.info.license), None)
    said = said or licence_of_card(name, DatasetCard)
    return {str(said): number} if said else {}


def licence_of_card(name: str, card_class: type[DatasetCard] | type[ModelCard]) -> str | None:
    """What the card of a folder or a Hub id gives as its licence; `None` where it says nothing or cannot be reached."""
    card = Path(name).expanduser() / "README.md"
    if Path(name).expanduser().is_dir() and not card.is_file():
        return None
    try:
        said = card_class.load(str(card) if card.is_file() else name, ignore_metadata_errors=True).data.license
    except Exception:  # a card without metadata, or none that can be reached: then it says nothing
        return None
    return ", ".join(map(str, said)) if isinstance(said, list) else said
