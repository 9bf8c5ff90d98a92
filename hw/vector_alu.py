"""The vector unit: elementwise operations, reduced over the steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.adder_tree import add_with_carry
from tilewright.hw.pipeline import ControlPipe
from tilewright.hw.repeated import Repeated
from tilewright.hw.timing import compute_timing
from tilewright.isa.errors import ConfigError
from tilewright.isa.instructions import OP_BITS, InstructionSet
from tilewright.isa.ir import Const as IrConst
from tilewright.isa.ir import DType
from tilewright.isa.semantics import substitute
from tilewright.isa.vector_ops import VectorOp

#: One expression over (a, b, zero_a, zero_b); or two, with a register between them, the first of which gives a tuple
#: that the second takes.
Combine = Callable[..., Value] | tuple[Callable[..., tuple[Value, ...]], Callable[..., Value]]


def pass_a(a: Value, b: Value, zero_a: Value, zero_b: Value) -> Value:
    """Contribute operand a."""
    return a


def subtract_zeros(a: Value, b: Value, zero_a: Value, zero_b: Value) -> tuple[Value, Value]:
    """Remove the zero points of both operands."""
    return a - zero_a, b - zero_b


#: A DSP block multiplies signed numbers of one bit more.
_MULTIPLIED_BITS = 24


def multiply(a: Value, b: Value) -> Value:
    """Multiply, as far as 32 bits go: bits of `a` that do not fit a DSP block matter for the highest bits only."""
    if len(a) <= _MULTIPLIED_BITS + 1:
        return a * b
    low, high = a[:_MULTIPLIED_BITS], a[_MULTIPLIED_BITS:32]
    return low * b + Cat(Const(0, _MULTIPLIED_BITS), (high * b[: len(high)])[: len(high)])


#: What a step contributes, by the vector operation's name: the hardware of `VectorOp.combine`.
#:
#: All four operands are signed, `a` of `acc_bits`, the others of 8 bits. Amaranth's results do not wrap; they need to
#: equal the operation's 32-bit meaning in their lowest `acc_bits` bits.
VECTOR_DATAPATH: Mapping[str, Combine] = {
    "sum": pass_a,
    "max": pass_a,
    "min": pass_a,
    "mul": (subtract_zeros, multiply),
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
    op : In(OP_BITS)
        When the combined values are there; then, a cycle later, `late_op`, `first` and `x`.
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
                "op": In(OP_BITS),
                "late_op": In(OP_BITS),
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
        combined = {}
        for op in self._isa.vector_ops:
            combine = self._datapath[op.name]
            if combine not in combined:
                combined[combine] = self._combined(m, op.name, combine, operands)

        chosen = Signal(self._acc)
        with m.Switch(self.op):
            for op in self._isa.vector_ops:
                with m.Case(op.code):
                    m.d.comb += chosen.eq(combined[self._datapath[op.name]])
        value = chosen
        for stage in range(2, self._stages - 1):
            value = self._registered(m, f"value{stage}", self.en[stage], value)

        x = Signal(self._acc, reset_less=True)
        with m.If(self.en[-1]):
            m.d.sync += x.eq(self._reduced(m, x, value))
        m.d.comb += self.x.eq(x)
        return m

    def _reduced(self, m: Module, x: Value, value: Value) -> Value:
        """Reduce what a step contributes: one adder adds, or subtracts to compare."""
        adds, finds_least = (
            Cat(self.late_op == op.code for op in self._isa.vector_ops if op.reduce == reduction).any()
            for reduction in ("add", "min")
        )
        total = Signal(signed(len(x) + 1), name="total")
        m.d.comb += total.eq(add_with_carry(x, Mux(adds, value, ~value), ~adds))
        takes_value = self.first | (~adds & (total[-1] ^ finds_least))
        return Mux(takes_value, value, Mux(adds, total, x))

    def _combined(self, m: Module, name: str, combine: Combine, operands: tuple[Value, ...]) -> Value:
        """Elaborate one combination: two registers, the second of `acc_bits`."""
        if isinstance(combine, tuple):
            first, second = combine
            parts = [self._registered(m, f"{name}_part{i}", self.en[0], v) for i, v in enumerate(first(*operands))]
            return self._registered(m, name, self.en[1], second(*parts), self._acc)
        value = self._registered(m, f"{name}_part", self.en[0], combine(*operands), self._acc)
        return self._registered(m, name, self.en[1], value)

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
        enables = Cat(pipe.at("valid", i) for i in range(stages))
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
                lane.op.eq(pipe.at("op", 2)),
                lane.late_op.eq(pipe.at("op", stages - 1)),
                lane.first.eq(pipe.at("first", stages - 1)),
                lane.en.eq(enables),
                self.x[i].eq(lane.x),
            ]
        return m
