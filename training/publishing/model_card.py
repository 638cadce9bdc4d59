"""Write the model card of a published folder, from the files of the folder and the template `model_card.md`.

The template is Jinja's; it stands beside the packages in a checkout and under `share/storyattn` in an installation.
"""

import json
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import jinja2
import torch
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from storyattn import StoryAttnConfig, StoryAttnForConditionalGeneration
from transformers import PreTrainedConfig

from ..common.files import write_results
from ..common.hub_ids import is_hub_id
from ..common.tables import markdown_table
from ..data.sources import STORYWORLD
from ..evaluation.comparison import BEFORE, COMPARISON_COLUMNS, comparison_rows
from ..evaluation.storyworld_metrics import event_hits
from ..evaluation.tables import main_results, main_table, result_tables, value_at, worst_events
from ..storyworld.reading import read_caption
from .card_facts import recovered_facts
from .release_files import CARD, CONFIG, RESULTS

TEMPLATE = "model_card.md"
DEFAULT_LICENSE = "mit"
TAGS = ["storyattn", "visual-storytelling", "story-continuation", "image-generation", "custom_code"]
FRAME, CAPTION = ("image-to-image", "Next frame"), ("image-text-to-text", "Next caption")
DESCRIPTION, SHARED_SPACE = ("image-to-text", "Description"), ("feature-extraction", "Retrieval")
ATTENTION = ("image-feature-extraction", "Spatial attention")
# Task type and name, metric, its name, and its path in `metrics`. The Hub shows one name for each task type.
PUBLISHED_METRICS = (
    (FRAME, "l1", "L1 of the next frame", ("next_frame", "l1")),
    (FRAME, "l1_changed", "L1 on changed pixels", ("next_frame", "l1_changed")),
    (FRAME, "l1_changed_per_frame", "L1 on changed pixels, mean per frame", ("next_frame", "l1_changed_per_frame")),
    (FRAME, "exact_state", "Share of frames in the right state", ("state", "caption_given", "exact")),
    (FRAME, "psnr", "PSNR of the next frame", ("next_frame", "psnr")),
    (FRAME, "ssim", "SSIM of the next frame", ("next_frame", "ssim")),
    (CAPTION, "loss", "Loss per token of the next caption", ("next_caption", "loss")),
    (CAPTION, "bits_per_byte", "Bits per byte of it", ("next_caption", "bits_per_byte")),
    (CAPTION, "meteor", "METEOR of it, without synonyms", ("next_caption", "meteor")),
    (CAPTION, "chrf", "chrF of it", ("next_caption", "chrf")),
    (CAPTION, "cider", "CIDEr-D of it", ("next_caption", "cider")),
    (CAPTION, "event", "Share with the right character, action and place", ("next_caption", "event", "all")),
    (DESCRIPTION, "bits_per_byte", "Bits per byte of a description", ("describe", "bits_per_byte")),
    (DESCRIPTION, "chrf", "chrF of it", ("describe", "chrf")),
    (DESCRIPTION, "cider", "CIDEr-D of it", ("describe", "cider")),
    (SHARED_SPACE, "r1", "Text-to-image recall at 1", ("retrieval", "text_to_image", "r1")),
    (SHARED_SPACE, "r10", "Text-to-image recall at 10", ("retrieval", "text_to_image", "r10")),
    (ATTENTION, "pointing_game", "Pointing game", ("attention", "pointing_game")),
)
UNSEEN = "test_unseen"


def write_card(folder: str | Path, repo_id: str | None = None, license: str | None = None) -> Path:
    """Write `README.md` of a published folder from its other files.

    These are `results.json`, the configuration, figures and, where they exist, `ablations.md` or `ablations.json`. A
    folder from before facts were stored in `results.json` gets them there, see `recovered_facts`.

    Args:
        folder: published folder.
        repo_id: `user/name` on the Hub, which the quick start then loads; default: it loads the folder.
        license: license of the weights as the Hub calls it; default: the one in the facts.

    Returns:
        The path of the card.

    Raises:
        FileNotFoundError: for a folder without results or configuration, or where there is no template.
        ValueError: for files of something else.
    """
    folder = Path(folder).expanduser()
    config, results = read_config(folder), read_results(folder)
    facts = results.get("facts") or recovered_facts(folder, results, config)
    if license is not None:
        facts = {**facts, "license": license}
    if facts != results.get("facts"):
        results["facts"] = facts
        write_results(results, folder / RESULTS)
    make_card(folder, repo_id).save(folder / CARD)
    return folder / CARD


def make_card(folder: Path, repo_id: str | None = None) -> ModelCard:
    """Return the card of a folder that has facts in `results.json`; arguments and errors are those of `write_card`."""
    config, results = read_config(folder), read_results(folder)
    facts = results["facts"]
    data = card_data(results, facts, repo_id)
    fields = dict(
        repo_id=repo_id,
        config=config,
        figures=sorted(path.name for path in (folder / "figures").glob("*.png")),
        captions=[json.dumps(text, ensure_ascii=False) if text else "None" for text in example_captions(facts)],
        ablations=read_ablations(folder),
        **parameter_counts(config),
        **result_fields(results),
        **fact_fields(facts, repo_id),
    )
    template = _compiled(find_template().read_text(encoding="utf-8"))
    return ModelCard(template.render(card_data=data.to_yaml(), **{**data.to_dict(), **fields}))


@cache
def _compiled(template: str) -> jinja2.Template:
    return jinja2.Template(template)


def find_template() -> Path:
    """Return the path of `model_card.md`, in the checkout or the installation.

    Raises:
        FileNotFoundError: where it is in neither.
    """
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / TEMPLATE).is_file() and (checkout / "pyproject.toml").is_file():
        return checkout / TEMPLATE
    try:
        installed = [Path(str(file.locate())) for file in files("storyattn") or [] if file.name == TEMPLATE]
    except PackageNotFoundError:
        installed = []
    for path in installed:
        if path.is_file():
            return path.resolve()
    raise FileNotFoundError(f"{TEMPLATE}: got none in {checkout} or the installation, expected it in one of them")


def read_config(folder: Path) -> StoryAttnConfig:
    """Return the configuration of a published folder; errors are those of `write_card`."""
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(f"folder: got {str(folder)!r} without {CONFIG}, expected a folder that training wrote")
    values, _ = PreTrainedConfig.get_config_dict(str(folder))
    if values.get("model_type") != StoryAttnConfig.model_type:
        model_type = f"model_type {values.get('model_type')!r} in {str(folder)!r}"
        raise ValueError(f"folder: got {model_type}, expected {StoryAttnConfig.model_type!r}")
    return StoryAttnConfig.from_pretrained(folder)


def read_results(folder: Path) -> dict:
    """Return `results.json` of a published folder; errors are those of `write_card`."""
    path = folder / RESULTS
    if not path.is_file():
        raise FileNotFoundError(f"folder: got {str(folder)!r} without {RESULTS}, expected a folder that training wrote")
    results = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(results, dict) or "metrics" not in results:
        raise ValueError(f"folder: got {str(path)!r} without metrics, expected what `storyattn evaluate` writes")
    return results


def read_ablations(folder: Path) -> dict | None:
    """Return the ablations in a folder, as `benchmarks/ablations.py` writes them; `None` where there are none.

    They are a `table` in Markdown and, where `ablations.json` has them, `steps`, `seeds` and `max_windows`.
    """
    table, numbers = folder / "ablations.md", folder / "ablations.json"
    document = json.loads(numbers.read_text(encoding="utf-8")) if numbers.is_file() else {}
    if table.is_file():
        return {**document, "table": table.read_text(encoding="utf-8").strip()}
    if not document:
        return None
    names = [name for name in document["rows"][0] if name != "variant"]
    rows = [
        [row["variant"], *(f"{mean:.4f} ± {spread:.4f}" for mean, spread in (row[name] for name in names))]
        for row in document["rows"]
    ]
    return {**document, "table": markdown_table(["Variant", *names], rows)}


def dataset_title(name: str) -> str:
    """Return what a data set is called in the card: StoryWorld, a Hub id as it is, the name of a folder."""
    if name == STORYWORLD:
        return "StoryWorld"
    return name if is_hub_id(name) else Path(name).expanduser().resolve().name


def dataset_id(name: str) -> str:
    """Return what the metadata calls a data set: a Hub id as it is, else its title with dashes for odd characters."""
    return name if is_hub_id(name) else re.sub(r"[^\w.-]+", "-", dataset_title(name).lower())


def card_data(results: dict, facts: dict, repo_id: str | None = None) -> ModelCardData:
    """Return the metadata of the card.

    Args:
        results: document of `results.json`; its numbers stand in `model-index` as they are.
        facts: its `facts`.
        repo_id: `user/name` on the Hub, whose name the model then has.
    """
    title = dataset_title(facts["dataset"])
    named = {"dataset_type": dataset_id(facts["dataset"]), "dataset_name": title}
    named["dataset_revision"] = facts.get("data", {}).get("revision")
    evaluations = []
    for split, metrics in ((facts["split"], results["metrics"]), (UNSEEN, results.get(UNSEEN, {}))):
        for (task_type, task_name), metric, metric_name, path in PUBLISHED_METRICS:
            value = value_at(metrics, path)
            if value is not None:
                measured = {"metric_type": metric, "metric_name": metric_name, "metric_value": value}
                options = {"task_type": task_type, "task_name": task_name, "dataset_split": split}
                evaluations.append(EvalResult(**options, **named, **measured))
    bases = [name for name in facts.get("base_models", {}) if "/" in name]
    return ModelCardData(
        language="en",
        license=facts.get("license", DEFAULT_LICENSE),
        library_name="transformers",
        pipeline_tag="image-text-to-text",
        tags=TAGS,
        datasets=[dataset_id(facts["dataset"])],
        base_model=bases or None,
        base_model_relation="finetune" if bases else None,
        metrics=list(dict.fromkeys(result.metric_type for result in evaluations)),
        model_name=repo_id.split("/")[-1] if repo_id else f"StoryAttn-{title.rsplit('/')[-1]}",
        eval_results=evaluations,
    )


def example_captions(facts: dict) -> list[str | None]:
    """Return the captions of the pictures `figures/example_*.png`; none where there are no such pictures."""
    return facts.get("example", {}).get("captions", [])


def parameter_counts(config: StoryAttnConfig) -> dict[str, str | dict[str, str]]:
    """Return the numbers of parameters for the template: `parameters` of the model, `parts` by name."""
    with torch.device("meta"):
        model = StoryAttnForConditionalGeneration(config)
    parts = {
        "vision encoder": model.model.vision_encoder,
        "text encoder": model.model.text_encoder,
        "text decoder": model.text_decoder,
        "frame decoder": model.frame_decoder,
    }
    counts = {name: sum(weight.numel() for weight in part.parameters()) for name, part in parts.items()}
    total = sum(weight.numel() for weight in model.parameters())
    counts["attention, fusion and story transformer"] = total - sum(counts.values())
    return {"parameters": f"{total:,}", "parts": {name: f"{count:,}" for name, count in counts.items()}}


def result_fields(results: dict) -> dict:
    """Return what the template shows of the results: tables, examples, and where the model fails."""
    metrics, unseen, split = results["metrics"], results.get(UNSEEN), results["facts"]["split"]
    rows = [
        {"split": name, **row}
        for name, measured in ((split, metrics), (UNSEEN, unseen or {}))
        for row in main_results(measured)
    ]
    return {
        "results": results,
        "main_table": main_table(metrics, split, unseen),
        "tables": result_tables(metrics),
        "unseen_tables": result_tables(unseen) if unseen else "",
        "unbeaten": [row for row in rows if row["beaten"] is False],
        "worst_events": worst_events(metrics),
        "examples": caption_examples(metrics),
        "comparison": before_after_table(results),
    }


def before_after_table(results: dict) -> str:
    """Return the table of a fine-tuning and what it started from in Markdown; empty where that was not measured."""
    if BEFORE not in results:
        return ""
    return markdown_table(COMPARISON_COLUMNS, comparison_rows(results[BEFORE], results["metrics"]))


def caption_examples(metrics: dict) -> list[dict]:
    """Return captions of the first windows for a table of the card.

    Each has `target`, `next` and `description`, and `right`: on StoryWorld whether `next` names the right event, else
    `None`.
    """
    descriptions = [example["generated"] for example in value_at(metrics, ("describe", "examples")) or []]
    rows = []
    for position, example in enumerate(value_at(metrics, ("next_caption", "examples")) or []):
        target, written = example["target"], example["generated"]
        right = None
        if "event" in metrics["next_caption"]:
            true = read_caption(target)
            event = {"characters": true.characters, "places": ()}
            right = event_hits(read_caption(written), event, true)["all"]
        description = descriptions[position] if position < len(descriptions) else ""
        rows.append({"target": target, "next": written, "description": description, "right": right})
    return [{name: _in_cell(value) for name, value in row.items()} for row in rows]


def fact_fields(facts: dict, repo_id: str | None) -> dict:
    """Return what the template shows of the facts."""
    title = dataset_title(facts["dataset"])
    return {
        "title": repo_id.split("/")[-1] if repo_id else f"StoryAttn on {title}",
        "dataset": title,
        "is_storyworld": facts["dataset"] == STORYWORLD,
        "is_hub_dataset": is_hub_id(facts["dataset"]),
        "license": facts.get("license", DEFAULT_LICENSE),
        "pretrained": facts.get("pretrained", {}),
        "fine_tuned_from": facts.get("fine_tuned_from"),
        "base_models": facts.get("base_models", {}),
        "data": {"revision": None, "licences": {}, "sources": {}, "credits": [], **facts.get("data", {})},
        "facts": facts,
        "training": [("Fact", "Value"), *facts["training"].items()],
    }


def _in_cell(value: str | bool | None) -> str | bool | None:
    """Return a text as it can stand in a cell of a Markdown table, anything else as it is."""
    return " ".join(value.replace("|", "\\|").split()) if isinstance(value, str) else value
