"""Graphs: immutability, verification, editing, printing; passes before and after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.compiler.checks import integer_graph
from tests.compiler.quantized_models import ModelBuilder, Quantized
from tilewright.compiler.frontend import import_onnx
from tilewright.compiler.graph import Graph, GraphEditor, Node, Value, print_graph
from tilewright.compiler.graph.verify import GraphError, verify
from tilewright.compiler.passes.base import run_passes
from tilewright.compiler.passes.fuse_residual import FuseResidual
from tilewright.compiler.passes.pipeline import canonical_passes, integer_passes, recognising_passes

Golden = Callable[[str, str], None]


def chain() -> Graph:
    values = {name: Value(name, "int8", (4,)) for name in "xabcy"}
    nodes = (
        Node("qclamp", ("x",), ("a",), {"low": -5, "high": 5}),
        Node("qclamp", ("a",), ("b",), {"low": -4, "high": 4}),
        Node("qclamp", ("a",), ("c",), {"low": -3, "high": 3}),
        Node("qconcat", ("b", "c"), ("y",), {"axis": 0}),
    )
    values["y"] = Value("y", "int8", (8,))
    return Graph("chain", values, nodes, {}, ("x",), ("y",), {"": 17})


def test_a_graph_cannot_be_changed() -> None:
    graph = replace(chain(), constants={"k": np.zeros(3)})
    with pytest.raises(AttributeError):
        graph.nodes[0].op = "qtable"  # type: ignore[misc]
    with pytest.raises(TypeError):
        graph.values["x"] = graph.values["a"]  # type: ignore[index]
    with pytest.raises(TypeError):
        graph.nodes[0].attributes["low"] = 3  # type: ignore[index]
    with pytest.raises(ValueError, match="read-only"):
        graph.constants["k"][0] = 1


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda g: replace(g, nodes=g.nodes[::-1]), "reads b before it is defined"),
        (lambda g: replace(g, nodes=g.nodes + g.nodes[:1]), "defines a again"),
        (lambda g: replace(g, outputs=("z",)), "input or output z is not defined"),
        (
            lambda g: replace(g, values={**g.values, "y": Value("y", "int8", (9,))}),
            r"shape \(9,\), its inputs give \(8,\)",
        ),
        (lambda g: replace(g, values={**g.values, "x": Value("x", "uint8", (4,))}), "operand x is uint8, not int8"),
        (lambda g: replace(g, nodes=(replace(g.nodes[0], attributes={"low": 3}), *g.nodes[1:])), "attributes .'low'"),
        (lambda g: replace(g, nodes=(replace(g.nodes[0], op="qbogus"), *g.nodes[1:])), "unknown operator"),
        (lambda g: replace(g, constants={"k": np.zeros(3)}), "constant k has no type"),
    ],
)
def test_verify(break_it: Callable[[Graph], Graph], message: str) -> None:
    verify(chain())
    with pytest.raises(GraphError, match=message):
        verify(break_it(chain()))


def test_editor_redirects_and_drops_what_is_dead() -> None:
    graph = chain()
    editor = GraphEditor(graph)
    editor.remove(graph.nodes[2])
    editor.redirect("c", "b")
    edited = editor.finish()
    verify(edited)
    assert [(node.inputs, node.outputs) for node in edited.nodes] == [
        (("x",), ("a",)),
        (("a",), ("b",)),
        (("b", "b"), ("y",)),
    ]
    assert "c" not in edited.values
    assert len(graph.nodes) == 4


def test_editor_keeps_the_names_of_outputs() -> None:
    graph = replace(chain(), outputs=("y", "c", "b"))
    editor = GraphEditor(graph)
    for name in ("c", "b"):
        editor.remove(graph.producers[name])
        editor.redirect(name, "a")
    edited = editor.finish()
    verify(edited)
    assert edited.outputs == ("y", "c", "b")
    assert sorted(node.op for node in edited.nodes) == ["onnx.Identity", "qclamp", "qconcat"]


def test_editor_gives_new_values_the_names_they_replace() -> None:
    graph = chain()
    editor = GraphEditor(graph)
    made = editor.emit("qclamp", ["x"], ("b/new", "int8", (4,)), {"low": 0, "high": 1})
    editor.remove(graph.nodes[1])
    editor.redirect("b", made)
    edited = editor.finish()
    verify(edited)
    assert edited.producers["b"].inputs == ("x",)
    assert "b/new" not in edited.values


def test_editor_sorts() -> None:
    graph = chain()
    edited = GraphEditor(replace(graph, nodes=graph.nodes[::-1])).finish()
    verify(edited)
    assert {node.output for node in edited.nodes} == set("abcy")


def test_passes_have_distinct_names_per_stage() -> None:
    names = [step.name for step in integer_passes()]
    assert all(name == name.lower() and " " not in name for name in names)
    assert len({step.name for step in recognising_passes()}) == len(recognising_passes())


def fixed(scale: float, zero: int, dtype: str) -> Quantized:
    """Give parameters that no float operator computes, so that the texts are the same on every machine."""
    return Quantized("", (), dtype, np.array(np.float32(scale)), np.array(zero, dtype))


def residual_block(rng: np.random.Generator) -> tuple[ModelBuilder, str]:
    """Two convolutions of one input and their sum, clamped."""
    builder = ModelBuilder(rng)
    x = builder.activation((1, 2, 4, 4), "uint8")
    real = builder.dequantize(x)
    branches = []
    for kernel in (1, 3):
        w = builder.weight((2, 2, kernel, kernel), axis=0)
        y = builder.node("Conv", [real, builder.dequantize(w)], auto_pad="SAME_UPPER")
        branches.append(builder.dequantize(builder.quantize(y, like=fixed(0.02 * kernel, 100 + kernel, "uint8"))))
    y = builder.node("Relu", [builder.node("Add", branches)])
    return builder, builder.quantize(y, like=fixed(0.04, 0, "uint8"), name="y").name


def test_golden_stages(golden: Golden) -> None:
    """One residual block as imported, in canonical form, recognised and fused."""
    builder, output = residual_block(np.random.default_rng(3))
    imported = import_onnx(builder.model([output]))
    canonical = run_passes(imported, canonical_passes())
    recognised = run_passes(canonical, recognising_passes())
    golden("residual_block_imported", print_graph(imported))
    golden("residual_block_canonical", print_graph(canonical))
    golden("residual_block_recognised", print_graph(recognised))
    golden("residual_block_fused", print_graph(FuseResidual().apply(recognised)))


def test_golden_movement(golden: Golden) -> None:
    """Transposes and reshapes around a product, and a Softmax."""
    builder = ModelBuilder(np.random.default_rng(4))
    x, w = builder.activation((1, 3, 2, 2)), builder.weight((12, 4))
    y = builder.node("Transpose", [builder.dequantize(x)], perm=[0, 2, 3, 1])
    y = builder.node("MatMul", [builder.node("Flatten", [y]), builder.dequantize(w)])
    softmax = builder.node("Softmax", [builder.dequantize(builder.quantize(y, like=fixed(0.5, 24, "int8")))])
    model = builder.model([builder.quantize(softmax, like=fixed(2**-8, -128, "int8"), name="y").name])
    golden("movement_imported", print_graph(import_onnx(model)))
    golden("movement_recognised", print_graph(integer_graph(model)))
