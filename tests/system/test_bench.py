"""The suites: their cases, their records, and the peers' figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tilewright.bench.convolutions import VTA_LAYERS, convolution_model
from tilewright.bench.peers import peer_of, peers
from tilewright.bench.record import Record
from tilewright.bench.suites import SUITES
from tilewright.cli import cli
from tilewright.cli.bench import _SUITES


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["bench", *map(str, arguments)], prog_name="tilewright")


def test_command_and_table_name_the_same_suites() -> None:
    assert tuple(SUITES) == _SUITES


def test_layers_are_vtas() -> None:
    """Cycles of a 256-MAC array that never waits, from the layers' published shapes."""
    ideal = [layer.macs / 256 for layer in VTA_LAYERS]
    assert ideal == [451584, 225792, 25088, 451584, 225792, 25088, 451584, 225792, 25088, 451584]


def test_peers_name_cases_and_sources() -> None:
    assert len(peers()) >= 2
    for peer in peers():
        assert set(peer.values) == set(SUITES[peer.suite].cases)
        assert len(peer.source.split()) > 5
    gemmini = peer_of("accelerator", "cycles", "1x16x16")
    assert gemmini is not None and gemmini.values["C2"] == 467_335
    assert peer_of("accelerator", "nonsense", "1x16x16") is None
    assert peer_of("accelerator", "cycles", "1x8x8") is None  # a smaller array is not compared with


def test_model_has_the_layers_shape_and_fixed_weights() -> None:
    layer = VTA_LAYERS[6]
    model, again = convolution_model(layer), convolution_model(layer)
    assert model.SerializeToString() == again.SerializeToString()
    shape = [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim]
    assert shape == [1, 256, 14, 14]


def test_list_names_all_cases() -> None:
    result = invoke("--list")
    assert result.exit_code == 0
    assert all(f"{name}:" in result.output for name in SUITES)
    assert all(f"\n  {layer.name}\n" in result.output for layer in VTA_LAYERS)
    assert "simulators" not in invoke("accelerator", "--list").output


def test_what_does_not_exist_yet_is_a_record_with_a_reason() -> None:
    result = invoke("gpu", "--json", "-")
    assert result.exit_code == 0
    (record,) = json.loads(result.stdout)
    assert record["value"] is None
    assert record["reason"] == "there is no GPU target yet"


def test_record_leaves_out_what_is_not_known() -> None:
    data = Record("s", "c", "-", "m", None, "s", "lower", reason="no tool").as_data()
    assert data["value"] is None and "peer" not in data


@pytest.mark.verilator
def test_a_layer_is_measured_and_checked_on_rtl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.json"
    arguments = ("accelerator", "--only", "C10", "--config", "8x8", "--json", path)
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    records = {record["metric"]: record for record in json.loads(path.read_text())}
    cycles = records["cycles"]
    assert cycles["ideal"] == 7 * 7 * 256 * 512 / 64 <= cycles["value"]
    assert cycles["config"] == "1x8x8" and "peer" not in cycles
    assert records["utilization"]["value"] == round(100 * cycles["ideal"] / cycles["value"], 2)
    weights = 256 * 512
    assert records["dram_bytes"]["value"] > weights
    monkeypatch.setattr("tilewright.api.Compiled.count_differences", lambda *_: {"y": 3})
    failed = invoke(*arguments)
    assert failed.exit_code == 1
    assert "3 of 25088 values differ" in " ".join(failed.stdout.split())
    assert all(record["value"] is None and record["wrong"] == 3 for record in json.loads(path.read_text()))


def test_speed_of_the_functional_simulator_is_measured() -> None:
    result = invoke("simulators", "--only", "f", "--config", "8x8", "--json", "-")
    assert result.exit_code == 0, result.output
    functional, fast = json.loads(result.stdout)
    assert functional["unit"] == "GMAC/s" and functional["value"] > 0
    assert fast["value"] is None and fast["reason"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("accelerator", "--only", "["), "--only is not a regular expression"),
        (("accelerator", "--only", "nothing"), "it has C2, C3"),
        ((), "name a suite"),
        (("nonsense",), "'nonsense' is not one of"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], words: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
