"""How float operators become launches of kernels of fp32."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.passes.windows import window_of
from tilewright.compiler.qops import OPERATORS
from tilewright.compiler.targets.cpu import windows
from tilewright.compiler.targets.cpu.bfloat import to_bf16
from tilewright.compiler.targets.cpu.convolution import Convolution
from tilewright.compiler.targets.cpu.float_attention import MOST_WORDS, FloatAttention, FloatSoftmax, Heads, PackKeys
from tilewright.compiler.targets.cpu.float_finish import FloatFinish
from tilewright.compiler.targets.cpu.float_windows import FloatAverage, FloatDepthwise, FloatNorm, FloatPointwise
from tilewright.compiler.targets.cpu.levels import Level
from tilewright.compiler.targets.cpu.native_lowering import NativeLowering
from tilewright.compiler.targets.cpu.program import CpuProgram, Launch, Segment
from tilewright.compiler.targets.cpu.schedules import Chooser, by_model
from tilewright.compiler.targets.kernels.float_operands import FloatOperands
from tilewright.compiler.targets.kernels.layout import Image
from tilewright.compiler.targets.kernels.lowering import Need
from tilewright.compiler.targets.kernels.movement import FLOAT_VIEWS
from tilewright.compiler.targets.segmented import cut
from tilewright.isa.ir import DType

#: Operators whose kernels read bfloat16 too, and those that give other views of what they read.
_READ_BF16 = frozenset({"fconv", "fmatmul", "fmaxpool", "faverage", "fadd", "factivation", "onnx.AveragePool"})


def lower_floats(graph: Graph, level: Level, choose: Chooser = by_model) -> CpuProgram:
    """Compile what `float_graph` gave; operators that have no kernel run on the host.

    Parameters
    ----------
    graph : Graph
    level : Level
        Whose instructions are used.
    choose : callable
        Gives the schedules of kernels.
    """

    def segment(nodes: tuple[Node, ...]) -> Segment:
        state = FloatLowering(graph, nodes, level, choose)
        return state.segment(lambda node: LOWERINGS[node.op](state, node))

    return CpuProgram(graph, cut(graph, lambda node: _has_kernel(graph, node, level), segment))


def _has_kernel(graph: Graph, node: Node, level: Level) -> bool:
    """Whether a node can be computed natively: in fp32, and rows that are normalized in whole vectors."""
    if node.op not in LOWERINGS or node.inputs[0] in graph.constants:
        return False
    names = (*node.inputs[:1], *node.outputs)
    if any(graph.dtype(name) != "float32" or graph.values[name].shape is None for name in names):
        return False
    shape = graph.shape(node.inputs[0])
    if node.op == "onnx.Softmax":
        return len(shape) != 4 and bool(node.get("axis", -1) % len(shape) == len(shape) - 1)
    if node.op == "onnx.AveragePool":
        return len(shape) == 4 and _is_inside(graph, node)
    if node.op == "fattention":
        _, words, _, depth = node["extents"]
        return bool(words <= MOST_WORDS and depth % level.lanes == 0)
    return True


def _is_inside(graph: Graph, node: Node) -> bool:
    """Whether no window of a pool reaches over the border."""
    window = window_of(graph, node, tuple(node["kernel_shape"]))
    extents = zip(
        graph.shape(node.inputs[0])[2:], graph.shape(node.output)[2:], window.kernel, window.strides, window.dilations,
        strict=True,
    )  # fmt: skip
    fits = all((count - 1) * stride + (k - 1) * dilation < n for n, count, k, stride, dilation in extents)
    return fits and not any(window.pads)


def lacks_kernels(program: CpuProgram) -> bool:
    """Whether the host is left with operators that only kernels know."""
    nodes = [step for step in program.steps if isinstance(step, Node)]
    return any(not node.is_onnx and node.op not in OPERATORS for node in nodes)


@dataclass
class FloatLowering(NativeLowering, FloatOperands[Launch]):
    """The state of lowering float operators."""

    @property
    def element(self) -> DType:
        """Type of the values in memory."""
        return DType.F32

    def kind_of(self, name: str) -> DType:
        """Give the type that a value is computed to: bfloat16 where the level has it and all readers can take it."""
        if not self.level.has_bf16 or self.is_read_outside(name):
            return DType.F32
        return DType.BF16 if all(self._reads_bf16(node) for node in self.graph.consumers[name]) else DType.F32

    def _reads_bf16(self, node: Node) -> bool:
        return node.op in _READ_BF16 or (node.op in FLOAT_VIEWS and self.kind_of(node.output) == DType.BF16)

    def image(self, node: Node, name: str, need: Need | None = None) -> tuple[str, Image]:
        """Give a value as an image that a reader can use; what products of bfloat16 read is rounded where it is not."""
        storage, image = super().image(node, name, need)
        is_product = node.op in ("fconv", "fmatmul") and name == node.inputs[0]
        if not (self.level.has_bf16 and is_product) or image.dtype == DType.BF16:
            return storage, image
        placed, narrow = self.places[name], replace(image, dtype=DType.BF16)
        storage = f"t:{name}:bf16:{len(self.launches)}"
        self.gather(name, placed, storage, narrow)
        self.places[name] = placed
        return storage, narrow

    def finish(self, node: Node) -> FloatFinish:
        """Give what follows the sums of a node."""
        return FloatFinish(self.level, node["activation"])

    def weight(self, node: Node) -> NDArray[np.float32]:
        """Give the weights of a convolution or product."""
        return self.graph.constants[node.inputs[1]].astype(np.float32)


def _convolution(state: FloatLowering, node: Node) -> None:
    weight = state.weight(node)
    storage, x = state.image(node, node.inputs[0])
    arguments, residual = state.residual(node.inputs[3])
    y = state.new_image(node.output)
    arguments |= {"x": storage, "y": state.places[node.output].storage, **state.kept_bias(node, y.pitch)}
    window = node["kernel"], node["strides"], node["dilations"], (node["pads"][0], node["pads"][1])
    macs = y.pixels * weight.size
    if node["groups"] == 1:
        _dense(state, node, Convolution(x, y, *window, state.finish(node), residual), weight, arguments, macs)
        return
    sliding = windows.Sliding(x, y, *window, state.finish(node), residual)
    source: FloatDepthwise | windows.Grouped
    if weight.shape[1] == 1 and weight.shape[0] == x.channels:
        depthwise = FloatDepthwise(sliding)
        source = replace(depthwise, schedule=state.choose(depthwise))
    else:
        source = windows.Grouped(sliding, node["groups"], weight.shape[1])
    arguments["w"] = state.constant(f"{node.output}:w", source.pack(weight))
    state.emit(node, source, arguments, macs)


def _dense(
    state: FloatLowering, node: Node, problem: Convolution, weight: NDArray[np.float32], arguments: dict[str, str],
    macs: int,
) -> None:  # fmt: skip
    chosen = replace(problem, schedule=state.choose(problem))
    kept = to_bf16(weight) if problem.x.dtype == DType.BF16 else weight
    arguments["w"] = state.constant(f"{node.output}:w", chosen.pack(kept))
    state.emit(node, chosen, arguments, macs)


def _matrix(state: FloatLowering, node: Node) -> None:
    weight = state.weight(node).T[:, :, None, None]
    storage, x = state.image(node, node.inputs[0], Need())
    arguments, residual = state.residual(node.inputs[3])
    y = state.new_image(node.output)
    arguments |= {"x": storage, "y": state.places[node.output].storage, **state.kept_bias(node, y.pitch)}
    problem = Convolution(x, y, (1, 1), (1, 1), (1, 1), (0, 0), state.finish(node), residual)
    _dense(state, node, problem, weight, arguments, y.pixels * weight.size)


def _max_pool(state: FloatLowering, node: Node) -> None:
    storage, x = state.image(node, node.inputs[0])
    y = state.new_image(node.output)
    window = node["kernel"], node["strides"], node["dilations"], (node["pads"][0], node["pads"][1])
    source = windows.MaxPool(windows.Sliding(x, y, *window, FloatFinish(state.level)))
    state.emit(node, source, {"x": storage, "y": state.places[node.output].storage})


def _average(state: FloatLowering, node: Node) -> None:
    storage, x = state.image(node, node.inputs[0], Need())
    y = state.new_image(node.output)
    kernel, strides, dilations = (x.height, x.width), (1, 1), (1, 1)
    if node.op == "onnx.AveragePool":
        window = window_of(state.graph, node, tuple(node["kernel_shape"]))
        kernel, strides, dilations = window.kernel, window.strides, window.dilations
    source = FloatAverage(windows.Sliding(x, y, kernel, strides, dilations, (0, 0), FloatFinish(state.level)))
    state.emit(node, source, {"x": storage, "y": state.places[node.output].storage})


def _softmax(state: FloatLowering, node: Node) -> None:
    storage, x = state.image(node, node.inputs[0], Need())
    y = state.new_image(node.output)
    state.emit(node, FloatSoftmax(x, y, state.level), {"x": storage, "y": state.places[node.output].storage})


def _attention(state: FloatLowering, node: Node) -> None:
    (q, k, v) = (state.image(node, name, Need()) for name in node.inputs[:3])
    batch, words, count, depth = node["extents"]
    heads = Heads(batch, words, count, depth, state.level)
    columns = node["columns"]
    packed = state.scratch(f"{node.output}:keys", state.bytes(heads.packed))
    state.emit(node, PackKeys(k[1], columns[1], heads), {"x": k[0], "y": packed})
    mask = None
    arguments = {"q": q[0], "k": packed, "v": v[0]}
    if len(node.inputs) > 3:
        placed = state.places[node.inputs[3]]
        mask = replace(placed, view=placed.view.repeated((heads.batch, heads.heads, heads.words, heads.words)))
        arguments["mask"] = mask.storage
    y = state.new_image(node.output)
    arguments["y"] = state.places[node.output].storage
    source = FloatAttention(q[1], v[1], y, (columns[0], columns[2]), heads, node["scale"], mask)
    state.emit(node, source, arguments, 2 * heads.batch * heads.heads * heads.words**2 * heads.depth)


def _pointwise(state: FloatLowering, node: Node) -> None:
    storage, x = state.image(node, node.inputs[0], Need())
    arguments, residual = state.residual(node.inputs[1] if node.op == "fadd" else "")
    y = state.new_image(node.output)
    arguments |= {"x": storage, "y": state.places[node.output].storage}
    state.emit(node, FloatPointwise(x, y, state.finish(node), residual), arguments)


def _norm(state: FloatLowering, node: Node) -> None:
    storage, x = state.image(node, node.inputs[0], Need())
    y = state.new_image(node.output)
    arguments = {"x": storage, "y": state.places[node.output].storage}
    for role, constant in zip(("scale", "bias"), node.inputs[1:], strict=True):
        array = np.zeros(y.pitch, np.float32)
        array[: x.channels] = state.graph.constants[constant]
        arguments[role] = state.constant(f"{node.output}:{role}", array)
    state.emit(node, FloatNorm(x, y, node["epsilon"], FloatFinish(state.level)), arguments)


LOWERINGS: Mapping[str, Callable[[FloatLowering, Node], None]] = {
    "fconv": _convolution,
    "fmatmul": _matrix,
    "fmaxpool": _max_pool,
    "faverage": _average,
    "fadd": _pointwise,
    "factivation": _pointwise,
    "fnorm": _norm,
    "fattention": _attention,
    "onnx.AveragePool": _average,
    "onnx.Softmax": _softmax,
    **FLOAT_VIEWS,
}
