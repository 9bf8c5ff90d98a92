"""How float operators become launches of kernels of fp16 or fp32."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.targets.gpu import pointwise, windows
from tilewright.compiler.targets.gpu.attention import Attention, choose_warps
from tilewright.compiler.targets.gpu.attention_rows import RowAttention, choose_parts
from tilewright.compiler.targets.gpu.float_epilogue import FloatFinish
from tilewright.compiler.targets.gpu.gemm import ARRAYS, Gemm, padded_channels
from tilewright.compiler.targets.gpu.gemm_kernels import gemm_kernel, packed_weight
from tilewright.compiler.targets.gpu.lowering import GpuLowering
from tilewright.compiler.targets.gpu.norms import layer_norm
from tilewright.compiler.targets.gpu.program import GpuProgram, Launch, Segment
from tilewright.compiler.targets.gpu.schedules import Chooser, by_model
from tilewright.compiler.targets.gpu.windows import across_of
from tilewright.compiler.targets.kernels.activation import Activation
from tilewright.compiler.targets.kernels.float_operands import FloatOperands
from tilewright.compiler.targets.kernels.layout import Placed
from tilewright.compiler.targets.kernels.lowering import ELEMENTS, Need
from tilewright.compiler.targets.kernels.movement import FLOAT_VIEWS
from tilewright.compiler.targets.segmented import cut
from tilewright.isa.ir import DType

_FLOATS = frozenset(name for name, kind in ELEMENTS.items() if kind.is_float)


def lower_floats(graph: Graph, choose: Chooser = by_model, element: DType = DType.F16) -> GpuProgram:
    """Compile what `float_graph` gave; operators that have no kernel run on the host.

    Parameters
    ----------
    graph : Graph
    choose : callable
        Gives the schedule of each convolution and matrix product.
    element : DType
        In which values are kept: fp16, whose products are summed in fp32, or fp32.

    Raises
    ------
    CapacityError
        When a tensor takes 2 GB or more.
    """

    def segment(nodes: tuple[Node, ...]) -> Segment:
        state = FloatLowering(graph, nodes, choose, element)
        return state.segment(lambda node: LOWERINGS[node.op](state, node))

    return GpuProgram(graph, cut(graph, lambda node: _has_kernel(graph, node), segment))


def _has_kernel(graph: Graph, node: Node) -> bool:
    """Whether a node can run on the GPU: masks, for one, begin as integers, which are the host's."""
    return node.op in LOWERINGS and all(graph.dtype(name) in _FLOATS for name in (*node.inputs[:1], *node.outputs))


@dataclass
class FloatLowering(GpuLowering, FloatOperands[Launch]):
    """The state of lowering float operators.

    Attributes
    ----------
    kind : DType
        Of values in memory.
    """

    kind: DType

    @property
    def element(self) -> DType:
        """Type of the values in memory."""
        return self.kind

    @property
    def is_exact(self) -> bool:
        """Whether results are of fp32."""
        return self.kind == DType.F32

    def weight(self, node: Node) -> NDArray[np.generic]:
        """Give the weights of a convolution or product."""
        return self.graph.constants[node.inputs[1]].astype(ARRAYS[self.kind])

    def finish(self, node: Node) -> FloatFinish:
        """Give what follows the sums of a convolution or product."""
        return FloatFinish(bool(node.inputs[2]), node["activation"], is_exact=self.is_exact)

    def bias(self, node: Node, channels: int) -> dict[str, str]:
        """Keep a node's bias, where it has one, continued to a number of channels, and name it by argument."""
        return self.kept_bias(node, channels) if node.inputs[2] else {}

    def mask(self, node: Node) -> Placed | None:
        """Give what attention adds to scores, viewed as `[batch, heads, query, key]`."""
        if len(node.inputs) < 4:
            return None
        placed = self.places[node.inputs[3]]
        batch, words, heads, _ = node["extents"]
        return replace(placed, view=placed.view.repeated((batch, heads, words, words)))


def _convolution(state: FloatLowering, node: Node) -> None:
    weight = state.weight(node)
    storage, x = state.image(node, node.inputs[0])
    arguments, residual = state.residual(node.inputs[3])
    y = state.new_image(node.output)
    arguments |= {"x": storage, "y": state.places[node.output].storage}
    pads = (node["pads"][0], node["pads"][1])
    if node["groups"] == 1:
        gemm = Gemm(x, y, node["kernel"], node["strides"], node["dilations"], pads, state.finish(node), residual)
        _gemm(state, node, gemm, weight, arguments)
        return
    sliding = windows.Sliding(
        x, y, node["kernel"], node["strides"], node["dilations"], pads, state.finish(node), residual
    )
    arguments |= state.bias(node, y.pitch)
    macs = y.pixels * weight.size
    if weight.shape[1] == 1 and weight.shape[0] == x.channels and max(node["kernel"]) <= 7:
        sliding = replace(sliding, across=across_of(y))
        arguments["w"] = state.constant(f"{node.output}:w", sliding.pack(weight))
        state.emit(node, sliding.depthwise(state.kernel_name("depthwise")), arguments, macs, weight.size)
        return
    arguments["w"] = state.constant(f"{node.output}:w", weight.transpose(0, 2, 3, 1).reshape(-1))
    kernel = windows.plain_convolution(state.kernel_name("grouped"), sliding, weight.shape[1], node["groups"])
    state.emit(node, kernel, arguments, macs, weight.size)


def _gemm(state: FloatLowering, node: Node, gemm: Gemm, weight: NDArray[np.generic], arguments: dict[str, str]) -> None:
    chosen = state.choose(gemm)
    kernel = gemm_kernel(state.kernel_name(node.op), gemm, chosen)
    arguments["w"] = state.constant(f"{node.output}:w", packed_weight(gemm, chosen, weight))
    arguments |= state.bias(node, padded_channels(gemm, chosen.columns))
    state.emit(node, kernel, arguments, gemm.macs, weight.size)


def _matrix(state: FloatLowering, node: Node) -> None:
    weight = state.weight(node)
    storage, x = state.image(node, node.inputs[0], Need())
    arguments, residual = state.residual(node.inputs[3])
    y = state.new_image(node.output)
    arguments |= {"x": storage, "y": state.places[node.output].storage}
    gemm = Gemm(x, y, (1, 1), (1, 1), (1, 1), (0, 0), state.finish(node), residual)
    _gemm(state, node, gemm, weight.T[:, :, None, None], arguments)


def _max_pool(state: FloatLowering, node: Node) -> None:
    storage, x = state.image(node, node.inputs[0])
    y = state.new_image(node.output)
    pads = (node["pads"][0], node["pads"][1])
    sliding = windows.Sliding(
        x, y, node["kernel"], node["strides"], node["dilations"], pads, FloatFinish(), across=across_of(y)
    )
    arguments = {"x": storage, "y": state.places[node.output].storage}
    state.emit(node, sliding.maxima(state.kernel_name("maxpool")), arguments)


def _average(state: FloatLowering, node: Node) -> None:
    storage, x = state.image(node, node.inputs[0], Need())
    y = state.new_image(node.output)
    finish = FloatFinish(factor=1 / (x.height * x.width))
    kernel = windows.global_average(state.kernel_name("average"), x, y, finish)
    state.emit(node, kernel, {"x": storage, "y": state.places[node.output].storage})


def _pointwise(state: FloatLowering, node: Node) -> None:
    storage, x = state.image(node, node.inputs[0], Need())
    arguments, residual = state.residual(node.inputs[1] if node.op == "fadd" else "")
    y = state.new_image(node.output)
    arguments |= {"x": storage, "y": state.places[node.output].storage}
    activation: Activation = node["activation"]
    finish = FloatFinish(activation=activation, is_exact=state.is_exact)
    kernel = pointwise.Pointwise(x, y, finish, residual).kernel(state.kernel_name(node.op))
    state.emit(node, kernel, arguments)


def _norm(state: FloatLowering, node: Node) -> None:
    storage, x = state.image(node, node.inputs[0], Need())
    y = state.new_image(node.output)
    arguments = {"x": storage, "y": state.places[node.output].storage}
    for name, constant in zip(("scale", "bias"), node.inputs[1:], strict=True):
        array = np.zeros(x.pitch, np.float32)
        array[: x.channels] = state.graph.constants[constant]
        arguments[name] = state.constant(f"{node.output}:{name}", array)
    kernel = layer_norm(state.kernel_name("norm"), x, y, node["epsilon"])
    state.emit(node, kernel, arguments)


def _attention(state: FloatLowering, node: Node) -> None:
    found = [state.image(node, name, Need()) for name in node.inputs[:3]]
    mask = state.mask(node)
    y = state.new_image(node.output)
    batch, words, heads, depth = node["extents"]
    q, k, v = (image for _, image in found)
    operands = (q, k, v), node["columns"], y, batch, words, heads, depth, node["scale"], mask
    problem = (
        RowAttention(*operands, choose_parts(batch, heads, words))
        if state.is_exact
        else Attention(*operands, choose_warps(batch, heads, words))
    )
    arguments = {name: storage for name, (storage, _) in zip("qkv", found, strict=True)}
    arguments["y"] = state.places[node.output].storage
    if mask is not None:
        arguments["mask"] = mask.storage
    state.emit(node, problem.kernel(state.kernel_name("attention")), arguments, problem.macs)


LOWERINGS: Mapping[str, Callable[[FloatLowering, Node], None]] = {
    "fconv": _convolution,
    "fmatmul": _matrix,
    "fmaxpool": _max_pool,
    "faverage": _average,
    "fadd": _pointwise,
    "factivation": _pointwise,
    "fnorm": _norm,
    "fattention": _attention,
    **FLOAT_VIEWS,
}
