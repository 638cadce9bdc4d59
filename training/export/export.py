"""Write a folder that runs a model in a browser: its parts as ONNX files, its tokenizers, and a page."""

from importlib.util import find_spec
from pathlib import Path

from storyattn import StoryAttnForConditionalGeneration

from ..common.files import check_new_folder, write_results
from ..models.load import load_model
from .onnx_files import write_graphs
from .page import check_libraries, write_page
from .parity import format_parity, largest_difference, measure_parity

TOLERANCES = {"fp32": 1e-3, "fp16": 2e-2}  # the largest differences; fp16 rounds the weights
PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def export_model(
    name: str,
    output_dir: Path,
    dtype: str = "fp32",
    opset: int = 20,
    atol: float | None = None,
    libraries: str | None = None,
) -> None:
    """Export a model, compare what was written with it, and print how far they are apart.

    Args:
        name: folder or Hub id of the model.
        output_dir: folder to write to, new or empty.
        dtype: "fp32" or "fp16", in which weights are stored.
        opset: version of the operators of ONNX.
        atol (*optional*): largest difference of pixels and logits; by default that of `TOLERANCES`.
        libraries: as in `write_page`.

    Raises:
        FileNotFoundError: where there is no such model.
        ValueError: where a package is missing, for a folder that is not empty, a model that cannot be exported, and
            differences beyond `atol`; what was written then stays.
    """
    if missing := [package for package in PACKAGES if find_spec(package) is None]:
        raise ValueError(f"export: got no package {', '.join(missing)}, expected it: pip install 'storyattn[export]'")
    check_new_folder("output", output_dir)
    check_libraries(libraries)
    model, processor = load_model(name, "cpu")
    if not isinstance(model, StoryAttnForConditionalGeneration):
        raise ValueError(f"model: got the baseline {type(model).__name__} in {name!r}, expected the model")
    if model.config.samples_frames:
        raise ValueError(f"model: got frame_decoder_type 'flow' in {name!r}, expected 'regression'")
    model = model.float()
    atol = TOLERANCES[dtype] if atol is None else atol
    sizes = write_graphs(model, output_dir, dtype, opset)
    write_page(model.config, processor, output_dir, libraries, Path(name))
    for part, size in sizes.items():
        print(f"{part}.onnx: {size / 1e6:.1f} MB")
    rows = measure_parity(model, output_dir)
    write_results({"dtype": dtype, "opset": opset, "bytes": sizes, "stories": rows}, output_dir / "parity.json")
    print(f"largest differences from PyTorch:\n{format_parity(rows)}")
    if not (difference := largest_difference(rows)) <= atol:
        raise ValueError(f"parity: got a difference of {difference:.1e}, expected at most {atol:g} (--atol)")
