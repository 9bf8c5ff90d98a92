"""From nests to instructions, each nest being unified once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import NamedTuple

from tilewright.compiler.tir.tensorize.canonical import canonical
from tilewright.compiler.tir.tensorize.equations import Base, Mismatch
from tilewright.compiler.tir.tensorize.intrinsic import Intrinsic, Signature, signature
from tilewright.compiler.tir.tensorize.tree import Level, TensorizeError
from tilewright.compiler.tir.tensorize.unify import Solution, TooManyLoops, unify
from tilewright.isa.ir import Call, Const, Expr, Function, Stmt, Var, total


class InstructionCall(NamedTuple):
    """An instruction with its operands; operands left out are 0."""

    name: str
    operands: dict[str, int]


@dataclass(frozen=True)
class Template:
    """The instructions of a nest, wherever its buffers lie.

    Attributes
    ----------
    solution : Solution
    trips : tuple of int
        Iterations of the hoisted loops, outermost first: there is one instruction for each combination.
    limits : Mapping[str, range]
        What the operands decided by placement may be.
    alignment : Mapping[str, int]
        And of what they must be multiples.
    """

    solution: Solution
    trips: tuple[int, ...]
    limits: Mapping[str, range]
    alignment: Mapping[str, int]

    def calls(self, placement: Mapping[str, int]) -> list[InstructionCall]:
        """Return the instructions for buffers that begin at these entries (of DRAM: bytes)."""
        if not self.trips:
            return [self._call(placement, ())]
        return [self._call(placement, iteration) for iteration in product(*map(range, self.trips))]

    def _call(self, placement: Mapping[str, int], iteration: tuple[int, ...]) -> InstructionCall:
        operands = dict(self.solution.constants)
        for base in self.solution.bases:
            operands[base.hole] = self._place(base, placement, iteration)
        return InstructionCall(self.solution.name, operands)

    def _place(self, base: Base, placement: Mapping[str, int], iteration: tuple[int, ...]) -> int:
        position = base.position
        elements = placement[position.buffer] * position.scale + position.offset
        for index, step in zip(iteration, position.steps, strict=True):
            elements += index * step
        value, rest = divmod(elements, base.unit)
        if rest or value % base.multiple:
            unit = base.unit * base.multiple // position.scale
            where = f"buffer `{position.buffer}` at {placement[position.buffer]}"
            raise TensorizeError(f"{where}: {self.solution.name} addresses it in steps of {unit} entries")
        if base.modulus:
            value %= base.modulus
        if value not in self.limits[base.hole] or value % self.alignment.get(base.hole, 1):
            raise TensorizeError(
                f"buffer `{position.buffer}`: {self.solution.name}.{base.hole} must be a multiple of "
                f"{self.alignment.get(base.hole, 1)} below {self.limits[base.hole].stop}, not {value}"
            )
        return value


#: Gives the intrinsics of a signature.
Catalogue = Callable[[Signature], Sequence[Intrinsic]]


class Tensorizer:
    """Finds the instructions that mean nests, and remembers them by nest.

    Parameters
    ----------
    intrinsics : sequence of Intrinsic, or Catalogue
        Tried in order.
    """

    def __init__(self, intrinsics: Sequence[Intrinsic] | Catalogue) -> None:
        self._catalogue = intrinsics if callable(intrinsics) else partial(_of_signature, tuple(intrinsics))
        self._candidates: dict[Signature, Sequence[Intrinsic]] = {}
        self._templates: dict[int, tuple[Function, Template]] = {}

    def candidates(self, wanted: Signature) -> Sequence[Intrinsic]:
        """Return the intrinsics that a nest of this signature may be, in the order in which they are tried."""
        if wanted not in self._candidates:
            self._candidates[wanted] = self._catalogue(wanted)
        return self._candidates[wanted]

    def tensorize(self, nest: Function, placement: Mapping[str, int]) -> InstructionCall:
        """Return the one instruction that means a nest.

        Parameters
        ----------
        nest : Function
            Loops with constant extents around one computation over placed buffers. The same object is unified once.
        placement : Mapping[str, int]
            The first entry (in DRAM: byte) of each buffer.

        Raises
        ------
        TensorizeError
            If there is none; `TooManyLoops` names the loops that would have to be hoisted.
        """
        template = self.template(nest)
        if template.trips:
            raise TensorizeError(f"nest `{nest.name}` takes {template.trips} instructions: use `calls`")
        return template.calls(placement)[0]

    def calls(self, nest: Function, placement: Mapping[str, int]) -> list[InstructionCall]:
        """Return the instructions that mean a nest, in order; as few outermost loops as possible are hoisted."""
        return self.template(nest).calls(placement)

    def template(self, nest: Function) -> Template:
        """Return the instructions of a nest, independent of placement."""
        known = self._templates.get(id(nest))
        if known is None:
            known = nest, self._build(nest.name, canonical(nest.body))  # the nest is kept, so that its id stays its own
            self._templates[id(nest)] = known
        return known[1]

    def call(self, nest: Stmt, around: tuple[str, ...], placement: Mapping[str, int]) -> Call:
        """Return the one instruction that means a nest inside loops, its operands functions of their variables.

        Parameters
        ----------
        nest : Stmt
        around : tuple of str
            Variables of the loops around.
        placement : Mapping[str, int]
            The first entry (in DRAM: byte) of each buffer.

        Raises
        ------
        TensorizeError
        """
        template = self._build("nest", canonical(nest), around, most=0)
        operands: dict[str, Expr] = {k: Const(v) for k, v in template.solution.constants.items() if v}
        for base in template.solution.bases:
            operands[base.hole] = _placed(base, around, placement)
        return Call(template.solution.name, tuple(operands.items()))

    def _build(self, name: str, tree: Level, around: tuple[str, ...] = (), most: int | None = None) -> Template:
        wanted = signature(tree)
        failures: list[tuple[Intrinsic, TensorizeError]] = []
        candidates = self.candidates(wanted)
        for is_innermost, intrinsic in product((True, False), candidates):
            try:
                return _unify_hoisting(intrinsic, tree, around, most, is_innermost)
            except (Mismatch, TooManyLoops) as error:
                failures += [(intrinsic, error)] * (not is_innermost)
        if most is None and (template := self._with_fewer_loops(wanted, tree, around)):
            return template
        for _, failure in failures:
            if isinstance(failure, TooManyLoops):
                raise failure
        reasons = "; ".join(f"not {intrinsic}, because {failure}" for intrinsic, failure in failures)
        spaces = ", ".join(sorted(set(wanted[1])))
        raise TensorizeError(f"nest `{name}` is no instruction: {reasons or f'none works on {spaces} like this'}")

    def _with_fewer_loops(self, wanted: Signature, tree: Level, around: tuple[str, ...]) -> Template | None:
        """Look for the fewest instructions where an outermost loop does not fit any hardware loop."""
        for count in range(1, len(tree.loops)):
            for intrinsic in self.candidates(wanted):
                with suppress(Mismatch, TooManyLoops):
                    return _unified(intrinsic, tree, around, count)
        return None


def _of_signature(intrinsics: Sequence[Intrinsic], wanted: Signature) -> Sequence[Intrinsic]:
    return [intrinsic for intrinsic in intrinsics if intrinsic.signature == wanted]


def _placed(base: Base, around: tuple[str, ...], placement: Mapping[str, int]) -> Expr:
    """Return an operand as a function of the loops around."""
    position = base.position
    start = placement[position.buffer] * position.scale + position.offset
    for distance in (start, *position.steps):
        if distance % (base.unit * base.multiple):
            raise TensorizeError(
                f"buffer `{position.buffer}`: `{base.hole}` moves in steps of {base.unit * base.multiple}"
            )
    steps = [Var(name) * (step // base.unit) for name, step in zip(around, position.steps, strict=True) if step]
    first = start // base.unit
    value = total([*steps, *([Const(first)] if first or not steps else [])])
    return value & (base.modulus - 1) if base.modulus and steps else value


def _unify_hoisting(
    intrinsic: Intrinsic, tree: Level, around: tuple[str, ...], most: int | None, is_innermost: bool
) -> Template:
    """Unify, taking outermost loops off (`most` at most) until the rest fits."""
    for count in range(len(tree.loops) + 1):
        try:
            return _unified(intrinsic, tree, around, count, is_innermost)
        except TooManyLoops as error:
            if not error.is_outermost or count == most:
                raise
    raise Mismatch("no loops are left to hoist")


def _unified(
    intrinsic: Intrinsic, tree: Level, around: tuple[str, ...], count: int, is_innermost: bool = False
) -> Template:
    """Unify with the `count` outermost loops hoisted."""
    hoisted = tree.loops[:count]
    inner = Level(tree.loops[count:], tree.body)
    solution = unify(intrinsic, inner, (*around, *(loop.name for loop in hoisted)), is_innermost)
    trips = tuple(loop.extent.value or 0 for loop in hoisted)
    return Template(solution, trips, intrinsic.holes, intrinsic.alignment)
