"""Unification of a nest with an intrinsic: which operands make the instruction mean the nest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, islice

from tilewright.compiler.tir.tensorize.equations import Base, Equations, Mismatch, Position
from tilewright.compiler.tir.tensorize.intrinsic import Intrinsic
from tilewright.compiler.tir.tensorize.polynomial import Poly
from tilewright.compiler.tir.tensorize.specialise import integer_poly
from tilewright.compiler.tir.tensorize.tree import (
    Access,
    Assign,
    Branch,
    Level,
    Local,
    Loop,
    Node,
    Sequence,
    TensorizeError,
    bare_names,
    children,
    map_accesses,
)
from tilewright.isa.ir import Binary, BinaryOp, Cast, Const, Expr, Select, Var

_NEUTRAL = {
    BinaryOp.ADD: 0,
    BinaryOp.SUB: 0,
    BinaryOp.MUL: 1,
    BinaryOp.SHL: 0,
    BinaryOp.SHR: 0,
}


class TooManyLoops(TensorizeError):
    """More loops stand around a body than the instruction has hardware loops.

    Attributes
    ----------
    remaining : tuple of str
        The loops that do not fit, outermost first.
    is_outermost : bool
        Whether they stand around the whole nest, so that `Tensorizer.calls` can hoist them.
    """

    def __init__(self, intrinsic: Intrinsic, remaining: tuple[str, ...], slots: int, is_outermost: bool) -> None:
        self.remaining = remaining
        self.is_outermost = is_outermost
        names = ", ".join(f"`{name}`" for name in remaining)
        kind = "hardware" if is_outermost else "reduction"
        super().__init__(f"{intrinsic} has {slots} {kind} loops; {names} must be hoisted into several instructions")


@dataclass(frozen=True)
class Solution:
    """An instruction's operands: constants, and those that placements decide."""

    name: str
    constants: dict[str, int]
    bases: tuple[Base, ...]


def unify(intrinsic: Intrinsic, nest: Level, hoisted: tuple[str, ...] = (), is_innermost: bool = False) -> Solution:
    """Find the operands that make `intrinsic` mean `nest`.

    Parameters
    ----------
    intrinsic : Intrinsic
    nest : Level
        In canonical form, the `hoisted` loops taken off.
    hoisted : tuple of str
        Variables of loops around the nest, of which base addresses become functions.
    is_innermost : bool
        Put the nest's loops into the innermost hardware loops only: what is reused there is reused most.

    Raises
    ------
    Mismatch
        If there are none.
    TooManyLoops
        If there are too few hardware loops.
    """
    equations = Equations()
    _Unifier(intrinsic, hoisted, is_innermost).level(intrinsic.pattern, nest, equations)
    equations.solve()
    equations.check_strides()
    constants = {**intrinsic.mode, **equations.values}
    _check_ranges(intrinsic, constants)
    return Solution(intrinsic.name, constants, equations.bases())


def _check_ranges(intrinsic: Intrinsic, constants: dict[str, int]) -> None:
    for name, value in constants.items():
        if name in intrinsic.holes and value not in intrinsic.holes[name]:
            allowed = intrinsic.holes[name]
            raise Mismatch(f"`{name}` must be in {allowed.start}..{allowed.stop - 1}, not {value}")
        if value % intrinsic.alignment.get(name, 1):
            raise Mismatch(f"`{name}` must be a multiple of {intrinsic.alignment[name]}, not {value}")


@dataclass(frozen=True)
class _Unifier:
    intrinsic: Intrinsic
    hoisted: tuple[str, ...]
    is_innermost: bool

    # ---- statements ----------------------------------------------------------------------------------------

    def level(self, pattern: Level, nest: Level, equations: Equations) -> None:
        lanes = [loop for loop in pattern.loops if loop.extent.value is not None]
        slots = pattern.loops[: len(pattern.loops) - len(lanes)]
        nest, matched = _split_lanes(nest, lanes)
        outer = nest.loops[: len(nest.loops) - len(lanes)]
        around = dict(equations.loops)
        for lane, loop in zip(lanes, matched, strict=True):
            equations.loops[lane.name] = loop.name
        if len(outer) > len(slots):
            extra = tuple(loop.name for loop in outer[: len(outer) - len(slots)])
            raise TooManyLoops(self.intrinsic, extra, len(slots), pattern is self.intrinsic.pattern)
        self._assigned(pattern, slots, outer, nest, equations)
        equations.loops = around

    def _assigned(
        self, pattern: Level, slots: tuple[Loop, ...], outer: tuple[Loop, ...], nest: Level, equations: Equations
    ) -> None:
        """Try the ways to put the outer loops, in order, into the hardware loops; innermost slots first."""
        failure: TensorizeError | None = None
        is_outermost = pattern is self.intrinsic.pattern
        most = 1 if is_outermost and self.is_innermost else None
        for chosen in islice(_placements(len(slots), len(outer)), most):
            attempt = equations.copy()
            try:
                for index, slot in enumerate(slots):
                    loop = outer[chosen.index(index)] if index in chosen else None
                    attempt.loops[slot.name] = loop.name if loop else ""
                    attempt.require(slot.extent, 1 if loop is None else _extent(loop))
                self._node(pattern.body, nest.body, attempt)
                if is_outermost:
                    attempt.copy().solve()  # loops that share a stride contradict each other only when all is known
            except Mismatch as error:
                failure = failure or error
            else:
                return equations.adopt(attempt)
        raise failure or Mismatch("no loop fits")

    def _node(self, pattern: Node, nest: Node, equations: Equations) -> None:
        match pattern, nest:
            case Assign(), Assign():
                is_recast = pattern.target.dtype != nest.target.dtype
                value = _same_bits(pattern.value, nest.value) if is_recast else pattern.value
                self._access(pattern.target, nest.target, equations, is_recast=value is not pattern.value)
                self._expr(value, nest.value, equations)
            case Sequence(), Sequence() if len(pattern.body) == len(nest.body):
                for inner, other in zip(pattern.body, nest.body, strict=True):
                    self.level(inner, other, equations)
            case Local(), Local() if pattern.buffer.dtype == nest.buffer.dtype:
                equations.locals[pattern.buffer.name] = nest.buffer.name
                self.level(pattern.body, nest.body, equations)
            case Branch(), Branch() if (pattern.otherwise is None) == (nest.otherwise is None):
                self._expr(pattern.condition, nest.condition, equations)
                self.level(pattern.then, nest.then, equations)
                if pattern.otherwise and nest.otherwise:
                    self.level(pattern.otherwise, nest.otherwise, equations)
            case _:
                raise Mismatch(f"a {_kind(nest)} stands where the instruction has a {_kind(pattern)}")

    # ---- expressions ---------------------------------------------------------------------------------------

    def _expr(self, pattern: Expr, nest: Expr, equations: Equations) -> None:
        if isinstance(nest, Const) and self._constant(pattern, nest, equations):
            return
        if isinstance(pattern, Binary) and pattern.op in _NEUTRAL and self._is_closed(pattern.right, equations):
            self._optional(pattern, nest, equations)
            return
        match pattern, nest:
            case Access(), Access():
                self._access(pattern, nest, equations)
            case Cast(dtype, Access() as inner), Access() if dtype == nest.dtype and inner is _same_bits(pattern, nest):
                self._access(inner, nest, equations, is_recast=True)
            case Binary(), Binary() if pattern.op is nest.op:
                self._expr(pattern.left, nest.left, equations)
                self._expr(pattern.right, nest.right, equations)
            case Select(), Select():
                for part, other in zip(children(pattern), children(nest), strict=True):
                    self._expr(part, other, equations)
            case Cast(), Cast() if pattern.type == nest.type:
                self._expr(pattern.value, nest.value, equations)
            case Const(), Const() if pattern == nest:
                pass
            case Var(name), Var(other_name) if equations.loops.get(name, "") == other_name:
                pass
            case _:
                raise Mismatch(f"`{_head(nest)}` stands where the instruction computes `{_head(pattern)}`")

    def _constant(self, pattern: Expr, nest: Const, equations: Equations) -> bool:
        """Match a constant with an expression of holes, if it is one."""
        if isinstance(pattern, Const) or not self._is_closed(pattern, equations):
            return False
        poly = integer_poly(pattern)
        match pattern:
            case Cast(dtype, Var(name)) if dtype == nest.dtype:
                equations.bind(name, int(nest.value))
            case _ if poly is not None and pattern.dtype == nest.dtype:
                equations.require(poly, int(nest.value))
            case _:
                equations.later.append((pattern, nest))
        return True

    def _optional(self, pattern: Binary, nest: Expr, equations: Equations) -> None:
        """Match `e op hole` with `e op constant`, or with `e` alone, the hole then being neutral."""
        failure: Mismatch | None = None
        neutral = Const(_NEUTRAL[pattern.op], pattern.right.dtype)
        candidates = [(nest.left, nest.right)] if isinstance(nest, Binary) and nest.op is pattern.op else []
        for left, right in [*candidates, (nest, neutral)]:
            attempt = equations.copy()
            try:
                self._expr(pattern.right, right, attempt)
                self._expr(pattern.left, left, attempt)
            except Mismatch as error:
                failure = failure or error
            else:
                return equations.adopt(attempt)
        raise failure or Mismatch("no alternative matches")

    def _is_closed(self, expr: Expr, equations: Equations) -> bool:
        if isinstance(expr, Access) or (isinstance(expr, Var) and expr.name in equations.loops):
            return False
        return all(self._is_closed(part, equations) for part in children(expr))

    # ---- addresses -----------------------------------------------------------------------------------------

    def _access(self, pattern: Access, nest: Access, equations: Equations, is_recast: bool = False) -> None:
        """Match accesses; `is_recast` where the instruction converts between types of the same bits."""
        ours, theirs = pattern.buffer, nest.buffer
        if ours.space != theirs.space or (ours.dtype != theirs.dtype and not is_recast):
            found = f"`{theirs.name}` ({theirs.space} {theirs.dtype})"
            raise Mismatch(f"{found} stands where {ours.space} {ours.dtype} is accessed")
        if len(pattern.opaque) != len(nest.opaque):
            raise Mismatch(f"`{theirs.name}` is addressed by other values than the instruction's")
        for (factor, expr), (other_factor, other) in zip(pattern.opaque, nest.opaque, strict=True):
            if factor != other_factor:
                raise Mismatch(f"`{theirs.name}` is looked up in steps of {other_factor}, not {factor}")
            self._expr(expr, other, equations)
        used = self._strides(pattern, nest, equations)
        start = pattern.offset.without(frozenset(equations.loops))
        rest = nest.offset.without(frozenset(used))
        steps = tuple(_integer(rest.coefficient(name)) for name in self.hoisted)
        fixed = rest.without(frozenset(self.hoisted))
        if fixed.value is None:
            raise Mismatch(f"`{theirs.name}` is addressed by {fixed}, which no loop of the instruction covers")
        if ours.space == "local":
            self._check_local(ours.name, theirs.name, start, fixed.value, equations)
            return
        scale = self.intrinsic.entry_elements[ours.space]
        modulus = pattern.modulus * scale
        equations.placed.append((start, Position(theirs.name, scale, fixed.value, steps), modulus))
        equations.align(pattern.aligned)

    def _strides(self, pattern: Access, nest: Access, equations: Equations) -> set[str]:
        used = set()
        for slot, loop in equations.loops.items():
            if not loop:
                continue
            used.add(loop)
            step = pattern.offset.coefficient(slot).without(frozenset(equations.loops))
            equations.require(step, _integer(nest.offset.coefficient(loop)))
        return used

    def _check_local(self, name: str, other: str, start: Poly, offset: int, equations: Equations) -> None:
        if equations.locals.get(name) != other:
            raise Mismatch(f"`{other}` stands where the instruction uses its own temporary")
        equations.require(start, offset)


def _same_bits(pattern: Expr, nest: Expr) -> Expr:
    """Take off a conversion that keeps the bits, where the nest has the value itself: its memory is typed otherwise."""
    match pattern:
        case Cast(dtype, value) if dtype.bits == value.dtype.bits and not (dtype.is_float or value.dtype.is_float):
            return pattern if isinstance(nest, Cast) else value
        case _:
            return pattern


def _placements(slots: int, loops: int) -> Iterator[tuple[int, ...]]:
    """Yield the increasing choices of `loops` slots, the innermost slots first."""
    yield from reversed(list(combinations(range(slots), loops)))


def _integer(poly: Poly) -> int:
    value = poly.value
    if value is None:
        raise Mismatch(f"{poly} is not affine")
    return value


def _extent(loop: Loop) -> int:
    if loop.extent.value is None:
        raise Mismatch(f"loop `{loop.name}` has no constant extent")
    return loop.extent.value


def _split_lanes(nest: Level, lanes: list[Loop]) -> tuple[Level, list[Loop]]:
    """Match the innermost loops with the instruction's lanes, splitting a longer loop."""
    matched: list[Loop] = []
    for lane in reversed(lanes):
        index = len(nest.loops) - 1 - len(matched)
        if index < 0:
            raise Mismatch(f"a loop of {lane.extent} is missing")
        loop, size = nest.loops[index], _extent(lane)
        if _extent(loop) != size:
            if _extent(loop) % size or loop.name in bare_names(nest):
                raise Mismatch(f"loop `{loop.name}` has {loop.extent} iterations, not {size}")
            nest = _split(nest, index, size)
        matched.insert(0, nest.loops[len(nest.loops) - 1 - len(matched)])
    return nest, matched


def _split(nest: Level, index: int, size: int) -> Level:
    loop = nest.loops[index]
    outer = Loop(f"{loop.name}.o", Poly.constant(_extent(loop) // size))
    inner = Loop(f"{loop.name}.i", Poly.constant(size))
    whole = {loop.name: Poly.variable(outer.name).scaled(size) + Poly.variable(inner.name)}

    def moved(access: Access) -> Access:
        return Access(access.buffer, access.offset.substituted(whole), access.opaque, access.modulus, access.aligned)

    loops = (*nest.loops[:index], outer, inner, *nest.loops[index + 1 :])
    return Level(loops, map_accesses(nest.body, moved))


def _kind(node: Node) -> str:
    return type(node).__name__.lower()


def _head(expr: Expr) -> str:
    match expr:
        case Access(buffer):
            return f"{buffer.name}[...]"
        case Binary(op):
            return str(op)
        case Const(value):
            return str(value)
        case Var(name):
            return name
        case _:
            return type(expr).__name__.lower()
