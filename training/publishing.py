"""
Writes a Hub-ready folder: weights, configuration, processor and code, `results.json`, a model card.

Nothing in it is a pickle.
"""

from pathlib import Path

from .card import find_template, write_card
from .evaluation import write_results


def write_hub_folder(model, processor, output_dir: str | Path, results: dict, facts: dict) -> Path:
    """
    Writes the folder that `push_to_hub` or `hf upload` publishes as it is; returns it.

    Adapters are merged into the weights. `results` is a document of `results_document`; its key `test_unseen`, where
    there is one, holds further metrics. `facts` tell how the model was trained: `dataset`, `split` (of the results),
    `command`, `training`, a dictionary of what else the card shows as a table (steps, batch, seconds, hardware, ...),
    and where they are known those of `published_facts` and `example` (see `write_example`). Both are written as
    `results.json`, `facts` under that key. The card shows figures that already lie in `output_dir/figures`.

    Raises `FileNotFoundError` where the template of the card cannot be found.
    """
    output_dir = Path(output_dir)
    find_template()
    model.save_pretrained(output_dir)
    processor.save_pretrained(output_dir)
    write_results({**results, "facts": facts}, output_dir / "results.json")
    write_card(output_dir)
    return output_dir
