"""Program files: round trip, and a clear refusal of whatever is not a program for this accelerator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.compiler.targets.accelerator.layer_driver import GraphBuilder, random_inputs, simulator
from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.pipeline import compile_model
from tilewright.compiler.program import Program
from tilewright.compiler.qops import Window
from tilewright.compiler.reference import evaluate
from tilewright.compiler.targets.accelerator.lower import Options
from tilewright.isa.config import Config
from tilewright.isa.errors import CapacityError, InputError, ProgramError
from tilewright.sim.runner import run

TINY = Config.load("tiny")


@pytest.fixture
def graph(rng: np.random.Generator) -> Graph:
    builder = GraphBuilder(rng)
    x = builder.input(1, 5, 6, 7)
    y = builder.conv(x, 9, Window((3, 3), (1, 1), (1, 1, 1, 1), (1, 1)), table=True)
    flat = builder.node("reshape", [y], {"shape": (1, 9 * 42)})
    return builder.graph(builder.matmul(flat, 6))


@pytest.fixture
def program(graph: Graph) -> Program:
    return compile_model(graph, TINY)


def test_saved_program_runs_the_same(graph: Graph, program: Program, tmp_path: Path, rng: np.random.Generator) -> None:
    program.save(tmp_path / "p")
    loaded = Program.load(tmp_path / "p", TINY)
    inputs = random_inputs(graph, rng)
    (name,) = graph.outputs
    outputs = run(loaded, inputs, simulator(TINY)).outputs
    np.testing.assert_array_equal(outputs[name], evaluate(graph, inputs)[name])
    np.testing.assert_array_equal(loaded.image, program.image)
    assert loaded.launches == program.launches
    assert loaded.layers == program.layers
    assert loaded.instruction_labels == program.instruction_labels
    assert (loaded.inputs, loaded.outputs, loaded.toolchain) == (program.inputs, program.outputs, program.toolchain)


def test_saved_control_flow_and_strings(tmp_path: Path) -> None:
    branches = {
        name: helper.make_graph(
            [helper.make_node("StringConcat", ["x", tail], ["z"])], name, [],
            [helper.make_tensor_value_info("z", TensorProto.STRING, [2])],
        )
        for name, tail in (("then_branch", "a"), ("else_branch", "b"))
    }  # fmt: skip
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("If", ["c"], ["y"], **branches)],
            "choose",
            [
                helper.make_tensor_value_info("x", TensorProto.STRING, [2]),
                helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            ],
            [helper.make_tensor_value_info("y", TensorProto.STRING, [2])],
            [numpy_helper.from_array(np.array([text], object), text) for text in "ab"],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
    )
    compile_model(model, TINY).save(tmp_path / "p")
    loaded = Program.load(tmp_path / "p", TINY)
    for condition, expected in ((True, ["xa", "ya"]), (False, ["xb", "yb"])):
        inputs = {"x": np.array(["x", "y"], object), "c": np.array(condition)}
        assert run(loaded, inputs, simulator(TINY)).outputs["y"].tolist() == expected


def test_saving_twice_gives_the_same_bytes(graph: Graph, tmp_path: Path) -> None:
    compile_model(graph, TINY).save(tmp_path / "a")
    compile_model(graph, TINY).save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_every_damaged_byte_is_found(program: Program, tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "p"
    program.save(path)
    data = bytearray(path.read_bytes())
    for place in [*range(0, 60, 7), *rng.integers(60, len(data), 20)]:
        damaged = data.copy()
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(ProgramError, match=r"not a Tilewright program|format version|damaged or truncated"):
            Program.load(path)


@pytest.mark.parametrize("kept", [0, 10, 40, 70, 5000])
def test_truncated_file(program: Program, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "p"
    program.save(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ProgramError, match=r"not a Tilewright program|truncated"):
        Program.load(path)


def test_foreign_and_missing_files(tmp_path: Path) -> None:
    path = tmp_path / "p"
    path.write_bytes(b"\x08\x07\x12\x07pytorch" * 100)
    with pytest.raises(ProgramError, match="is not a Tilewright program"):
        Program.load(path)
    with pytest.raises(ProgramError, match="cannot be read: No such file"):
        Program.load(tmp_path / "missing")


def test_another_configuration(graph: Graph, program: Program, tmp_path: Path, rng: np.random.Generator) -> None:
    other = Config.load("8x8")
    program.save(tmp_path / "p")
    for attempt in (
        lambda: Program.load(tmp_path / "p", other),
        lambda: run(program, random_inputs(graph, rng), simulator(other)),
    ):
        with pytest.raises(ProgramError, match=f"{TINY.hash}.*{other.hash}"):
            attempt()


def test_wrong_inputs(program: Program) -> None:
    good = np.zeros((1, 5, 6, 7), np.int8)
    for inputs, message in (
        ({}, r"input 'in0' is missing: the model needs int8\[1,5,6,7\]"),
        ({"in0": good, "z": good}, "the model has no input 'z'; it has 'in0'"),
        ({"in0": good.astype(np.float32)}, "input 'in0' must be int8, not float32"),
        ({"in0": good[:, :4]}, r"input 'in0' must have shape \(1, 5, 6, 7\), not \(1, 4, 6, 7\)"),
    ):
        with pytest.raises(InputError, match=message):
            run(program, inputs, simulator(TINY))


def test_layer_that_does_not_fit(rng: np.random.Generator) -> None:
    builder = GraphBuilder(rng)
    x = builder.conv(builder.input(1, 3, 1, 1500), 3, Window((1, 1), (1, 1), (0, 0, 0, 0), (1, 1)))
    y = builder.conv(x, 3, Window((1, 1400), (1, 1), (0, 0, 0, 0), (1, 1)))
    graph = builder.graph(y)
    small = TINY.with_values(memory={"act_kib": 1})
    with pytest.raises(CapacityError, match=r"layer qconv2d_1: .* bytes of `memory.act_kib`, which has 1024"):
        compile_model(graph, small)
    program = compile_model(graph, small, Options(is_host_fallback=True))
    assert "memory.act_kib" in program.host_steps[0].reason
    inputs = random_inputs(graph, rng)
    np.testing.assert_array_equal(run(program, inputs, simulator(small)).outputs[y], evaluate(graph, inputs)[y])


def test_program_larger_than_the_address_space(rng: np.random.Generator) -> None:
    builder = GraphBuilder(rng)
    graph = builder.graph(builder.matmul(builder.input(1, 1200), 1200))
    narrow = TINY.with_values(bus={"address_bits": 20})
    with pytest.raises(CapacityError, match=r"the program needs \d+ bytes of DRAM; `bus.address_bits` = 20"):
        compile_model(graph, narrow)
