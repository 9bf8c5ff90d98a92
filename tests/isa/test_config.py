"""The configuration: ranges, TOML, hash, presets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewright.isa.config import PRESETS, Config
from tilewright.isa.errors import ConfigError
from tilewright.isa.instructions import instruction_set
from tilewright.isa.sections import Limits

FIELDS = list(Config().describe_fields())
NUMBERS = [(path, limits) for path, limits, value in FIELDS if not isinstance(value, bool)]
SWITCHES = [path for path, _, value in FIELDS if isinstance(value, bool)]


def with_field(path: str, value: Any) -> Config:
    section, key = path.split(".")
    return Config.from_dict({section: {key: value}})


@pytest.mark.parametrize(("path", "limits"), NUMBERS)
def test_values_outside_the_range_are_refused(path: str, limits: Limits) -> None:
    for value in (limits.low - 1, limits.high + 1, -1, *((3 * limits.low + 7 | 1,) if limits.power_of_two else ())):
        if value == 0 and limits.low == 0:
            continue
        with pytest.raises(ConfigError, match=rf"`{path}` must be {limits.describe()}.*, not {value}$"):
            with_field(path, value)


@pytest.mark.parametrize(("path", "limits"), NUMBERS)
@pytest.mark.parametrize("value", [1.5, "16", True, None, [4]])
def test_numbers_of_a_wrong_type_are_refused(path: str, limits: Limits, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"`{path}` must be {limits.describe()}, not "):
        with_field(path, value)


@pytest.mark.parametrize("path", SWITCHES)
def test_switches_are_true_or_false(path: str) -> None:
    with pytest.raises(ConfigError, match=rf"`{path}` must be true or false, not 1$"):
        with_field(path, 1)


def test_the_message_names_field_constraint_and_value() -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_dict({"gemm": {"block_in": 12}})
    assert str(caught.value) == "`gemm.block_in` must be a power of two in 4..64, not 12"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"gemms": {}}, r"unknown key `gemms` in configuration; known: name, gemm, "),
        ({"gemm": {"blockin": 4}}, r"unknown key `gemm.blockin` in configuration; known: batch, block_in"),
        ({"gemm": 4}, r"`gemm` must be a section of the configuration, not 4"),
        ({"name": ""}, r"`name` must be a non-empty string, not ''"),
        (
            {"gemm": {"block_in": 64, "block_out": 64}, "memory": {"wgt_kib": 8}},
            r"`memory.wgt_kib` must hold at least 4 entries",
        ),
    ],
)
def test_impossible_configurations_are_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Config.from_dict(data)


def test_sections_given_in_code_are_checked_too() -> None:
    with pytest.raises(ConfigError, match="unknown section `gem` in configuration"):
        Config().with_values(gem={"batch": 2})
    with pytest.raises(ConfigError, match="unknown key `gemm.batches`"):
        Config().with_values(gemm={"batches": 2})


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_survive_toml(name: str) -> None:
    config = PRESETS[name]
    assert config.name == name
    assert Config.from_toml(config.to_toml()) == config
    assert Config.load(name) is config


def test_hash_depends_on_the_hardware_alone() -> None:
    config = PRESETS["16x16"].with_values(depthwise={"enabled": False}, vector={"rows": False})  # every field is free
    assert config.with_values(name="another").hash == config.hash
    hashes = {config.hash}
    for path, limits, value in config.describe_fields():
        section, key = path.split(".")
        other = (
            (not value)
            if isinstance(value, bool)
            else next(v for v in (value // 2, value * 2, value - 1) if limits.allows(v))
        )
        hashes.add(config.with_values(**{section: {key: other}}).hash)
    assert len(hashes) == 1 + len(FIELDS)


def test_files_are_read_and_refused_in_words(tmp_path: Any) -> None:
    good = tmp_path / "good.toml"
    good.write_text('name = "mine"\n[gemm]\nblock_in = 8\n')
    assert Config.load(good).gemm.block_in == 8
    broken = tmp_path / "broken.toml"
    broken.write_text("[gemm\n")
    with pytest.raises(ConfigError, match="configuration is not valid TOML"):
        Config.load(broken)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "absent.toml", tmp_path, binary):
        with pytest.raises(ConfigError, match="is neither a preset .* nor a readable file"):
            Config.load(path)


def _choices(limits: Limits) -> list[int]:
    return [v for v in range(limits.low, limits.high + 1) if limits.allows(v)][:24]


@st.composite
def configurations(draw: st.DrawFn) -> Config:
    data: dict[str, dict[str, Any]] = {}
    for path, limits, value in FIELDS:
        section, key = path.split(".")
        strategy = st.booleans() if isinstance(value, bool) else st.sampled_from(_choices(limits))
        data.setdefault(section, {})[key] = draw(strategy)
    data["memory"] |= {"act_kib": 128, "wgt_kib": 64, "acc_kib": 32}
    gemm = data["gemm"]
    gemm["acc_bits"] = 32 if data["vector"]["rows"] else gemm["acc_bits"]
    gemm["packed"] = gemm["packed"] and not data["depthwise"]["enabled"]
    gemm["cascade"] = min(gemm["cascade"], 8 if gemm["packed"] else 64, gemm["block_in"])
    records = min(data["bus"]["data_bits"] // 64, gemm["block_out"])
    is_free = not data["depthwise"]["enabled"] and not data["vector"]["rows"]
    data["epilogue"]["interval"] = min(data["epilogue"]["interval"], gemm["block_out"] // records) if is_free else 1
    return Config.from_dict(data)


def test_rows_need_wide_accumulators() -> None:
    with pytest.raises(ConfigError, match="`vector.rows` needs `gemm.acc_bits` = 32, not 24"):
        Config.from_dict({"vector": {"rows": True}, "gemm": {"acc_bits": 24}})


NO_WINDOWS = {"depthwise": {"enabled": False}}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"epilogue": {"interval": 3}}, r"`epilogue.interval` must be a power of two in 1..4, not 3"),
        ({"epilogue": {"interval": 2}}, r"`epilogue.interval` must be 1 with `depthwise.enabled`, not 2"),
        (
            {"epilogue": {"interval": 4}, "vector": {"rows": True}, **NO_WINDOWS},
            r"`epilogue.interval` must be 1 with `vector.rows`, not 4",
        ),
        (
            {"epilogue": {"interval": 4}, "gemm": {"block_out": 4}, "bus": {"data_bits": 128}, **NO_WINDOWS},
            r"must be at most 2 with `gemm.block_out` = 4 and `bus.data_bits` = 128, not 4: parameters of 2 channels",
        ),
        (
            {"epilogue": {"interval": 2}, "gemm": {"block_out": 4}, "bus": {"data_bits": 512}, **NO_WINDOWS},
            r"must be at most 1 with `gemm.block_out` = 4 and `bus.data_bits` = 512, not 2: parameters of 4 channels",
        ),
    ],
)
def test_results_that_cannot_take_turns(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Config.from_dict(data)


@settings(max_examples=60, deadline=None)
@given(configurations())
def test_every_valid_configuration_has_an_instruction_set(config: Config) -> None:
    assert Config.from_toml(config.to_toml()) == config
    isa = instruction_set(config)
    assert isa.instruction_bytes % config.bus_bytes == 0
    assert all(i.bits <= 8 * isa.instruction_bytes for i in isa.instructions)
    assert config.lanes == config.atom * config.ratio
