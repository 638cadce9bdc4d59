"""What the text metrics share: the words of a caption, and what a metric says about itself."""

import re
from collections.abc import Sequence
from itertools import zip_longest

import datasets
import evaluate


def words(text: str) -> list[str]:
    """Return the lower-cased words of a text in any script."""
    return re.findall(r"\w+", text.lower())


def reference_lists(references: Sequence[str] | Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the references of each prediction as a list, whether it has one or several."""
    return [[texts] if isinstance(texts, str) else list(texts) for texts in references]


def reference_streams(references: Sequence[str] | Sequence[Sequence[str]]) -> list[list[str | None]]:
    """Return the first references of all predictions, then the second ones, and so on; `None` where there is none."""
    return [list(stream) for stream in zip_longest(*reference_lists(references))]


def metric_info(description: str, citation: str, *, has_references: bool = True) -> evaluate.MetricInfo:
    """
    Return the information of a metric of captions.

    Args:
        description: what it measures.
        citation: the address of the paper.
        has_references: whether each prediction is compared with references.

    Returns:
        The information, with `predictions` and, where there are any, `references`: a string or a list of strings each.
    """
    inputs = ["predictions: list of strings"]
    inputs += ["references: list of strings or of lists of strings, one per prediction"] if has_references else []
    text = datasets.Value("string")
    kinds = [{"references": kind} for kind in (text, datasets.List(text))] if has_references else [{}]
    return evaluate.MetricInfo(
        description=description,
        citation=citation,
        inputs_description=f"{'; '.join(inputs)}.",
        features=[datasets.Features({"predictions": text, **kind}) for kind in kinds],
    )
