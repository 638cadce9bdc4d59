"""Write the page that runs an export, and what it reads besides the parts: settings, tokenizers, an example."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from storyattn import StoryAttnConfig, StoryAttnProcessor

from ..common.files import write_results
from .onnx_files import FOLDER

PAGE = Path(__file__).parent / "page"
CDN = "https://cdn.jsdelivr.net/npm"
LIBRARIES = "libraries"  # the folder of an export with the copies
# JavaScript packages: name, version that is loaded from the CDN, the module, and what else it loads.
PACKAGES = {
    "onnxruntime": ("onnxruntime-web", "1.30.0", "dist/ort.wasm.bundle.min.mjs", ("dist/ort-wasm-simd-threaded.wasm",)),
    "tokenizers": ("@huggingface/tokenizers", "0.2.0", "dist/tokenizers.min.mjs", ()),
}


def write_page(
    config: StoryAttnConfig,
    processor: StoryAttnProcessor,
    output_dir: Path,
    libraries: str | None = None,
    source: Path | None = None,
) -> None:
    """Write `index.html`, its scripts, `model.json`, the tokenizers, and the example of the model's card.

    Args:
        config: of the model.
        processor: of the model.
        output_dir: folder with the parts in `onnx/`.
        libraries (*optional*): `node_modules` folder, whose packages are copied. By default the page loads them from a
            CDN, in the versions of `PACKAGES`.
        source (*optional*): folder of the model, whose card may have an example.

    Raises:
        ValueError: for a package that the folder lacks.
    """
    shutil.copytree(PAGE, output_dir, dirs_exist_ok=True)
    settings = {
        "image_size": config.image_size,
        "image_mean": config.image_mean,
        "image_std": config.image_std,
        "max_frames": config.max_frames,
        "max_caption_length": config.max_caption_length,
        "decoder_context_captions": config.decoder_context_captions,
        "max_decoder_tokens": getattr(config.decoder_config, "max_position_embeddings", None) or 1_000_000,
        "bytes": {path.stem: path.stat().st_size for path in sorted((output_dir / FOLDER).iterdir())},
        "tokenizers": _write_tokenizers(processor, output_dir),
        "libraries": _libraries(libraries, output_dir),
        "example": _copy_example(source, output_dir),
    }
    write_results(settings, output_dir / "model.json")


def check_libraries(libraries: str | None) -> None:
    """Raise `ValueError` for a `node_modules` folder that lacks a file of `PACKAGES`."""
    for package, version, module, others in PACKAGES.values() if libraries else ():
        for name in (module, *others):
            if not Path(libraries, package, name).is_file():
                expected = f"expected that of npm install {package}@{version}"
                raise ValueError(f"libraries: got {libraries!r} without {package}/{name}, {expected}")


def _libraries(libraries: str | None, output_dir: Path) -> dict[str, str]:
    """Copy the packages, where a folder has them; return the address of each module."""
    addresses = {}
    for name, (package, version, module, others) in PACKAGES.items():
        if libraries is None:
            addresses[name] = f"{CDN}/{package}@{version}/{module}"
            continue
        folder = output_dir / LIBRARIES / name
        folder.mkdir(parents=True)
        for path in (module, *others):
            shutil.copyfile(Path(libraries, package, path), folder / Path(path).name)
        addresses[name] = (folder / Path(module).name).relative_to(output_dir).as_posix()
    return addresses


def _write_tokenizers(processor: StoryAttnProcessor, output_dir: Path) -> dict[str, dict]:
    """Write `tokenizer.json`, one a tokenizer; return what the page needs besides."""
    tokenizers = {}
    for prefix, tokenizer in processor.tokenizers.items():
        file = f"{prefix}tokenizer.json"
        tokenizer.backend_tokenizer.save(str(output_dir / file))
        tokenizers[prefix.removesuffix("_") or "text"] = {
            "file": file,
            "start": tokenizer.bos_token_id,
            "end": tokenizer.eos_token_id,
            "special": sorted(tokenizer.all_special_ids),
            "config": {"clean_up_tokenization_spaces": bool(tokenizer.clean_up_tokenization_spaces)},
        }
    return tokenizers


def _copy_example(source: Path | None, output_dir: Path) -> list[dict]:
    """Copy the pictures of the example in a model's card; return each with its caption."""
    results = source / "results.json" if source else None
    if results is None or not results.is_file():
        return []
    facts = json.loads(results.read_text(encoding="utf-8")).get("facts", {})
    pages = []
    for number, caption in enumerate(facts.get("example", {}).get("captions", []), 1):
        picture = f"example_{number}.png"
        if not (source / "figures" / picture).is_file():
            return []
        shutil.copyfile(source / "figures" / picture, output_dir / picture)
        pages.append({"picture": picture, "caption": caption or ""})
    return pages
