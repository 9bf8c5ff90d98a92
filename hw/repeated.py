"""Components that a design has many times: each is elaborated once, so that its Verilog has one module for all."""

from __future__ import annotations

from abc import abstractmethod

from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, ClockSignal, Elaboratable, Fragment, Instance, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Flow, In


class Repeated(wiring.Component):
    """A component without a reset of which a design has many that are alike.

    Amaranth elaborates each of them, as anything else; the platform `Definitions` gives instances of one module.
    A subclass writes `elaborate_one` instead of `elaborate`.
    """

    @property
    @abstractmethod
    def kind(self) -> tuple[object, ...]:
        """What the logic depends on besides the class; components of equal kinds are alike."""

    @abstractmethod
    def elaborate_one(self, platform) -> Elaboratable:
        """Give the logic. Its registers must be `reset_less`."""

    def elaborate(self, platform):
        if isinstance(platform, Definitions):
            return platform.instance_of(self)
        return self.elaborate_one(platform)


class Definitions:
    """The platform that collects the modules of repeated components.

    Parameters
    ----------
    prefix : str
        Of the modules' names.
    """

    def __init__(self, prefix: str):
        self._prefix = prefix
        self._names: dict[tuple[object, ...], str] = {}
        self._texts: list[str] = []

    @property
    def rtlil(self) -> str:
        """The modules asked for so far."""
        return "\n".join(self._texts)

    def instance_of(self, component: Repeated) -> Instance:
        """Give an instance of the component's module, connected to the component's ports."""
        key = (type(component), *component.kind)
        if key not in self._names:
            self._names[key] = name = f"{self._prefix}.{type(component).__name__}{len(self._names)}"
            self._texts.append(self._define(component, name))
        ports = {f"{'i' if flow is In else 'o'}_{port.name}": port for flow, port in _ports(component)}
        return Instance(self._names[key], i_clk=ClockSignal(), **ports)

    def _define(self, component: Repeated, name: str) -> str:
        domain = ClockDomain("sync", reset_less=True)
        fragment = Fragment.get(component.elaborate_one(self), self)
        fragment.add_domains(domain)
        ports = [port for _, port in _ports(component)]
        return rtlil.convert(fragment, name=name, ports=(*ports, domain.clk), emit_src=False)


def _ports(component: Repeated) -> list[tuple[Flow, Signal]]:
    return [(m.flow, Value.cast(value)) for _, m, value in component.signature.flatten(component)]
