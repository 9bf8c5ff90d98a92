"""The board as a simulator: the same interface, with a driver behind it that moves memory and registers.

The driver is the FPGA side's (`tilewright.fpga.driver`); it knows nothing of simulators and is any object with the
members of `Driver`.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from tilewright.isa.errors import DeviceError, ProgramError
from tilewright.isa.instructions import InstructionSet
from tilewright.sim import control
from tilewright.sim.api import LaunchResult
from tilewright.sim.decoded_program import DecodedProgram
from tilewright.sim.dram_access import check_dram_accesses

#: Seconds after which a launch is abandoned.
DEFAULT_TIMEOUT_SECONDS = 60.0


class Driver(control.Registers, Protocol):
    """What a board's driver offers besides the registers.

    Attributes
    ----------
    base : int
        Address of the first byte of the memory on the accelerator's bus, a multiple of 4096.
    size_bytes : int
        Of that memory.
    """

    base: int
    size_bytes: int

    def upload(self, data: npt.NDArray[np.uint8]) -> None:
        """Copy to the beginning of the memory, so that the accelerator sees it."""
        ...

    def download(self, data: npt.NDArray[np.uint8]) -> None:
        """Copy from the beginning of the memory what the accelerator has written."""
        ...

    def wait(self, seconds: float) -> bool:
        """Wait for the interrupt line; tell whether it is high."""
        ...


class BoardSimulator:
    """Runs programs on a board.

    Counters are the device's, so that `cycles` is known; when each instruction ran is not.

    Parameters
    ----------
    isa : InstructionSet
    driver : Driver
    timeout_seconds : float
        A launch that takes longer is abandoned.

    Raises
    ------
    DeviceError
        If the device is no Tilewright accelerator, or one of another configuration.
    """

    def __init__(self, isa: InstructionSet, driver: Driver, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> None:
        self.isa = isa
        self.timeout_seconds = timeout_seconds
        self._driver = driver
        control.check_identity(driver, isa.config)

    def launch(self, dram: npt.NDArray[np.uint8], offset: int, count: int) -> LaunchResult:
        """Execute `count` instructions that lie at byte `offset` of `dram`, changing `dram` in place.

        Raises
        ------
        ProgramError
            If the program does not lie inside the memory, holds an illegal instruction, or touches bytes outside the
            memory; if the board's memory is smaller than `dram`.
        DeviceError
            If the device stops with an error or does not end.
        """
        program = DecodedProgram.of(self.isa, dram, offset, count)
        if not dram.flags.writeable:
            raise ProgramError("the memory must be writeable")
        check_dram_accesses(program, len(dram))
        if len(dram) > self._driver.size_bytes:
            raise ProgramError(
                f"the program needs {len(dram)} bytes of memory, the board has {self._driver.size_bytes}"
            )
        self._driver.upload(dram)
        control.describe_program(self._driver, self._driver.base, offset, count)
        control.start(self._driver)
        self._wait(count)
        self._driver.download(dram)
        counters = control.read_counters(self._driver)
        return LaunchResult(counters["cycles"], counters, None)

    def _wait(self, count: int) -> None:
        if not self._driver.wait(self.timeout_seconds):
            control.abandon(self._driver)
            raise DeviceError(f"the program of {count} instructions has not ended after {self.timeout_seconds:g} s")
        control.acknowledge(self._driver)
        error = control.read_error(self._driver)
        if error:
            raise DeviceError(f"the accelerator stopped: {control.error_name(error)}")
