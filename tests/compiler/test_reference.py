"""The meaning of integer operators, against loops of Python integers that restate docs/dev/machine.md."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from tilewright.compiler.graph import Graph, Node, Value
from tilewright.compiler.graph.verify import verify
from tilewright.compiler.qops import Epilogue, Residual, Window, window_counts
from tilewright.compiler.reference import evaluate


def one_node(op: str, inputs: list[Any], attributes: dict[str, Any], shape: tuple[int, ...]) -> np.ndarray:
    """Evaluate a graph of one node; read-only arrays are constants, None is left out."""
    names = [f"i{k}" if array is not None else "" for k, array in enumerate(inputs)]
    arrays = {name: np.asarray(array) for name, array in zip(names, inputs, strict=True) if name}
    given = {name: array for name, array in arrays.items() if array.flags.writeable}
    values = {name: Value(name, array.dtype.name, array.shape) for name, array in arrays.items()}
    values["y"] = Value("y", "int8", shape)
    constants = {name: array for name, array in arrays.items() if name not in given}
    graph = Graph("one", values, (Node(op, tuple(names), ("y",), attributes),), constants, tuple(given), ("y",), {})
    verify(graph)
    return evaluate(graph, given)["y"]


def constant(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def epilogue(total: int, bias: int, multiplier: int, shift: int, stage: Epilogue, b: int, table: Any) -> int:
    accumulator = (total + bias + 2**31) % 2**32 - 2**31
    y = (accumulator * multiplier + ((1 << shift) >> 1)) >> shift
    y = saturate(y + stage.zero_out)
    if stage.residual is not None:
        r = stage.residual
        scaled = (y - r.zero_a) * r.multiplier_a + (b - r.zero_b) * r.multiplier_b
        y = saturate(((scaled + ((1 << r.shift) >> 1)) >> r.shift) + r.zero_out)
    y = min(max(y, stage.clamp_low), stage.clamp_high)
    return y if table is None else int(table[y + 128])


def saturate(y: int) -> int:
    return min(max(y, -128), 127)


STAGE = Residual(zero_a=5, multiplier_a=40000, zero_b=-20, multiplier_b=23456, shift=16, zero_out=-9)


@pytest.mark.parametrize("has_table", [False, True])
@pytest.mark.parametrize("residual", [None, STAGE])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_qconv2d(groups: int, residual: Residual | None, has_table: bool, rng: np.random.Generator) -> None:
    window = Window((3, 2), (2, 1), (1, 0, 2, 1), (1, 2))
    x = rng.integers(-128, 128, (2, 4, 6, 5)).astype(np.int8)
    weight = constant(rng.integers(-128, 128, (8, 4 // groups, 3, 2)).astype(np.int8))
    bias = constant(rng.integers(-5000, 5000, 8).astype(np.int32))
    multiplier = constant(rng.integers(1 << 15, 1 << 16, 8).astype(np.int32))
    shift = constant(rng.integers(22, 26, 8).astype(np.int32))
    shape = (2, 8, *window.output_extents(6, 5))
    b = rng.integers(-128, 128, shape).astype(np.int8) if residual else None
    table = constant(rng.integers(-128, 128, 256).astype(np.int8)) if has_table else None
    stage = Epilogue(zero_out=5, residual=residual, clamp_low=-100, clamp_high=90)
    attributes = {
        "strides": window.strides,
        "pads": window.pads,
        "dilations": window.dilations,
        "groups": groups,
        "zero_in": -7,
        "epilogue": stage,
    }
    ours = one_node("qconv2d", [x, weight, bias, multiplier, shift, b, table], attributes, shape)
    for n, o, row, column in product(*map(range, shape)):
        total = 0
        for c, i, j in product(range(4 // groups), range(3), range(2)):
            h, w = row * 2 - 1 + i, column - 0 + j * 2
            inside = 0 <= h < 6 and 0 <= w < 5
            channel = o // (8 // groups) * (4 // groups) + c
            total += (int(x[n, channel, h, w]) if inside else -7) * int(weight[o, c, i, j])
        other = int(b[n, o, row, column]) if b is not None else 0
        expected = epilogue(total, int(bias[o]), int(multiplier[o]), int(shift[o]), stage, other, table)
        assert ours[n, o, row, column] == expected


def test_qmatmul(rng: np.random.Generator) -> None:
    x = rng.integers(-128, 128, (2, 3, 9)).astype(np.int8)
    weight = constant(rng.integers(-128, 128, (9, 5)).astype(np.int8))
    bias = constant(rng.integers(-5000, 5000, 5).astype(np.int32))
    multiplier = constant(rng.integers(1 << 15, 1 << 16, 5).astype(np.int32))
    shift = constant(rng.integers(22, 26, 5).astype(np.int32))
    stage = Epilogue(zero_out=-30)
    attributes = {"zero_in": 3, "epilogue": stage}
    ours = one_node("qmatmul", [x, weight, bias, multiplier, shift, None, None], attributes, (2, 3, 5))
    for n, row, o in product(range(2), range(3), range(5)):
        total = sum(int(x[n, row, k]) * int(weight[k, o]) for k in range(9))
        assert ours[n, row, o] == epilogue(total, int(bias[o]), int(multiplier[o]), int(shift[o]), stage, 0, None)


def test_the_accumulator_wraps() -> None:
    """32 bits, as the machine's: the sum below turns negative."""
    x = np.full((1, 2), 127, np.int8)
    weight = np.array([[1], [0]], np.int8)
    constants = [weight, np.array([2**31 - 1], np.int32), np.array([1], np.int32), np.array([24], np.int32)]
    attributes = {"zero_in": 0, "epilogue": Epilogue()}
    ours = one_node("qmatmul", [x, *map(constant, constants), None, None], attributes, (1, 1))
    assert ours.tolist() == [[-128]]


def test_large_sums_are_exact(rng: np.random.Generator) -> None:
    """Beyond 2**24, where float32 would round."""
    depth = 4099
    x = np.full((1, depth), 127, np.int8)
    weight = np.full((depth, 1), 127, np.int8)
    weight[0] = 126
    total = (x.astype(np.int64) @ weight.astype(np.int64)).item()
    constants = [weight, np.array([-total + 3], np.int32), np.array([1], np.int32), np.array([0], np.int32)]
    attributes = {"zero_in": 0, "epilogue": Epilogue()}
    assert one_node("qmatmul", [x, *map(constant, constants), None, None], attributes, (1, 1)).tolist() == [[3]]


@pytest.mark.parametrize("counted_pads", [(0, 0, 0, 0), (1, 0, 1, 2)])
def test_window_counts(counted_pads: tuple[int, ...]) -> None:
    window = Window((3, 2), (2, 2), (1, 1, 1, 2), (1, 2))
    counts = window_counts(window, 5, 6, counted_pads)
    top, left, bottom, right = counted_pads
    for row, column in product(*map(range, window.output_extents(5, 6))):
        taps = [(row * 2 - 1 + i, column * 2 - 1 + 2 * j) for i, j in product(range(3), range(2))]
        inside = [-top <= h < 5 + bottom and -left <= w < 6 + right for h, w in taps]
        assert counts[row, column] == sum(inside)


def test_qavgpool_divides_by_the_true_count() -> None:
    """All ones, one step each: every average is one whatever the window covers."""
    x = np.ones((1, 1, 4, 4), np.int8)
    window = Window((3, 3), (1, 1), (1, 1, 1, 1), (1, 1))
    scaling = [np.array([0], np.int32), np.array([16384, 43691, 58254], np.int32), np.array([16, 18, 19], np.int32)]
    attributes = {
        **window.as_attributes(),
        "counted_pads": (0, 0, 0, 0),
        "counts": (4, 6, 9),
        "zero_in": 0,
        "epilogue": Epilogue(),
    }
    ours = one_node("qavgpool", [x, *map(constant, scaling), None, None], attributes, (1, 1, 4, 4))
    np.testing.assert_array_equal(ours, x)


def test_unsigned_conversions() -> None:
    graph = Graph(
        "convert",
        {"x": Value("x", "uint8", (256,)), "s": Value("s", "int8", (256,)), "u": Value("u", "uint8", (256,))},
        (Node("to_int8", ("x",), ("s",)), Node("to_uint8", ("s",), ("u",))),
        {},
        ("x",),
        ("s", "u"),
        {},
    )
    x = np.arange(256, dtype=np.uint8)
    results = evaluate(graph, {"x": x})
    np.testing.assert_array_equal(results["s"], np.arange(-128, 128))
    np.testing.assert_array_equal(results["u"], x)
