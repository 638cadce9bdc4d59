"""Choose which files of a folder are published, and check that somebody who has nothing else can use them."""

import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from huggingface_hub import ModelCard
from storyattn.processing_storyattn import DECODER_TOKENIZER
from transformers.dynamic_module_utils import get_relative_import_files

from ..common.files import write_text
from . import story_generate

CARD, CONFIG, WEIGHTS, INDEX = "README.md", "config.json", "model.safetensors", "model.safetensors.index.json"
RESULTS, EVAL_RESULTS = "results.json", ".eval_results"
CUSTOM_GENERATE = "custom_generate"  # the folder whose `generate.py` the library runs
CUSTOM_GENERATE_README = """\
# Tell a story by `generate`

`generate.py` gives `generate` of this model three more arguments, `frames`, `captions` and `num_steps`, with which it
returns a whole story. A model that was loaded from here with `trust_remote_code=True` has them at once:

```python
story = model.generate(frames=["one.png", "two.png"], captions=["A fox wakes up.", None], num_steps=2)
story.save("story.png")
```

A model that was loaded without this file takes them by `custom_generate`, the id or folder of the repository:

```python
story = model.generate(frames=frames, custom_generate="user/name", trust_remote_code=True)
```

Without `frames`, `generate` does what it does elsewhere: it writes the ids of a caption.
"""
NEEDED = (CARD, CONFIG, "processor_config.json")
TOKENIZER = (
    "added_tokens.json",
    "chat_template.jinja",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
TOP = {*NEEDED, *TOKENIZER, "LICENSE", "generation_config.json", "metrics.jsonl", "preprocessor_config.json"}
TOP |= {"ablations.json", "ablations.md", RESULTS}
RECIPE_NAME = re.compile(r"recipe(_\w+)?\.yaml")  # of this run, and of runs before it
CLASS = re.compile(r'"(\w+)\.\w+"')  # module.Class, as auto_map and custom_pipelines name code in the same folder
FIGURES = (".png", ".jpg", ".jpeg", ".svg", ".gif", ".webp")
IMAGE_LINK = re.compile(r"!\[[^\]]*\]\(([^)\s]+)")

# Loads the folder as somebody without this package does. Every class of the configuration must get all its weights.
LOADING = """
import json, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "storyattn":
            raise ModuleNotFoundError("the folder needs the package storyattn", name=name)

sys.meta_path.insert(0, Missing())
import transformers
folder, code = sys.argv[1], set()
transformers.AutoProcessor.from_pretrained(folder, trust_remote_code=True)
for name, target in json.load(open(f"{folder}/config.json"))["auto_map"].items():
    if name != "AutoConfig" and target not in code:
        code.add(target)
        options = {"trust_remote_code": True, "output_loading_info": True, "dtype": "auto"}
        _, info = getattr(transformers, name).from_pretrained(folder, **options)
        for kind in ("missing_keys", "mismatched_keys"):
            if info[kind]:
                raise ValueError(f"{name} has {kind} such as {sorted(map(str, info[kind]))[0]}")
"""


def published_files(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Return which files of `folder` are published, and which are not.

    Published are weights in safetensors, configuration, processor, code, card, results, recipes, the log of metrics,
    figures, evaluation results and the function for `custom_generate`.

    Returns:
        The path on this machine of each published file, by its path in the repository; and the names of all others.

    Raises:
        ValueError: where something is missing without which nobody can load the model.
    """
    if not folder.is_dir():
        raise ValueError(f"folder: got {str(folder)!r}, expected the folder of a trained model")
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    for name in NEEDED:
        if name not in names:
            raise ValueError(f"folder: got {str(folder)!r} without {name}, expected what training leaves")
    chosen = _weights(folder, names) | _code(folder, names)
    files = {name: folder / name for name in names if name in chosen or _is_listed(name)}
    return files, [name for name in names if name not in files]


def write_custom_generate(folder: Path) -> None:
    """Write `custom_generate/generate.py`, with which `generate` tells a story, and its `README.md` into `folder`."""
    write_text(Path(story_generate.__file__).read_text(encoding="utf-8"), folder / CUSTOM_GENERATE / "generate.py")
    write_text(CUSTOM_GENERATE_README, folder / CUSTOM_GENERATE / CARD)


def _weights(folder: Path, names: list[str]) -> set[str]:
    """Return the one file of weights, or the index and the shards that it names."""
    if (WEIGHTS in names) == (INDEX in names):
        number = "both" if WEIGHTS in names else "none"
        raise ValueError(f"{folder}: got {number} of {WEIGHTS} and {INDEX}, expected one: weights in safetensors")
    if WEIGHTS in names:
        return {WEIGHTS}
    shards = set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    if missing := sorted(shards.difference(names)):
        raise ValueError(f"folder: got {str(folder)!r} without {missing[0]}, expected the shards that {INDEX} names")
    return {INDEX, *shards}


def _code(folder: Path, names: list[str]) -> set[str]:
    """Return the files of the classes that the configurations name, and what these import."""
    configs = [folder / name for name in names if "/" not in name and name.endswith("config.json")]
    modules = {module for path in configs for module in CLASS.findall(path.read_text(encoding="utf-8"))}
    entries = [folder / f"{module}.py" for module in modules if f"{module}.py" in names]
    imported = [Path(path) for entry in entries for path in get_relative_import_files(entry)]
    return {path.name for path in [*entries, *imported]}


def _is_listed(name: str) -> bool:
    parent, _, last = name.rpartition("/")
    if parent == "figures":
        return last.endswith(FIGURES)
    if parent == EVAL_RESULTS:
        return last.endswith(".yaml")
    if parent == CUSTOM_GENERATE:
        return last in ("generate.py", CARD)
    if parent == DECODER_TOKENIZER:
        return last in TOKENIZER
    return name in TOP or RECIPE_NAME.fullmatch(name) is not None


def left_out_line(names: list[str]) -> str:
    """Return the names of files in one line; of the files in a folder the number alone."""
    counts = Counter(name.partition("/")[0] + "/" * ("/" in name) for name in names)
    numbers = {name: f"{count} file{'s' * (count > 1)}" for name, count in counts.items()}
    return ", ".join(f"{name} ({numbers[name]})" if name.endswith("/") else name for name in counts)


def check_card(files: dict[str, Path]) -> None:
    """Read the card as the Hub does.

    Raises:
        ValueError: where its metadata is not what a model of transformers has, a number of `model-index` is not finite,
            or a picture that it shows is not published.
    """
    try:
        card = ModelCard.load(files[CARD])
    except Exception as error:  # of yaml, and what the classes of the metadata raise
        raise ValueError(f"{CARD}: got metadata that cannot be read, expected a model card's: {error}") from error
    data = card.data
    for name in ("license", "library_name", "pipeline_tag"):
        if not isinstance(getattr(data, name), str):
            raise ValueError(f"{CARD}: {name}: got {getattr(data, name)!r}, expected a string")
    if data.library_name != "transformers":
        raise ValueError(f"{CARD}: library_name: got {data.library_name!r}, expected 'transformers'")
    for name in ("tags", "datasets", "base_model", "new_version", "metrics", "language"):
        field = getattr(data, name, None)
        values = field if isinstance(field, list) else [] if field is None else [field]
        if wrong := [value for value in values if not isinstance(value, str)]:
            raise ValueError(f"{CARD}: {name}: got {wrong[0]!r}, expected strings")
    for result in data.eval_results or []:
        value = result.metric_value
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"{CARD}: model-index: {result.metric_type}: got {value!r}, expected a finite number")
    shown = [item["output"]["url"] for item in getattr(data, "widget", None) or [] if "output" in item]
    for target in [*shown, *IMAGE_LINK.findall(card.text)]:
        if "://" not in target and target not in files:
            raise ValueError(f"{CARD}: got the picture {target!r}, expected one that is published")


def check_loads(files: dict[str, Path]) -> None:
    """Load processor and models of `files` alone in a fresh process, without network and without this package.

    Raises:
        ValueError: with the last line of that process where it fails, or where weights are missing.
    """
    config = json.loads(files[CONFIG].read_text(encoding="utf-8"))
    if not {"AutoConfig", "AutoModel"} <= set(config.get("auto_map", {})):
        raise ValueError(f"{CONFIG}: got no auto_map, expected the code that belongs to the model")
    with tempfile.TemporaryDirectory(prefix="storyattn-publish-") as scratch:
        folder = Path(scratch, "model")
        for name, path in files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path.resolve())
        caches = {"HF_HOME": scratch, "HF_MODULES_CACHE": f"{scratch}/modules", "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-c", LOADING, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=scratch, env={**os.environ, **caches})
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason"])[-1]
        raise ValueError(f"folder: got one that does not load in a fresh process, expected one that does: {last}")
