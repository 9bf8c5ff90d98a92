"""Whole networks from their structure alone, with random weights: what `tilewright bench accelerator` measures."""

from __future__ import annotations

from typing import Any

import numpy as np

from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import Array, Value
from tilewright.compiler.qops import Epilogue, Residual, output_shape
from tilewright.compiler.targets.accelerator.workloads import scaling

#: ResNet-18's stages: channels, and the stride of the first block.
RESNET18_STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))

#: MobileNetV2's stages: how much wider a block is inside, channels, blocks, and the stride of the first block.
MOBILENET_V2_STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


class NetworkBuilder:
    """Chains integer operators with random constants; every method returns the name of a result.

    Parameters
    ----------
    name : str
    shape : tuple of int
        Of the input, `x`.
    rng : numpy.random.Generator
    multiplier_bits : int
    """

    def __init__(self, name: str, shape: tuple[int, ...], rng: np.random.Generator, multiplier_bits: int = 16) -> None:
        self._name, self._rng, self._bits = name, rng, multiplier_bits
        self._values = {"x": Value("x", "int8", shape)}
        self._constants: dict[str, Array] = {}
        self._nodes: list[Node] = []

    def convolution(
        self, x: str, outputs: int, kernel: int, stride: int = 1, groups: int = 1, residual: str = "", relu: bool = True
    ) -> str:
        """Add a convolution that keeps the size but for its stride."""
        depth = self._shape(x)[1] // groups
        weight = self._rng.integers(-128, 128, (outputs, depth, kernel, kernel), np.int8)
        attributes = {
            "strides": (stride,) * 2, "pads": (kernel // 2,) * 4, "dilations": (1, 1), "groups": groups, "zero_in": 0,
            "epilogue": self._epilogue(bool(residual), relu),
        }  # fmt: skip
        constants = {"weight": weight, **scaling(outputs, depth * kernel**2, self._rng, self._bits)}
        return self._node("qconv2d", (x, *self._add(constants), residual, ""), attributes)

    def matrix(self, x: str, columns: int, residual: str = "", table: bool = False) -> str:
        """Add a fully connected layer."""
        depth = self._shape(x)[-1]
        weight = self._rng.integers(-128, 128, (depth, columns), np.int8)
        constants = {"weight": weight, **scaling(columns, depth, self._rng, self._bits)}
        if table:
            constants["table"] = self._rng.integers(-128, 128, 256, np.int8)
        attributes = {"zero_in": 0, "epilogue": self._epilogue(bool(residual), False)}
        names = self._add(constants)
        return self._node("qmatmul", (x, *names[:4], residual, *(names[4:] or ("",))), attributes)

    def max_pool(self, x: str, kernel: int, stride: int) -> str:
        """Add a max pool that keeps the size but for its stride."""
        window = {"kernel": (kernel,) * 2, "strides": (stride,) * 2, "pads": (kernel // 2,) * 4, "dilations": (1, 1)}
        return self._node("qmaxpool", (x,), window)

    def global_average(self, x: str) -> str:
        """Add a global average pool and make its result a matrix."""
        channels, pixels = self._shape(x)[1], self._shape(x)[2] * self._shape(x)[3]
        half = self._bits - 1
        constants = {
            "bias": np.zeros(1, np.int32),
            "multiplier": np.array([round((1 << half + pixels.bit_length() - 1) / pixels)], np.int32),
            "shift": np.array([half + pixels.bit_length() - 1], np.int32),
        }
        pooled = self._node("qglobalavgpool", (x, *self._add(constants), "", ""), {"epilogue": Epilogue()})
        return self._node("reshape", (pooled,), {"shape": (self._shape(x)[0], channels)})

    def graph(self, output: str) -> Graph:
        """Finish."""
        return Graph(self._name, self._values, tuple(self._nodes), self._constants, ("x",), (output,), {"": 17})

    def _shape(self, name: str) -> tuple[int, ...]:
        return self._values[name].known_shape

    def _epilogue(self, has_residual: bool, relu: bool) -> Epilogue:
        low = 0 if relu else -128
        scale = 1 << self._bits - 1
        return Epilogue(0, Residual(0, scale, 0, scale, self._bits, 0) if has_residual else None, low, 127)

    def _add(self, constants: dict[str, Array]) -> tuple[str, ...]:
        names = []
        for key, array in constants.items():
            name = f"{key}_{len(self._nodes)}"
            self._constants[name] = array
            self._values[name] = Value(name, array.dtype.name, array.shape)
            names.append(name)
        return tuple(names)

    def _node(self, op: str, inputs: tuple[str, ...], attributes: dict[str, Any]) -> str:
        name = f"{op}_{len(self._nodes)}"
        node = Node(op, inputs, (name,), attributes, (name,))
        self._values[name] = Value(name, "int8", None)
        partial = Graph(self._name, self._values, tuple(self._nodes), self._constants, ("x",), (), {})
        self._values[name] = Value(name, "int8", output_shape(partial, node))
        self._nodes.append(node)
        return name


def resnet18_graph(rng: np.random.Generator, size: int = 224, classes: int = 1000, batch: int = 1) -> Graph:
    """Return ResNet-18 for images of `size` x `size` pixels."""
    net = NetworkBuilder("resnet18", (batch, 3, size, size), rng)
    x = net.max_pool(net.convolution("x", 64, 7, 2), 3, 2)
    inputs = 64
    for channels, stride in RESNET18_STAGES:
        for first in (stride, 1):
            is_same = first == 1 and inputs == channels
            shortcut = x if is_same else net.convolution(x, channels, 1, first, relu=False)
            x = net.convolution(net.convolution(x, channels, 3, first), channels, 3, residual=shortcut)
            inputs = channels
    return net.graph(net.matrix(net.global_average(x), classes))


def mobilenet_v2_graph(rng: np.random.Generator, size: int = 224, classes: int = 1000, batch: int = 1) -> Graph:
    """Return MobileNetV2 1.0 for images of `size` x `size` pixels."""
    net = NetworkBuilder("mobilenet_v2", (batch, 3, size, size), rng)
    x, inputs = net.convolution("x", 32, 3, 2), 32
    for expansion, channels, blocks, stride in MOBILENET_V2_STAGES:
        for first in (stride, *(1,) * (blocks - 1)):
            wide = expansion * inputs
            y = net.convolution(x, wide, 1) if expansion > 1 else x
            y = net.convolution(y, wide, 3, first, groups=wide)
            shortcut = x if first == 1 and inputs == channels else ""
            x, inputs = net.convolution(y, channels, 1, residual=shortcut, relu=False), channels
    return net.graph(net.matrix(net.global_average(net.convolution(x, 1280, 1)), classes))


__all__ = ["MOBILENET_V2_STAGES", "RESNET18_STAGES", "NetworkBuilder", "mobilenet_v2_graph", "resnet18_graph"]
