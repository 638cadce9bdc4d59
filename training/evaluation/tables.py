"""Choose which numbers of `evaluate_model` stand in which table, the model's beside the floors'; write Markdown."""

from typing import NamedTuple

from ..common.tables import LEFT, RIGHT, format_number, markdown_table
from ..scone.states import DOMAINS
from ..storyworld.states import SLOTS
from .wording_metrics import GIVEN, WITHHELD, WORDINGS

FRAME_COLUMNS = ("l1", "l1_changed", "l1_changed_per_frame", "psnr", "ssim", "edge_ratio")
FEATURE_COLUMNS = ("perceptual", "fid", "kid")
CHANGE_COLUMNS = ("l1_changed", "l1_changed_per_frame")
GROUP_COLUMNS = (*CHANGE_COLUMNS, *(f"copy_last_{name}" for name in CHANGE_COLUMNS), "count")
STATE_COLUMNS = ("exact", *SLOTS, "readable")
GROUPS = {"by_position": "by position", "by_event": "by event"}
CLIP_COLUMNS = ("clip_score",)
WORDING_COLUMNS = (*CHANGE_COLUMNS, "exact")
TEXT_COLUMNS = ("loss", "bits_per_byte", "bleu4", "rouge_l", "meteor", "chrf", "cider", "distinct2")
EVENT_COLUMNS = ("character", "action", "place", "all")
NAME_COLUMNS = ("precision", "recall", "f1")
EXACT_COLUMNS = ("mean", *(f"after_{step}" for step in range(1, 6)))
RECALL_COLUMNS = ("r1", "r5", "r10", "within_story_r1")
RECALL_DIRECTIONS = ("text_to_image", "image_to_text")
GROUNDING_COLUMNS = ("precision", "recall", "f1", "map")
ATTENTION_COLUMNS = ("pointing_game", "mass_over_area")
OBJECT_COLUMNS = ("precision", "recall", "f1", "rsim", "rsim_whole_depths")
OBJECT_TRUTHS = ("against_detections", "against_annotation")

Numbers = dict[str, float | int | None]  # by column
Rows = dict[str, Numbers]  # by the title of the row


class MainResult(NamedTuple):
    """A row of the table of main results: where its value stands in the metrics, and where the floors of it stand."""

    name: str
    path: tuple[str, ...]
    floors_path: tuple[str, ...]
    higher_is_better: bool = False


FRAME_FLOORS = ("next_frame", "floors")
STATE_CONTROLS = ("state", "controls")
OBJECTS = ("objects", "against_detections")
MAIN_RESULTS = (
    MainResult("next frame, caption given: L1", ("next_frame", "l1"), FRAME_FLOORS),
    MainResult("next frame, caption given: L1 on changed pixels", ("next_frame", "l1_changed"), FRAME_FLOORS),
    MainResult(
        "next frame, caption given: L1 on changed pixels, mean per frame",
        ("next_frame", "l1_changed_per_frame"),
        FRAME_FLOORS,
    ),
    MainResult("next frame, caption given: exact state", ("state", "caption_given", "exact"), STATE_CONTROLS, True),
    MainResult("next frame, no caption given: exact state", ("state", "no_caption", "exact"), STATE_CONTROLS, True),
    MainResult("next frame, caption given: SSIM", ("next_frame", "ssim"), FRAME_FLOORS, True),
    MainResult("next frame, caption given: perceptual distance", ("next_frame", "perceptual"), FRAME_FLOORS),
    MainResult("next frame, caption given: FID", ("next_frame", "fid"), FRAME_FLOORS),
    MainResult(
        "share of a caption's gain kept in words that training lacks",
        ("wordings", "gain_kept", "l1_changed"),
        ("wordings", "floors"),
        True,
    ),
    MainResult("next frame, no caption given: L1", ("next_frame_alone", "l1"), FRAME_FLOORS),
    MainResult("next frame, no caption given: L1 on changed pixels", ("next_frame_alone", "l1_changed"), FRAME_FLOORS),
    MainResult("next caption: bits per byte", ("next_caption", "bits_per_byte"), ("next_caption", "floors")),
    MainResult("next caption: METEOR", ("next_caption", "meteor"), ("next_caption", "floors"), True),
    MainResult("next caption: chrF", ("next_caption", "chrf"), ("next_caption", "floors"), True),
    MainResult("next caption: CIDEr", ("next_caption", "cider"), ("next_caption", "floors"), True),
    MainResult("next caption: event named right", ("next_caption", "event", "all"), ("next_caption", "event"), True),
    MainResult("description: bits per byte", ("describe", "bits_per_byte"), ("describe", "floors")),
    MainResult("description: METEOR", ("describe", "meteor"), ("describe", "floors"), True),
    MainResult("description: chrF", ("describe", "chrf"), ("describe", "floors"), True),
    MainResult("description: CIDEr", ("describe", "cider"), ("describe", "floors"), True),
    MainResult("description: event named right", ("describe", "event", "all"), ("describe", "event"), True),
    MainResult(
        "text to picture: recall at 1", ("retrieval", "text_to_image", "r1"), ("retrieval", "text_to_image"), True
    ),
    MainResult(
        "text to picture within the story: recall at 1",
        ("retrieval", "text_to_image", "within_story_r1"),
        ("retrieval", "text_to_image"),
        True,
    ),
    MainResult(
        "picture to text: recall at 1", ("retrieval", "image_to_text", "r1"), ("retrieval", "image_to_text"), True
    ),
    *(
        result
        for domain in DOMAINS
        for result in (
            MainResult(
                f"{domain}: all right after five instructions",
                ("exact_match", domain, "closed_loop", "after_5"),
                ("exact_match", domain, "floors", "closed_loop"),
                True,
            ),
            MainResult(
                f"{domain}: right after one instruction, from true frames",
                ("exact_match", domain, "single_step", "mean"),
                ("exact_match", domain, "floors", "single_step"),
                True,
            ),
        )
    ),
    MainResult("attention: pointing game", ("attention", "pointing_game"), ("attention",), True),
    MainResult("attention: F1 of boxes", ("grounding", "f1"), ("grounding", "floors"), True),
    MainResult("objects, closed loop: F1", (*OBJECTS, "closed_loop", "f1"), (*OBJECTS, "floors"), True),
    MainResult("objects, closed loop: RSIM", (*OBJECTS, "closed_loop", "rsim"), (*OBJECTS, "floors"), True),
)
CAPTION_GIVEN, BEST_GUESS = "model, next caption given", "best of simple guesses"
ORACLES = ("oracle_input",)  # see the target, so they are no floors
FEWEST_EVENTS = 5  # windows of a kind of event, for it to be listed among the worst


def value_at(metrics: dict, path: tuple[str, ...]) -> object | None:
    """Return the value at `path` in nested dictionaries, `None` where a key is missing."""
    for key in path:
        metrics = metrics.get(key) if isinstance(metrics, dict) else None
    return metrics


def main_results(metrics: dict) -> list[dict]:
    """
    Return the rows of `MAIN_RESULTS` that were measured.

    A row has `name`, `value`, the best of its floors as `floor` and `floor_name`, and `beaten`, whether the value is
    better than that; `None` where it has no floor.
    """
    rows = []
    for result in MAIN_RESULTS:
        value = value_at(metrics, result.path)
        if value is None:
            continue
        floors = _floors(value_at(metrics, result.floors_path) or {}, result.path[-1])
        best = (max if result.higher_is_better else min)(floors, key=floors.get, default=None)
        row = {"name": result.name, "value": value, "floor": None, "floor_name": "", "beaten": None}
        if best is not None:
            beaten = value > floors[best] if result.higher_is_better else value < floors[best]
            row |= {"floor": floors[best], "floor_name": best.replace("_", " "), "beaten": beaten}
        rows.append(row)
    return rows


def worst_events(metrics: dict, number: int = 3) -> list[dict]:
    """Return the `number` kinds of event whose changed pixels are painted worst: rows of `by_event` with their `kind`.

    Kinds of fewer than `FEWEST_EVENTS` windows, and those that change nothing, are left out.
    """
    kinds = value_at(metrics, ("next_frame", "by_event")) or {}
    frequent = [{"kind": kind, **row} for kind, row in kinds.items() if row["count"] >= FEWEST_EVENTS]
    frequent = [row for row in frequent if row["l1_changed"] is not None]
    return sorted(frequent, key=lambda row: -row["l1_changed"])[:number]


def next_frame_rows(metrics: dict) -> Rows:
    """Return the rows of the next frame: the model's, then a control, then the floors'."""
    frames = metrics["next_frame"]
    sharpened = f", sharpened by {frames['sharpening']}" if frames.get("sharpening") else ""
    return {
        f"{CAPTION_GIVEN}{sharpened}": frames,
        f"model, no next caption{sharpened}": metrics["next_frame_alone"],
        f"control: caption of another story{sharpened}": frames["shuffled_caption"],
        **frames["floors"],
    }


def frame_sections(metrics: dict) -> list[tuple[str, tuple[str, ...], Rows]]:
    """Return title, columns and rows of the tables of frames: pixels, features, groups, states."""
    frames, rows = metrics["next_frame"], next_frame_rows(metrics)
    measured = {**rows, "reconstruction of the last frame": metrics["reconstruction"]}
    sections = [("next frame", FRAME_COLUMNS, measured)]
    in_features = {name: row for name, row in measured.items() if row.get("perceptual") is not None}
    if in_features:
        network = metrics.get("feature_network") or "the model's own vision encoder"
        sections.append((f"next frame, in features of {network}", FEATURE_COLUMNS, in_features))
    if "clip_score" in frames:
        scores = {name: value for name, value in frames["clip_score"].items() if name not in ("count", "clip_model")}
        clip_rows = {name.replace("_", " "): {"clip_score": value} for name, value in scores.items()}
        sections.append((f"next frame, CLIP score by {frames['clip_score']['clip_model']}", CLIP_COLUMNS, clip_rows))
    sections += [(f"next frame {GROUPS[name]}", GROUP_COLUMNS, frames[name]) for name in GROUPS if name in frames]
    return sections + state_sections(metrics) + wording_sections(metrics)


def wording_sections(metrics: dict) -> list[tuple[str, tuple[str, ...], Rows]]:
    """Return title, columns and rows of the table of captions in words that training lacks; none without `wordings`."""
    measured = metrics.get("wordings")
    if not measured:
        return []
    rows = {
        f"{wording.replace('_', ' ')}, {given.replace('_', ' ')}": measured[wording][given]
        for wording in WORDINGS
        for given in (GIVEN, WITHHELD)
    }
    return [("next frame by wording", WORDING_COLUMNS, {**rows, "share of the gain kept": measured["gain_kept"]})]


def state_sections(metrics: dict) -> list[tuple[str, tuple[str, ...], Rows]]:
    """Return title, columns and rows of the tables of what frames of StoryWorld show; none without `state`."""
    states = metrics.get("state")
    if not states:
        return []
    rows = {
        CAPTION_GIVEN: states["caption_given"],
        "model, no next caption": states["no_caption"],
        "control: caption of another story": states.get("other_caption", {}),
        **{f"control: {name.replace('_', ' ')}": row for name, row in states["controls"].items()},
        "true frames": states["true_frames"],
    }
    sections = [("state of the next frame", STATE_COLUMNS, rows)]
    columns = (*STATE_COLUMNS, "count")
    return sections + [(f"state {GROUPS[name]}", columns, states[name]) for name in GROUPS if name in states]


def caption_sections(metrics: dict) -> list[tuple[str, tuple[str, ...], Rows]]:
    """Return title, columns and rows of the tables of both captions."""
    sections = []
    for task in ("next_caption", "describe"):
        captions = metrics[task]
        shuffled = {column: captions.get(f"{column}_shuffled_frames") for column in ("loss", "bits_per_byte")}
        rows = {"model": captions, "control: pictures of other stories": shuffled, **captions["floors"]}
        sections.append((task, TEXT_COLUMNS, rows))
        if "event" in captions:
            rows = {"model": captions["event"], BEST_GUESS: captions["event"].get("floor", {})}
            rows |= {name: captions["event"][name] for name in ("text_only",) if name in captions["event"]}
            sections.append((f"{task}, event", EVENT_COLUMNS, rows))
            names = captions["named_characters"]
            sections.append((f"{task}, characters", NAME_COLUMNS, {"model": names, **names["floors"]}))
    return sections


def exact_match_sections(metrics: dict) -> list[tuple[str, tuple[str, ...], Rows]]:
    """Return title, columns and rows of the table of each domain of SCONE that was measured."""
    sections = []
    for domain, measured in metrics.get("exact_match", {}).items():
        floors = measured["floors"]
        rows = {
            "closed loop": measured["closed_loop"],
            "closed loop, snapped": measured["closed_loop_snapped"],
            "closed loop, copy first": floors["closed_loop"]["copy_first"],
            "single step": measured["single_step"],
            "single step, snapped": measured["single_step_snapped"],
            "single step, slots right": measured["single_step_slots"],
            "single step, copy last": floors["single_step"]["copy_last"],
            "single step, shuffled": floors["single_step"].get("shuffled_instruction", {}),
            "true frames": {"mean": measured["true_frames"]},
        }
        sections.append((f"exact match, {domain}", EXACT_COLUMNS, rows))
    return sections


def recall_rows(metrics: dict, direction: str) -> Rows:
    """Return the rows of retrieval in one of `RECALL_DIRECTIONS`."""
    return _beside_chance(metrics["retrieval"][direction], RECALL_COLUMNS)


def attention_rows(metrics: dict) -> Rows:
    """Return the rows of the spatial attention, which must have been measured."""
    return _beside_chance(metrics["attention"], ATTENTION_COLUMNS)


def grounding_rows(metrics: dict) -> Rows:
    """Return the rows of boxes drawn around what the attention looks at, which must have been measured."""
    return {"model": metrics["grounding"], **metrics["grounding"]["floors"]}


def object_sections(metrics: dict) -> list[tuple[str, tuple[str, ...], Rows]]:
    """Return title, columns and rows of the tables of objects; none where they were not measured."""
    sections = []
    for truth in OBJECT_TRUTHS if "objects" in metrics else ():
        scores = metrics["objects"][truth]
        rows = {"model, closed loop": scores["closed_loop"], "model, from true pictures": scores["from_true_pictures"]}
        if "detector" in scores:
            rows["detector, true pictures"] = scores["detector"]
        sections.append((f"objects {truth.replace('_', ' ')}", OBJECT_COLUMNS, {**rows, **scores["floors"]}))
    return sections


def main_table(metrics: dict, split: str, unseen: dict | None = None) -> str:
    """
    Return `main_results` of a split as a Markdown table; values that beat their floor are bold.

    Args:
        metrics: the metrics of the split.
        split: its name.
        unseen: the metrics of `test_unseen`, whose values are a column more.

    Returns:
        The table.
    """
    unseen_values = {row["name"]: row["value"] for row in main_results(unseen or {})}
    unseen_title = ["`test_unseen`"] if unseen_values else []
    header = ["Measure", f"`{split}`", *unseen_title, f"best floor on `{split}`", "which is"]
    rows = []
    for row in main_results(metrics):
        value = format_number(row["value"])
        unseen_cell = [format_number(unseen_values.get(row["name"]))] if unseen_values else []
        floor = [format_number(row["floor"]), row["floor_name"]]
        rows.append([row["name"], f"**{value}**" if row["beaten"] else value, *unseen_cell, *floor])
    return markdown_table(header, rows, [LEFT, *[RIGHT] * (len(header) - 2), LEFT])


def result_tables(metrics: dict) -> str:
    """Return all numbers of `evaluate_model` as Markdown tables, the model's rows bold."""
    sections = []
    for title, columns, rows in frame_sections(metrics):
        bold = next((name for name in rows if name.startswith(CAPTION_GIVEN)), "")
        sections.append((title.capitalize(), columns, _with_bold(rows, bold)))
    for title, columns, rows in exact_match_sections(metrics):
        sections.append((title, columns, _with_bold(_with_bold(rows, "closed loop"), "single step")))
    sections += [(title, columns, _with_bold(rows, "model")) for title, columns, rows in caption_sections(metrics)]
    recalls = {}
    for direction in RECALL_DIRECTIONS:
        name, rows = direction.replace("_", " "), recall_rows(metrics, direction)
        recalls |= {f"**{name}**": rows["model"], f"{name}, chance": rows["chance"]}
    sections.append(("Retrieval", RECALL_COLUMNS, recalls))
    if "attention" in metrics:
        sections.append(("Spatial attention", ATTENTION_COLUMNS, _with_bold(attention_rows(metrics), "model")))
    if "grounding" in metrics:
        rows = _with_bold(grounding_rows(metrics), "model")
        sections.append(("Boxes around what is looked at", GROUNDING_COLUMNS, rows))
    sections += [
        (title.capitalize(), columns, _with_bold(rows, "model, closed loop"))
        for title, columns, rows in object_sections(metrics)
    ]
    return "\n\n".join(
        markdown_table([title, *columns], table_cells(columns, rows)) for title, columns, rows in sections
    )


def table_cells(columns: tuple[str, ...], rows: Rows) -> list[list[str]]:
    """Return the cells of `rows`: the title of each, then its numbers in `columns`, a dash where one is missing."""
    return [[title, *(format_number(row.get(column)) for column in columns)] for title, row in rows.items()]


def _floors(measures: dict, name: str) -> dict[str, float]:
    """
    Return the floors of the measure `name` by their own names.

    `measures` has them in one of three forms: a share by chance, a `floor` beside the value, or numbers by floor.
    """
    if f"chance_{name}" in measures:
        return {"chance": measures[f"chance_{name}"]}
    if "floor" in measures:
        simple, trained = measures["floor"], measures.get("text_only", {})
        rows = {BEST_GUESS: simple.get(name), "text_only": trained.get(name)}
        return {floor: value for floor, value in rows.items() if value is not None}
    floors = {floor: numbers.get(name) for floor, numbers in measures.items() if isinstance(numbers, dict)}
    return {floor: value for floor, value in floors.items() if value is not None and floor not in ORACLES}


def _beside_chance(measures: dict, columns: tuple[str, ...]) -> Rows:
    return {"model": measures, "chance": {column: measures[f"chance_{column}"] for column in columns}}


def _with_bold(rows: Rows, title: str) -> Rows:
    """Return `rows` with the title of one of them in bold."""
    return {f"**{name}**" if name == title else name: row for name, row in rows.items()}
