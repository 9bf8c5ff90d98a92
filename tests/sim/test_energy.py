"""The energy table: what it gives, what it refuses, and that its estimate is a sum of parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sim.handmade import ISA, Handmade
from tilewright.isa.config import PRESETS
from tilewright.isa.errors import ConfigError
from tilewright.sim.accesses import COUNTS, accesses
from tilewright.sim.energy import PARTS, EnergyTable

TABLE = EnergyTable.default()
TEXT = (Path(__file__).parents[2] / "sim" / "energy_45nm.toml").read_text()


def test_default_is_the_published_table() -> None:
    assert "Horowitz" in TABLE.source and "ISSCC 2014" in TABLE.source
    assert (TABLE.mac, TABLE.dram_byte * 8) == (pytest.approx(0.2 + 0.1), (1300 + 2600) / 2)
    for size, energy in ((8, 10), (32, 20), (1024, 100)):
        assert TABLE.sram_byte(size * 1024, 8) == pytest.approx(energy / 8)
    # Half way between two sizes on a logarithmic axis; eight memories side by side are as good as one alone.
    assert TABLE.sram_byte(16 * 1024, 8) == pytest.approx((10 * 20) ** 0.5 / 8)
    assert TABLE.sram_byte(8 * 32 * 1024, 64) == TABLE.sram_byte(32 * 1024, 8)
    assert TABLE.sram_byte(256, 8) == TABLE.sram_byte(8192, 8)
    assert TABLE.sram_byte(1 << 30, 8) == TABLE.sram_byte(1 << 20, 8)


def test_estimate_is_counts_times_energies() -> None:
    counts = {name: int(getattr(accesses(Handmade().stream.program), name).sum()) for name in COUNTS}
    parts = TABLE.estimate(ISA.config, counts, 142)
    assert tuple(parts) == PARTS
    assert parts["array"] == pytest.approx(50 * ISA.config.macs_per_cycle * 0.3)
    assert parts["dram"] == pytest.approx(
        (13 * ISA.config.row_bytes + 4 * ISA.config.wgt_entry_bytes) * TABLE.dram_byte
    )
    assert parts["program"] == pytest.approx(5 * 70 + 5 * ISA.instruction_bytes * TABLE.dram_byte)
    assert parts["static"] == 0
    leaky = EnergyTable.from_toml(TEXT.replace("cycle = 0.0", "cycle = 2"))
    assert leaky.estimate(ISA.config, counts, 142)["static"] == 284
    assert leaky.estimate(ISA.config, counts)["static"] == 0
    nothing = dict.fromkeys(COUNTS, 0)
    assert not any(TABLE.estimate(PRESETS["16x16"], nothing).values())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("mac = 0.3", "mac = -1", "`compute.mac` must be a number of at least 0, not -1"),
        ("mac = 0.3", 'mac = "much"', "`compute.mac` must be a number of at least 0, not 'much'"),
        ("mac = 0.3", "mac = nan", "`compute.mac` must be a number of at least 0, not nan"),
        ("mac = 0.3", "mac = true", "`compute.mac` must be a number of at least 0, not True"),
        ("byte = 243.75", "", "`dram.byte` is missing"),
        ("[static]", "[statics]", "unknown key `statics`; known: name, source, compute, sram, dram, static"),
        ("mac = 0.3", "mac = 0.3\nmacs = 1", "unknown key `compute.macs`; known: mac, vector_operation"),
        ("access = [10.0, 20.0, 100.0]", "access = [10.0]", "must have a value for each of the 3 sizes, not 1"),
        ("[8192, 32768, 1048576]", "[8192, 32768, 8192]", "`sram.sizes_bytes` must rise"),
        ("[8192, 32768, 1048576]", "[]", "`sram.sizes_bytes` must be a list of numbers above 0, not []"),
        ("word_bytes = 8", "word_bytes = 0.5", "`sram.word_bytes` must be a whole number of at least 1, not 0.5"),
        ('name = "45 nm"', "name = 45", "`name` must be text, not 45"),
        ("[dram]", "[dram", "is not valid TOML"),
    ],
)
def test_bad_tables_are_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    assert old in TEXT
    path.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(ConfigError) as error:
        EnergyTable.load(path)
    assert message in str(error.value) and f"energy table `{path}`" in str(error.value)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read energy table `.*none.toml`: No such file"):
        EnergyTable.load(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        EnergyTable.load(tmp_path / "binary.toml")
