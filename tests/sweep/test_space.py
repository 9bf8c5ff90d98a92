"""Search spaces: what TOML gives, which configurations points have, and what is refused."""

from __future__ import annotations

import pytest

from tilewright.isa.errors import ConfigError, InputError
from tilewright.sweep.space import Space

TEXT = """
name = "arrays"
models = ["resnet18"]
objectives = ["cycles", "luts"]
constraints = ["memory.act_kib + memory.wgt_kib <= 192"]
[search]
trials = 12
sampler = "tpe"
seed = 7
batch = 4
[base]
config = "8x8"
[memory]
latency_cycles = 50
[parameters]
"gemm.block_in" = [8, 16]
"memory.act_kib" = { low = 32, high = 200, factor = 2 }
"queue.token_bits" = { low = 4, high = 8, step = 2 }
"depthwise.enabled" = [false, true]
[derived]
"gemm.block_out" = "gemm.block_in"
"epilogue.residual" = "gemm.block_in > 8"
"""


def test_from_toml() -> None:
    space = Space.from_toml(TEXT)
    assert space.parameters == {
        "gemm.block_in": (8, 16),
        "memory.act_kib": (32, 64, 128),
        "queue.token_bits": (4, 6, 8),
        "depthwise.enabled": (False, True),
    }
    assert (space.size, space.search.trials, space.search.sampler, space.memory.latency_cycles) == (36, 12, "tpe", 50)


def test_config_sets_searched_and_derived_fields() -> None:
    chosen = {"gemm.block_in": 16, "memory.act_kib": 128, "queue.token_bits": 4, "depthwise.enabled": True}
    config = Space.from_toml(TEXT).config(chosen)
    assert (config.gemm.block_in, config.gemm.block_out, config.memory.act_kib) == (16, 16, 128)
    assert config.depthwise.enabled and config.epilogue.residual
    assert config.memory.wgt_kib == 64, "what no parameter sets is the base's"


def test_config_refuses_what_breaks_a_constraint_or_a_range() -> None:
    space = Space.from_toml(TEXT.replace("<= 192", "<= 128"))
    chosen = {"gemm.block_in": 8, "memory.act_kib": 128, "queue.token_bits": 4, "depthwise.enabled": False}
    with pytest.raises(ConfigError, match="constraint `memory.act_kib .* <= 128` does not hold"):
        space.config(chosen)
    odd = Space.from_toml(TEXT.replace("[8, 16]", "[8, 12]"))
    with pytest.raises(ConfigError, match=r"`gemm.block_in` must be a power of two in 4..64, not 12"):
        odd.config({**chosen, "gemm.block_in": 12, "memory.act_kib": 32})


def test_hash_names_the_space_but_not_the_number_of_trials() -> None:
    space = Space.from_toml(TEXT)
    assert Space.from_toml(TEXT.replace("trials = 12", "trials = 99")).hash == space.hash
    for old, new in (("seed = 7", "seed = 8"), ("[8, 16]", "[8, 32]"), ('"luts"', '"energy"'), ("<= 192", "<= 191")):
        assert Space.from_toml(TEXT.replace(old, new)).hash != space.hash, new


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "arrays"', 'nam = "arrays"', "`nam` is no key of a search space; known: name"),
        ("seed = 7", "sed = 7", "`sed` is no key of `search`; known: trials"),
        ("trials = 12", "trials = 0", "`search.trials` must be an integer of at least 1, not 0"),
        ("trials = 12", 'trials = "12"', "`search.trials` must be of type int, not '12'"),
        ('sampler = "tpe"', 'sampler = "bohb"', "`search.sampler` must be one of grid, qmc, tpe, nsga2, not 'bohb'"),
        ('"gemm.block_in" = [8, 16]', '"gemm.blockin" = [8]', "`gemm.blockin` is no field of the configuration"),
        ("[8, 16]", "[]", "`parameters.gemm.block_in` must be a list of values or a range"),
        ("[8, 16]", "[8, 8]", "must name each value once"),
        ("factor = 2", "factors = 2", "`factors` is no key of the range"),
        ("factor = 2", "factor = 1", "must have a `factor` of at least 2"),
        ("low = 32", "low = 300", "must have `low` <= `high`, not 300 and 200"),
        (
            "high = 8, step = 2",
            "high = 90000000000000000000",
            "`parameters.queue.token_bits` must have at most 65536 values, not",
        ),
        ('"cycles", "luts"', '"speed"', "`speed` is no objective; known: cycles"),
        ("memory.act_kib +", "memory.act +", "`memory.act` is no field of the configuration"),
        ("latency_cycles = 50", "latency_cycles = 0", "`latency_cycles` must be at least 1, not 0"),
        ('config = "8x8"', 'config = "nine"', "configuration `nine` is neither a preset"),
        ('models = ["resnet18"]', "models = []", "`models` must name at least one model"),
        ('"gemm.block_out" = "gemm', '"gemm.block_in" = "gemm', "cannot be both searched and derived"),
        ("[search]", "[search", "not valid TOML"),
    ],
)
def test_refused(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(ConfigError, match=message):
        Space.from_toml(TEXT.replace(old, new))


def test_a_grid_is_bounded() -> None:
    large = TEXT.replace("high = 8, step = 2", "high = 50000").replace("high = 200, factor = 2", "high = 5000")
    Space.from_toml(large)
    with pytest.raises(ConfigError, match="a grid must have at most 10000000 points, not [0-9]{9,}: the samplers"):
        Space.from_toml(large.replace('"tpe"', '"grid"'))


def test_load_names_a_file_that_cannot_be_read(tmp_path: object) -> None:
    with pytest.raises(InputError, match="cannot read search space `.*none.toml`"):
        Space.load(f"{tmp_path}/none.toml")
