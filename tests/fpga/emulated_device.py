"""A device behind a register file and a memory: the functional simulator does the work, in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tilewright.isa.instructions import InstructionSet
from tilewright.isa.registers import MAGIC, REGISTERS
from tilewright.sim.functional import FunctionalSimulator

OFFSETS = {register.name: register.offset for register in REGISTERS}

#: Plain memory cannot tell a one that is written from the one that was there: a reserved bit does.
_RAISED, _ACKNOWLEDGED = 3, 1


class EmulatedDevice:
    """Executes what the registers say when `CONTROL.start` is set, and then sets `STATUS.done` and `IRQ_PENDING`.

    Parameters
    ----------
    isa : InstructionSet
    registers : array of uint32
        The register file, shared with the driver.
    memory : array of uint8
    address : int
        Of its first byte.
    interrupt : callable
        Called when the interrupt line rises.
    """

    def __init__(
        self,
        isa: InstructionSet,
        registers: NDArray[np.uint32],
        memory: NDArray[np.uint8],
        address: int,
        interrupt: Callable[[], None] = lambda: None,
    ) -> None:
        self._registers, self._memory, self._address, self._interrupt = registers, memory, address, interrupt
        self._simulator = FunctionalSimulator(isa)
        self._ends = threading.Event()
        digest = int(isa.config.hash, 16)
        self.set("ID", MAGIC)
        self.set("HASH_LOW", digest & 0xFFFF_FFFF)
        self.set("HASH_HIGH", digest >> 32)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def get(self, name: str) -> int:
        return int(self._registers[OFFSETS[name] // 4])

    def set(self, name: str, value: int) -> None:
        self._registers[OFFSETS[name] // 4] = value

    def close(self) -> None:
        self._ends.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._ends.wait(0.002):
            if self.get("IRQ_PENDING") == _ACKNOWLEDGED:
                self.set("IRQ_PENDING", 0)
            if self.get("CONTROL") & 1:
                self._launch()

    def _launch(self) -> None:
        self.set("CONTROL", 0)
        base = self.get("BASE_LOW") | self.get("BASE_HIGH") << 32
        result = self._simulator.launch(self._memory[base - self._address :], self.get("PROGRAM"), self.get("COUNT"))
        for name, value in result.counters.items():
            if f"{name.upper()}_LOW" in OFFSETS:
                self.set(f"{name.upper()}_LOW", value & 0xFFFF_FFFF)
        self.set("STATUS", 2)
        self.set("IRQ_PENDING", _RAISED)
        self._interrupt()
