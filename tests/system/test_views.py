"""What `tilewright run` writes besides its table, and the commands `debug` and `diff`."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

import tilewright
from tilewright.cli import cli
from tilewright.demo import default_model
from tilewright.sim.accesses import COUNTS
from tilewright.sim.energy import PARTS
from tilewright.sim.trace.stalls import CAUSES

ENERGY = files("tilewright.sim") / "energy_45nm.toml"


def invoke(*arguments: str | Path, text: str | None = None) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments], prog_name="tilewright", input=text)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "digits.twp"
    tilewright.compile(default_model(), config="8x8").save(path)
    return path


def test_functional_run_counts_and_estimates_energy(program: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.json"
    result = invoke("run", program, "--json", out)
    assert result.exit_code == 0, result.output
    data = json.loads(out.read_text())
    assert data["engines"] is None
    assert set(data["counts"]) == set(COUNTS)
    assert data["counts"]["write_bytes"] == data["work"]["write_bytes"]
    assert data["counts"]["read_bytes"] + data["counts"]["fetch_bytes"] == data["work"]["read_bytes"]
    layers = [layer for layer in data["layers"] if layer["place"] == "device"]
    for name in COUNTS:
        assert sum(layer["counts"][name] for layer in layers) == data["counts"][name]
    assert tuple(data["energy"]["picojoules"]) == PARTS
    assert data["energy"]["total_picojoules"] == pytest.approx(sum(data["energy"]["picojoules"].values()))
    assert sum(layer["energy"]["total_picojoules"] for layer in layers) == pytest.approx(
        data["energy"]["total_picojoules"]
    )
    assert "Horowitz" in data["energy"]["source"]


def test_energies_of_ones_own(program: Path, tmp_path: Path) -> None:
    table, out = tmp_path / "mine.toml", tmp_path / "run.json"
    table.write_text(ENERGY.read_text().replace('name = "45 nm"', 'name = "mine"').replace("mac = 0.3", "mac = 3"))
    assert invoke("run", program, "--energy", table, "--json", out).exit_code == 0
    data = json.loads(out.read_text())
    assert data["energy"]["table"] == "mine"
    assert data["energy"]["picojoules"]["array"] == pytest.approx(3 * data["counts"]["macs"])
    table.write_text("name = 1")
    result = invoke("run", program, "--energy", table)
    assert result.exit_code == 2
    assert f"energy table `{table}`: `name` must be text, not 1" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--timeline", "t.perfetto-trace"), "--timeline needs a simulator that counts cycles, such as --on fast"),
        (("--compare", "x.json"), "--compare needs --report"),
        (("--report", "r.html", "--compare", "none.json"), "cannot read `none.json`"),
        (("--report", "no/such/folder/r.html"), "no folder `no/such/folder`"),
        (("--energy", "none.toml"), "cannot read energy table `none.toml`"),
        (("--clock", "0"), "--clock"),
    ],
)
def test_impossible_views_are_refused_first(
    options: tuple[str, ...], message: str, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("run", program, *options)
    assert result.exit_code == 2
    assert message in result.stderr and len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("on", ["fast", pytest.param("rtl", marks=pytest.mark.verilator)])
def test_run_with_all_views(on: str, program: Path, tmp_path: Path) -> None:
    timeline, report, out = (tmp_path / name for name in ("t.perfetto-trace", "r.html", "r.json"))
    compare = tmp_path / "functional.json"
    assert invoke("run", program, "--json", compare).exit_code == 0
    views = ("--timeline", timeline, "--report", report, "--compare", compare, "--json", out, "--clock", "200")
    result = invoke("run", program, "--on", on, *views)
    assert result.exit_code == 0, result.output
    data = json.loads(out.read_text())
    for engine in ("load", "compute", "store"):
        assert tuple(data["engines"][engine]) == CAUSES
        assert sum(data["engines"][engine].values()) == data["cycles"]
        assert data["engines"][engine]["busy"] == data["counters"][f"{engine}_busy"]
    assert data["counts"]["write_bursts"] == data["counters"]["write_bursts"]
    packets = Trace.FromString(timeline.read_bytes()).packet
    begun = [p for p in packets if p.track_event.type == TrackEvent.TYPE_SLICE_BEGIN]
    instructions = [p for p in begun if any(a.name == "assembly" for a in p.track_event.debug_annotations)]
    assert len(instructions) == data["counts"]["instructions"]
    assert max(p.timestamp for p in packets) <= 5 * data["cycles"]
    assert "functional.json" in report.read_text()


def test_debug_takes_commands_from_standard_input_and_files(program: Path, tmp_path: Path) -> None:
    commands = "break GEMM\ncontinue\nprint act 0\ncontinue\ndelete all\ncontinue\ncontinue\n"
    result = invoke("debug", program, text=commands)
    assert result.exit_code == 0, result.output
    assert "(tilewright) break GEMM" in result.stdout
    assert "output `logits`, float32 (1, 10):" in result.stdout
    (tmp_path / "script").write_text("step\n")
    result = invoke("debug", program, "--script", tmp_path / "script")
    assert result.exit_code == 0
    assert "-> 1: " in result.stdout and "output" not in result.stdout
    result = invoke("debug", program, "--script", tmp_path / "none")
    assert result.exit_code == 2 and "cannot read" in result.stderr


def test_debug_keeps_commands_and_answers(program: Path, tmp_path: Path) -> None:
    (tmp_path / "script").write_text("step 2\nwhere\n")
    result = invoke("debug", program, "--script", tmp_path / "script", "--json", "-", "--quiet")
    data = json.loads(result.stdout)
    assert [entry["command"] for entry in data["commands"]] == ["", "step 2", "where"]
    assert data["commands"][1]["answer"] == data["commands"][2]["answer"]
    assert data["commands"][2]["answer"][0].startswith("-> 2: ")
    assert (data["ended"], data["outputs"], result.stderr) == (False, {}, "")
    result = invoke("debug", program, "--json", tmp_path / "out.json", text="continue\ncontinue\n")
    ended = json.loads((tmp_path / "out.json").read_text())
    assert ended["ended"] and str(ended["outputs"]["logits"][0][:2])[:-1] in result.stdout


def test_diff_of_equal_simulators(program: Path, tmp_path: Path) -> None:
    out = tmp_path / "diff.json"
    result = invoke("diff", program, "--left", "functional", "--right", "functional", "--json", out)
    assert result.exit_code == 0, result.output
    assert "functional and functional do not differ" in result.stdout
    assert json.loads(out.read_text()) == {"left": "functional", "right": "functional", "difference": None}
    result = invoke("diff", program, "--right", "guess")
    assert result.exit_code == 2 and "'guess' is not one of" in result.stderr


def test_functional_and_fast_do_not_differ(program: Path) -> None:
    result = invoke("diff", program, "--right", "fast")
    assert result.exit_code == 0, result.output


@pytest.mark.verilator
@pytest.mark.parametrize("left", ["functional", "fast"])
def test_rtl_does_not_differ(left: str, program: Path) -> None:
    result = invoke("diff", program, "--left", left)
    assert result.exit_code == 0, result.output
