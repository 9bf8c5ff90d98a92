"""What operators in floating point read, on every target: windows, biases and residuals."""

from __future__ import annotations

from abc import ABC
from typing import Generic

import numpy as np

from tilewright.compiler.graph.graph import Node
from tilewright.compiler.qops import Window
from tilewright.compiler.targets.kernels.layout import Image
from tilewright.compiler.targets.kernels.lowering import LaunchT, Lowering, Need, Slid

#: What fills the border of a maximum: every byte of -2.6e36 or, of fp16, of -65,376, about the least that it holds.
_LEAST_BYTE = -5


class FloatOperands(Lowering[LaunchT], ABC, Generic[LaunchT]):
    """The state of lowering operators in floating point, as `float_graph` gives them."""

    def activations(self, node: Node) -> list[str]:
        """Name what a node reads that is no parameter."""
        if node.op in ("fconv", "fmatmul"):
            return [node.inputs[0], *([node.inputs[3]] if node.inputs[3] else [])]
        return list(node.inputs[:1] if node.op == "fnorm" or node.is_onnx else node.inputs)

    def sliding(self, node: Node) -> Slid | None:
        """Give the window that a node slides over its first input, or None."""
        if node.op not in ("fconv", "fmaxpool"):
            return None
        window = Window(node["kernel"], node["strides"], node["pads"], node["dilations"])
        is_pool = node.op == "fmaxpool"
        return Slid(window, _LEAST_BYTE if is_pool else 0, not is_pool and node["groups"] == 1)

    def kept_bias(self, node: Node, channels: int) -> dict[str, str]:
        """Keep a node's bias, or zeros, continued to a number of channels, and name it by argument."""
        array = np.zeros(channels, np.float32)
        if node.inputs[2]:
            given = self.graph.constants[node.inputs[2]].reshape(-1)
            array[: given.size] = given
        return {"bias": self.constant(f"{node.output}:bias", array)}

    def residual(self, name: str) -> tuple[dict[str, str], Image | None]:
        """Give a second operand as an argument."""
        if not name:
            return {}, None
        storage, image = self.image(self.graph.consumers[name][0], name, Need())
        return {"residual": storage}, image
