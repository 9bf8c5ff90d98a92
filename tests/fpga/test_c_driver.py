"""The C driver: compiled with the header of a configuration, run against the RTL."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.fpga.test_driver import OFFSETS, SIZE, RtlTransport
from tests.sim.tile_programs import tile_program
from tilewright.isa import c_header
from tilewright.isa.config import PRESETS
from tilewright.isa.instructions import instruction_set
from tilewright.sim.functional import FunctionalSimulator
from tilewright.sim.rtl.toolchain import find_compiler

ISA = instruction_set(PRESETS["tiny"])
OTHER = instruction_set(PRESETS["tiny"].with_values(queue={"load": 8}))
READ = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32)
WRITE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)
OK, NO_ACCELERATOR, OTHER_CONFIGURATION, BAD_ADDRESS, TIMEOUT = 0, -1, -2, -3, -5


class Device(ctypes.Structure):
    _fields_ = [("read", READ), ("write", WRITE), ("context", ctypes.c_void_p)]


def compiled(repository: Path, folder: Path, isa=ISA) -> ctypes.CDLL:
    """Compile the driver as strictly as C99 allows."""
    sources = repository / "fpga" / "driver"
    (folder / "tilewright_isa.h").write_text(c_header.render(isa))
    for name in ("tilewright.h", "tilewright.c"):
        (folder / name).write_bytes((sources / name).read_bytes())
    library = folder / "driver.so"
    flags = ("-x", "c", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-shared", "-fPIC", "-O2")
    subprocess.run([find_compiler(), *flags, "-o", library, folder / "tilewright.c"], check=True)
    driver = ctypes.CDLL(str(library))
    driver.tw_start.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint32]
    driver.tw_wait.argtypes = [ctypes.c_void_p, ctypes.c_uint64]
    driver.tw_counter.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    driver.tw_counter.restype = ctypes.c_uint64
    return driver


@pytest.mark.verilator
def test_programs_run_on_the_rtl(repository: Path, tmp_path: Path, seed: int) -> None:
    transport = RtlTransport(ISA)
    device = Device(READ(lambda _, o: transport.read(o)), WRITE(lambda _, o, v: transport.write(o, v)), None)
    driver, handle = compiled(repository, tmp_path), ctypes.byref(device)
    assert driver.tw_check(handle) == OK
    memory = transport.allocate(SIZE)
    reference = FunctionalSimulator(ISA)
    for number in range(seed, seed + 2):
        program = tile_program(ISA, number, 3)
        expected = program.dram.copy()
        reference.launch(expected, program.offset, program.count)
        memory.array[: len(program.dram)] = program.dram
        assert driver.tw_start(handle, memory.address, program.offset, program.count) == OK
        assert driver.tw_wait(handle, 1_000_000) == OK
        assert np.array_equal(memory.array[: len(expected)], expected)
        assert driver.tw_counter(handle, OFFSETS["CYCLES_LOW"]) > program.count
    assert driver.tw_start(handle, memory.address + 64, 0, 1) == BAD_ADDRESS
    assert driver.tw_wait(handle, 3) == TIMEOUT
    transport.close()


def test_what_is_not_the_accelerator_is_told(repository: Path, tmp_path: Path) -> None:
    """Through plain memory, by `tw_mmio`, as on bare metal."""
    driver = compiled(repository, tmp_path)
    registers = np.zeros(256, np.uint32)
    driver.tw_mmio.restype = Device
    driver.tw_mmio.argtypes = [ctypes.c_void_p]
    device = driver.tw_mmio(registers.ctypes.data)
    assert driver.tw_check(ctypes.byref(device)) == NO_ACCELERATOR
    registers[0] = 0x544C5752
    digest = int(OTHER.config.hash, 16)
    registers[2:4] = digest & 0xFFFF_FFFF, digest >> 32
    assert driver.tw_check(ctypes.byref(device)) == OTHER_CONFIGURATION
    digest = int(ISA.config.hash, 16)
    registers[2:4] = digest & 0xFFFF_FFFF, digest >> 32
    assert driver.tw_check(ctypes.byref(device)) == OK
