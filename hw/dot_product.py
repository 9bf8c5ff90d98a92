"""Dot products of int8 vectors, one a cycle, accumulated."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from tilewright.hw.adder_tree import add_tree, tree_levels
from tilewright.hw.repeated import Repeated
from tilewright.hw.timing import compute_timing
from tilewright.isa.config import Config


def delayed(m: Module, name: str, value: Value, cycles: int, en: Value) -> Value:
    """Return a value some cycles later, each of its registers being enabled by that cycle's bit of `en`."""
    for cycle in range(cycles):
        register = Signal(value.shape(), name=f"{name}_late{cycle + 1}", reset_less=True)
        with m.If(en[cycle]):
            m.d.sync += register.eq(value)
        value = register
    return value


def chain(m: Module, name: str, products: list[Value], bits: int, en: Value) -> Value:
    """Add products one after another, a register after each: what DSP blocks do on the way from one to the next.

    Product `j` is there `j` cycles after the first.
    """
    total: Value | None = None
    for j, product in enumerate(products):
        register = Signal(signed(bits), name=f"{name}_sum{j}", reset_less=True)
        with m.If(en[j]):
            m.d.sync += register.eq(product if total is None else product + total)
        total = register
    assert total is not None
    return total


class DotProduct(Repeated):
    """A dot product a cycle, accumulated.

    Parameters
    ----------
    config : Config

    Members
    -------
    a : In(block_in int8)
        Operand `k` is late by its place in its chain, `k % gemm.cascade` cycles.
    w : In(block_in int8)
    en : In(stages)
        Which registers take new values: products, the rest of the chains, the tree's levels, the accumulator.
    first : In(1)
        What reaches the accumulator starts a new sum.
    x : Out(signed(acc_bits))
    """

    def __init__(self, config: Config):
        self._config = config
        timing = compute_timing(config)
        self._levels = tree_levels(config.gemm.block_in // config.gemm.cascade, timing.tree)
        operand = data.ArrayLayout(8, config.gemm.block_in)
        super().__init__(
            {
                "a": In(operand),
                "w": In(operand),
                "en": In(timing.reduced - timing.operands),
                "first": In(1),
                "x": Out(signed(config.gemm.acc_bits)),
            }
        )

    @property
    def kind(self):
        return (self._config.gemm,)

    def elaborate_one(self, platform):
        m = Module()
        length = self._config.gemm.cascade
        bits = 16 + length.bit_length() - 1
        terms = []
        for start in range(0, self._config.gemm.block_in, length):
            weights = [delayed(m, f"w{start + j}", self.w[start + j], j, self.en) for j in range(length)]
            products = [self.a[start + j].as_signed() * w.as_signed() for j, w in enumerate(weights)]
            terms.append(chain(m, f"chain{start}", products, bits, self.en))
        total, _ = add_tree(m, "sum", terms, self._levels, self.en[length:])
        x = Signal(signed(self._config.gemm.acc_bits), reset_less=True)
        with m.If(self.en[-1]):
            m.d.sync += x.eq(Mux(self.first, 0, x) + total)
        m.d.comb += self.x.eq(x)
        return m
