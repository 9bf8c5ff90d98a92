"""Random valid quantized graphs: every operator that the compiler knows, on values that other operators give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from onnx import ModelProto

from tests.compiler.operator_cases import geometry, kind, pick, weights
from tests.compiler.quantized_models import ModelBuilder, Quantized, run

#: Elements of a tensor; operators that would give more are not added.
LARGEST = 6000


class NotHere(Exception):
    """An operator does not suit the value that was drawn."""


@dataclass
class GraphFuzzer:
    """Grows a graph operator by operator.

    Parameters
    ----------
    seed
        The same seed gives the same graph.
    """

    seed: int
    builder: ModelBuilder = field(init=False)
    values: list[Quantized] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    operators: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.builder = ModelBuilder(np.random.default_rng([self.seed, 5]), opset=20)

    def model(self) -> ModelProto:
        """Give a graph of four to twelve operators; what nothing reads is its output."""
        b = self.builder
        self.values.append(b.activation(self._input_shape(), kind(b)))
        for _ in range(int(b.rng.integers(4, 13))):
            self._grow()
        outputs = [v.name for v in self.values if v.name not in self.used and v.name not in b.inputs]
        return b.model(outputs)

    def _input_shape(self) -> tuple[int, ...]:
        b = self.builder
        if pick(b, True, True, True, False):
            extents = [int(v) for v in b.rng.integers(2, 12, 2)]
            return (pick(b, 1, 1, 1, 2), pick(b, 1, 3, 8, 16, 20, 33), *extents)
        return tuple(pick(b, (1, 20), (1, 6, 16), (1, 5, 24), (2, 7, 16), (4, 32)))

    def _grow(self) -> None:
        """Add one operator; try others where it does not suit."""
        b = self.builder
        for _ in range(20):
            name = str(pick(b, *_OPERATORS))
            x = self.values[-1] if pick(b, True, True, False) else self.values[int(b.rng.integers(len(self.values)))]
            mark = (len(b.nodes), dict(b.constants), dict(b.inputs))
            try:
                self._finish(name, x, _OPERATORS[name](self, x))
            except NotHere:
                del b.nodes[mark[0] :]
                b.constants, b.inputs = mark[1], mark[2]
            else:
                return

    def _finish(self, name: str, x: Quantized, made: tuple[str, Sequence[Quantized]]) -> None:
        """Quantize what an operator gives."""
        b, (real, others) = self.builder, made
        sample = run(b.model([real]), b.random_inputs())[real]
        if not 0 < sample.size <= LARGEST or sample.ndim < 2:
            raise NotHere
        found = b.range_of(real, kind(b))
        keeps = name in _MOVES and pick(b, True, True, False)
        y = b.quantize(real, like=x if keeps else found)
        self.values.append(Quantized(y.name, sample.shape, y.dtype, y.scale, y.zero))
        self.used.update(v.name for v in (x, *others))
        self.operators.append(name)

    def other(self, shape: Sequence[int]) -> Quantized:
        """Give another value of a shape: one that there is, or a new input."""
        fitting = [v for v in self.values if v.shape == tuple(shape)]
        if fitting and pick(self.builder, True, False):
            return fitting[int(self.builder.rng.integers(len(fitting)))]
        return self.builder.activation(shape, kind(self.builder))


Made = tuple[str, Sequence[Quantized]]


def _rank(x: Quantized, *ranks: int) -> None:
    if len(x.shape) not in ranks:
        raise NotHere


def _conv(f: GraphFuzzer, x: Quantized) -> Made:
    _rank(x, 4)
    b, inputs = f.builder, x.shape[1]
    groups = int(pick(b, 1, 1, inputs))
    outputs = groups if groups > 1 else int(pick(b, 4, 8, 17, 24))
    shape = geometry(b, x.shape[2:])
    w = weights(b, (outputs, inputs // groups, *shape["kernel_shape"]), 0)
    operands = [b.dequantize(x), b.dequantize(w)]
    if pick(b, True, False):
        operands.append(b.dequantize(b.bias(x, w, outputs)))
    y = b.node("Conv", operands, group=groups, **shape)
    return (b.node("Relu", [y]) if pick(b, True, False) else y), ()


def _conv_transpose(f: GraphFuzzer, x: Quantized) -> Made:
    _rank(x, 4)
    b = f.builder
    w = weights(b, (x.shape[1], int(pick(b, 3, 8)), *(int(pick(b, 2, 3)) for _ in range(2))), 1)
    return b.node("ConvTranspose", [b.dequantize(x), b.dequantize(w)], strides=[2, int(pick(b, 1, 2))]), ()


def _matmul(f: GraphFuzzer, x: Quantized) -> Made:
    _rank(x, 2, 3)
    b = f.builder
    w = weights(b, (x.shape[-1], int(pick(b, 8, 16, 24))), 1)
    return b.node("MatMul", [b.dequantize(x), b.dequantize(w)]), ()


def _classifier(f: GraphFuzzer, x: Quantized) -> Made:
    _rank(x, 4)
    b = f.builder
    w = weights(b, (prod(x.shape[1:]), 10), 1)
    return b.node("Gemm", [b.node("Flatten", [b.dequantize(x)]), b.dequantize(w)]), ()


def _binary(op: str) -> Callable[[GraphFuzzer, Quantized], Made]:
    def build(f: GraphFuzzer, x: Quantized) -> Made:
        b = f.builder
        shape = list(x.shape)
        if pick(b, True, False, False):
            for axis in range(1, len(shape)):
                shape[axis] = int(pick(b, shape[axis], 1))
        other = f.other(shape)
        operands = [b.dequantize(x), b.dequantize(other)]
        return b.node(op, operands[:: int(pick(b, 1, -1))]), (other,)

    return build


def _scaled_by_constant(f: GraphFuzzer, x: Quantized) -> Made:
    b = f.builder
    w = weights(b, (x.shape[1], *(1,) * (len(x.shape) - 2)), 0)
    flat = Quantized(w.name, w.shape, w.dtype, w.scale.reshape(-1)[0], w.zero.reshape(-1)[0], 0, w.array)
    return b.node(str(pick(b, "Mul", "Add", "Sub")), [b.dequantize(x), b.dequantize(flat)]), ()


def _unary(op: str, **attributes: Any) -> Callable[[GraphFuzzer, Quantized], Made]:
    return lambda f, x: (f.builder.node(op, [f.builder.dequantize(x)], **attributes), ())


def _squeeze_excite(f: GraphFuzzer, x: Quantized) -> Made:
    _rank(x, 4)
    b = f.builder
    pooled = b.quantize(b.node("GlobalAveragePool", [b.dequantize(x)]))
    w = weights(b, (x.shape[1], x.shape[1], 1, 1), 0)
    mixed = b.quantize(b.node("Conv", [b.dequantize(pooled), b.dequantize(w)]))
    gate = b.quantize(b.node("Sigmoid", [b.dequantize(mixed)]))
    return b.node("Mul", [b.dequantize(x), b.dequantize(gate)]), ()


def _pool(op: str) -> Callable[[GraphFuzzer, Quantized], Made]:
    def build(f: GraphFuzzer, x: Quantized) -> Made:
        _rank(x, 4)
        return f.builder.node(op, [f.builder.dequantize(x)], **geometry(f.builder, x.shape[2:], dilates=False)), ()

    return build


def _reduce(op: str) -> Callable[[GraphFuzzer, Quantized], Made]:
    def build(f: GraphFuzzer, x: Quantized) -> Made:
        b = f.builder
        axes = pick(b, [2], [3], [2, 3]) if len(x.shape) == 4 else [len(x.shape) - 2] if len(x.shape) == 3 else [1]
        return b.node(op, [b.dequantize(x), b.constant(np.array(axes, np.int64))], keepdims=1), ()

    return build


def _concat(f: GraphFuzzer, x: Quantized) -> Made:
    b = f.builder
    axis = int(b.rng.integers(1, len(x.shape)))
    shape = list(x.shape)
    shape[axis] = int(pick(b, shape[axis], 3, 16))
    other = f.other(shape)
    operands = [b.dequantize(x), b.dequantize(other)]
    return b.node("Concat", operands[:: int(pick(b, 1, -1))], axis=axis), (other,)


def _slice(f: GraphFuzzer, x: Quantized) -> Made:
    b = f.builder
    axis = int(b.rng.integers(1, len(x.shape)))
    start = int(b.rng.integers(0, x.shape[axis]))
    end = int(b.rng.integers(start + 1, x.shape[axis] + 1))
    return b.node("Slice", [b.dequantize(x), *(b.constant(np.array([v], np.int64)) for v in (start, end, axis))]), ()


def _pad(f: GraphFuzzer, x: Quantized) -> Made:
    b = f.builder
    pads = [0, *(int(v) for v in b.rng.integers(0, 2, len(x.shape) - 1))] * 2
    return b.node("Pad", [b.dequantize(x), b.constant(np.array(pads, np.int64))]), ()


def _resize(mode: str) -> Callable[[GraphFuzzer, Quantized], Made]:
    def build(f: GraphFuzzer, x: Quantized) -> Made:
        _rank(x, 4)
        b = f.builder
        scales = b.constant(np.array([1, 1, 2, 2], np.float32))
        return b.node("Resize", [b.dequantize(x), "", scales], mode=mode), ()

    return build


def _depth_to_space(f: GraphFuzzer, x: Quantized) -> Made:
    _rank(x, 4)
    if x.shape[1] % 4:
        raise NotHere
    return f.builder.node("DepthToSpace", [f.builder.dequantize(x)], blocksize=2), ()


def _shuffle(f: GraphFuzzer, x: Quantized) -> Made:
    _rank(x, 4)
    n, c, h, w = x.shape
    if c % 4:
        raise NotHere
    b = f.builder
    parted = b.node("Reshape", [b.dequantize(x), b.constant(np.array([n, 4, c // 4, h, w], np.int64))])
    turned = b.node("Transpose", [parted], perm=[0, 2, 1, 3, 4])
    return b.node("Reshape", [turned, b.constant(np.array(x.shape, np.int64))]), ()


def _tokens(f: GraphFuzzer, x: Quantized) -> Made:
    """An image as a row for each pixel."""
    _rank(x, 4)
    b = f.builder
    flat = b.node("Reshape", [b.dequantize(x), b.constant(np.array([*x.shape[:2], -1], np.int64))])
    return b.node("Transpose", [flat], perm=[0, 2, 1]), ()


def _image_of_tokens(f: GraphFuzzer, x: Quantized) -> Made:
    _rank(x, 3)
    b, (n, tokens, channels) = f.builder, x.shape
    turned = b.node("Transpose", [b.dequantize(x)], perm=[0, 2, 1])
    return b.node("Reshape", [turned, b.constant(np.array([n, channels, 1, tokens], np.int64))]), ()


def _layer_norm(f: GraphFuzzer, x: Quantized) -> Made:
    _rank(x, 2, 3)
    b = f.builder
    gamma = b.constant(b.rng.uniform(0.5, 1.5, x.shape[-1]).astype(np.float32))
    return b.node("LayerNormalization", [b.dequantize(x), gamma], axis=-1), ()


_OPERATORS: dict[str, Callable[[GraphFuzzer, Quantized], Made]] = {
    "Conv": _conv,
    "Conv again": _conv,
    "ConvTranspose": _conv_transpose,
    "MatMul": _matmul,
    "Gemm": _classifier,
    "Add": _binary("Add"),
    "Sub": _binary("Sub"),
    "Mul": _binary("Mul"),
    "constant": _scaled_by_constant,
    "Sigmoid": _unary("Sigmoid"),
    "HardSwish": _unary("HardSwish"),
    "LeakyRelu": _unary("LeakyRelu", alpha=0.2),
    "Gelu": _unary("Gelu"),
    "Relu": _unary("Relu"),
    "squeeze and excite": _squeeze_excite,
    "MaxPool": _pool("MaxPool"),
    "AveragePool": _pool("AveragePool"),
    "ReduceMean": _reduce("ReduceMean"),
    "ReduceMax": _reduce("ReduceMax"),
    "Concat": _concat,
    "Slice": _slice,
    "Pad": _pad,
    "nearest": _resize("nearest"),
    "bilinear": _resize("linear"),
    "DepthToSpace": _depth_to_space,
    "shuffle": _shuffle,
    "tokens": _tokens,
    "image of tokens": _image_of_tokens,
    "LayerNormalization": _layer_norm,
    "Softmax": _unary("Softmax", axis=-1),
}
_MOVES = ("MaxPool", "ReduceMax", "Slice", "Pad", "nearest", "DepthToSpace", "shuffle", "tokens", "image of tokens")
