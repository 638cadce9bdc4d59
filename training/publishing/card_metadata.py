"""The metadata of a model card: what the Hub lists, filters and draws of a model."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from ..common.hub_ids import is_hub_id
from ..data.sources import STORYWORLD
from ..evaluation.published_metrics import measured_metrics

DEFAULT_LICENSE = "mit"
TAGS = ["storyattn", "visual-storytelling", "story-continuation", "image-generation", "custom_code", "custom_generate"]
TASK = {"task_type": "image-text-to-text", "task_name": "Story continuation"}  # the Hub shows one name for each type


def card_data(results: dict, facts: dict, repo_id: str | None = None) -> ModelCardData:
    """Return the metadata of the card.

    `model-index` has the main results on the split of the card; `.eval_results` has all of them.

    Args:
        results: document of `results.json`; its numbers stand in `model-index` as they are.
        facts: its `facts`.
        repo_id: `user/name` on the Hub, whose name the model then has.
    """
    title = dataset_title(facts["dataset"])
    named = {"dataset_type": dataset_id(facts["dataset"]), "dataset_name": title, "dataset_split": facts["split"]}
    named["dataset_revision"] = facts.get("data", {}).get("revision")
    evaluations = [
        EvalResult(**TASK, **named, metric_type=metric.type, metric_name=metric.name, metric_value=value)
        for metric, value in measured_metrics(results["metrics"], main_only=True)
    ]
    bases = base_models(facts)
    extra = {"new_version": facts.get("new_version"), "widget": gallery(facts) if repo_id else None}
    return ModelCardData(
        language="en",
        license=facts.get("license", DEFAULT_LICENSE),
        library_name="transformers",
        pipeline_tag=TASK["task_type"],
        tags=TAGS,
        datasets=[dataset_id(facts["dataset"])],
        base_model=bases or None,
        # Also where adapters were trained: they are merged, so the weights are whole. Without a relation the Hub takes
        # several base models for a merge.
        base_model_relation="finetune" if bases else None,
        metrics=list(dict.fromkeys(result.metric_type for result in evaluations)),
        model_name=repo_id.split("/")[-1] if repo_id else f"StoryAttn-{title.rsplit('/')[-1]}",
        eval_results=evaluations,
        **{name: value for name, value in extra.items() if value},
    )


def base_models(facts: dict) -> list[str]:
    """Return the Hub ids that a model comes from: the model that its training started from, else pretrained parts."""
    start = facts.get("fine_tuned_from")
    names = [start] if start and "/" in start else facts.get("base_models", {})
    return [name for name in names if "/" in name]


def gallery(facts: dict) -> list[dict]:
    """Return the pictures of the card's gallery, each with the captions that the model wrote for it."""
    return [
        {"text": strip_text(captions), "output": {"url": f"figures/story_{number}.png"}}
        for number, captions in enumerate(facts.get("strips", []), start=1)
    ]


def strip_text(captions: list[str]) -> str:
    """Return what stands below a strip: the captions that the model wrote, in one line."""
    return " ".join(" ".join(captions).split()) or "no captions"


def dataset_title(name: str) -> str:
    """Return what a data set is called in the card: StoryWorld, a Hub id as it is, the name of a folder."""
    if name == STORYWORLD:
        return "StoryWorld"
    return name if is_hub_id(name) else Path(name).expanduser().resolve().name


def dataset_id(name: str) -> str:
    """Return what the metadata calls a data set: a Hub id as it is, else its title with dashes for odd characters."""
    return name if is_hub_id(name) else re.sub(r"[^\w.-]+", "-", dataset_title(name).lower())
