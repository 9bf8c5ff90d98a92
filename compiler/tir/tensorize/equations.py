"""Solving for an instruction's operands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tilewright.compiler.tir.tensorize.polynomial import Poly
from tilewright.compiler.tir.tensorize.specialise import Specialiser
from tilewright.compiler.tir.tensorize.tree import TensorizeError
from tilewright.isa.ir import Const, Expr


class Mismatch(TensorizeError):
    """A nest does not unify with one intrinsic."""


@dataclass(frozen=True)
class Position:
    """Where an access begins, in elements: `placement[buffer] * scale + offset`, plus `steps` of hoisted loops."""

    buffer: str
    scale: int
    offset: int
    steps: tuple[int, ...] = ()


@dataclass(frozen=True)
class Base:
    """An operand that depends on where buffers are placed: `position // unit`, modulo `modulus` (0: no wrapping).

    The quotient must be exact and a multiple of `multiple`.
    """

    hole: str
    position: Position
    unit: int
    modulus: int
    multiple: int


@dataclass
class Equations:
    """What is known of the holes while a nest is matched; `copy` before a step that may fail."""

    values: dict[str, int] = field(default_factory=dict)
    exact: list[tuple[Poly, int]] = field(default_factory=list)
    later: list[tuple[Expr, Const]] = field(default_factory=list)
    placed: list[tuple[Poly, Position, int]] = field(default_factory=list)
    strides: list[tuple[Poly, int]] = field(default_factory=list)
    starts: list[tuple[Poly, int]] = field(default_factory=list)
    loops: dict[str, str] = field(default_factory=dict)
    locals: dict[str, str] = field(default_factory=dict)

    def copy(self) -> Equations:
        """Return an independent copy."""
        return Equations(
            dict(self.values),
            list(self.exact),
            list(self.later),
            list(self.placed),
            list(self.strides),
            list(self.starts),
            dict(self.loops),
            dict(self.locals),
        )

    def adopt(self, other: Equations) -> None:
        """Take over the content of a copy."""
        self.__dict__.update(other.__dict__)

    def bind(self, hole: str, value: int) -> None:
        """Note the value of a hole."""
        if self.values.setdefault(hole, value) != value:
            raise Mismatch(f"`{hole}` would have to be both {self.values[hole]} and {value}")

    def require(self, poly: Poly, value: int) -> None:
        """Note that a polynomial of holes has a value."""
        known = poly.value
        if known is None:
            self.exact.append((poly, value))
        elif known != value:
            raise Mismatch(f"{value} stands where the instruction has {known}")

    def solve(self) -> None:
        """Solve the exact equations, one unknown at a time, and check what remains."""
        pending = self.exact
        while pending:
            left = [self._step(poly, value) for poly, value in pending]
            remaining = [equation for equation in left if equation is not None]
            if len(remaining) == len(pending):
                raise Mismatch(f"cannot solve {remaining[0][0]} = {remaining[0][1]}")
            pending = remaining
        known = Specialiser({name: Const(value) for name, value in self.values.items()})
        for expr, constant in self.later:
            if known.expr(expr) != constant:
                raise Mismatch(f"{constant.value} is not what the instruction computes there")

    def _step(self, poly: Poly, value: int) -> tuple[Poly, int] | None:
        reduced = self.reduced(poly)
        names = reduced.names
        if not names:
            self.require(reduced, value)
            return None
        if len(names) > 1:
            return poly, value
        (name,) = names
        slope, rest = reduced.coefficient(name).value, reduced.without(names).value
        if slope is None or rest is None or (value - rest) % slope:
            raise Mismatch(f"no `{name}` satisfies {reduced} = {value}")
        self.bind(name, (value - rest) // slope)
        return None

    def reduced(self, poly: Poly) -> Poly:
        """Put in what is known."""
        known = self.values
        return poly.substituted({name: Poly.constant(known[name]) for name in poly.names if name in known})

    def bases(self) -> tuple[Base, ...]:
        """Solve for the operands that placements decide."""
        found: dict[str, Base] = {}
        for poly, position, modulus in self.placed:
            base = self._base(self.reduced(poly), position, modulus)
            if base is None:
                continue
            other = found.setdefault(base.hole, base)
            if (other.position, other.unit) != (base.position, base.unit):
                raise Mismatch(f"`{base.hole}` would have to address two places")
        return tuple(self._with_alignment(base) for base in found.values())

    def _base(self, poly: Poly, position: Position, modulus: int) -> Base | None:
        names = poly.names
        if len(names) != 1:
            raise Mismatch(f"buffer `{position.buffer}` cannot be placed: {poly} has not one unknown")
        (name,) = names
        unit, rest = poly.coefficient(name).value, poly.without(names).value
        if not unit or rest is None:
            raise Mismatch(f"buffer `{position.buffer}` cannot be placed by {poly}")
        moved = Position(position.buffer, position.scale, position.offset - rest, position.steps)
        return Base(name, moved, unit, modulus // unit, 1)

    def _with_alignment(self, base: Base) -> Base:
        multiple = max((k for poly, k in self.starts if base.hole in poly.names), default=1)
        return Base(base.hole, base.position, base.unit, base.modulus, multiple)

    def align(self, aligned: Iterable[tuple[Poly, int]]) -> None:
        """Note positions that an access rounds down: their strides and bases must be multiples."""
        for poly, multiple in aligned:
            self.strides += [(poly.coefficient(slot), multiple) for slot, loop in self.loops.items() if loop]
            self.starts.append((poly.without(frozenset(self.loops)), multiple))

    def check_strides(self) -> None:
        """Refuse strides that an access rounds down."""
        for poly, multiple in self.strides:
            step = self.reduced(poly).value
            if step is None or step % multiple:
                raise Mismatch(f"stride {step} of an access {multiple} entries wide must be a multiple of its width")
