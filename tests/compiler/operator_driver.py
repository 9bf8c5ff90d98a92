"""Compiles a random model of one operator, runs it, and compares it with onnxruntime and the integer reference."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from tests.compiler.operator_cases import CASES, Case
from tests.compiler.quantized_models import Array, ModelBuilder, run
from tests.compiler.targets.accelerator.layer_driver import CONFIGS, simulator
from tilewright.compiler.graph import Graph, Node
from tilewright.compiler.passes.pipeline import load_integer_graph
from tilewright.compiler.pipeline import compile_model
from tilewright.compiler.reference import evaluate
from tilewright.isa.config import Config
from tilewright.sim.runner import run as run_program

#: What only brings values into the device's form and back.
CONVERSIONS = frozenset(("to_int8", "to_uint8", "onnx.QuantizeLinear", "onnx.DequantizeLinear", "onnx.Identity"))
_NAMES = ("8x8", "16x16", "4x4", "16x32", "32x16", "batch2", "large")


@dataclass(frozen=True)
class Outcome:
    """What became of one random model.

    Parameters
    ----------
    steps
        Largest distance from onnxruntime, in steps of the output's scale.
    host
        Operators on the host and why; conversions left out.
    is_on_device
        Whether anything ran on the device.
    equals_reference
        Whether the device computed what the integer reference does.
    """

    steps: int
    host: dict[str, str]
    is_on_device: bool
    equals_reference: bool


def run_case(case: Case, seed: int, config: Config | None = None) -> Outcome:
    """Run one random model of a case; by default on a configuration that the seed chooses."""
    rng = np.random.default_rng([seed, zlib.crc32(case.name.encode())])
    names = case.configs or _NAMES
    config = config or _config(names[int(rng.integers(len(names)))])
    builder = ModelBuilder(rng, opset=case.opset)
    result = case.build(builder)
    model = builder.model([result.name])
    graph = load_integer_graph(model, multiplier_bits=config.epilogue.multiplier_bits)
    program = compile_model(graph, config)
    inputs = builder.random_inputs()
    expected, ours = run(model, inputs)[result.name], evaluate(graph, inputs)[result.name]
    device = run_program(program, inputs, simulator(config)).outputs[result.name]
    host = {step.node.op: step.reason for step in program.host_steps if not is_format(step.node, graph)}
    return Outcome(_distance(ours, expected), host, bool(program.launches), bool(np.array_equal(ours, device)))


def _config(name: str) -> Config:
    """Give a configuration; behind its name `rows` says that it has the unit for rows."""
    base, _, unit = name.partition(" ")
    return CONFIGS[base].with_values(vector={"rows": unit == "rows"})


def check_case(name: str, seed: int) -> None:
    """Assert what a case promises; what a configuration cannot do, by a field that the reason names, it need not."""
    case = CASES[name]
    outcome = run_case(case, seed)
    assert outcome.equals_reference, f"{name}, seed {seed}: device and integer reference differ"
    assert outcome.steps <= case.tolerance, f"{name}, seed {seed}: {outcome.steps} steps from onnxruntime"
    unexpected = {op: why for op, why in outcome.host.items() if op not in (case.host or ()) and "`" not in why}
    assert case.host is None or not unexpected, f"{name}, seed {seed}: on the host {unexpected}"


def is_format(node: Node, graph: Graph) -> bool:
    """Whether a host step converts, moves before anything is on the device, or reshapes what is the model's output."""
    return is_input_format(node, graph) or _is_output_format(node, graph)


def is_input_format(node: Node, graph: Graph) -> bool:
    """Whether a host step converts, or moves before anything is on the device."""
    if node.op in CONVERSIONS:
        return True
    source = graph.producer(node.inputs[0])
    return node.op in ("reshape", "transpose") and (source is None or is_input_format(source, graph))


def _is_output_format(node: Node, graph: Graph) -> bool:
    if node.op not in (*CONVERSIONS, "reshape"):
        return False
    return all(_is_output_format(user, graph) for user in graph.consumers[node.output])


def _distance(ours: Array, expected: Array) -> int:
    assert ours.shape == expected.shape and ours.dtype == expected.dtype
    return int(np.abs(ours.astype(np.int64) - expected.astype(np.int64)).max(initial=0))
