"""Random graphs of one operator, compiled, run on the functional simulator and compared with the integer reference."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import Array, Value
from tilewright.compiler.graph.verify import verify
from tilewright.compiler.pipeline import compile_model
from tilewright.compiler.program import Program
from tilewright.compiler.qops import Epilogue, Residual, Window, output_shape, window_counts
from tilewright.compiler.reference import evaluate
from tilewright.compiler.targets.accelerator.workloads import scaling
from tilewright.isa.config import Config
from tilewright.isa.instructions import instruction_set
from tilewright.sim.functional import FunctionalSimulator
from tilewright.sim.runner import run

SMALL = {"act_kib": 8, "wgt_kib": 8, "acc_kib": 4, "prm_entries": 32}

CONFIGS = {
    "4x4": Config.load("tiny"),
    "8x8": Config.load("8x8").with_values(memory=SMALL),
    "16x16": Config.load("16x16").with_values(memory={"act_kib": 16, "wgt_kib": 16, "acc_kib": 8, "prm_entries": 32}),
    "16x32": Config.load("16x16").with_values(
        gemm={"block_in": 16, "block_out": 32}, bus={"data_bits": 256},
        memory={"act_kib": 32, "wgt_kib": 32, "acc_kib": 8, "prm_entries": 32},
    ),
    "32x16": Config.load("16x16").with_values(
        gemm={"block_in": 32, "block_out": 16}, bus={"data_bits": 64},
        memory={"act_kib": 32, "wgt_kib": 32, "acc_kib": 8, "prm_entries": 32}, queue={"token_bits": 2},
    ),
    "batch2": Config.load("8x8").with_values(gemm={"batch": 2}, memory=SMALL, queue={"token_bits": 3}),
    "large": Config.load("16x16"),
}  # fmt: skip


@cache
def simulator(config: Config) -> FunctionalSimulator:
    """Give a functional simulator; its scratchpads keep what earlier programs left, as hardware does."""
    return FunctionalSimulator(instruction_set(config))


class GraphBuilder:
    """Builds a graph of integer operators with random constants."""

    def __init__(self, rng: np.random.Generator, multiplier_bits: int = 16) -> None:
        self.rng = rng
        self.bits = multiplier_bits
        self.values: dict[str, Value] = {}
        self.constants: dict[str, Array] = {}
        self.nodes: list[Node] = []
        self.inputs: list[str] = []

    def input(self, *shape: int) -> str:
        """Add an int8 input."""
        name = f"in{len(self.inputs)}"
        self.inputs.append(name)
        self.values[name] = Value(name, "int8", shape)
        return name

    def constant(self, array: Array) -> str:
        """Add a constant."""
        name = f"c{len(self.constants)}"
        self.constants[name] = array
        self.values[name] = Value(name, array.dtype.name, array.shape)
        return name

    def node(self, op: str, inputs: list[str], attributes: dict[str, Any] | None = None) -> str:
        """Add a node; give its output."""
        name = f"v{len(self.nodes)}"
        node = Node(op, tuple(inputs), (name,), attributes or {}, (f"{op}_{len(self.nodes)}",))
        self.values[name] = Value(name, "int8", None)
        partial = Graph("g", self.values, tuple(self.nodes), self.constants, tuple(self.inputs), (), {})
        self.values[name] = Value(name, "int8", output_shape(partial, node))
        self.nodes.append(node)
        return name

    def epilogue(self, residual: bool = False) -> Epilogue:
        """Draw an epilogue."""
        low, high = sorted(int(v) for v in self.rng.integers(-128, 128, 2))
        if self.rng.random() < 0.5:
            low, high = -128, 127
        zero = [int(v) for v in self.rng.integers(-128, 128, 4)]
        scales = [int(v) for v in self.rng.integers(1 << (self.bits - 2), 1 << self.bits, 2)]
        second = Residual(zero[0], scales[0], zero[1], scales[1], self.bits, zero[2]) if residual else None
        return Epilogue(int(zero[3] // 4), second, low, high)

    def scaled(self, channels: int, terms: int) -> list[str]:
        """Add bias, multiplier and shift."""
        return [self.constant(array) for array in scaling(channels, terms, self.rng, self.bits).values()]

    def table(self, is_used: bool) -> str:
        """Add a lookup table, or leave it out."""
        return self.constant(self.rng.integers(-128, 128, 256, np.int8)) if is_used else ""

    def conv(
        self, x: str, outputs: int, window: Window, groups: int = 1, residual: str = "", table: bool = False
    ) -> str:
        """Add a convolution."""
        depth = (self.values[x].known_shape)[1] // groups
        weight = self.constant(self.rng.integers(-128, 128, (outputs, depth, *window.kernel), np.int8))
        attributes: dict[str, Any] = {**window.as_attributes(), "groups": groups, "zero_in": self.zero()}
        del attributes["kernel"]
        attributes["epilogue"] = self.epilogue(bool(residual))
        scales = self.scaled(outputs, depth * window.kernel[0] * window.kernel[1])
        return self.node("qconv2d", [x, weight, *scales, residual, self.table(table)], attributes)

    def matmul(self, x: str, columns: int, residual: str = "", table: bool = False) -> str:
        """Add a matrix product."""
        depth = self.values[x].known_shape[-1]
        weight = self.constant(self.rng.integers(-128, 128, (depth, columns), np.int8))
        attributes = {"zero_in": self.zero(), "epilogue": self.epilogue(bool(residual))}
        return self.node("qmatmul", [x, weight, *self.scaled(columns, depth), residual, self.table(table)], attributes)

    def avgpool(self, x: str, window: Window, counted_pads: tuple[int, ...]) -> str:
        """Add an average pool."""
        counts = np.unique(window_counts(window, *self.values[x].known_shape[2:], counted_pads))
        multipliers = [self.constant(np.array([v], np.int32)) for v in self.rng.integers(-500, 500, 1)]
        low = 1 << (self.bits - 1)
        multipliers.append(self.constant(self.rng.integers(low, 2 * low, len(counts), np.int32)))
        multipliers.append(self.constant(np.full(len(counts), self.bits + 3, np.int32)))
        attributes = {
            **window.as_attributes(), "counted_pads": counted_pads, "counts": tuple(int(c) for c in counts),
            "zero_in": self.zero(), "epilogue": self.epilogue(),
        }  # fmt: skip
        return self.node("qavgpool", [x, *multipliers, "", ""], attributes)

    def zero(self) -> int:
        """Draw a zero point."""
        return int(self.rng.integers(-128, 128))

    def graph(self, *outputs: str) -> Graph:
        """Finish the graph."""
        graph = Graph("random", self.values, tuple(self.nodes), self.constants, tuple(self.inputs), outputs, {"": 17})
        verify(graph)
        return graph


def random_inputs(graph: Graph, rng: np.random.Generator) -> dict[str, Array]:
    """Draw int8 inputs."""
    return {name: rng.integers(-128, 128, graph.shape(name), np.int8) for name in graph.inputs}


def check(graph: Graph, config: Config, rng: np.random.Generator, host: tuple[str, ...] = ()) -> Program:
    """Compile, run twice, and compare bit for bit; only the operators `host` may run on the host."""
    program = compile_model(graph, config)
    assert tuple(step.node.op for step in program.host_steps) == host, [s.reason for s in program.host_steps]
    for _ in range(2):
        inputs = random_inputs(graph, rng)
        outputs = run(program, inputs, simulator(config)).outputs
        for name, expected in evaluate(graph, inputs).items():
            np.testing.assert_array_equal(outputs[name], expected)
    return program
