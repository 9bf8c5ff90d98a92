"""The integer operators: operands, attributes, layouts and shapes. `compiler.reference` defines what they compute.

All activations are int8; images are NCHW, matrices `[..., K] x [K, N]`. Arithmetic operators end in the machine's
epilogue (docs/dev/machine.md): an int32 sum plus `bias`, requantized by `multiplier` and `shift`, then what their
`Epilogue` says, then a `table` of 256 int8 when there is one. Zero points of inputs are folded into the bias, so
that `bias` is `bias' = bias - zero_in * sum(weights)` and padding contributes the value `zero_in`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tilewright.compiler.graph.graph import Graph, Node
    from tilewright.compiler.graph.types import Shape

INT8_MIN = -128
INT8_MAX = 127


@dataclass(frozen=True)
class Residual:
    """A second int8 operand `b`, added to the requantized result `y` with a scale for each.

    `((y - zero_a) * multiplier_a + (b - zero_b) * multiplier_b + ((1 << shift) >> 1)) >> shift`, plus `zero_out`,
    saturated to int8.
    """

    zero_a: int
    multiplier_a: int
    zero_b: int
    multiplier_b: int
    shift: int
    zero_out: int


@dataclass(frozen=True)
class Epilogue:
    """What follows the requantization: zero point, optional residual sum, clamp (both bounds inclusive)."""

    zero_out: int = 0
    residual: Residual | None = None
    clamp_low: int = INT8_MIN
    clamp_high: int = INT8_MAX

    @property
    def is_unclamped(self) -> bool:
        """Whether the clamp lets every int8 through."""
        return (self.clamp_low, self.clamp_high) == (INT8_MIN, INT8_MAX)

    def clamped(self, low: int, high: int) -> Epilogue:
        """The epilogue followed by one more clamp."""
        new_low, new_high = (min(max(bound, low), high) for bound in (self.clamp_low, self.clamp_high))
        return replace(self, clamp_low=new_low, clamp_high=new_high)


@dataclass(frozen=True)
class Operand:
    """One input of an operator; `""` in a node's inputs when an optional one is left out."""

    name: str
    dtype: str = "int8"
    is_constant: bool = False
    is_optional: bool = False


@dataclass(frozen=True)
class Operator:
    """An operator's signature: its inputs in order and its attributes with their types."""

    summary: str
    operands: tuple[Operand, ...]
    attributes: Mapping[str, type] = field(default_factory=dict)
    is_variadic: bool = False


_X = Operand("x")
_SCALING = (
    Operand("bias", "int32", is_constant=True),
    Operand("multiplier", "int32", is_constant=True),
    Operand("shift", "int32", is_constant=True),
)
_TAIL = (
    Operand("residual", is_optional=True),
    Operand("table", is_constant=True, is_optional=True),
)
_WEIGHT = Operand("weight", is_constant=True)
_WINDOW: dict[str, type] = {"kernel": tuple, "strides": tuple, "pads": tuple, "dilations": tuple}

OPERATORS: Mapping[str, Operator] = {
    "qconv2d": Operator(
        "x [N,C,H,W] * weight [O,C/groups,KH,KW]; bias, multiplier, shift [O]; pads are (top, left, bottom, right)",
        (_X, _WEIGHT, *_SCALING, *_TAIL),
        {"strides": tuple, "pads": tuple, "dilations": tuple, "groups": int, "zero_in": int, "epilogue": Epilogue},
    ),
    "qmatmul": Operator(
        "x [...,K] @ weight [K,N]; bias, multiplier, shift [N]",
        (_X, _WEIGHT, *_SCALING, *_TAIL),
        {"zero_in": int, "epilogue": Epilogue},
    ),
    "qbatchmatmul": Operator(
        "(x [...,M,K] - zero_in) @ (y [...,N,K] - zero_y) transposed; bias, multiplier, shift [1]; the residual may "
        "have one row instead of M, and 1 for each dimension before",
        (_X, Operand("y"), *_SCALING, *_TAIL),
        {"zero_in": int, "zero_y": int, "epilogue": Epilogue},
    ),
    "qsoftmax": Operator(
        "probabilities along the last axis, `row_functions.softmax_rows`; bias, multiplier, shift [1]",
        (_X, *_SCALING, *_TAIL),
        {"scale": int, "epilogue": Epilogue},
    ),
    "qnormalize": Operator(
        "x [...,C] normalized along the last axis, `row_functions.normalise_rows`, or its negative where negate [C] is "
        "1; bias, multiplier, shift [C]",
        (_X, Operand("negate", "int32", is_constant=True), *_SCALING, *_TAIL),
        {"mean_scale": int, "mean_shift": int, "count_log": int, "epsilon": int, "epilogue": Epilogue},
    ),
    "qadd": Operator(
        "the residual stage alone: y is x; both operands have the result's shape",
        (_X, Operand("residual"), Operand("table", is_constant=True, is_optional=True)),
        {"epilogue": Epilogue},
    ),
    "qmul": Operator(
        "(x - zero_a) * (b - zero_b), both of the result's shape; bias, multiplier, shift [1]",
        (_X, Operand("b"), *_SCALING, Operand("table", is_constant=True, is_optional=True)),
        {"zero_a": int, "zero_b": int, "epilogue": Epilogue},
    ),
    "qmaxpool": Operator("largest of each window of x [N,C,H,W]; padding is -128", (_X,), _WINDOW),
    "qavgpool": Operator(
        "sum of each window of x [N,C,H,W], padded with zero_in, plus bias [1]; multiplier[i] and shift[i] hold "
        "where the window covers counts[i] elements of x extended by counted_pads",
        (_X, *_SCALING, *_TAIL),
        {**_WINDOW, "counted_pads": tuple, "counts": tuple, "zero_in": int, "epilogue": Epilogue},
    ),
    "qglobalavgpool": Operator(
        "sum of each plane of x [N,C,H,W] to [N,C,1,1]; bias, multiplier, shift [1]",
        (_X, *_SCALING, *_TAIL),
        {"epilogue": Epilogue},
    ),
    "qrequantize": Operator(
        "x + bias at another scale; bias, multiplier, shift [1]", (_X, *_SCALING, *_TAIL), {"epilogue": Epilogue}
    ),
    "qclamp": Operator("x limited to low..high", (_X,), {"low": int, "high": int}),
    "qtable": Operator("table[x + 128]; table [256]", (_X, Operand("table", is_constant=True))),
    "qpad": Operator(
        "x surrounded by value; pads are all begins, then all ends, an entry each dimension",
        (_X,),
        {"pads": tuple, "value": int},
    ),
    "qconcat": Operator("operands of one scale, side by side", (_X,), {"axis": int}, is_variadic=True),
    "qgather": Operator("of dimension `axis`, the places `indices`", (_X,), {"axis": int, "indices": tuple}),
    "qinterleave": Operator(
        "images [N,C,h,w], of which number i * columns + j goes to rows i, i + rows, ... and columns j, j + columns, "
        "... of an image of the given extents; factors are (rows, columns)",
        (_X,),
        {"factors": tuple, "extents": tuple},
        is_variadic=True,
    ),
    "reshape": Operator("the same elements in order, any type", (Operand("x", "any"),), {"shape": tuple}),
    "transpose": Operator(
        "dimension i of the result is perm[i] of x, any type", (Operand("x", "any"),), {"perm": tuple}
    ),
    "split_heads": Operator("[...,M,heads*D] as [...,heads,M,D], any type", (Operand("x", "any"),), {"heads": int}),
    "merge_heads": Operator("[...,heads,M,D] as [...,M,heads*D], any type", (Operand("x", "any"),)),
    "to_int8": Operator("uint8 x - 128: how an unsigned input enters", (Operand("x", "uint8"),)),
    "to_uint8": Operator("x + 128: how an unsigned output leaves", (_X,)),
}


def operand(node: Node, name: str) -> str:
    """The name of the value that a node takes as operand `name`; `""` when it has none."""
    for position, formal in enumerate(OPERATORS[node.op].operands):
        if formal.name == name:
            return node.inputs[position]
    return ""


def with_operand(node: Node, name: str, value: str) -> tuple[str, ...]:
    """A node's inputs with another value for operand `name`."""
    formals = OPERATORS[node.op].operands
    return tuple(value if formal.name == name else old for formal, old in zip(formals, node.inputs, strict=True))


def has_operand(op: str, name: str) -> bool:
    """Whether an operator has an operand of that name."""
    return op in OPERATORS and any(formal.name == name for formal in OPERATORS[op].operands)


def is_device_operator(node: Node) -> bool:
    """Whether a node computes on int8 values only, which an accelerator can do."""
    return node.op.startswith("q")


@dataclass(frozen=True)
class Window:
    """A sliding window over H and W; pads are (top, left, bottom, right)."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilations: tuple[int, int]

    def output_extents(self, height: int, width: int) -> tuple[int, int]:
        """Number of positions in H and W."""
        spans = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]
        padded = (height + self.pads[0] + self.pads[2], width + self.pads[1] + self.pads[3])
        rows, columns = ((p - s) // t + 1 for p, s, t in zip(padded, spans, self.strides, strict=True))
        return rows, columns

    def as_attributes(self) -> dict[str, tuple[int, ...]]:
        """The window as a node's attributes."""
        return {"kernel": self.kernel, "strides": self.strides, "pads": self.pads, "dilations": self.dilations}


def window(graph: Graph, node: Node) -> Window:
    """The window of a convolution or pooling node."""
    height, width = node.get("kernel") or graph.shape(operand(node, "weight"))[2:]
    return Window((height, width), node["strides"], node["pads"], node["dilations"])


def window_counts(window: Window, height: int, width: int, counted_pads: tuple[int, ...]) -> NDArray[np.int64]:
    """How many elements each window covers of an image extended by `counted_pads`, `[OH, OW]`."""
    rows, columns = window.output_extents(height, width)
    counts = []
    for axis, (extent, positions) in enumerate(((height, rows), (width, columns))):
        start = np.arange(positions) * window.strides[axis] - window.pads[axis]
        taps = start[:, None] + np.arange(window.kernel[axis]) * window.dilations[axis]
        inside = (taps >= -counted_pads[axis]) & (taps < extent + counted_pads[axis + 2])
        counts.append(inside.sum(axis=1))
    return np.outer(counts[0], counts[1]).astype(np.int64)


def output_shape(graph: Graph, node: Node) -> Shape:
    """The shape of an integer operator's result."""
    shapes = [graph.shape(name) for name in node.inputs if name]
    x = shapes[0]
    match node.op:
        case "qconv2d":
            return (x[0], shapes[1][0], *window(graph, node).output_extents(*x[2:]))
        case "qmaxpool" | "qavgpool":
            return (*x[:2], *window(graph, node).output_extents(*x[2:]))
        case "qmatmul":
            return (*x[:-1], shapes[1][1])
        case "qglobalavgpool":
            return (*x[:2], 1, 1)
        case "qpad":
            rank = len(x)
            return tuple(n + node["pads"][i] + node["pads"][i + rank] for i, n in enumerate(x))
        case "qconcat":
            axis = node["axis"]
            return (*x[:axis], sum(shape[axis] for shape in shapes), *x[axis + 1 :])
        case "qgather":
            axis = node["axis"]
            return (*x[:axis], len(node["indices"]), *x[axis + 1 :])
        case "qinterleave":
            return (*x[:2], *node["extents"])
        case "reshape":
            return tuple(node["shape"])
        case "transpose":
            return tuple(x[axis] for axis in node["perm"])
        case "qbatchmatmul":
            return (*x[:-1], shapes[1][-2])
        case "split_heads":
            return (*x[:-2], node["heads"], x[-2], x[-1] // node["heads"])
        case "merge_heads":
            return (*x[:-3], x[-2], x[-3] * x[-1])
    return x


def mac_count(graph: Graph, node: Node) -> int:
    """Multiply-accumulates that a node needs; 0 for what does not multiply weights or two activations."""
    if node.op == "qbatchmatmul":
        return prod(graph.shape(node.output)) * graph.shape(node.inputs[0])[-1]
    if node.op not in ("qconv2d", "qmatmul"):
        return 0
    weight = graph.shape(operand(node, "weight"))
    depth = prod(weight[1:]) if node.op == "qconv2d" else weight[0]
    return prod(graph.shape(node.output)) * depth


def problems(graph: Graph, node: Node) -> Iterator[str]:
    """What is wrong with a node that is no ONNX operator; nothing when it is valid."""
    operator = OPERATORS.get(node.op)
    if operator is None:
        yield "unknown operator"
        return
    yield from _operand_problems(graph, node, operator)
    yield from _attribute_problems(node, operator)
    result = graph.values[node.output]
    if result.shape is None:
        yield "the result's shape is not known"
    elif node.op == "reshape":
        if prod(graph.shape(node.inputs[0])) != prod(node["shape"]):
            yield f"{graph.shape(node.inputs[0])} does not reshape to {node['shape']}"
    elif result.shape != output_shape(graph, node):
        yield f"the result has shape {result.shape}, its inputs give {output_shape(graph, node)}"


def _operand_problems(graph: Graph, node: Node, operator: Operator) -> Iterator[str]:
    formals = operator.operands * (len(node.inputs) if operator.is_variadic else 1)
    if len(node.inputs) != len(formals):
        yield f"{len(node.inputs)} inputs, not {len(formals)}"
        return
    for formal, name in zip(formals, node.inputs, strict=True):
        if not name:
            if not formal.is_optional:
                yield f"operand {formal.name} is missing"
            continue
        if formal.dtype not in ("any", graph.dtype(name)):
            yield f"operand {formal.name} is {graph.dtype(name)}, not {formal.dtype}"
        if formal.is_constant and name not in graph.constants:
            yield f"operand {formal.name} is not constant"


def _attribute_problems(node: Node, operator: Operator) -> Iterator[str]:
    if set(node.attributes) != set(operator.attributes):
        yield f"attributes {sorted(node.attributes)}, not {sorted(operator.attributes)}"
        return
    for name, kind in operator.attributes.items():
        if not isinstance(node[name], kind):
            yield f"attribute {name} is {type(node[name]).__name__}, not {kind.__name__}"
    epilogue: Any = node.get("epilogue")
    if epilogue is None:
        return
    residual = operand(node, "residual")
    if bool(residual) != (epilogue.residual is not None):
        yield "residual operand and residual stage do not go together"
    if not INT8_MIN <= epilogue.clamp_low <= epilogue.clamp_high <= INT8_MAX:
        yield f"clamp {epilogue.clamp_low}..{epilogue.clamp_high} is not a range of int8"
