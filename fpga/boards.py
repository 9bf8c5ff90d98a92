"""Boards: their device, how the accelerator reaches memory on them, and the configuration made for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tilewright.fpga.devices import DEVICES, Device
from tilewright.isa.config import Config
from tilewright.isa.errors import InputError
from tilewright.isa.sections import Bus, Depthwise, Epilogue, Gemm, Memory


@dataclass(frozen=True)
class Board:
    """One board.

    Attributes
    ----------
    name : str
        As `--board` takes it.
    title : str
        As its maker calls it.
    device : Device
    host : str
        What starts programs: `ps7` and `ps8` (Zynq, Zynq UltraScale+), `hps` (Cyclone V SoC), `none` (no processor
        beside the fabric).
    clock_mhz : float
        What vendor projects ask for.
    config : Config
        The preset of the board, named for it.
    amaranth_board : str
        The class in amaranth-boards, `module:Class`; empty where there is none.
    """

    name: str
    title: str
    device: Device
    host: str
    clock_mhz: float
    config: Config
    amaranth_board: str = ""


def _config(name: str, size: int, act_kib: int, wgt_kib: int, acc_kib: int, bus_bits: int, is_packed: bool) -> Config:
    gemm = Gemm(block_in=size, block_out=size, packed=is_packed, cascade=2 if is_packed else 1)
    memory = Memory(act_kib=act_kib, wgt_kib=wgt_kib, acc_kib=acc_kib, prm_entries=128)
    bus, depthwise = Bus(data_bits=bus_bits, burst_beats=16), Depthwise(enabled=not gemm.packed)
    epilogue = Epilogue(block_tables=is_packed, interval=2 if is_packed else 1)
    return Config(name=name, gemm=gemm, memory=memory, bus=bus, epilogue=epilogue, depthwise=depthwise)


def _board(
    name: str, title: str, device: str, host: str, clock_mhz: float, memories: tuple[int, int, int, int],
    bus_bits: int = 64, amaranth_board: str = "",
) -> Board:  # fmt: skip
    has_wide_multipliers = DEVICES[device].family.name in ("xc7", "xcup")
    config = _config(name, *memories, bus_bits, has_wide_multipliers)
    return Board(name, title, DEVICES[device], host, clock_mhz, config, amaranth_board)


#: The ports of PS7 are AXI3: bursts of 16 beats, 64 bits wide; PS8's are 128 bits wide.
BOARDS: Mapping[str, Board] = {
    b.name: b
    for b in (
        _board("pynq-z1", "Digilent PYNQ-Z1", "xc7z020", "ps7", 100, (16, 64, 128, 32)),
        _board("pynq-z2", "TUL PYNQ-Z2", "xc7z020", "ps7", 100, (16, 64, 128, 32)),
        _board(
            "arty-z7-20", "Digilent Arty Z7-20", "xc7z020", "ps7", 100, (16, 64, 128, 32),
            amaranth_board="amaranth_boards.arty_z7:ArtyZ720Platform",
        ),
        _board(
            "arty-a7-100t", "Digilent Arty A7-100T", "xc7a100t", "none", 100, (8, 64, 64, 16),
            amaranth_board="amaranth_boards.arty_a7:ArtyA7_100Platform",
        ),
        _board("ultra96-v2", "Avnet Ultra96-V2", "xczu3eg", "ps8", 200, (16, 128, 256, 64), 128),
        _board("zcu104", "AMD ZCU104", "xczu7ev", "ps8", 200, (32, 64, 256, 64), 128),
        _board("kv260", "AMD Kria KV260", "xck26", "ps8", 200, (16, 64, 128, 32), 128),
        _board(
            "de10-nano", "Terasic DE10-Nano", "5cseba6", "hps", 100, (16, 64, 128, 32),
            amaranth_board="amaranth_boards.de10_nano:DE10NanoPlatform",
        ),
        _board(
            "de1-soc", "Terasic DE1-SoC", "5csema5", "hps", 100, (8, 64, 64, 16),
            amaranth_board="amaranth_boards.de1_soc:DE1SoCPlatform",
        ),
        _board(
            "de0-cv", "Terasic DE0-CV", "5ceba4", "none", 80, (8, 32, 32, 16),
            amaranth_board="amaranth_boards.de0_cv:DE0CVPlatform",
        ),
        _board(
            "ulx3s-85f", "Radiona ULX3S-85F", "lfe5u-85f", "none", 50, (8, 32, 32, 16),
            amaranth_board="amaranth_boards.ulx3s:ULX3S_85F_Platform",
        ),
        _board("tang-primer-20k", "Sipeed Tang Primer 20K", "gw2a-18", "none", 50, (4, 4, 4, 2)),
    )
}  # fmt: skip


def find_board(name: str) -> Board:
    """Return the board of that name.

    Raises
    ------
    InputError
        For an unknown one, naming the known ones.
    """
    try:
        return BOARDS[name.lower()]
    except KeyError:
        raise InputError(f"no board `{name}`; known: {', '.join(BOARDS)}") from None
