"""Running programs on the generated RTL, Verilated into a shared library."""

from tilewright.sim.rtl.model import RtlSimulator, Stalls

__all__ = ["RtlSimulator", "Stalls"]
