"""Pipelined adder trees."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Signal, Value


def tree_levels(terms: int, stages: int) -> list[int]:
    """Return how many levels of two-input adders stand before each register of a tree of so many terms."""
    levels = terms.bit_length() - 1
    return [levels // stages + (i < levels % stages) for i in range(stages)] if stages else []


def _sum(m: Module, name: str, x: Value, y: Value) -> Signal:
    """Add, keeping the sum as such: synthesis makes worse adders of three and more operands."""
    total = x + y
    kept = Signal(total.shape(), name=name, attrs={"keep": 1})
    m.d.comb += kept.eq(total)
    return kept


def add_with_carry(x: Value, y: Value, carry: Value) -> Value:
    """Add two signed numbers and a bit in one carry chain."""
    total = Cat(Const(1, 1), x).as_signed() + Cat(carry, y).as_signed()
    return total[1:].as_signed()


def add_tree(
    m: Module, name: str, terms: Sequence[Value], levels: Sequence[int], en: Value, carries: Sequence[Value] = ()
) -> tuple[Value, Value | None]:
    """Add terms level by level, with a register after each stage.

    Parameters
    ----------
    m : Module
    name : str
        Registers' prefix.
    terms : sequence of Value
        A power of two of them.
    levels : sequence of int
        See `tree_levels`.
    en : Value
        Enables of the stages.
    carries : sequence of Value, optional
        Bits that are added, too, as carries of the adders: as many as terms, or none.

    Returns
    -------
    (Value, Value or None)
        The sum, and the one carry that is left.
    """
    sums, left = list(terms), list(carries)
    for stage, count in enumerate(levels):
        for level in range(count):
            pairs = list(zip(sums[::2], sums[1::2], strict=True))
            used, left = left[: len(pairs)], left[len(pairs) :]
            sums = [
                add_with_carry(x, y, used[i]) if used else _sum(m, f"{name}{stage}_{level}_{i}", x, y)
                for i, (x, y) in enumerate(pairs)
            ]
        registers = [Signal(s.shape(), name=f"{name}{stage}_{i}", reset_less=True) for i, s in enumerate(sums)]
        kept = [Signal(name=f"{name}{stage}_carry{i}", reset_less=True) for i in range(len(left))]
        with m.If(en[stage]):
            m.d.sync += [r.eq(s) for r, s in zip((*registers, *kept), (*sums, *left), strict=True)]
        sums, left = list(registers), list(kept)
    (total,) = sums
    return total, left[0] if left else None
