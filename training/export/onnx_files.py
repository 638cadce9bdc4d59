"""Write the parts of a model as ONNX files."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from storyattn import StoryAttnForConditionalGeneration

from ..common.loading import one_line_reason
from .graphs import DYNAMIC, Graph, build_graphs

if TYPE_CHECKING:
    from onnx import ModelProto

FOLDER = "onnx"
FEWEST_NUMBERS = 256  # of a tensor that is stored in 16 bits; smaller ones save nothing


def write_graphs(model: StoryAttnForConditionalGeneration, output_dir: Path, dtype: str, opset: int) -> dict[str, int]:
    """Write each part of a model to `onnx/NAME.onnx`.

    Args:
        model: in 32 bits, on the CPU, in evaluation mode.
        output_dir: the folder of the export.
        dtype: "fp32", or "fp16" for weights in 16 bits, which are widened again where they are read.
        opset: version of the operators of ONNX.

    Returns:
        the bytes of each part by name.

    Raises:
        ValueError: where a part cannot be exported.
    """
    (output_dir / FOLDER).mkdir(parents=True)
    sizes = {}
    for name, graph in build_graphs(model).items():
        proto = _to_onnx(name, graph, opset)
        if dtype == "fp16":
            halve_weights(proto)
        content = proto.SerializeToString()
        (output_dir / FOLDER / f"{name}.onnx").write_bytes(content)
        sizes[name] = len(content)
    return sizes


def _to_onnx(name: str, graph: Graph, opset: int) -> ModelProto:
    """Trace a part; raise `ValueError` where that fails."""
    sizes = {key: dict.fromkeys(DYNAMIC[key], torch.export.Dim.DYNAMIC) for key in graph.inputs}
    options = {"input_names": list(graph.inputs), "output_names": list(graph.outputs), "dynamic_shapes": sizes}
    try:
        with _without_remarks():
            program = torch.onnx.export(
                graph.module, kwargs=graph.inputs, dynamo=True, opset_version=opset, verbose=False, **options
            )
            return program.model_proto
    except torch.onnx.errors.OnnxExporterError as error:
        reason = one_line_reason(error.__cause__ or error)
        raise ValueError(f"{name}: got a part that cannot be exported, expected one that can: {reason}") from error


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Keep the exporter's remarks on packages that are not needed and on coming versions to itself."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def halve_weights(proto: ModelProto) -> None:
    """Store the weights of an ONNX model in 16 bits, each with a node that widens it to 32 where it is read.

    Numbers are computed in 32 bits all the same.

    Args:
        proto: is changed.

    Raises:
        ValueError: for a weight beyond what 16 bits hold.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in proto.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < FEWEST_NUMBERS:
            continue
        name, values = weight.name, numpy_helper.to_array(weight)
        if (largest := np.abs(values).max()) > np.finfo(np.float16).max:
            raise ValueError(f"dtype: got fp16 for {name} with values up to {largest:g}, expected fp32")
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.fp16"))
        casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
