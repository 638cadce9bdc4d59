"""Write evaluation results as the Hub reads them: `.eval_results/*.yaml`, a file for each split.

The format is that of https://huggingface.co/docs/hub/eval-results. The Hub shows results whose data set is a benchmark,
with an `eval.yaml` that has their tasks; `storyattn data storyworld` writes one.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from huggingface_hub import EvalResultEntry, constants, eval_result_entries_to_yaml

from ..common.files import write_text
from ..common.hub_ids import is_hub_id
from ..evaluation.published_metrics import measured_metrics, task_id
from .card_metadata import dataset_id, dataset_title
from .release_files import EVAL_RESULTS, RESULTS

UNSEEN = "test_unseen"
COMMIT = re.compile(r"[0-9a-f]{40}")


def eval_result_files(results: dict, facts: dict, repo_id: str | None = None) -> dict[str, str]:
    """Return the evaluation results of a model.

    Args:
        results: document of `results.json`.
        facts: its `facts`; `benchmark` is the Hub id of the data set where `dataset` is none.
        repo_id: `user/name` of the model, whose `results.json` then is the source.

    Returns:
        The text of each file by its name, such as `.eval_results/storyworld-test.yaml`.
    """
    name = facts.get("benchmark") or dataset_id(facts["dataset"])
    revision = facts.get("data", {}).get("revision")
    is_commit = bool(COMMIT.fullmatch(revision or ""))
    title = dataset_title(facts["dataset"])
    known = {"dataset_revision": revision if is_commit else None, "date": results.get("date")}
    if repo_id:
        url = f"{constants.ENDPOINT}/{repo_id}/blob/main/{RESULTS}"
        known |= {"source_url": url, "source_name": RESULTS, "source_user": repo_id.split("/")[0]}
    version = f", version {revision}" if revision and not is_commit else ""
    files = {}
    for split, metrics in ((facts["split"], results["metrics"]), (UNSEEN, results.get(UNSEEN, {}))):
        entries = [
            EvalResultEntry(name, task_id(split, metric), value, notes=f"{metric.name}; {title}{version}", **known)
            for metric, value in measured_metrics(metrics)
        ]
        if entries:
            text = yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, width=120)
            files[f"{EVAL_RESULTS}/{name.rsplit('/')[-1]}-{split}.yaml"] = text
    return files


def write_eval_results(folder: Path, results: dict, facts: dict, repo_id: str | None = None) -> None:
    """Write the evaluation results into a published folder, in place of earlier ones.

    Args:
        folder: published folder.
        results: document of its `results.json`.
        facts: its `facts`.
        repo_id: as in `eval_result_files`.
    """
    files = eval_result_files(results, facts, repo_id)
    for path in (folder / EVAL_RESULTS).glob("*.yaml"):
        if f"{EVAL_RESULTS}/{path.name}" not in files:
            path.unlink()
    for name, text in files.items():
        write_text(text, folder / name)


def has_benchmark(facts: dict) -> bool:
    """Return whether the data set of the results has a Hub id, without which the Hub cannot show them."""
    return is_hub_id(facts.get("benchmark") or facts["dataset"])
