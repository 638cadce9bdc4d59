"""Read the licenses of data sets and models from what they say of themselves."""

from collections import Counter
from pathlib import Path

from datasets import Dataset
from huggingface_hub import DatasetCard, ModelCard

LICENSE_COLUMNS = ("license", "licence")


def count_licenses(name: str, splits: dict[str, Dataset]) -> dict[str, int]:
    """Return how many stories have each license: by a column, else by the data set's information or card."""
    num_stories = sum(map(len, splits.values()))
    for column in LICENSE_COLUMNS:
        counts = Counter()
        for rows in splits.values():
            counts.update(map(str, filter(None, rows[column][:])) if column in rows.column_names else ())
        if counts:
            return dict(counts.most_common())
    stated = next((rows.info.license for rows in splits.values() if rows.info and rows.info.license), None)
    stated = stated or license_of_card(name, DatasetCard)
    return {str(stated): num_stories} if stated else {}


def license_of_card(name: str, card_class: type[DatasetCard] | type[ModelCard]) -> str | None:
    """Return the license in the card of a folder or a Hub id; `None` without one, or where it cannot be reached."""
    card = Path(name).expanduser() / "README.md"
    if Path(name).expanduser().is_dir() and not card.is_file():
        return None
    try:
        stated = card_class.load(str(card) if card.is_file() else name, ignore_metadata_errors=True).data.license
    except Exception:  # a card without metadata, or one that cannot be reached, states no license
        return None
    return ", ".join(map(str, stated)) if isinstance(stated, list) else stated
