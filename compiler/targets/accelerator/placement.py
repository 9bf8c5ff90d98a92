"""What a layer needs to know of its surroundings: where its tensors and constants lie, and what ends its sums."""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.compiler.qops import INT8_MAX, INT8_MIN, Epilogue
from tilewright.compiler.targets.accelerator.layout import TensorLayout


@dataclass(frozen=True)
class Placed:
    """A tensor in DRAM."""

    offset: int
    layout: TensorLayout


@dataclass(frozen=True)
class Tail:
    """The epilogue of a layer with its constants.

    Attributes
    ----------
    epilogue : Epilogue
    parameters : int
        First byte of the parameter entries in DRAM.
    table : int or None
        First byte of the lookup table in DRAM, if there is one.
    residual : Placed or None
        The second operand, if there is one.
    """

    epilogue: Epilogue
    parameters: int
    table: int | None = None
    residual: Placed | None = None

    def operands(self, table_index: int) -> dict[str, int]:
        """The operands of a compute instruction that ends sums in this way."""
        e = self.epilogue
        operands = {"clamp_low": e.clamp_low, "clamp_high": e.clamp_high, "zero_out": e.zero_out}
        if e.residual is not None:
            r = e.residual
            operands |= {
                "residual": 1,
                "zero_a": r.zero_a,
                "zero_b": r.zero_b,
                "residual_multiplier_a": r.multiplier_a,
                "residual_multiplier_b": r.multiplier_b,
                "residual_shift": r.shift,
                "residual_zero_out": r.zero_out,
            }
        if self.table is not None:
            operands |= {"table_enable": 1, "table": table_index}
        return operands


def raw_tail(parameters: int) -> Tail:
    """Return the tail of results that only pass through."""
    return Tail(Epilogue(clamp_low=INT8_MIN, clamp_high=INT8_MAX), parameters)
