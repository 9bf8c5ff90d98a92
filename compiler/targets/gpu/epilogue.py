"""From sums to int8: requantization, residual, clamp and table, as expressions and as the constants they read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tilewright.compiler.qops import INT8_MAX, INT8_MIN, Epilogue
from tilewright.compiler.targets.gpu.kernel import copy
from tilewright.compiler.targets.kernels.nests import inside, loop, sequence
from tilewright.compiler.targets.kernels.scaling import added, clamped
from tilewright.isa.ir import Buffer, Cast, Const, DType, Expr, Load, Stmt, Store, Var

_WORD = 16  # bytes of the widest copy


@dataclass(frozen=True)
class Finish:
    """What happens to sums.

    Attributes
    ----------
    epilogue : Epilogue
    is_high, has_shift : bool
        Of the `Scaling`.
    has_table : bool
    has_scaling : bool
        Whether sums are requantized at all; not in an addition.
    """

    epilogue: Epilogue
    is_high: bool = True
    has_shift: bool = False
    has_table: bool = False
    has_scaling: bool = True

    def constants(self, channels: int) -> dict[str, Buffer]:
        """Declare the buffers of constants by what they hold."""
        kinds: dict[str, DType] = {}
        if self.has_scaling:
            kinds = {"bias": DType.I32, "multiplier": DType.I32 if self.is_high else DType.I64}
        if self.has_scaling and self.has_shift:
            kinds["shift"] = DType.I32
        found = {name: Buffer(name, kind, (channels,), "dram") for name, kind in kinds.items()}
        if self.has_table:
            found["table"] = Buffer("table", DType.I8, (256,), "dram")
        return found

    def value(self, total: Expr, scale: Mapping[str, Expr], residual: Expr | None, table: Buffer | None) -> Expr:
        """Build the int8 result of one int32 sum; with scaling, `scale` has its bias, multiplier and shift."""
        y = self._scaled(total, scale) if self.has_scaling else total
        stage = self.epilogue.residual
        if stage is not None:
            assert residual is not None
            requantized = clamped(y, INT8_MIN, INT8_MAX) if self.has_scaling else y
            y = added(requantized, residual, stage, INT8_MIN, INT8_MAX)
        y = clamped(y, self.epilogue.clamp_low, self.epilogue.clamp_high).cast(DType.I8)
        if table is not None:
            return Load(table, (y.cast(DType.I64) + 128,))
        return y

    def _scaled(self, total: Expr, scale: Mapping[str, Expr]) -> Expr:
        wide = (total + scale["bias"]).cast(DType.I64) * scale["multiplier"].cast(DType.I64)
        zero = self.epilogue.zero_out
        if not self.is_high:
            rounded = ((wide >> scale["shift"].cast(DType.I64)) + 1 >> 1) + zero
            return clamped(rounded, INT8_MIN, INT8_MAX).cast(DType.I32)
        high: Expr = Cast(DType.I32, wide >> 32)
        if self.has_shift:
            high = high >> scale["shift"]
        rounded = (high + 1) >> 1
        return rounded + zero if zero else rounded


class Finishing(Protocol):
    """What happens to sums: constants that it reads, and the result of one sum."""

    @property
    def has_table(self) -> bool:
        """Whether a table of results is looked at."""

    def constants(self, channels: int) -> dict[str, Buffer]:
        """Declare the buffers of constants by what they hold."""

    def value(self, total: Expr, scale: Mapping[str, Expr], residual: Expr | None, table: Buffer | None) -> Expr:
        """Build the result of one sum; `scale` has the constants of its channel."""


def finish_run(
    finish: Finishing, thread: Expr, threads: int, totals: Sequence[Expr], channel: Expr,
    constants: Mapping[str, Buffer], residual: tuple[Buffer, Expr] | None, output: tuple[Buffer, Expr],
) -> Stmt:  # fmt: skip
    """Build what one thread does with the sums of neighbouring channels of one pixel.

    Parameters
    ----------
    finish : Finishing
    thread : Expr
    threads : int
        Of a block.
    totals : sequence of Expr
        4, 8 or 16 sums.
    channel : Expr
        The first one's.
    constants : mapping of str to Buffer
        As `finish.constants` gave them.
    residual, output : tuple of Buffer and Expr
        With the place of the first channel.
    """
    count = len(totals)
    registers = {
        name: Buffer(f"{name}_run", buffer.dtype, (threads, count), "register")
        for name, buffer in constants.items()
        if name != "table"
    }
    loads = [_load(registers[name], thread, constants[name], channel, count) for name in registers]
    added = Buffer("residual_run", output[0].dtype, (threads, count), "register")
    if residual is not None:
        loads.append(_load(added, thread, *residual, count))
    results = Buffer("result_run", output[0].dtype, (threads, count), "register")
    stores: list[Stmt] = []
    for place, total in enumerate(totals):
        scale = {name: Load(buffer, (thread, Const(place))) for name, buffer in registers.items()}
        b = Load(added, (thread, Const(place))) if residual is not None else None
        value = finish.value(total, scale, b, constants.get("table"))
        stores.append(Store(results, (thread, Const(place)), value.cast(results.dtype)))
    step, part = _step(results, count), Var("result_part")
    body = copy(step, output[0], (output[1] + part * step,), results, (thread, part * step))
    out = loop(part, count // step, body, kind="unrolled")
    buffers = [*registers.values(), *([added] if residual is not None else []), results]
    return inside(buffers, sequence(*loads, *stores, out))


def _load(register: Buffer, thread: Expr, source: Buffer, channel: Expr, count: int) -> Stmt:
    """Build the copies of a run."""
    step = _step(register, count)
    part = Var("constant_part")
    body = copy(step, register, (thread, part * step), source, (channel + part * step,))
    return loop(part, count // step, body, kind="unrolled")


def _step(register: Buffer, count: int) -> int:
    """Give the elements of one copy."""
    return min(count, _WORD * 8 // register.dtype.bits)
