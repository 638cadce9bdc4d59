"""The numbers of `evaluate_model` as tables of Markdown, the model's beside the floors', and what they say in short."""

EVENT_FRAME_COLUMNS = ("l1_changed", "copy_last_l1_changed", "placement", "count")
FRAME_COLUMNS = ("l1", "l1_changed", "psnr", "ssim", "perceptual", "edge_ratio")
TEXT_COLUMNS = ("loss", "bits_per_byte", "bleu4", "rouge_l", "chrf", "cider", "distinct2")
EVENT_COLUMNS = ("character", "action", "place", "all")
NAME_COLUMNS = ("precision", "recall", "f1")
EXACT_COLUMNS = ("mean", *(f"after_{step}" for step in range(1, 6)))
RECALL_COLUMNS = ("r1", "r5", "r10", "within_story_r1")


# What the table of main results shows: its name, where it stands in the metrics, where its floors stand (either numbers
# by name, or the name of one), and whether more is better. An oracle that knows the truth is no floor.
MAIN_RESULTS = (
    ("next frame, caption given: L1", ("next_frame", "l1"), ("next_frame", "floors"), False),
    ("next frame, caption given: L1 on changed pixels", ("next_frame", "l1_changed"), ("next_frame", "floors"), False),
    ("next frame, caption given: SSIM", ("next_frame", "ssim"), ("next_frame", "floors"), True),
    ("next frame, caption given: perceptual distance", ("next_frame", "perceptual"), ("next_frame", "floors"), False),
    ("next frame, no caption given: L1", ("next_frame_alone", "l1"), ("next_frame", "floors"), False),
    (
        "next frame, no caption given: L1 on changed pixels",
        ("next_frame_alone", "l1_changed"),
        ("next_frame", "floors"),
        False,
    ),
    ("next caption: bits per byte", ("next_caption", "bits_per_byte"), ("next_caption", "floors"), False),
    ("next caption: chrF", ("next_caption", "chrf"), ("next_caption", "floors"), True),
    ("next caption: CIDEr", ("next_caption", "cider"), ("next_caption", "floors"), True),
    ("next caption: event told right", ("next_caption", "event", "all"), ("next_caption", "event"), True),
    ("description: bits per byte", ("describe", "bits_per_byte"), ("describe", "floors"), False),
    ("description: chrF", ("describe", "chrf"), ("describe", "floors"), True),
    ("description: CIDEr", ("describe", "cider"), ("describe", "floors"), True),
    ("description: event told right", ("describe", "event", "all"), ("describe", "event"), True),
    ("text to picture: recall at 1", ("retrieval", "text_to_image", "r1"), ("retrieval", "text_to_image"), True),
    (
        "text to picture within the story: recall at 1",
        ("retrieval", "text_to_image", "within_story_r1"),
        ("retrieval", "text_to_image"),
        True,
    ),
    ("picture to text: recall at 1", ("retrieval", "image_to_text", "r1"), ("retrieval", "image_to_text"), True),
    ("attention: pointing game", ("attention", "pointing_game"), ("attention",), True),
)
ORACLES = ("oracle_input",)
FEWEST = 5  # events of a kind, for it to be told of as the worst


def value_at(metrics: dict, path: tuple[str, ...]):
    """What stands at `path` in nested dictionaries; `None` where there is nothing."""
    for key in path:
        metrics = metrics.get(key) if isinstance(metrics, dict) else None
    return metrics


def main_results(metrics: dict) -> list[dict]:
    """
    Of each of `MAIN_RESULTS` that was measured: `name`, `value`, and the best of its floors, `floor` and `floor_name`,
    with `beaten` (`None` where it has no floor).
    """
    rows = []
    for name, path, floor_path, more in MAIN_RESULTS:
        value = value_at(metrics, path)
        if value is None:
            continue
        floors = _floors(value_at(metrics, floor_path) or {}, path[-1])
        best = (max if more else min)(floors, key=floors.get, default=None)
        row = {"name": name, "value": value, "floor": None, "floor_name": "", "beaten": None}
        if best is not None:
            beaten = value > floors[best] if more else value < floors[best]
            row |= {"floor": floors[best], "floor_name": best.replace("_", " "), "beaten": beaten}
        rows.append(row)
    return rows


def main_table(metrics: dict, split: str, unseen: dict | None = None) -> str:
    """`main_results` of a split as a table; with the values of `test_unseen` as a column of its own."""
    others = {row["name"]: row["value"] for row in main_results(unseen or {})}
    titles = ["Measure", f"`{split}`", *(["`test_unseen`"] if others else []), f"best floor on `{split}`", "which is"]
    lines = [f"| {' | '.join(titles)} |", f"| --- |{' ---: |' * (len(titles) - 2)} --- |"]
    for row in main_results(metrics):
        value = f"**{_cell(row['value'])}**" if row["beaten"] else _cell(row["value"])
        more = [_cell(others.get(row["name"]))] if others else []
        lines.append(f"| {' | '.join([row['name'], value, *more, _cell(row['floor']), row['floor_name']])} |")
    return "\n".join(lines)


def worst_events(metrics: dict, number: int = 3) -> list[dict]:
    """The kinds of event, with at least `FEWEST` windows, whose changed pixels are painted worst: `by_event` rows."""
    kinds = value_at(metrics, ("next_frame", "by_event")) or {}
    told = [{"kind": kind, **row} for kind, row in kinds.items() if row["count"] >= FEWEST]
    return sorted(told, key=lambda row: -row["l1_changed"])[:number]


def result_tables(metrics: dict) -> str:
    """All numbers of `evaluate_model` as Markdown tables."""
    frames = metrics["next_frame"]
    rows = {
        "**model, next caption given**": frames,
        "model, shuffled caption": frames["shuffled_caption"],
        "model, no next caption": metrics["next_frame_alone"],
        **frames["floors"],
        "reconstruction of the last frame": metrics["reconstruction"],
    }
    tables = [_markdown_table("Next frame", FRAME_COLUMNS, rows)]
    if "by_event" in frames:
        tables.append(_markdown_table("Next frame by event", EVENT_FRAME_COLUMNS, frames["by_event"]))
    tables += [_markdown_table(*section) for section in exact_match_sections(metrics)]
    for title, columns, rows in caption_sections(metrics):
        tables.append(
            _markdown_table(title, columns, {"**model**" if row == "model" else row: rows[row] for row in rows})
        )
    recalls = {}
    for direction in ("text_to_image", "image_to_text"):
        found, name = metrics["retrieval"][direction], direction.replace("_", " ")
        recalls[f"**{name}**"] = found
        recalls[f"{name}, chance"] = {column: found[f"chance_{column}"] for column in RECALL_COLUMNS}
    tables.append(_markdown_table("Retrieval", RECALL_COLUMNS, recalls))
    if "attention" in metrics:
        attention, columns = metrics["attention"], ("pointing_game", "mass_over_area")
        chance = {column: attention[f"chance_{column}"] for column in columns}
        tables.append(_markdown_table("Spatial attention", columns, {"**model**": attention, "chance": chance}))
    return "\n\n".join(tables)


def _floors(found: dict, name: str) -> dict[str, float]:
    """The floors of a measure by their names: a share by chance, one beside `floor`, or those of `floors`."""
    if f"chance_{name}" in found:
        return {"chance": found[f"chance_{name}"]}
    if "floor" in found:
        return {"best of simple guesses": found["floor"][name]} if name in found["floor"] else {}
    floors = {floor: numbers.get(name) for floor, numbers in found.items() if isinstance(numbers, dict)}
    return {floor: value for floor, value in floors.items() if value is not None and floor not in ORACLES}


def _markdown_table(title: str, columns: tuple[str, ...], rows: dict[str, dict]) -> str:
    lines = [f"| {title} | {' | '.join(columns)} |", f"| --- |{' ---: |' * len(columns)}"]
    for name, values in rows.items():
        lines.append(f"| {name} | {' | '.join(_cell(values.get(column)) for column in columns)} |")
    return "\n".join(lines)


def _cell(value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4f}"


def format_metrics(metrics: dict) -> str:
    """The numbers of `evaluate_model` as tables of plain text, the model's beside the floors'."""
    frames = metrics["next_frame"]
    sections = [
        _table(
            "next frame",
            FRAME_COLUMNS,
            {
                "model, next caption given": frames,
                "model, shuffled caption": frames["shuffled_caption"],
                "model, no next caption": metrics["next_frame_alone"],
                **frames["floors"],
                "reconstruction": metrics["reconstruction"],
            },
        )
    ]
    if "by_event" in frames:
        sections.append(_table("next frame by event", EVENT_FRAME_COLUMNS, frames["by_event"]))
    sections += [_table(*section) for section in exact_match_sections(metrics)]
    sections += [_table(*section) for section in caption_sections(metrics)]
    for direction in ("text_to_image", "image_to_text"):
        recalls = metrics["retrieval"][direction]
        chance = {name: recalls[f"chance_{name}"] for name in RECALL_COLUMNS}
        sections.append(_table(f"retrieval, {direction}", RECALL_COLUMNS, {"model": recalls, "chance": chance}))
    if "attention" in metrics:
        attention, names = metrics["attention"], ("pointing_game", "mass_over_area")
        chance = {name: attention[f"chance_{name}"] for name in names}
        sections.append(_table("spatial attention", names, {"model": attention, "chance": chance}))
    counts = f"{metrics['num_windows']} windows of {metrics['num_stories']} stories"
    return "\n\n".join([counts, *sections, *metrics["notes"]])


def caption_sections(metrics: dict) -> list[tuple[str, tuple[str, ...], dict[str, dict]]]:
    """Title, columns and rows of the tables of both captions; numbers by row and column."""
    sections = []
    for task in ("next_caption", "describe"):
        found = metrics[task]
        shuffled = {column: found.get(f"{column}_shuffled_frames") for column in ("loss", "bits_per_byte")}
        rows = {"model": found, "model, shuffled frames": shuffled, **found["floors"]}
        sections.append((task, TEXT_COLUMNS, rows))
        if "event" in found:
            rows = {"model": found["event"], "floor": found["event"].get("floor", {})}
            sections.append((f"{task}, event", EVENT_COLUMNS, rows))
            names = found["named_characters"]
            sections.append((f"{task}, characters", NAME_COLUMNS, {"model": names, **names["floors"]}))
    return sections


def exact_match_sections(metrics: dict) -> list[tuple[str, tuple[str, ...], dict[str, dict]]]:
    """Return title, columns and rows of the table of each domain of SCONE; shares by row and instruction."""
    sections = []
    for domain, found in metrics.get("exact_match", {}).items():
        floors = found["floors"]
        rows = {
            "closed loop": found["closed_loop"],
            "closed loop, snapped": found["closed_loop_snapped"],
            "closed loop, copying the first": floors["closed_loop"]["copy_first"],
            "single step": found["single_step"],
            "single step, snapped": found["single_step_snapped"],
            "single step, slots right": found["single_step_slots"],
            "single step, copying the last": floors["single_step"]["copy_last"],
            "single step, shuffled words": floors["single_step"].get("shuffled_instruction", {}),
            "true frames": {"mean": found["true_frames"]},
        }
        sections.append((f"exact match, {domain}", EXACT_COLUMNS, rows))
    return sections


def _table(title: str, columns: tuple[str, ...], rows: dict[str, dict]) -> str:
    name_width = max(len(title), *map(len, rows), 26)
    widths = [max(len(column), 8) for column in columns]
    lines = [f"{title:<{name_width}}  " + "  ".join(f"{name:>{width}}" for name, width in zip(columns, widths))]
    for name, values in rows.items():
        numbers = (f"{_number(values.get(column)):>{width}}" for column, width in zip(columns, widths))
        lines.append(f"{name:<{name_width}}  " + "  ".join(numbers))
    return "\n".join(lines)


def _number(value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4f}"
