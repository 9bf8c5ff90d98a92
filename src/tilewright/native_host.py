"""The host's part of an accelerator's program, natively where it has much to multiply.

Operators in floating point between launches are handed to the CPU target as models of their own, if they multiply
enough for that to be worth compiling them. Results are those of `onnx.reference` within fp32's accuracy; for
comparisons bit by bit `tilewright.sim.runner.ReferenceHost` computes the same steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from onnx import ModelProto, shape_inference

from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.onnx_model import to_model
from tilewright.compiler.graph.onnx_nodes import value_from_proto
from tilewright.compiler.graph.types import Array, Value
from tilewright.compiler.passes.quantization import DEQUANTIZE, QUANTIZE
from tilewright.compiler.program import HostStep, Program
from tilewright.cpu import CpuModel, compile_for_cpu
from tilewright.isa.errors import TilewrightError
from tilewright.sim.runner import ReferenceHost

#: Multiply-accumulates from which it pays: compiling takes 0.2 to 0.3 s the first time and 0.01 s from the user's
#: cache, `onnx.reference` 0.6 to 0.8 ms for a million, the CPU target a tenth of that.
WORTH_COMPILING = 10_000_000

_PRODUCTS = ("onnx.Conv", "onnx.ConvTranspose", "onnx.Gemm", "onnx.MatMul")


@dataclass
class NativeHost:
    """Computes host steps by the CPU target where that pays, else by the reference.

    Attributes
    ----------
    native : set of str
        Names of the nodes that the CPU target has computed so far.
    """

    native: set[str] = field(default_factory=set)
    _models: dict[tuple[str, ...], CpuModel | None] = field(default_factory=dict)

    def compute(self, program: Program, steps: Sequence[HostStep], values: Mapping[str, Array]) -> dict[str, Array]:
        """Compute steps that follow each other; see `tilewright.sim.runner.Host`."""
        known = dict(values)
        for nodes in _parts(steps):
            model = self._model(program, nodes, known)
            if model is None:
                known.update(ReferenceHost().compute(program, [HostStep(node, "") for node in nodes], known))
            else:
                known.update(model({name: np.ascontiguousarray(known[name]) for name in model.inputs}))
                self.native.update(node.name for node in nodes)
        return {name: known[name] for step in steps for name in step.node.outputs if name in known}

    def _model(self, program: Program, nodes: tuple[Node, ...], values: Mapping[str, Array]) -> CpuModel | None:
        """Compile some nodes, once; None where that does not pay or cannot be done."""
        key = tuple(node.output for node in nodes)
        if key not in self._models:
            self._models[key] = _compiled(program, nodes, values)
        return self._models[key]


def _parts(steps: Sequence[HostStep]) -> Iterator[tuple[Node, ...]]:
    """Cut steps where a part could be native: ONNX's operators, without conversions from and to integers."""
    for _, group in groupby((step.node for step in steps), _is_plain):
        yield tuple(group)


def _is_plain(node: Node) -> bool:
    return node.is_onnx and node.op not in (QUANTIZE, DEQUANTIZE)


def _compiled(program: Program, nodes: tuple[Node, ...], values: Mapping[str, Array]) -> CpuModel | None:
    if not any(node.op in _PRODUCTS for node in nodes) or not _has_only_tensors(nodes, values):
        return None
    try:
        model = shape_inference.infer_shapes(to_model(_graph(program, nodes, values)))
        if _products(model, nodes) < WORTH_COMPILING:
            return None
        compiled = compile_for_cpu(model)
    except (TilewrightError, shape_inference.InferenceError):
        return None  # the reference computes it, or says what is wrong
    return compiled if compiled.program.segments else None


def _has_only_tensors(nodes: tuple[Node, ...], values: Mapping[str, Array]) -> bool:
    read = {name for node in nodes for name in node.inputs}
    return all(isinstance(values[name], np.ndarray) for name in read & values.keys())


def _graph(program: Program, nodes: tuple[Node, ...], values: Mapping[str, Array]) -> Graph:
    """Make a graph of some nodes, of which everything is an output that anything else reads."""
    made = {name for node in nodes for name in node.outputs if name}
    read = {name for node in nodes for name in node.inputs if name} - made
    constants = {name: program.constants[name] for name in sorted(read & program.constants.keys())}
    inputs = sorted(read - constants.keys())
    outputs = sorted(made & _read_elsewhere(program, nodes))
    known = {name: Value(name, values[name].dtype.name, values[name].shape) for name in inputs}
    described = {**known, **{name: Value(name, "other", None) for name in made}}
    return Graph(program.name, described, nodes, constants, tuple(inputs), tuple(outputs), program.opsets)


def _read_elsewhere(program: Program, nodes: tuple[Node, ...]) -> set[str]:
    names = {value.name for value in program.outputs}
    names |= {transfer.value for launch in program.launches for transfer in launch.uploads}
    inside = {node.output for node in nodes}
    return names.union(*(step.node.inputs for step in program.host_steps if step.node.output not in inside))


def _products(model: ModelProto, nodes: tuple[Node, ...]) -> int:
    """Count multiply-accumulates, of what shapes are known."""
    graph = model.graph
    typed = (*graph.input, *graph.output, *graph.value_info)
    shapes = {info.name: value_from_proto(info.name, info.type).shape for info in typed}
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    return sum(_macs(node, shapes) for node in nodes if node.op in _PRODUCTS)


def _macs(node: Node, shapes: Mapping[str, tuple[int, ...] | None]) -> int:
    """Each result of a product sums over what the second operand has beside the results' channels."""
    data, weight, result = (shapes.get(name) for name in (*node.inputs[:2], node.output))
    if not data or not weight or not result:
        return 0
    if node.op == "onnx.Conv":
        return math.prod(result) * math.prod(weight[1:])
    if node.op == "onnx.ConvTranspose":
        return math.prod(data) * math.prod(weight[1:])
    return math.prod(result) * (data[0] if node.get("transA", 0) else data[-1])
