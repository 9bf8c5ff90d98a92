"""The suites: their cases, their records, and the peers' figures."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tilewright.api import simulator
from tilewright.bench.convolutions import convolution_model
from tilewright.bench.peers import peer_of, peers
from tilewright.bench.record import Record
from tilewright.bench.simulators import SIMULATORS, TIMES_ONLY
from tilewright.bench.suites import SUITES, Context
from tilewright.cli import cli
from tilewright.cli.bench import _SUITES
from tilewright.compiler.targets.accelerator.workloads import RESNET18_CONVOLUTIONS, VTA_LAYERS
from tilewright.compiler.targets.cpu.levels import level_of, with_bf16
from tilewright.isa.config import PRESETS
from tilewright.isa.errors import ConfigError
from tilewright.isa.instructions import InstructionSet
from tilewright.sim.api import Simulator
from tilewright.sim.rtl.cache import Cache


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["bench", *map(str, arguments)], prog_name="tilewright")


def test_command_and_table_name_the_same_suites() -> None:
    assert tuple(SUITES) == _SUITES


def test_layers_are_vtas() -> None:
    """Cycles of a 256-MAC array that never waits, from the layers' published shapes."""
    ideal = [layer.macs / 256 for layer in VTA_LAYERS]
    assert ideal == [451584, 225792, 25088, 451584, 225792, 25088, 451584, 225792, 25088, 451584]
    assert sum(count for _, count in RESNET18_CONVOLUTIONS) == 20
    assert sum(layer.macs * count for layer, count in RESNET18_CONVOLUTIONS) == 256 * 7_084_224


def test_peers_name_cases_and_sources() -> None:
    assert len(peers()) >= 2
    for peer in peers():
        assert set(peer.values) <= set(SUITES[peer.suite].cases)
        assert len(peer.source.split()) > 5
    gemmini = peer_of("accelerator", "cycles", "1x16x16", "C2")
    assert gemmini is not None and gemmini.name == "gemmini" and gemmini.values["C2"] == 467_335
    assert peer_of("accelerator", "nonsense", "1x16x16", "C2") is None
    assert peer_of("accelerator", "cycles", "1x8x8", "C2") is None  # a smaller array is not compared with


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


@pytest.mark.parametrize("kind", ["dscnn_kws", "dscnn_kws_fp32", "dscnn_kws_bf16"])
def test_cpu_cases_are_checked_and_compared(kind: str) -> None:
    from tilewright.bench.suites import MODELS

    if not (MODELS / "dscnn_kws_fp32.onnx").exists():
        pytest.skip("the models beside the repository are not there")
    if kind.endswith("bf16"):
        try:
            with_bf16(level_of())
        except ConfigError as error:
            pytest.skip(str(error))
    result = invoke("cpu", "--only", f"{kind}_t1", "--json", "-")
    assert result.exit_code == 0
    records = json.loads(result.stdout)
    measured = [record for record in records if record["value"] is not None]
    assert all(record["threads"] == 1 and record["precision"] for record in measured)
    for precision in ("fp32", "bf16"):
        assert {record["precision"].startswith(precision) for record in measured} == {kind.endswith(precision)}
    ours = next(record for record in records if "wrong" in record)
    assert ours["wrong"] == 0 and ours["checked"] == 12 and ours["value"] > 0
    ratio = next(record for record in records if record["metric"] == "ratio_to_best_peer")
    times = [record["value"] for record in measured if record["metric"] == ours["metric"] and record is not ours]
    if not times:  # of bfloat16 OpenVINO is the only peer, and not installed everywhere
        assert kind.endswith("bf16") and find_spec("openvino") is None
        assert "peer_value" not in ours and (ratio["value"], ratio["reason"]) == (None, "no peer ran")
        return
    assert ours["peer_value"] == min(times)
    assert ratio["value"] == pytest.approx(ours["peer_value"] / ours["value"])


def test_gpu_cases_without_a_gpu_are_records_with_a_reason() -> None:
    from tilewright.compiler.targets.gpu.driver import why_missing

    if not why_missing():
        pytest.skip("there is a GPU here")
    result = invoke("gpu", "--json", "-")
    assert result.exit_code == 0
    records = json.loads(result.stdout)
    assert {record["case"] for record in records} >= {"gemm4096", "resnet18_b64", "mobilenet_v2_b1"}
    assert all(record["value"] is None and "NVIDIA GPU" in record["reason"] for record in records)


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
    monkeypatch.setattr("tilewright.compiled.Compiled.count_differences", lambda *_: {"y": 3})
    failed = invoke(*arguments)
    assert failed.exit_code == 1
    assert "3 of 25088 values differ" in " ".join(failed.stdout.split())
    assert all(record["value"] is None and record["wrong"] == 3 for record in json.loads(path.read_text()))


def by_simulator(result: Result) -> dict[tuple[str, str], float]:
    assert result.exit_code == 0, result.output
    return {(record["on"], record["metric"]): record["value"] for record in json.loads(result.stdout)}


@pytest.mark.verilator
def test_simulators_are_measured_and_compared() -> None:
    found = by_simulator(invoke("simulators", "--only", "digits", "--config", "8x8", "--json", "-"))
    for on in SIMULATORS:
        assert found[on, "seconds"] > 0 and found[on, "cpu_seconds"] > 0
    for on in ("fast", TIMES_ONLY):
        assert found[on, "cycle_error"] == 0
        assert found[on, "times_rtl"] == pytest.approx(found[on, "clock"] / found["rtl", "clock"], rel=0.05)
    assert found["functional", "speed"] > found["rtl", "speed"] > 0
    assert ("functional", "clock") not in found and (TIMES_ONLY, "speed") not in found


def test_building_the_rtl_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    class Quick:
        def __init__(self, isa: InstructionSet, *_: object, cache: Cache, **__: object) -> None:
            assert isa.config.hash == PRESETS["tiny"].hash and not list(cache.folder.iterdir())
            subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)

        def close(self) -> None:
            pass

    monkeypatch.setattr("tilewright.sim.rtl.model.RtlSimulator", Quick)
    found = by_simulator(invoke("simulators", "--only", "build", "--config", "tiny", "--json", "-"))
    assert found["rtl", "seconds"] > 0 and found["rtl", "cpu_seconds"] > 0.02, "with what the compilers took"


def test_convolutions_stand_beside_the_peers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With the fast simulator in the place of the RTL, on the configuration and memory of the peers."""
    path = tmp_path / "r.json"
    monkeypatch.setattr("tilewright.bench.simulators.RESNET18_CONVOLUTIONS", RESNET18_CONVOLUTIONS[3:4])
    monkeypatch.setattr("tilewright.bench.suites.Context.simulator", lambda self, on: api_simulator(self))
    result = invoke("simulators", "--only", "resnet18_convs", "--json", path)
    assert result.exit_code == 0, result.output
    records = json.loads(path.read_text())
    cycles = [record for record in records if record["metric"] == "cycles"]
    peers = {"zigzag": 9_272_049, "accelforge": 7_749_408, "stream": 22_257_545, "scale-sim": 7_971_388}
    for on in ("rtl", TIMES_ONLY):
        assert {r["peer"]: r["peer_value"] for r in cycles if r["on"] == on} == peers
        assert {r["peer"] for r in records if r["metric"] == "seconds"} == {"zigzag", "accelforge", "stream"}
    assert len({r["value"] for r in cycles}) == 1 and cycles[0]["value"] > cycles[0]["ideal"] == 25_088
    assert all(r["bytes_per_cycle"] == 8 for r in records)
    (error,) = [r for r in records if r["metric"] == "cycle_error"]
    assert error["value"] == 0
    assert "zigzag" in result.stdout and "9,272,049" in result.stdout


def api_simulator(context: Context) -> Simulator:
    assert (context.config.memory.act_kib, context.config.memory.wgt_kib, context.config.memory.acc_kib) == (
        32,
        32,
        128,
    )
    return simulator("fast", context.config, dram=context.dram)


def records_of(path: Path) -> dict[tuple[str, str], dict[str, object]]:
    return {(record["case"], record["metric"]): record for record in json.loads(path.read_text())}


def test_a_sum_adds_its_layers_on_fast(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    result = invoke("accelerator", "--on", "fast", "--only", "^C|^conv1$|resnet18_convs$", "--json", path)
    assert result.exit_code == 0, result.output
    found = records_of(path)
    total = found["resnet18_convs", "cycles"]
    assert total["ideal"] == 7_084_224 and total["peer_value"] == 9_920_000
    layers = ((found[shape.name, "cycles"]["value"], count) for shape, count in RESNET18_CONVOLUTIONS)
    assert total["value"] == sum(cycles * count for cycles, count in layers)
    assert all(record["on"] == "fast" and record["bytes_per_cycle"] == 16 for record in found.values())
    assert "AccelForge" in result.stdout


def test_memories_are_measured_and_recorded(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    only = ("--only", "gemm128|minilm", "--only", "dw14")
    result = invoke("accelerator", "--on", "fast", *only, "--more-memories", "--json", path)
    assert result.exit_code == 0, result.output
    records = [record for record in json.loads(path.read_text()) if record["metric"] == "cycles"]
    found = {(record["case"], record["bytes_per_cycle"], record["latency_cycles"]): record for record in records}
    assert len(found) == len(records) == 9
    near, narrow, far = (found["gemm128", *memory] for memory in ((16, 20), (8, 20), (16, 100)))
    assert near["value"] < min(narrow["value"], far["value"])
    assert near["ideal"] == 8192
    dw14 = [found["dw14", *memory].get("peer_value") for memory in ((16, 20), (8, 20), (16, 100))]
    assert dw14 == [361_000, None, None]  # measured with the first memory
    assert found["dw14", 16, 20]["ideal"] == 16 * 16 * 256 / 16  # a pixel a cycle, those of the border included
    assert found["dw14", 8, 20]["ideal"] == (14 * 14 * 256 + 9 * 256) / 8  # the bus
    assert found["minilm_l3", 16, 20]["value"] < found["minilm_l3", 16, 100]["value"]


def test_models_beside_the_repository(tmp_path: Path, measuring_models: Path) -> None:
    path = tmp_path / "r.json"
    result = invoke(
        "accelerator", "--on", "fast", "--only", "autoencoder", "--models", measuring_models, "--json", path
    )
    assert result.exit_code == 0, result.output
    cycles = records_of(path)["autoencoder_ad", "cycles"]
    assert cycles["config"] == "1x8x8" and 33_024 < cycles["ideal"] <= cycles["value"]
    result = invoke("accelerator", "--on", "fast", "--only", "autoencoder", "--models", tmp_path, "--json", path)
    assert result.exit_code == 0, result.output
    assert "no `autoencoder_ad_int8.onnx`" in str(records_of(path)["autoencoder_ad", "cycles"]["reason"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("accelerator", "--only", "["), "--only is not a regular expression"),
        (("accelerator", "--only", "nothing"), "it has C2, C3"),
        ((), "name a suite"),
        (("compile", "--on", "fast"), "are for the suite accelerator"),
        (("nonsense",), "'nonsense' is not one of"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], words: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
