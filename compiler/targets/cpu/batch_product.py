"""Products of rows of two activations: the second factor is packed like weights while the network runs.

Of unsigned bytes `x` and signed ones `y`, `(x - zx) * (y - zy)` sums up to the dot product, less `zx` times the sum of
y's row, which is found when that is packed, less `zy` times the sum of x's row, plus what is known before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

from tilewright.compiler.graph.graph import Node
from tilewright.compiler.targets.cpu.epilogue import OFFSET, Finish
from tilewright.compiler.targets.cpu.kernel import TASK, Kernel, call, lanes, tasks
from tilewright.compiler.targets.cpu.rows import broadcast
from tilewright.compiler.targets.cpu.schedule import PLAIN, Schedule
from tilewright.compiler.targets.kernels.layout import View, split_index
from tilewright.compiler.targets.kernels.nests import inside, linear, loop, sequence
from tilewright.isa.ir import Binary, BinaryOp, Buffer, Const, DType, Expr, Load, Select, Stmt, Store, Var

if TYPE_CHECKING:
    from tilewright.compiler.targets.cpu.lowering import CpuLowering

_LANE = Var("lane")
_WORD = 4


@dataclass(frozen=True)
class Packing:
    """Rows `[..., N, K]` in the order of weights, `[..., vector, word, lane, 4]`, with what their sums add.

    Attributes
    ----------
    y : View
        Bytes; the last or the last but one stride is 1.
    size : int
    lanes : int
    factor, start : int
        What a row adds: `start + factor * sum`.
    """

    y: View
    size: int
    lanes: int
    factor: int
    start: int

    def build(self, name: str) -> Kernel:
        """Build the kernel: a task is a vector of rows."""
        *outer, count, depth = self.y.shape
        width, vectors, words = self.lanes, -(-count // self.lanes), -(-depth // _WORD)
        block = words * width * _WORD
        index = split_index(TASK, (*outer, vectors))
        y = Buffer("y", DType.U8, (self.size,), "dram")
        packed = Buffer("packed", DType.I8, (prod(outer) * vectors * block,), "dram")
        sums = Buffer("sums", DType.I32, (prod(outer) * vectors * width,), "dram")
        acc = Buffer("acc", DType.I32, (width,), "register")
        ones = Buffer("ones", DType.U8, (width * _WORD,), "register")
        word = Var("word")
        place = self.y.place((*index[:-1], index[-1] * width, word * _WORD))
        target = linear((TASK, block), (word, width * _WORD))
        add = call("dot_lanes", {"acc": (acc, Const(0)), "x": (ones, Const(0)), "w": (packed, target)}, lanes=width)
        body = sequence(
            loop(word, words, self._word(y, packed, place, target)),
            *self._cleared(packed, words),
            loop(word, words, add),
        )
        first = [
            lanes(_LANE, width, Store(acc, (_LANE,), Const(0, DType.I32))),
            lanes(_LANE, width * _WORD, Store(ones, (_LANE,), Const(1, DType.U8))),
        ]
        value = Load(acc, (_LANE,)) * self.factor + self.start
        last = lanes(_LANE, width, Store(sums, (TASK * width + _LANE,), value))
        return tasks(name, prod(outer) * vectors, [y, packed, sums], inside([acc, ones], sequence(*first, body, last)))

    def _cleared(self, packed: Buffer, words: int) -> list[Stmt]:
        """Build what makes the bytes behind the last column zeros."""
        width, rest = self.lanes, self.y.shape[-1] % _WORD
        if not rest:
            return []
        place = TASK * (words * width * _WORD) + (words - 1) * width * _WORD + _LANE
        is_inside = Binary(BinaryOp.LT, _LANE & (_WORD - 1), Const(rest))
        value = Select(is_inside, Load(packed, (place,)), Const(0, DType.I8))
        return [lanes(_LANE, width * _WORD, Store(packed, (place,), value))]

    def _word(self, y: Buffer, packed: Buffer, place: Expr, target: Expr) -> Stmt:
        width = self.lanes
        if self.y.strides[-1] == 1:
            return call("pack_words", {"w": (packed, target), "x": (y, place)}, step=self.y.strides[-2], lanes=width)
        quad = Buffer("quad", DType.U8, (width * _WORD,), "register")
        step = self.y.strides[-1]
        gather = call("interleave", {"q": (quad, Const(0)), "x": (y, place)}, step=step, count=_WORD, lanes=width)
        value = (Load(quad, (_LANE,)) ^ OFFSET).cast(DType.I8)
        return inside([quad], sequence(gather, lanes(_LANE, width * _WORD, Store(packed, (target + _LANE,), value))))


@dataclass(frozen=True)
class BatchProduct:
    """Products of rows `[..., M, K]` with packed ones.

    Attributes
    ----------
    x, y : View
        Of factor and result, the last stride is 1.
    sizes : tuple of int
        Bytes of the buffers of `x`, `y` and the residual.
    finish : Finish
    zero : int
        Of the packed factor.
    residual : View, optional
    schedule : Schedule
    """

    x: View
    y: View
    sizes: tuple[int, int, int]
    finish: Finish
    zero: int
    residual: View | None = None
    schedule: Schedule = PLAIN

    @property
    def vectors(self) -> int:
        """Vectors of columns of a matrix."""
        return -(-self.y.shape[-1] // self.finish.level.lanes)

    def build(self, name: str) -> Kernel:
        """Build the kernel: a task is some rows by some vectors of columns."""
        *outer, count, _ = self.y.shape
        rows, group = self.schedule.rows, self.schedule.columns
        width, words = self.finish.level.lanes, -(-self.x.shape[-1] // _WORD)
        vectors = self.vectors
        blocks, groups = -(-count // rows), vectors // group
        *index, block, part = split_index(TASK, (*outer, blocks, groups))
        matrix = TASK // (blocks * groups)
        m = (block * rows).minimum(count - rows) if count % rows else block * rows
        channel = part * (group * width)
        x, y = Buffer("x", DType.U8, (self.sizes[0],), "dram"), Buffer("y", DType.U8, (self.sizes[1],), "dram")
        packed = Buffer("packed", DType.I8, (prod(outer) * vectors * words * width * _WORD,), "dram")
        sums = Buffer("sums", DType.I32, (prod(outer) * vectors * width,), "dram")
        buffers = [x, y, packed, sums]
        constants = self.finish.constants(vectors * width)
        if self.residual is not None:
            buffers.append(Buffer("residual", DType.U8, (self.sizes[2],), "dram"))
        acc = Buffer("acc", DType.I32, (rows * group * width,), "register")
        body: list[Stmt] = []
        for row in range(rows):
            for vector in range(group):
                start = Load(sums, (matrix * (vectors * width) + channel + vector * width + _LANE,))
                body.append(lanes(_LANE, width, Store(acc, (_LANE + (row * group + vector) * width,), start)))
        origin = self.x.place((*index, m, Const(0)))
        local = [acc]
        weight = (matrix * vectors + part * group) * (words * width * _WORD)
        step = self.x.strides[-2]
        places = {"acc": (acc, Const(0)), "x": (x, origin), "w": (packed, weight)}
        body.append(_products(places, self.schedule, words, step, width, is_packed=True))
        if self.zero:
            totals = Buffer("totals", DType.I32, (rows * width,), "register")
            local.append(totals)
            body += [
                lanes(_LANE, width, Store(totals, (_LANE + row * width,), Const(0, DType.I32))) for row in range(rows)
            ]
            whole, rest = divmod(self.x.shape[-1], _WORD)
            for count_words, start_word, used in ((whole, 0, _WORD), (1 if rest else 0, whole, rest)):
                if count_words:
                    ones = Buffer(f"ones{used}", DType.I8, (width * _WORD,), "register")
                    local.append(ones)
                    is_used = Binary(BinaryOp.LT, _LANE & (_WORD - 1), Const(used))
                    one = Select(is_used, Const(1, DType.I8), Const(0, DType.I8))
                    body.append(lanes(_LANE, width * _WORD, Store(ones, (_LANE,), one)))
                    sources = {"acc": (totals, Const(0)), "x": (x, origin + start_word * _WORD), "w": (ones, Const(0))}
                    one_column = replace(self.schedule, columns=1)
                    body.append(_products(sources, one_column, count_words, step, width, is_packed=False))
            for number in range(rows * group):
                value = Load(totals, (_LANE + number // group * width,)) * -self.zero
                own = (_LANE + number * width,)
                body.append(lanes(_LANE, width, Store(acc, own, Load(acc, own) + value)))
        for row in range(rows):
            place = (*index, m + row, channel)
            residual = None if self.residual is None else (buffers[-1], self.residual.place(place))
            output = y, self.y.place(place)
            body.append(self.finish.pixel((acc, row * group * width), group, channel, constants, residual, output))
        return tasks(
            name, prod(outer) * blocks * groups, [*buffers, *constants.values()], inside(local, sequence(*body))
        )


def _products(
    places: dict[str, tuple[Buffer, Expr]], schedule: Schedule, words: int, step: int, width: int, *,
    is_packed: bool,
) -> Stmt:  # fmt: skip
    """Build the sum over words of rows of `x` and columns of `w`, which is the same for each word unless packed."""
    word, group = Var("word"), Var("group")
    unrolled = next(u for u in range(schedule.unrolled, 0, -1) if words % u == 0)
    number = group * unrolled + word
    moved = {
        "acc": places["acc"],
        "x": (places["x"][0], places["x"][1] + number * _WORD),
        "w": (places["w"][0], places["w"][1] + number * (width * _WORD)) if is_packed else places["w"],
    }
    amounts = {"rows": schedule.rows, "columns": schedule.columns, "step": step, "lanes": width}
    dot = call("dot_tile", moved, **amounts, w_step=words * width * _WORD)
    return loop(group, words // unrolled, loop(word, unrolled, dot, kind="unrolled"))


def lower_batch_product(state: CpuLowering, node: Node) -> None:
    """Lower a product of two activations."""
    width = state.level.lanes
    x, factor = state.rows_of(node.inputs[0]), state.operand(node.inputs[1])
    depth, count = factor.view.shape[-1], factor.view.shape[-2]
    is_ready = 1 in factor.view.strides[-2:] and not factor.storage.startswith("in:")
    if not is_ready or depth % _WORD or count % width:
        factor = state.padded_rows(node.inputs[1], factor, -(-count // width) * width)
    y = state.new_rows(node.output)
    outer = y.view.shape[:-2]
    factor_view = broadcast(factor.view, (*outer, count, depth))
    vectors, words = -(-count // width), -(-depth // _WORD)
    zero_x, zero_y = node["zero_in"] + OFFSET, node["zero_y"]
    scaling = state.scaling(node, 0, (255 * 255) * depth + int(abs(state.array(node, "bias").astype("int64")).max()))
    start = int(scaling.bias[0]) + depth * zero_x * zero_y
    packed = state.scratch(f"{node.output}:packed", prod(outer) * vectors * words * width * _WORD)
    sums = state.scratch(f"{node.output}:sums", prod(outer) * vectors * width * _WORD)
    source = Packing(factor_view, factor.size, width, -zero_x, start)
    state.emit(node, source, {"y": factor.storage, "packed": packed, "sums": sums})
    arguments, residual = state.row_residual(node)
    sizes = x.size, y.size, residual.size if residual is not None else 0
    view = broadcast(residual.view, y.view.shape) if residual is not None else None
    x_view = broadcast(x.view, (*outer, *x.view.shape[-2:]))
    problem = BatchProduct(x_view, y.view, sizes, state.finish(node, scaling), zero_y, view)
    product = replace(problem, schedule=state.choose(problem))
    arguments |= {"x": x.storage, "y": y.storage, "packed": packed, "sums": sums}
    arguments |= state.parameters(node, scaling, vectors * width, has_bias=False)
    state.emit(node, product, arguments, prod(y.view.shape) * depth)
