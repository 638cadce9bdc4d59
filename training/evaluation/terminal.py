"""Print the numbers of `evaluate_model` on a terminal."""

from ..common.tables import text_table
from .tables import (
    ATTENTION_COLUMNS,
    GROUNDING_COLUMNS,
    RECALL_COLUMNS,
    RECALL_DIRECTIONS,
    Rows,
    attention_rows,
    caption_sections,
    exact_match_sections,
    frame_sections,
    grounding_rows,
    object_sections,
    recall_rows,
    table_cells,
)

TITLE_WIDTH, NUMBER_WIDTH = 26, 8  # characters: tables below each other are equally wide


def format_metrics(metrics: dict) -> str:
    """Return the numbers of `evaluate_model` as tables of plain text, the model's beside the floors', and its notes."""
    sections = frame_sections(metrics) + exact_match_sections(metrics) + caption_sections(metrics)
    for direction in RECALL_DIRECTIONS:
        sections.append((f"retrieval, {direction}", RECALL_COLUMNS, recall_rows(metrics, direction)))
    if "attention" in metrics:
        sections.append(("spatial attention", ATTENTION_COLUMNS, attention_rows(metrics)))
    if "grounding" in metrics:
        sections.append(("boxes from attention", GROUNDING_COLUMNS, grounding_rows(metrics)))
    sections += object_sections(metrics)
    counts = f"{metrics['num_windows']} windows of {metrics['num_stories']} stories"
    return "\n\n".join([counts, *(_section(*section) for section in sections), *metrics["notes"]])


def _section(title: str, columns: tuple[str, ...], rows: Rows) -> str:
    widths = [TITLE_WIDTH, *[NUMBER_WIDTH] * len(columns)]
    return text_table([title, *columns], table_cells(columns, rows), min_widths=widths)
