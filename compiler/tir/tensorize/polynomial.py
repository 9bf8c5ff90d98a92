"""Polynomials over named integers: what addresses and extents are compared as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: The names multiplied with each other, sorted; `()` is the constant term.
Monomial = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Poly:
    """A sum of integer multiples of monomials; no term is zero.

    Attributes
    ----------
    terms : tuple of (Monomial, int)
        Sorted by monomial.
    """

    terms: tuple[tuple[Monomial, int], ...] = ()

    @classmethod
    def of(cls, terms: Mapping[Monomial, int]) -> Poly:
        """Build from a mapping, dropping zeros."""
        return cls(tuple(sorted((m, c) for m, c in terms.items() if c)))

    @classmethod
    def constant(cls, value: int) -> Poly:
        """Build a constant."""
        return cls((((), value),)) if value else cls()

    @classmethod
    def variable(cls, name: str) -> Poly:
        """Build a single variable."""
        return cls((((name,), 1),))

    @property
    def value(self) -> int | None:
        """The value of a constant, else None."""
        if not self.terms:
            return 0
        return self.terms[0][1] if len(self.terms) == 1 and self.terms[0][0] == () else None

    @property
    def names(self) -> frozenset[str]:
        """All variables."""
        return frozenset(name for monomial, _ in self.terms for name in monomial)

    def __add__(self, other: Poly) -> Poly:
        if not self.terms or not other.terms:
            return self if self.terms else other
        result = dict(self.terms)
        for monomial, factor in other.terms:
            result[monomial] = result.get(monomial, 0) + factor
        return Poly.of(result)

    def __mul__(self, other: Poly) -> Poly:
        result: dict[Monomial, int] = {}
        for m1, c1 in self.terms:
            for m2, c2 in other.terms:
                monomial = tuple(sorted(m1 + m2))
                result[monomial] = result.get(monomial, 0) + c1 * c2
        return Poly.of(result)

    def scaled(self, factor: int) -> Poly:
        """Multiply by an integer."""
        if factor == 1:
            return self
        return Poly(tuple((m, c * factor) for m, c in self.terms)) if factor else Poly()

    def __sub__(self, other: Poly) -> Poly:
        return self + other.scaled(-1)

    def coefficient(self, name: str) -> Poly:
        """Return what multiplies `name`, where it is linear in it."""
        return Poly.of({tuple(n for n in m if n != name): c for m, c in self.terms if name in m})

    def without(self, names: frozenset[str]) -> Poly:
        """Drop every term in which one of `names` occurs."""
        return Poly(tuple(term for term in self.terms if names.isdisjoint(term[0])))

    def substituted(self, values: Mapping[str, Poly]) -> Poly:
        """Replace variables by polynomials."""
        if not self.names & values.keys():
            return self
        result = Poly()
        for monomial, factor in self.terms:
            product = Poly.constant(factor)
            for name in monomial:
                product = product * values.get(name, Poly.variable(name))
            result = result + product
        return result

    def interval(self, ranges: Mapping[str, tuple[int, int]]) -> tuple[int, int] | None:
        """Return the least and the largest value (inclusive) for non-negative variable ranges; None if unknown."""
        low = high = 0
        for monomial, factor in self.terms:
            smallest = largest = 1
            for name in monomial:
                if name not in ranges:
                    return None
                smallest, largest = smallest * ranges[name][0], largest * ranges[name][1]
            low += factor * (smallest if factor > 0 else largest)
            high += factor * (largest if factor > 0 else smallest)
        return low, high

    def __str__(self) -> str:
        parts = ["*".join([str(c), *m]) if c != 1 or not m else "*".join(m) for m, c in self.terms]
        return " + ".join(parts) or "0"
