"""Two dot products with one operand in common, two products in each multiplier."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from tilewright.hw.adder_tree import add_tree, add_with_carry, tree_levels
from tilewright.hw.dot_product import chain, delayed
from tilewright.hw.repeated import Repeated
from tilewright.hw.timing import compute_timing
from tilewright.isa.config import Config

#: Products that a chain may sum without running over in the field of this many bits.
NARROW_BITS, NARROW_PRODUCTS = 16, 2
WIDE_BITS = 18  # enough for config.MOST_PACKED_PRODUCTS


def field_bits(cascade: int) -> int:
    """Return the bits between the two sums in a chain of multipliers."""
    return NARROW_BITS if cascade <= NARROW_PRODUCTS else WIDE_BITS


class PackedDotProduct(Repeated):
    """Two dot products a cycle, accumulated: a multiplier works on `(w[1] << field) + w[0]` and the common operand.

    The common operand comes negated: from -127 to 128. Then a product is -16384 to 16256, and two of them (eight) do
    fit into 16 (18) signed bits, as they would not with 16384. The upper sum lacks one wherever the lower one is
    negative. What comes out is the negative of the sums, which costs less than to subtract here.

    Parameters
    ----------
    config : Config

    Members
    -------
    negated : In(block_in signed(9))
        The common operand, negated; element `k` is late by its place in its chain, `k % gemm.cascade` cycles.
    w : In(block_in int8).array(2)
    en : In(stages)
        Which registers take new values: products, the rest of the chains, the tree's levels, the accumulator.
    first : In(1)
        What reaches the accumulators starts new sums.
    negative : Out(signed(acc_bits)).array(2)
        The sums, negated.
    """

    def __init__(self, config: Config):
        self._config = config
        timing = compute_timing(config)
        self._levels = tree_levels(config.gemm.block_in // config.gemm.cascade, timing.tree)
        super().__init__(
            {
                "negated": In(data.ArrayLayout(signed(9), config.gemm.block_in)),
                "w": In(data.ArrayLayout(8, config.gemm.block_in)).array(2),
                "en": In(timing.reduced - timing.operands),
                "first": In(1),
                "negative": Out(signed(config.gemm.acc_bits)).array(2),
            }
        )

    @property
    def kind(self):
        return (self._config.gemm,)

    def elaborate_one(self, platform):
        m = Module()
        length = self._config.gemm.cascade
        field = field_bits(length)
        lower, upper, carries = [], [], []
        for start in range(0, self._config.gemm.block_in, length):
            products = [self._product(m, start + j, j, field) for j in range(length)]
            total = chain(m, f"chain{start}", products, 2 * field + 1, self.en)
            lower.append(total[:field].as_signed())
            upper.append(total[field:].as_signed())
            carries.append(total[field - 1])
        late = self.en[length:]
        sums = (
            add_tree(m, "lower", lower, self._levels, late),
            add_tree(m, "upper", upper, self._levels, late, carries),
        )
        for output, (total, carry) in zip(self.negative, sums, strict=True):
            x = Signal(signed(self._config.gemm.acc_bits), reset_less=True)
            before = Mux(self.first, 0, x)
            with m.If(self.en[-1]):
                m.d.sync += x.eq(before + total if carry is None else add_with_carry(before, total, carry))
            m.d.comb += output.eq(x)
        return m

    def _product(self, m: Module, k: int, cycles: int, field: int) -> Value:
        """Return the two products of operand `k`; DSP blocks add the weights themselves."""
        low, high = (delayed(m, f"w{i}_{k}", self.w[i][k], cycles, self.en).as_signed() for i in range(2))
        packed = Signal(signed(field + 9), name=f"packed{k}")
        m.d.comb += packed.eq(Cat(Const(0, field), high).as_signed() + low)
        return packed * self.negated[k]
