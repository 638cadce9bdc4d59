"""Write the model card of a published folder, from the files of the folder and the template `model_card.md`.

The template is Jinja's; it stands beside the packages in a checkout and under `share/storyattn` in an installation.
"""

import json
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import jinja2
import torch
from huggingface_hub import ModelCard
from storyattn import StoryAttnConfig, StoryAttnForConditionalGeneration, StoryAttnProcessor
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
from .card_metadata import DEFAULT_LICENSE, card_data, dataset_title, gallery
from .eval_results import UNSEEN, write_eval_results
from .release_files import CARD, CONFIG, INDEX, RESULTS, WEIGHTS, write_custom_generate
from .story_strips import draw_strips

TEMPLATE = "model_card.md"


def write_card(folder: str | Path, repo_id: str | None = None, changes: dict | None = None) -> Path:
    """Write `README.md` of a published folder from its other files, and what goes with it.

    These are `results.json`, the configuration, figures and, where they exist, `ablations.md` or `ablations.json`. A
    folder from before facts were stored in `results.json` gets them there, see `recovered_facts`. With the card go
    `.eval_results`, `custom_generate` and, where they are missing, strips of the example story.

    Args:
        folder: published folder.
        repo_id: `user/name` on the Hub, which the quick start then loads; default: it loads the folder.
        changes: facts to change: `license` of the weights as the Hub calls it, `new_version` and `benchmark` (Hub ids
            of the model that replaces this one, and of the data set of the results).

    Returns:
        The path of the card.

    Raises:
        FileNotFoundError: for a folder without results or configuration, or where there is no template.
        ValueError: for files of something else.
    """
    folder = Path(folder).expanduser()
    config, results = read_config(folder), read_results(folder)
    facts = {**(results.get("facts") or recovered_facts(folder, results, config)), **(changes or {})}
    if (
        "strips" not in facts
        and example_captions(facts)
        and any((folder / name).is_file() for name in (WEIGHTS, INDEX))
    ):
        model = StoryAttnForConditionalGeneration.from_pretrained(folder)
        processor = StoryAttnProcessor.from_pretrained(folder)
        facts["strips"] = draw_strips(model, processor, folder, example_captions(facts))
    if facts != results.get("facts"):
        results["facts"] = facts
        write_results(results, folder / RESULTS)
    write_eval_results(folder, results, facts, repo_id)
    write_custom_generate(folder)
    make_card(folder, repo_id).save(folder / CARD)
    return folder / CARD


def make_card(
    folder: Path, repo_id: str | None = None, pin: str | None = None, changes: dict | None = None
) -> ModelCard:
    """Return the card of a folder that has facts in `results.json`.

    Args:
        folder: published folder.
        repo_id: as in `write_card`.
        pin: commit of the repository that the quick start loads; default: the newest.
        changes: as in `write_card`.

    Raises:
        FileNotFoundError: as `write_card`.
        ValueError: as `write_card`.
    """
    config, results = read_config(folder), read_results(folder)
    facts = results["facts"] = {**results["facts"], **(changes or {})}
    data = card_data(results, facts, repo_id)
    fields = dict(
        repo_id=repo_id,
        pin=pin,
        config=config,
        figures=sorted(path.name for path in (folder / "figures").glob("*.png")),
        captions=[json.dumps(text, ensure_ascii=False) if text else "None" for text in example_captions(facts)],
        strips=gallery(facts),
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
