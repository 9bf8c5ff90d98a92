"""The vector unit: elementwise operations, reduced over the steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.adder_tree import add_with_carry
from tilewright.hw.pipeline import ControlPipe
from tilewright.hw.repeated import Repeated
from tilewright.hw.timing import compute_timing
from tilewright.isa.errors import ConfigError
from tilewright.isa.instruction_fields import OP_BITS
from tilewright.isa.instructions import InstructionSet
from tilewright.isa.ir import Const as IrConst
from tilewright.isa.ir import DType
from tilewright.isa.semantics import substitute
from tilewright.isa.vector_ops import VectorOp


@dataclass(frozen=True)
class Product:
    """A combination that the one multiplier of a lane computes.

    Attributes
    ----------
    is_scaled : bool
        The product of both operands less their zero points; otherwise operand a, multiplied by one.
    """

    is_scaled: bool


#: A product, or an expression over (a, b, zero_a, zero_b).
Combine = Product | Callable[[Value, Value, Value, Value], Value]

#: What a step contributes, by the vector operation's name: the hardware of `VectorOp.combine`.
#:
#: All four operands are signed, `a` of `acc_bits`, the others of 8 bits. Amaranth's results do not wrap; they need to
#: equal the operation's 32-bit meaning in their lowest `acc_bits` bits.
VECTOR_DATAPATH: Mapping[str, Combine] = {
    "sum": Product(is_scaled=False),
    "max": Product(is_scaled=False),
    "min": Product(is_scaled=False),
    "mul": Product(is_scaled=True),
}

#: What a vector operation may reduce by.
REDUCTIONS = ("add", "max", "min")


def uses_b(op: VectorOp) -> bool:
    """Tell whether an operation's meaning depends on operand b."""
    return substitute(op.combine, {"b": IrConst(0, DType.I32)}) != op.combine


class VectorLane(Repeated):
    """One lane: combine, choose the operation, reduce.

    Members
    -------
    a_act, b, zero_a, zero_b : In(signed(8))
    a_acc : In(signed(acc_bits))
    from_acc : In(1)
        Which of the two is operand a.
    offset_a, offset_b : In(signed(9))
        What a product adds to its operands.
    scaled : In(1)
        Whether a product has operand b.
    op : In(OP_BITS)
        When the combined values are there.
    adds, finds_least, first : In(1)
        In the last cycle: how to reduce, and whether anew.
    en : In(stages)
        Which registers take new values.
    x : Out(signed(acc_bits))
    """

    def __init__(self, isa: InstructionSet, datapath: Mapping[str, Combine]):
        self._isa = isa
        self._datapath = datapath
        self._acc = signed(isa.config.gemm.acc_bits)
        timing = compute_timing(isa.config)
        self._stages = timing.reduced - timing.operands
        super().__init__(
            {
                "a_act": In(signed(8)),
                "a_acc": In(self._acc),
                "b": In(signed(8)),
                "zero_a": In(signed(8)),
                "zero_b": In(signed(8)),
                "from_acc": In(1),
                "offset_a": In(signed(9)),
                "offset_b": In(signed(9)),
                "scaled": In(1),
                "op": In(OP_BITS),
                "adds": In(1),
                "finds_least": In(1),
                "first": In(1),
                "en": In(self._stages),
                "x": Out(self._acc),
            }
        )

    @property
    def kind(self):
        return self._isa.config.gemm, *self._isa.vector_ops, *self._datapath.items()

    def elaborate_one(self, platform):
        m = Module()
        a = Signal(self._acc)
        m.d.comb += a.eq(Mux(self.from_acc, self.a_acc, self.a_act))
        operands = (a, self.b, self.zero_a, self.zero_b)
        product = self._product(m, a)
        chosen = Signal(self._acc)
        m.d.comb += chosen.eq(product)
        combined = {}
        for op in self._isa.vector_ops:
            combine = self._datapath[op.name]
            if not isinstance(combine, Product):
                part = self._registered(m, f"{op.name}_part", self.en[0], combine(*operands), self._acc)
                combined[op.code] = self._registered(m, op.name, self.en[1], part)
        with m.Switch(self.op):
            for code, value in combined.items():
                with m.Case(code):
                    m.d.comb += chosen.eq(value)
        value = chosen
        for stage in range(2, self._stages - 1):
            value = self._registered(m, f"value{stage}", self.en[stage], value)

        x = Signal(self._acc, reset_less=True)
        self._reduce(m, x, value)
        m.d.comb += self.x.eq(x)
        return m

    def _product(self, m: Module, a: Value) -> Value:
        """Multiply, in two parts: a register before, a register behind each; the parts are added after those."""
        if not any(self._datapath[op.name] == Product(is_scaled=True) for op in self._isa.vector_ops):
            return self._registered(m, "late_a", self.en[1], self._registered(m, "early_a", self.en[0], a))
        bits = min(self._isa.config.gemm.factor_bits, self._acc.width)
        factor = self._registered(m, "factor", self.en[0], self.offset_a + a, self._acc)
        scale = self._registered(m, "scale", self.en[0], (self.offset_b + Mux(self.scaled, self.b, 0))[:9].as_signed())
        if self._acc.width <= bits:
            return self._registered(m, "product", self.en[1], factor * scale, self._acc)
        low = self._registered(m, "low", self.en[1], factor[:bits] * scale, self._acc)
        rest = self._acc.width - bits
        narrow = scale if rest > len(scale) else scale[:rest]  # the highest bits wrap: no sign is needed there
        high = self._registered(m, "high", self.en[1], (factor[bits:] * narrow)[:rest])
        return low + Cat(Const(0, bits), high)

    def _reduce(self, m: Module, x: Signal, value: Value) -> None:
        """Reduce what a step contributes: one adder adds, or subtracts to compare."""
        total = Signal(signed(len(x) + 1), name="total")
        before = Mux(self.first, 0, Mux(self.adds, x, ~x))
        m.d.comb += total.eq(add_with_carry(value, before, ~self.adds))
        takes = self.adds | self.first | (total[-1] == self.finds_least)
        with m.If(self.en[-1] & takes):
            m.d.sync += x.eq(Mux(self.adds, total, value))

    @staticmethod
    def _registered(m: Module, name: str, en: Value, value: Value, shape=None) -> Value:
        register = Signal(shape or value.shape(), name=name, reset_less=True)
        with m.If(en):
            m.d.sync += register.eq(value)
        return register


class VectorAlu(wiring.Component):
    """`batch * block_out` lanes; results are complete `reduced - operands` cycles after the operands, as GEMM's.

    Parameters
    ----------
    isa : InstructionSet
    datapath : mapping of str to Combine
        The hardware of each operation.

    Members
    -------
    valid : In(1)
        Operands are there.
    first : In(1)
        They begin a reduction.
    op : In(OP_BITS)
    from_acc : In(1)
    zero_a, zero_b : In(signed(8))
    a_act, b : In(signed(8)).array(lanes)
    a_acc : In(signed(acc_bits)).array(lanes)
    x : Out(signed(acc_bits)).array(lanes)

    Raises
    ------
    ConfigError
        For an operation that the datapath lacks, or an unknown kind of reduction.
    """

    def __init__(self, isa: InstructionSet, datapath: Mapping[str, Combine] = VECTOR_DATAPATH):
        for op in isa.vector_ops:
            if op.name not in datapath:
                raise ConfigError(f"vector operation `{op.name}` has no entry in the datapath ({', '.join(datapath)})")
            if op.reduce not in REDUCTIONS:
                known = ", ".join(REDUCTIONS)
                raise ConfigError(f"vector operation `{op.name}` must reduce by one of {known}, not `{op.reduce}`")
        self._isa = isa
        self._datapath = datapath
        config = isa.config
        super().__init__(
            {
                "valid": In(1),
                "first": In(1),
                "op": In(OP_BITS),
                "from_acc": In(1),
                "zero_a": In(signed(8)),
                "zero_b": In(signed(8)),
                "a_act": In(signed(8)).array(config.acc_lanes),
                "b": In(signed(8)).array(config.acc_lanes),
                "a_acc": In(signed(config.gemm.acc_bits)).array(config.acc_lanes),
                "x": Out(signed(config.gemm.acc_bits)).array(config.acc_lanes),
            }
        )

    def elaborate(self, platform):
        m = Module()
        timing = compute_timing(self._isa.config)
        stages = timing.reduced - timing.operands
        m.submodules.vector_pipe = pipe = ControlPipe()
        pipe.add("valid", self.valid, resettable=True)
        pipe.add("first", self.first)
        pipe.add("op", self.op)
        for name, reduction in (("adds", "add"), ("finds_least", "min")):
            codes = [op.code for op in self._isa.vector_ops if op.reduce == reduction]
            pipe.add(name, Cat(self.op == code for code in codes).any())
        enables = Cat(pipe.at("valid", i) for i in range(stages))
        products = {op.code: self._datapath[op.name] for op in self._isa.vector_ops}
        scaling = [code for code, combine in products.items() if combine == Product(is_scaled=True)]
        scaled, offset_a, offset_b = Signal(), Signal(signed(9)), Signal(signed(9))
        m.d.comb += [
            scaled.eq(Cat(self.op == code for code in scaling).any()),
            offset_a.eq(Mux(scaled, -self.zero_a, 0)),
            offset_b.eq(Mux(scaled, -self.zero_b, 1)),
        ]
        for i in range(self._isa.config.acc_lanes):
            lane = VectorLane(self._isa, self._datapath)
            m.submodules[f"lane{i}"] = lane
            m.d.comb += [
                lane.a_act.eq(self.a_act[i]),
                lane.a_acc.eq(self.a_acc[i]),
                lane.b.eq(self.b[i]),
                lane.zero_a.eq(self.zero_a),
                lane.zero_b.eq(self.zero_b),
                lane.from_acc.eq(self.from_acc),
                lane.offset_a.eq(offset_a),
                lane.offset_b.eq(offset_b),
                lane.scaled.eq(scaled),
                lane.op.eq(pipe.at("op", 2)),
                lane.adds.eq(pipe.at("adds", stages - 1)),
                lane.finds_least.eq(pipe.at("finds_least", stages - 1)),
                lane.first.eq(pipe.at("first", stages - 1)),
                lane.en.eq(enables),
                self.x[i].eq(lane.x),
            ]
        return m
