"""
Writes a Hub-ready folder: weights, configuration, processor and code, a model card from `model_card.md`,
`results.json`.

Nothing in it is a pickle. `model_card.md` is a Jinja template; it lies beside the packages in a checkout and under
`share/storyattn` in an installation.
"""

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from .evaluate_cli import EVENT_FRAME_COLUMNS, FRAME_COLUMNS, RECALL_COLUMNS, caption_sections
from .evaluation import write_results
from .hub import is_hub_id

TEMPLATE = "model_card.md"
TAGS = ["storyattn", "visual-storytelling", "story-continuation", "image-generation", "custom_code"]
# task type and name, metric, its name, and where it stands in `metrics`
PUBLISHED_METRICS = (
    ("image-to-image", "Next frame", "l1", "L1 of the next frame", ("next_frame", "l1")),
    ("image-to-image", "Next frame", "ssim", "SSIM of the next frame", ("next_frame", "ssim")),
    ("image-to-image", "Next frame", "l1_changed", "L1 on changed pixels", ("next_frame", "l1_changed")),
    ("image-text-to-text", "Next caption", "loss", "Loss per token of the next caption", ("next_caption", "loss")),
    ("image-text-to-text", "Next caption", "bits_per_byte", "Bits per byte of it", ("next_caption", "bits_per_byte")),
    ("feature-extraction", "Retrieval", "r1", "Text-to-image recall at 1", ("retrieval", "text_to_image", "r1")),
)


def write_hub_folder(model, processor, output_dir: str | Path, results: dict, facts: dict) -> Path:
    """
    Writes the folder that `push_to_hub` or `hf upload` publishes as it is; returns it.

    Adapters are merged into the weights. `results` is a document of `results_document`, written as `results.json`; its
    key `test_unseen`, where there is one, holds further metrics. `facts` tell how the model was trained: `dataset`,
    `split` (of the results), `command`, `training`, a dictionary of what else the card shows as a table (steps, batch,
    seconds, hardware, ...), and `pretrained`, which is empty where all was trained from scratch. Figures that already
    lie in `output_dir/figures` are shown in the card.

    Raises `FileNotFoundError` where the template of the card cannot be found.
    """
    output_dir = Path(output_dir)
    template = find_template()
    model.save_pretrained(output_dir)
    processor.save_pretrained(output_dir)
    write_results(results, output_dir / "results.json")
    config, metrics = model.config, results["metrics"]
    card = ModelCard.from_template(
        card_data(results, facts),
        template_path=str(template),
        title=f"StoryAttn on {dataset_title(facts['dataset'])}",
        parameters=f"{sum(parameter.numel() for parameter in model.parameters()):,}",
        height=config.image_size[0],
        width=config.image_size[1],
        max_frames=config.max_frames,
        max_caption_length=config.max_caption_length,
        figures=sorted(path.name for path in (output_dir / "figures").glob("*.png")),
        results=results,
        tables=result_tables(metrics),
        unseen_tables=result_tables(results["test_unseen"]) if "test_unseen" in results else "",
        facts={**facts, "dataset": dataset_title(facts["dataset"])},
        training=[("Fact", "Value"), *facts["training"].items()],
    )
    card.save(output_dir / "README.md")
    return output_dir


def find_template() -> Path:
    """Path of `model_card.md`, in the checkout or the installation; raises `FileNotFoundError`."""
    beside = Path(__file__).resolve().parent.parent / TEMPLATE
    if beside.is_file() and (beside.parent / "pyproject.toml").is_file():
        return beside
    try:
        installed = [Path(str(file.locate())) for file in files("storyattn") or [] if file.name == TEMPLATE]
    except PackageNotFoundError:
        installed = []
    for path in installed:
        if path.is_file():
            return path.resolve()
    raise FileNotFoundError(f"{TEMPLATE}: found neither {beside} nor one in the installation, expected one of them")


def dataset_title(name: str) -> str:
    """What a data set is called in the card: StoryWorld, a Hub id as it is, the name of a folder."""
    if name == "storyworld":
        return "StoryWorld"
    return name if is_hub_id(name) else Path(name).expanduser().resolve().name


def card_data(results: dict, facts: dict) -> ModelCardData:
    """The metadata of the card, its `model-index` from the numbers of `results["metrics"]` as they are."""
    dataset = facts["dataset"]
    title = dataset_title(dataset)
    evaluations = []
    for task_type, task_name, metric, metric_name, keys in PUBLISHED_METRICS:
        value = results["metrics"]
        for key in keys:
            value = value[key]
        if value is None:
            continue
        evaluations.append(
            EvalResult(
                task_type=task_type,
                task_name=task_name,
                dataset_type=dataset if is_hub_id(dataset) else title.lower(),
                dataset_name=title,
                dataset_split=facts["split"],
                metric_type=metric,
                metric_name=metric_name,
                metric_value=value,
            )
        )
    return ModelCardData(
        license="mit",
        language="en",
        library_name="transformers",
        pipeline_tag="image-text-to-text",
        tags=TAGS,
        datasets=[dataset] if is_hub_id(dataset) else None,
        model_name=f"StoryAttn-{title.rsplit('/')[-1]}",
        eval_results=evaluations,
    )


def result_tables(metrics: dict) -> str:
    """The numbers of `evaluate_model` as Markdown tables, the model's beside the floors'."""
    frames = metrics["next_frame"]
    rows = {
        "**model, next caption given**": frames,
        "model, shuffled caption": frames["shuffled_caption"],
        "model, no next caption": metrics["next_frame_alone"],
        **frames["floors"],
        "reconstruction of the last frame": metrics["reconstruction"],
    }
    tables = [_table("Next frame", FRAME_COLUMNS, rows)]
    if "by_event" in frames:
        tables.append(_table("Next frame by event", EVENT_FRAME_COLUMNS, frames["by_event"]))
    for title, columns, rows in caption_sections(metrics):
        tables.append(_table(title, columns, {"**model**" if row == "model" else row: rows[row] for row in rows}))
    recalls = {}
    for direction in ("text_to_image", "image_to_text"):
        found, name = metrics["retrieval"][direction], direction.replace("_", " ")
        recalls[f"**{name}**"] = found
        recalls[f"{name}, chance"] = {column: found[f"chance_{column}"] for column in RECALL_COLUMNS}
    tables.append(_table("Retrieval", RECALL_COLUMNS, recalls))
    if "attention" in metrics:
        attention, columns = metrics["attention"], ("pointing_game", "mass_over_area")
        chance = {column: attention[f"chance_{column}"] for column in columns}
        tables.append(_table("Spatial attention", columns, {"**model**": attention, "chance": chance}))
    return "\n\n".join(tables)


def _table(title: str, columns: tuple[str, ...], rows: dict[str, dict]) -> str:
    lines = [f"| {title} | {' | '.join(columns)} |", f"| --- |{' ---: |' * len(columns)}"]
    for name, values in rows.items():
        lines.append(f"| {name} | {' | '.join(_cell(values.get(column)) for column in columns)} |")
    return "\n".join(lines)


def _cell(value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4f}"
