"""Tables as text: in Markdown for documents, in aligned columns for a terminal."""

from collections.abc import Iterable, Sequence

LEFT, RIGHT = "---", "---:"  # the alignments of a column, as Markdown writes them


def markdown_table(header: Iterable[str], rows: Iterable[Iterable[str]], alignments: Sequence[str] = ()) -> str:
    """
    Return a table in Markdown.

    Args:
        header: the title of each column.
        rows: the cells of each row.
        alignments: `LEFT` or `RIGHT` for each column; by default the first column stands left and the others right.

    Returns:
        The lines of the table, without a line break at the end.
    """
    header = list(header)
    lines = [header, alignments or _default_alignments(len(header)), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def text_table(
    header: Iterable[str],
    rows: Iterable[Iterable[str]],
    *,
    alignments: Sequence[str] = (),
    min_widths: Sequence[int] = (),
) -> str:
    """
    Return a table of plain text, its columns two spaces apart and as wide as their widest cell.

    Args:
        header: the title of each column.
        rows: the cells of each row.
        alignments: `LEFT` or `RIGHT` for each column; by default the first column stands left and the others right.
        min_widths: the least width of each column, in characters; 0 by default.

    Returns:
        The lines of the table, without a line break at the end and without spaces at the ends of lines.
    """
    lines = [list(header), *map(list, rows)]
    alignments = alignments or _default_alignments(len(lines[0]))
    columns = list(zip(*lines))
    least = min_widths or [0] * len(columns)
    widths = [max(*map(len, column), width) for column, width in zip(columns, least)]
    justify = [str.ljust if alignment == LEFT else str.rjust for alignment in alignments]
    return "\n".join("  ".join(place(*cell) for place, *cell in zip(justify, line, widths)).rstrip() for line in lines)


def format_number(value: float | int | None) -> str:
    """Return a whole number as it is, any other number with four decimals, and `None` as a dash."""
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4f}"


def _default_alignments(num_columns: int) -> list[str]:
    return [LEFT, *[RIGHT] * (num_columns - 1)]
