"""Kernels of transformers: softmax and normalization along rows, and products of two activations.

Rows are computed in the integers of `tilewright.isa.row_ops`, whose expressions stand here as they are. Rows lie in
memory with their elements side by side and begin at multiples of a vector, so that whole vectors are read and written;
what lies behind a row's end counts for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from tilewright.compiler.graph.graph import Node
from tilewright.compiler.targets.cpu.epilogue import OFFSET, Finish
from tilewright.compiler.targets.cpu.kernel import TASK, Kernel, lanes, tasks
from tilewright.compiler.targets.kernels.layout import View, split_index
from tilewright.compiler.targets.kernels.nests import inside, loop, sequence
from tilewright.compiler.tir.simplify import substitute_expr
from tilewright.isa.ir import (
    Binary,
    BinaryOp,
    Buffer,
    Cast,
    Const,
    DType,
    Expr,
    Load,
    Lookup,
    Select,
    Stmt,
    Store,
    Table,
    Var,
    total,
)
from tilewright.isa.row_ops import ROW_OPS, SUM_BITS

if TYPE_CHECKING:
    from tilewright.compiler.targets.cpu.lowering import CpuLowering

_LANE = Var("lane")
_OPS = {op.name: op for op in ROW_OPS}


def narrowed(expr: Expr) -> Expr:
    """Compute in 32 bits what is known to fit them: vectors hold twice as many."""
    match expr:
        case Const(value, DType.I64):
            return Const(value, DType.I32)
        case Binary(op, left, right):
            return Binary(op, narrowed(left), narrowed(right))
        case Select(condition, if_true, if_false):
            return Select(narrowed(condition), narrowed(if_true), narrowed(if_false))
        case Lookup(table, index):
            narrow = Table(f"{table.name}_i32", DType.I32, table.values)
            return Lookup(narrow, Cast(DType.I64, narrowed(index)))
        case Cast(DType.I64, inner):
            return narrowed(inner)
    return expr if expr.dtype == DType.I32 else Cast(DType.I32, expr)


@dataclass(frozen=True)
class RowOperator:
    """A softmax or normalization along the last axis.

    Attributes
    ----------
    x, y : View
        Bytes; the last stride is 1.
    sizes : tuple of int
        Bytes of the buffers of `x`, `y` and the residual.
    finish : Finish
    channels : int
        Of the constants.
    bias : int or None
        Added to every element; None where constants have one.
    kind : str
        `softmax` or `normalize`.
    numbers : tuple of int
        `scale`; or mean scale, mean shift, count log and epsilon.
    residual : View, optional
    """

    x: View
    y: View
    sizes: tuple[int, int, int]
    finish: Finish
    channels: int
    kind: str
    numbers: tuple[int, ...]
    residual: View | None = None

    @property
    def _width(self) -> int:
        return self.finish.level.lanes

    @property
    def _columns(self) -> int:
        return self.x.shape[-1]

    def build(self, name: str) -> Kernel:
        """Build the kernel: a task is a row."""
        buffers = {
            "x": Buffer("x", DType.U8, (self.sizes[0],), "dram"),
            "y": Buffer("y", DType.U8, (self.sizes[1],), "dram"),
        }
        if self.residual is not None:
            buffers["residual"] = Buffer("residual", DType.U8, (self.sizes[2],), "dram")
        buffers["bias"] = Buffer("bias", DType.I32, (self.channels,), "dram")
        if self.kind == "normalize":
            buffers["negate"] = Buffer("negate", DType.I32, (self.channels,), "dram")
        buffers |= self.finish.constants(self.channels)
        index = split_index(TASK, self.x.shape[:-1])
        body = self._softmax(buffers, index) if self.kind == "softmax" else self._normalization(buffers, index)
        return tasks(name, prod(self.x.shape[:-1]), list(buffers.values()), body)

    def _softmax(self, buffers: Mapping[str, Buffer], index: tuple[Expr, ...]) -> Stmt:
        """Build probabilities: the largest element, the sum of all powers, and every power over it."""
        values: dict[str, Expr] = {"scale": Const(self.numbers[0]), "offset": Const(0)}
        largest = self._reduction(buffers, index, "max", values, {}, "largest")
        sums = self._reduction(buffers, index, "exp_sum", values, {"b": _of_row("largest")}, "total")
        power = _OPS["exp"].combine

        def result(start: Expr) -> Expr:
            known = {**values, "a": self._element(buffers, index, start), "b": _of_row("total")}
            return narrowed(substitute_expr(power, known))

        done = self._finished(buffers, index, result)
        return inside([_row("largest"), _row("total")], sequence(largest, sums, done))

    def _normalization(self, buffers: Mapping[str, Buffer], index: tuple[Expr, ...]) -> Stmt:
        """Build deviations over the standard deviation, some negated as `negate` says."""
        mean_scale, mean_shift, count_log, epsilon = self.numbers
        sums: dict[str, Expr] = {"scale": Const(mean_scale), "offset": Const(mean_shift)}
        squares: dict[str, Expr] = {"scale": Const(count_log), "offset": Const(epsilon)}
        first = self._reduction(buffers, index, "sum", sums, {}, "mean")
        second = self._reduction(buffers, index, "square_sum", squares, {"b": _of_row("mean")}, "spread")
        normal = _OPS["normalise"].combine

        def result(start: Expr) -> Expr:
            known = {"a": self._element(buffers, index, start), "b": _of_row("spread")}
            value = substitute_expr(normal, known).cast(DType.I32)
            sign = Const(1, DType.I32) - Load(buffers["negate"], (start + _LANE,)) * 2
            return value * sign

        done = self._finished(buffers, index, result)
        return inside([_row("mean"), _row("spread")], sequence(first, second, done))

    def _element(self, buffers: Mapping[str, Buffer], index: tuple[Expr, ...], start: Expr) -> Expr:
        place = self.x.place((*index, start + _LANE))
        return (Load(buffers["x"], (place,)).cast(DType.I32) - OFFSET).cast(DType.I64)

    def _reduction(
        self, buffers: Mapping[str, Buffer], index: tuple[Expr, ...], name: str, values: Mapping[str, Expr],
        operands: Mapping[str, Expr], result: str,
    ) -> Stmt:  # fmt: skip
        """Build a row operation that reduces: each lane its part, then the whole."""
        op, width = _OPS[name], self._width
        kind = DType.I32 if name in ("max", "sum", "exp_sum") else DType.I64
        wide = DType.I64 if name == "exp_sum" else kind
        part = Buffer(f"{result}_part", wide, (width,), "register")
        first = Const(-(1 << 30) if op.reduce == "max" else 0, wide)
        turn = Var("turn")

        def add(start: Expr, count: int) -> Stmt:
            known = {**values, **operands, "a": self._element(buffers, index, start)}
            value = substitute_expr(op.combine, known)
            value = (narrowed(value) if kind == DType.I32 else value).cast(wide)
            if count < width:
                value = Select(Binary(BinaryOp.LT, _LANE, Const(count)), value, first)
            old = Load(part, (_LANE,))
            return lanes(_LANE, width, Store(part, (_LANE,), old.maximum(value) if op.reduce == "max" else old + value))

        whole, rest = divmod(self._columns, width)
        body: list[Stmt] = [lanes(_LANE, width, Store(part, (_LANE,), first))]
        if whole:
            body.append(loop(turn, whole, add(turn * width, width)))
        if rest:
            body.append(add(Const(whole * width), rest))
        parts: list[Expr] = [Load(part, (Const(lane),)).cast(DType.I64) for lane in range(width)]
        found = parts[0]
        for other in parts[1:]:
            found = found.maximum(other) if op.reduce == "max" else found + other
        if op.adds_offset:
            found = (found + values["offset"]) & ((1 << SUM_BITS) - 1)
        sum_ = Buffer(f"{result}_sum", DType.I64, (1,), "register")
        own = Load(sum_, (Const(0),))
        place = total((own >> bit).differs(0).cast(DType.I64) for bit in range(1, SUM_BITS))
        final = substitute_expr(op.finish, {**values, **operands, "sum": own, "place": place})
        store = sequence(Store(sum_, (Const(0),), found), Store(_row(result), (Const(0),), final))
        return inside([part, sum_], sequence(*body, store))

    def _finished(self, buffers: Mapping[str, Buffer], index: tuple[Expr, ...], result: object) -> Stmt:
        assert callable(result)
        width, turn = self._width, Var("turn")
        start = turn * width
        acc = Buffer("acc", DType.I32, (width,), "register")
        first = lanes(_LANE, width, Store(acc, (_LANE,), result(start) + Load(buffers["bias"], (start + _LANE,))))
        constants = {k: b for k, b in buffers.items() if k not in ("x", "y", "bias", "residual", "negate")}
        residual = None
        if self.residual is not None:
            residual = buffers["residual"], self.residual.place((*index, start))
        output = buffers["y"], self.y.place((*index, start))
        done = self.finish.pixel((acc, 0), 1, start, constants, residual, output)
        return inside([acc], loop(turn, -(-self._columns // width), sequence(first, done)))


def _row(what: str) -> Buffer:
    return Buffer(what, DType.I64, (1,), "register")


def _of_row(what: str) -> Expr:
    return Load(_row(what), (Const(0),))


def broadcast(view: View, shape: tuple[int, ...]) -> View:
    """Repeat an operand along its dimensions of 1 and those that it lacks."""
    missing = len(shape) - len(view.shape)
    extents, strides = (1,) * missing + view.shape, (0,) * missing + view.strides
    repeated = (0 if n == 1 != m else s for n, m, s in zip(extents, shape, strides, strict=True))
    return View(shape, tuple(repeated), view.offset)


@dataclass(frozen=True)
class Product:
    """The products of elements of two activations, finished.

    Attributes
    ----------
    x, b, y : View
        Rows of bytes of one shape.
    sizes : tuple of int
        Bytes of the buffers.
    zeros : tuple of int
        Zero points of both factors, of bytes.
    finish : Finish
    bias : int
    """

    x: View
    b: View
    y: View
    sizes: tuple[int, int, int]
    zeros: tuple[int, int]
    finish: Finish
    bias: int

    def build(self, name: str) -> Kernel:
        """Build the kernel: a task is a row."""
        width, turn = self.finish.level.lanes, Var("turn")
        x, b, y = (Buffer(n, DType.U8, (size,), "dram") for n, size in zip("xby", self.sizes, strict=True))
        index, start = split_index(TASK, self.y.shape[:-1]), turn * width
        columns = self.y.shape[-1]
        constants = self.finish.constants(-(-columns // width) * width)
        acc = Buffer("acc", DType.I32, (width,), "register")
        first, second = (
            Load(buffer, (view.place((*index, start + _LANE)),)).cast(DType.I32) - zero
            for buffer, view, zero in ((x, self.x, self.zeros[0]), (b, self.b, self.zeros[1]))
        )
        store = lanes(_LANE, width, Store(acc, (_LANE,), first * second + self.bias))
        done = self.finish.pixel((acc, 0), 1, start, constants, None, (y, self.y.place((*index, start))))
        nest = inside([acc], loop(turn, -(-columns // width), sequence(store, done)))
        return tasks(name, prod(self.y.shape[:-1]), [x, b, y, *constants.values()], nest)


# ---- lowering ------------------------------------------------------------------------------------------------


def lower_rows(state: CpuLowering, node: Node) -> None:
    """Lower a softmax or a normalization."""
    x = state.rows_of(node.inputs[0])
    y = state.new_rows(node.output)
    arguments, residual = state.row_residual(node)
    scaling = state.scaling(node)
    channels = -(-x.view.shape[-1] // state.level.lanes) * state.level.lanes
    arguments |= {"x": x.storage, "y": y.storage, **state.parameters(node, scaling, channels)}
    if node.op == "qsoftmax":
        kind, numbers = "softmax", (node["scale"],)
    else:
        kind, numbers = "normalize", tuple(node[n] for n in ("mean_scale", "mean_shift", "count_log", "epsilon"))
        negate = np.broadcast_to(state.array(node, "negate").astype(np.int32), (x.view.shape[-1],))
        padded = np.concatenate([negate, np.zeros(channels - negate.size, np.int32)])
        arguments["negate"] = state.constant(f"{node.output}:negate", padded)
    sizes = x.size, y.size, residual.size if residual is not None else 0
    view = broadcast(residual.view, y.view.shape) if residual is not None else None
    finish = state.finish(node, scaling)
    state.emit(node, RowOperator(x.view, y.view, sizes, finish, channels, kind, numbers, view), arguments)


def lower_product(state: CpuLowering, node: Node) -> None:
    """Lower a product of elements."""
    x, b = state.rows_of(node.inputs[0]), state.rows_of(node.inputs[1])
    y = state.new_rows(node.output)
    scaling = state.scaling(node)
    channels = -(-y.view.shape[-1] // state.level.lanes) * state.level.lanes
    arguments = {"x": x.storage, "b": b.storage, "y": y.storage}
    arguments |= state.parameters(node, scaling, channels, has_bias=False)
    zeros = node["zero_a"] + OFFSET, node["zero_b"] + OFFSET
    sizes = x.size, b.size, y.size
    finish, bias = state.finish(node, scaling), int(scaling.bias[0])
    state.emit(node, Product(x.view, b.view, y.view, sizes, zeros, finish, bias), arguments)
