"""Compare a fine-tuned model with the model that it started from, on stories that neither was trained on."""

from ..common.tables import format_number
from .tables import main_results

BEFORE = (
    "before_fine_tuning"  # where a document of results holds the metrics of the model that the training started from
)
COMPARISON_COLUMNS = ("On held-out stories", "before", "after", "best floor", "which is")


def comparison_rows(before: dict, after: dict) -> list[list[str]]:
    """Return the cells of a table of the main results, each beside the best of its floors.

    Args:
        before: metrics of `evaluate_model` of the model that the training started from.
        after: those of the trained model, on the same windows.
    """
    values = {row["name"]: row["value"] for row in main_results(before)}
    return [
        [row["name"], *map(format_number, (values.get(row["name"]), row["value"], row["floor"])), row["floor_name"]]
        for row in main_results(after)
    ]
