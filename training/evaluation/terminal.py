"""Print the numbers of `evaluate_model` on a terminal."""

from ..common.tables import text_table
from .tables import (
    ATTENTION_COLUMNS,
    EVENT_FRAME_COLUMNS,
    FRAME_COLUMNS,
    RECALL_COLUMNS,
    RECALL_DIRECTIONS,
    Rows,
    attention_rows,
    caption_sections,
    exact_match_sections,
    next_frame_rows,
    object_sections,
    recall_rows,
    table_cells,
)

TITLE_WIDTH, NUMBER_WIDTH = 26, 8  # characters: tables below each other are equally wide


def format_metrics(metrics: dict) -> str:
    """Return the numbers of `evaluate_model` as tables of plain text, the model's beside the floors', and its notes."""
    frames = metrics["next_frame"]
    frame_rows = {**next_frame_rows(metrics), "reconstruction": metrics["reconstruction"]}
    sections = [("next frame", FRAME_COLUMNS, frame_rows)]
    if "by_event" in frames:
        sections.append(("next frame by event", EVENT_FRAME_COLUMNS, frames["by_event"]))
    sections += exact_match_sections(metrics) + caption_sections(metrics)
    for direction in RECALL_DIRECTIONS:
        sections.append((f"retrieval, {direction}", RECALL_COLUMNS, recall_rows(metrics, direction)))
    if "attention" in metrics:
        sections.append(("spatial attention", ATTENTION_COLUMNS, attention_rows(metrics)))
    sections += object_sections(metrics)
    counts = f"{metrics['num_windows']} windows of {metrics['num_stories']} stories"
    return "\n\n".join([counts, *(_section(*section) for section in sections), *metrics["notes"]])


def _section(title: str, columns: tuple[str, ...], rows: Rows) -> str:
    widths = [TITLE_WIDTH, *[NUMBER_WIDTH] * len(columns)]
    return text_table([title, *columns], table_cells(columns, rows), min_widths=widths)
