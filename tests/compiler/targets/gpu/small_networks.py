"""Networks of a few small layers, one for each thing that kernels do differently."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.graph.types import Value
from tilewright.compiler.qops import Epilogue, Residual
from tilewright.compiler.targets.accelerator.networks import NetworkBuilder


def _one(shape: tuple[int, ...], add: Callable[[NetworkBuilder, str], str]) -> Callable[[np.random.Generator], Graph]:
    def build(rng: np.random.Generator) -> Graph:
        net = NetworkBuilder("small", shape, rng)
        return net.graph(add(net, "x"))

    return build


def _residual(net: NetworkBuilder, x: str) -> str:
    y = net.convolution(x, 16, 1)
    return net.convolution(y, 16, 3, residual=y, relu=False)


def _changed(graph: Graph, **attributes: object) -> Graph:
    *nodes, last = graph.nodes
    return graph.with_nodes([*nodes, replace(last, attributes={**last.attributes, **attributes})])


def _shifted_input(rng: np.random.Generator) -> Graph:
    """Return a convolution whose padding is not 0 and lies on two sides only."""
    graph = NETWORKS["conv3x3"](rng)
    return _changed(graph, zero_in=-7, epilogue=Epilogue(5, None, -100, 90))


def _large_scale(rng: np.random.Generator) -> Graph:
    """Return a convolution whose multipliers need 64-bit arithmetic."""
    graph = NETWORKS["conv1x1"](rng)
    (node,) = graph.nodes
    constants = dict(graph.constants)
    constants[node.inputs[3]] = rng.integers(1 << 15, 1 << 16, 24).astype(np.int32)
    constants[node.inputs[4]] = rng.integers(0, 18, 24).astype(np.int32)
    return replace(graph, constants=constants)


def _with_table(rng: np.random.Generator) -> Graph:
    graph = NETWORKS["residual"](rng)
    *nodes, last = graph.nodes
    stage = Residual(3, 40000, -5, 30000, 16, 2)
    node = replace(
        last,
        inputs=(*last.inputs[:-1], "table"),
        attributes={**last.attributes, "epilogue": Epilogue(1, stage, -90, 80)},
    )
    constants = {**graph.constants, "table": rng.integers(-128, 128, 256).astype(np.int8)}
    values = {**graph.values, "table": Value("table", "int8", (256,))}
    return replace(graph, nodes=(*nodes, node), constants=constants, values=values)


#: By name, each from a random generator.
NETWORKS: dict[str, Callable[[np.random.Generator], Graph]] = {
    "image_stride2": _one((2, 3, 6, 6), lambda net, x: net.convolution(x, 16, 3, 2)),
    "image_7x7": _one((1, 3, 7, 7), lambda net, x: net.convolution(x, 16, 7, 1)),
    "image_planes": _one((1, 3, 4, 4), lambda net, x: net.convolution(x, 8, 3, 1)),
    "conv1x1": _one((1, 16, 3, 4), lambda net, x: net.convolution(x, 24, 1)),
    "conv3x3": _one((1, 20, 4, 5), lambda net, x: net.convolution(x, 16, 3)),
    "conv3x3_stride2": _one((1, 16, 5, 5), lambda net, x: net.convolution(x, 16, 3, 2)),
    "grouped": _one((1, 8, 3, 3), lambda net, x: net.convolution(x, 8, 3, groups=2)),
    "depthwise": _one((1, 20, 5, 5), lambda net, x: net.convolution(x, 20, 3, groups=20)),
    "depthwise_stride2": _one((1, 16, 5, 5), lambda net, x: net.convolution(x, 16, 3, 2, groups=16)),
    "residual": _one((1, 16, 3, 3), _residual),
    "max_pool": _one((1, 16, 5, 5), lambda net, x: net.max_pool(x, 3, 2)),
    "average": _one((2, 24, 3, 3), lambda net, x: net.matrix(net.global_average(x), 10)),
    "matrix": _one((3, 70), lambda net, x: net.matrix(x, 20)),
    "shifted_input": _shifted_input,
    "large_scale": _large_scale,
    "table": _with_table,
}
