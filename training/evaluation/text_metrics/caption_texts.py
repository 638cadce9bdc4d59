"""What the text metrics share: the words of a caption, and what a metric says about itself."""

import re

import datasets
import evaluate


def words(text: str) -> list[str]:
    """Return the lower-cased words of a text in any script."""
    return re.findall(r"\w+", text.lower())


def metric_info(description: str, citation: str, *, has_references: bool = True) -> evaluate.MetricInfo:
    """
    Return the information of a metric of captions.

    Args:
        description: what it measures.
        citation: the address of the paper.
        has_references: whether each prediction is compared with one reference.

    Returns:
        The information, with `predictions` and, where there are any, `references` as lists of strings.
    """
    inputs = ["predictions: list of strings"]
    inputs += ["references: list of strings, one per prediction"] if has_references else []
    columns = ("predictions", "references") if has_references else ("predictions",)
    return evaluate.MetricInfo(
        description=description,
        citation=citation,
        inputs_description=f"{'; '.join(inputs)}.",
        features=datasets.Features({name: datasets.Value("string") for name in columns}),
    )
