"""From sums to bytes: requantization, residual, clamp and table, on vectors of channels.

Bytes are 128 more than the graph's int8, and so are zero points and bounds here. Where the level can round floats down
by itself and every sum that does not saturate is a float, requantization is float arithmetic that is exact: in
`floor(sum * multiplier / 2**shift + zero + 1 / 2)` the exact value is rounded down once to a float and then to an
integer, and rounding down twice is rounding down once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler.qops import INT8_MAX, INT8_MIN, Epilogue
from tilewright.compiler.targets.cpu.kernel import call, lanes
from tilewright.compiler.targets.cpu.levels import Level
from tilewright.compiler.targets.kernels.nests import inside, sequence
from tilewright.compiler.targets.kernels.scaling import Scaling, added, clamped
from tilewright.isa.ir import Buffer, Cast, Const, DType, Expr, Load, Stmt, Store, Var

#: What bytes are more than the graph's int8.
OFFSET = 128

_LOW, _HIGH = INT8_MIN + OFFSET, INT8_MAX + OFFSET

_EXACT = 1 << 24  # integers up to this are floats
_LANE = Var("lane")
_RESULT = "result"
_TABLE_RUN = 64


@dataclass(frozen=True)
class Requantization:
    """The constants of a requantization, by method.

    Attributes
    ----------
    method : str
        `float`, or `high` or `wide` as `Scaling` has it.
    bias : array of int32
    arrays : dict of str to array
        What else is needed of each channel.
    """

    method: str
    bias: NDArray[np.int32]
    arrays: Mapping[str, NDArray[Any]]

    @classmethod
    def of(
        cls, level: Level, bias: NDArray[np.int32], multiplier: NDArray[np.int32], shift: NDArray[np.int32],
        largest: int = 1 << 31,
    ) -> Requantization:  # fmt: skip
        """Choose the method; `largest` bounds the sums with bias."""
        factor = multiplier.astype(np.float64) * 2.0 ** -shift.astype(np.float64)
        saturates = (factor == 0) | (factor * _EXACT >= 1024)
        is_exact = largest <= _EXACT or bool(np.all(saturates))
        if level.has_rounding and is_exact and bool(np.all(factor * largest < 1 << 30)):
            return cls("float", bias, {"scale": factor.astype(np.float32)})
        found = Scaling.of(bias, multiplier, shift)
        kind = np.int32 if found.is_high else np.int64
        arrays: dict[str, NDArray[Any]] = {"multiplier": found.multiplier.astype(kind)}
        if found.has_shift:
            arrays["shift"] = found.shift.astype(kind)
        return cls("high" if found.is_high else "wide", bias, arrays)


@dataclass(frozen=True)
class Finish:
    """What happens to sums, to which the bias has been added.

    Attributes
    ----------
    level : Level
    epilogue : Epilogue
        Of bytes.
    method : str
        Of the requantization; empty without one.
    has_shift, has_table : bool
    """

    level: Level
    epilogue: Epilogue
    method: str = ""
    has_shift: bool = False
    has_table: bool = False

    @classmethod
    def of(cls, level: Level, epilogue: Epilogue, scaling: Requantization | None, has_table: bool) -> Finish:
        """Describe what follows the sums of a node, given the epilogue of its int8 result."""
        stage = epilogue.residual
        if stage is not None:
            zeros = {name: getattr(stage, name) + OFFSET for name in ("zero_a", "zero_b", "zero_out")}
            stage = replace(stage, **zeros)
        own = Epilogue(epilogue.zero_out + OFFSET, stage, epilogue.clamp_low + OFFSET, epilogue.clamp_high + OFFSET)
        method = scaling.method if scaling is not None else ""
        return cls(level, own, method, scaling is not None and "shift" in scaling.arrays, has_table)

    def constants(self, channels: int) -> dict[str, Buffer]:
        """Declare the buffers of constants by what they hold; a bias is not among them."""
        wide = DType.I64 if self.method == "wide" else DType.I32
        kinds = {"float": {"scale": DType.F32}, "": {}}.get(self.method, {"multiplier": wide})
        if self.has_shift:
            kinds = {**kinds, "shift": wide}
        found = {name: Buffer(name, kind, (channels,), "dram") for name, kind in kinds.items()}
        if self.has_table:
            found["table"] = Buffer("table", DType.U8, (256,), "dram")
        return found

    def pixel(
        self, sums: tuple[Buffer, int], count: int, channel: Expr, constants: Mapping[str, Buffer],
        residual: tuple[Buffer, Expr] | None, output: tuple[Buffer, Expr],
    ) -> Stmt:  # fmt: skip
        """Build what happens to neighbouring channels of one pixel.

        Parameters
        ----------
        sums : tuple of Buffer and int
            In `register`, with the place of the first.
        count : int
            Vectors of channels.
        channel : Expr
            The first one's.
        constants : mapping of str to Buffer
        residual, output : tuple of Buffer and Expr
            With the place of the first channel.
        """
        width = self.level.lanes
        is_permuted = self.has_table and self.level.has_permute
        size = -(-count * width // _TABLE_RUN) * _TABLE_RUN
        results = Buffer(f"{_RESULT}_bytes", DType.U8, (size,), "register")
        target: tuple[Buffer, Expr] = (results, Const(0)) if is_permuted else output
        body: list[Stmt] = []
        for vector in range(count):
            start = vector * width
            first = channel + start if start else channel
            b = None if residual is None else Load(residual[0], (residual[1] + start + _LANE,))
            place = target[1] + start + _LANE
            table = None if is_permuted else constants.get("table")
            body.append(self._vector((sums[0], sums[1] + start), first, constants, b, table, (target[0], place)))
        if not is_permuted:
            return sequence(*body)
        for run in range(0, size, _TABLE_RUN):
            body.append(call("look_up", {"y": (results, Const(run)), "table": (constants["table"], Const(0))}))
        copied = Store(output[0], (output[1] + _LANE,), Load(results, (_LANE,)))
        return inside([results], sequence(*body, lanes(_LANE, count * width, copied)))

    def _vector(
        self, sums: tuple[Buffer, int], channel: Expr, constants: Mapping[str, Buffer], b: Expr | None,
        table: Buffer | None, output: tuple[Buffer, Expr],
    ) -> Stmt:  # fmt: skip
        width = self.level.lanes
        before: list[Stmt] = []
        local: list[Buffer] = []
        low, high = self._bounds
        if self.method == "float":
            rounded = Buffer(_RESULT, DType.I32, (width,), "register")
            local.append(rounded)
            places = {
                "y": (rounded, Const(0)), "acc": (sums[0], Const(sums[1])), "scale": (constants["scale"], channel)
            }  # fmt: skip
            before.append(call("requantize", places, lanes=width, zero=self.epilogue.zero_out, low=low, high=high))
            y: Expr = Load(rounded, (_LANE,))
        else:
            total = Load(sums[0], (_LANE + sums[1],))
            scale = {key: Load(buffer, (channel + _LANE,)) for key, buffer in constants.items() if key != "table"}
            y = clamped(self._scaled(total, scale), low, high) if self.method else total
        if self.epilogue.residual is not None:
            assert b is not None
            y = added(y, b, self.epilogue.residual, _LOW, _HIGH)
        if self.epilogue.residual is not None or not self.method:
            y = clamped(y, self.epilogue.clamp_low, self.epilogue.clamp_high)
        value: Expr = y.cast(DType.U8)
        if table is not None:
            value = Load(table, (y.cast(DType.I64),))
        store = Store(output[0], (output[1],), value)
        return inside(local, sequence(*before, lanes(_LANE, width, store)))

    @property
    def _bounds(self) -> tuple[int, int]:
        """What the requantized sum is clamped to: a residual comes before the epilogue's clamp."""
        if self.epilogue.residual is not None:
            return _LOW, _HIGH
        return self.epilogue.clamp_low, self.epilogue.clamp_high

    def _scaled(self, total: Expr, scale: Mapping[str, Expr]) -> Expr:
        """Build the requantized sum in integers, as the GPU's `Finish` does."""
        wide = total.cast(DType.I64) * scale["multiplier"].cast(DType.I64)
        if self.method == "wide":
            rounded = (wide >> scale["shift"] if self.has_shift else wide) + 1 >> 1
            low, high = INT8_MIN - 256, INT8_MAX + 256
            return clamped(rounded, low, high).cast(DType.I32) + self.epilogue.zero_out
        upper: Expr = Cast(DType.I32, wide >> 32)
        if self.has_shift:
            upper = upper >> scale["shift"]
        return ((upper + 1) >> 1) + self.epilogue.zero_out
