"""Builds float transformers with random weights, written the ways in which exporters write them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper


@dataclass
class TransformerModel:
    """Collects nodes; `model` gives the ONNX model."""

    rng: np.random.Generator
    opset: int = 20
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)

    def node(self, op: str, inputs: list[str], **attributes: Any) -> str:
        """Add a node and give its output."""
        output = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], output, **attributes))
        return output

    def constant(self, array: Any, dtype: Any = np.float32) -> str:
        """Add a constant and give its name."""
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(array, dtype)
        return name

    def integers(self, *values: int) -> str:
        """Add constant integers."""
        return self.constant(values, np.int64)

    def weights(self, *shape: int) -> str:
        """Add random weights of unit gain."""
        return self.constant(self.rng.normal(size=shape) / np.sqrt(np.prod(shape[:-1])))

    def linear(self, x: str, inputs: int, outputs: int) -> str:
        """Add a projection of rows."""
        bias = self.constant(self.rng.normal(size=outputs) * 0.1)
        return self.node("Add", [self.node("MatMul", [x, self.weights(inputs, outputs)]), bias])

    def norm(self, x: str, channels: int, *, is_spelled_out: bool = False) -> str:
        """Add a layer normalization."""
        weight = self.constant(1 + 0.2 * self.rng.normal(size=channels))
        bias = self.constant(0.1 * self.rng.normal(size=channels))
        if not is_spelled_out:
            return self.node("LayerNormalization", [x, weight, bias], axis=-1, epsilon=1e-6)
        mean = self.node("ReduceMean", [x, self.integers(-1)])
        away = self.node("Sub", [x, mean])
        squares = self.node("ReduceMean", [self.node("Pow", [away, self.constant(2)]), self.integers(-1)])
        root = self.node("Sqrt", [self.node("Add", [squares, self.constant(1e-6)])])
        return self.node("Add", [self.node("Mul", [self.node("Div", [away, root]), weight]), bias])

    def gelu(self, x: str) -> str:
        """Add GELU as PyTorch's older exporter spells it."""
        error = self.node("Erf", [self.node("Div", [x, self.constant(np.sqrt(2))])])
        gated = self.node("Mul", [x, self.node("Add", [error, self.constant(1)])])
        return self.node("Mul", [gated, self.constant(0.5)])

    def attention(self, x: str, rows: int, channels: int, heads: int, *, is_fused: bool = False, mask: str = "") -> str:
        """Add self-attention; its three projections by three products or by one."""
        depth = channels // heads
        q, k, v = self._fused(x, rows, channels, heads) if is_fused else self._apart(x, rows, channels, heads)
        turned = self.node("Transpose", [k], perm=[0, 1, 3, 2])
        scores = self.node("MatMul", [q, turned])
        scores = self.node("Div", [scores, self.constant(np.sqrt(depth))])
        scores = self.node("Add", [scores, mask]) if mask else scores
        mixed = self.node("MatMul", [self.node("Softmax", [scores], axis=-1), v])
        merged = self.node("Transpose", [mixed], perm=[0, 2, 1, 3])
        flat = self.node("Reshape", [merged, self.integers(1, rows, channels)])
        return self.linear(flat, channels, channels)

    def _apart(self, x: str, rows: int, channels: int, heads: int) -> list[str]:
        found = []
        for _ in range(3):
            shape = self.integers(1, rows, heads, channels // heads)
            split = self.node("Reshape", [self.linear(x, channels, channels), shape])
            found.append(self.node("Transpose", [split], perm=[0, 2, 1, 3]))
        return found

    def _fused(self, x: str, rows: int, channels: int, heads: int) -> list[str]:
        shape = self.integers(1, rows, 3, heads, channels // heads)
        split = self.node("Reshape", [self.linear(x, channels, 3 * channels), shape])
        parts = self.node("Transpose", [split], perm=[2, 0, 3, 1, 4])
        return [self.node("Gather", [parts, self.constant(i, np.int64)], axis=0) for i in range(3)]

    def model(self, output: str, name: str, shape: tuple[int, ...], result: tuple[int, ...]) -> ModelProto:
        """Give the model of an input `x`."""
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, result)],
            [numpy_helper.from_array(array, key) for key, array in self.constants.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=9)


def sentences(rng: np.random.Generator, rows: int, channels: int, heads: int, words: int = 50) -> ModelProto:
    """Give a model of sentences: embedding, a layer of attention with a mask, and the masked mean of the rows."""
    m = TransformerModel(rng)
    table = m.constant(rng.normal(size=(words, channels)))
    x = m.norm(m.node("Gather", [table, "ids"]), channels)
    wide = m.node("Cast", [m.node("Unsqueeze", ["mask", m.integers(1, 2)])], to=TensorProto.FLOAT)
    mask = m.node("Mul", [m.node("Sub", [m.constant(1), wide]), m.constant(-3.4e38)])
    y = m.attention(x, rows, channels, heads, mask=mask)
    x = m.norm(m.node("Add", [y, x]), channels)
    kept = m.node("Cast", [m.node("Unsqueeze", ["mask", m.integers(2)])], to=TensorProto.FLOAT)
    total = m.node("ReduceSum", [m.node("Mul", [x, kept]), m.integers(1)], keepdims=0)
    mean = m.node("Div", [total, m.node("ReduceSum", [kept, m.integers(1)], keepdims=0)])
    model = m.model(mean, "sentences", (1, rows), (1, channels))
    del model.graph.input[:]
    for name in ("ids", "mask"):
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.INT64, (1, rows)))
    return model


def bert(rng: np.random.Generator, rows: int, channels: int, heads: int, layers: int = 1) -> ModelProto:
    """Give an encoder with normalizations behind its sums; the result is the mean of the rows."""
    m = TransformerModel(rng)
    x = m.norm("x", channels)
    for _ in range(layers):
        x = m.norm(m.node("Add", [m.attention(x, rows, channels, heads), x]), channels, is_spelled_out=True)
        wide = m.gelu(m.linear(x, channels, 4 * channels))
        x = m.norm(m.node("Add", [m.linear(wide, 4 * channels, channels), x]), channels)
    mean = m.node("ReduceMean", [x, m.integers(1)], keepdims=0)
    return m.model(mean, "bert", (1, rows, channels), (1, channels))


def vision(
    rng: np.random.Generator, size: int, patch: int, channels: int, heads: int, layers: int, classes: int = 10
) -> ModelProto:
    """Give a vision transformer with a class token, and normalizations before its layers."""
    m = TransformerModel(rng)
    rows = (size // patch) ** 2
    kernel = m.constant(rng.normal(size=(channels, 3, patch, patch)) / np.sqrt(3 * patch * patch))
    grid = m.node("Conv", ["x", kernel, m.constant(rng.normal(size=channels) * 0.1)], strides=[patch, patch])
    flat = m.node("Reshape", [grid, m.integers(1, channels, rows)])
    tokens = m.node("Transpose", [flat], perm=[0, 2, 1])
    token = m.constant(rng.normal(size=(1, 1, channels)) * 0.5)
    x = m.node("Concat", [token, tokens], axis=1)
    rows += 1
    x = m.node("Add", [x, m.constant(rng.normal(size=(1, rows, channels)) * 0.5)])
    for _ in range(layers):
        x = m.node("Add", [x, m.attention(m.norm(x, channels), rows, channels, heads, is_fused=True)])
        wide = m.node("Gelu", [m.linear(m.norm(x, channels), channels, 4 * channels)])
        x = m.node("Add", [x, m.linear(wide, 4 * channels, channels)])
    first = m.node("Gather", [m.norm(x, channels), m.constant(0, np.int64)], axis=1)
    return m.model(m.linear(first, channels, classes), "vision", (1, 3, size, size), (1, classes))
