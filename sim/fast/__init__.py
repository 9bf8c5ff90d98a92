"""Running programs on a cycle model that agrees with the RTL to the cycle, hundreds of times as fast."""

from tilewright.sim.fast.simulator import FastSimulator

__all__ = ["FastSimulator"]
