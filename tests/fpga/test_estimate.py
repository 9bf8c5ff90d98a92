"""Devices, boards, and what is said before synthesis."""

from __future__ import annotations

import importlib

import pytest

from tilewright.fpga.boards import BOARDS, find_board
from tilewright.fpga.cells import LATCH, cell_resources
from tilewright.fpga.devices import DEVICES, FAMILIES, Resources, find_device
from tilewright.fpga.estimate import check_fit, estimate, largest_that_fits, shortages
from tilewright.isa.config import PRESETS
from tilewright.isa.errors import CapacityError, InputError


@pytest.mark.parametrize("name", BOARDS)
def test_a_boards_configuration_fits_it(name: str) -> None:
    board = find_board(name)
    assert board.config.name == name
    assert check_fit(board.config, board.device) == estimate(board.config, board.device.family)


@pytest.mark.parametrize("name", [name for name, board in BOARDS.items() if board.amaranth_board])
def test_boards_are_those_of_amaranth_boards(name: str) -> None:
    module, _, platform = BOARDS[name].amaranth_board.partition(":")
    pytest.importorskip("amaranth_boards")
    device = getattr(importlib.import_module(module), platform).device.lower()
    assert device.startswith(BOARDS[name].device.name)


@pytest.mark.parametrize(
    ("preset", "device", "resource", "advice"),
    [
        ("32x32", "xc7z020", "DSP48E1s of 220", "the largest preset that fits is `8x8`"),
        ("16x16", "lfe5u-85f", "MULT18X18Ds of 156", "the largest preset that fits is `8x8`"),
        ("16x16", "lfe5u-25f", "DP16KDs of 56", "no preset fits"),
    ],
)
def test_what_does_not_fit_is_named(preset: str, device: str, resource: str, advice: str) -> None:
    pattern = rf"configuration `{preset}` does not fit {device}: it takes .*about [\d,]+ {resource}.*; {advice}"
    with pytest.raises(CapacityError, match=pattern):
        check_fit(PRESETS[preset], find_device(device))


def test_nothing_fits_a_device_with_nothing() -> None:
    with pytest.raises(CapacityError, match="no preset fits"):
        check_fit(PRESETS["tiny"], find_device("lfe5u-25f"), presets=())


def test_packed_arrays_take_half_the_multipliers() -> None:
    config = PRESETS["16x16"].with_values(depthwise={"enabled": False})
    packed = config.with_values(gemm={"packed": True, "cascade": 2})
    family = FAMILIES["xc7"]
    in_array, in_vector_lanes = 128, 16  # whose products of wide factors are not split
    assert estimate(config, family).dsp - estimate(packed, family).dsp == in_array + in_vector_lanes


@pytest.mark.parametrize("interval", [2, 4])
def test_turns_save_multipliers_and_memories(interval: int) -> None:
    config, family = PRESETS["16x16"].with_values(depthwise={"enabled": False}, vector={"rows": False}), FAMILIES["xc7"]
    every, fewer = (estimate(config.with_values(epilogue={"interval": i}), family) for i in (1, interval))
    assert every.dsp - fewer.dsp == 4 * (16 - 16 // interval)
    assert every.ram - fewer.ram == 16 - 16 // interval
    assert every.lut > fewer.lut and every.ff > fewer.ff


def test_the_largest_preset_is_the_one_with_most_multipliers() -> None:
    found = largest_that_fits(find_device("xczu7ev"), PRESETS.values())
    assert found is not None and found.name == "32x32"


def test_shortages_name_the_familys_words() -> None:
    (short,) = shortages(Resources(lut=200_000), find_device("xck26"))
    assert (short.resource, short.needed, short.available) == ("LUT6", 200_000, DEVICES["xck26"].budget.lut)


@pytest.mark.parametrize("find", [find_board, find_device])
def test_unknown_names_are_told_with_the_known(find) -> None:
    with pytest.raises(InputError, match=r"no (board|device) `nothing`; known: .*, .*"):
        find("nothing")


@pytest.mark.parametrize(
    ("family", "cell", "expected"),
    [
        ("xc7", "RAMB18E1", Resources(ram=0.5)),
        ("xc7", "RAM64M", Resources(lut=4)),
        ("xc7", "MUXF8", Resources()),
        ("cyclonev", "MISTRAL_MUL9X9", Resources(dsp=1 / 3)),
        ("cyclonev", "MISTRAL_ALUT6", Resources(lut=2)),
        ("ecp5", "CCU2C", Resources(lut=2, carry=1)),
        ("gw2a", "DFFCE", Resources(ff=1)),
        ("xc7", "LDCE", None),
    ],
)
def test_cells(family: str, cell: str, expected: Resources | None) -> None:
    assert cell_resources(family, cell) == expected


def test_latches_are_known() -> None:
    assert all(LATCH.fullmatch(cell) for cell in ("$dlatch", "$_DLATCH_P_", "LDCE", "DLNE", "$dlatchsr"))
    assert not any(LATCH.fullmatch(cell) for cell in ("DFFE", "FDRE", "LUT4", "$dff"))
