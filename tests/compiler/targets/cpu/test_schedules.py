"""Schedules change no result, and the search finds the faster ones by a clock that stands in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pytest

from tests.compiler.quantized_models import typed
from tests.compiler.targets.gpu.float_models import MODELS
from tests.compiler.targets.gpu.small_networks import NETWORKS
from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.reference import evaluate
from tilewright.compiler.targets.accelerator.networks import NetworkBuilder
from tilewright.compiler.targets.accelerator.transformers import TransformerShape, transformer_graph
from tilewright.compiler.targets.cpu.batch_product import BatchProduct
from tilewright.compiler.targets.cpu.jit import NativeMachine
from tilewright.compiler.targets.cpu.levels import LEVELS, Level, host_levels, level_of
from tilewright.compiler.targets.cpu.lower import lower
from tilewright.compiler.targets.cpu.program import InterpretedMachine
from tilewright.compiler.targets.cpu.schedule import Schedule
from tilewright.compiler.targets.cpu.schedules import Problem, by_model, by_table, is_possible, key, proposal
from tilewright.compiler.targets.cpu.search import Found, Search, Step, finalists, next_round
from tilewright.cpu import lower_model, operators_of


def _network(rng: np.random.Generator, channels: int = 32) -> Graph:
    net = NetworkBuilder("schedules", (1, 3, 18, 14), rng)
    y = net.convolution("x", channels, 3)
    y = net.convolution(y, channels, 3, groups=channels)
    return net.graph(net.convolution(y, 80, 1))


def _problems(graph: Graph, level: str | None = None) -> dict[str, Problem]:
    return Search(partial(lower, graph, level_of(level)), {}).problems()


def any_schedule(problem: Problem, rng: np.random.Generator) -> Schedule:
    """Give a schedule at random, most of which nobody would choose."""
    while True:
        rows, columns, unrolled = (int(n) for n in rng.integers(1, 9, 3))
        found = Schedule(rows, columns, bool(rng.integers(2)), unrolled)
        if is_possible(problem, found):
            return found


@pytest.mark.parametrize("level", host_levels(), ids=lambda level: level.name)
@pytest.mark.parametrize("name", ["conv3x3", "conv3x3_stride2", "depthwise", "residual"])
def test_no_schedule_changes_results(name: str, level: Level, rng: np.random.Generator) -> None:
    graph = NETWORKS[name](rng)
    inputs = {"x": rng.integers(-128, 128, graph.shape("x")).astype(np.int8)}
    expected = evaluate(graph, inputs)
    for _ in range(4):
        program = lower(graph, level, partial(any_schedule, rng=rng))
        outputs = program.run(inputs, NativeMachine())
        for output, array in expected.items():
            np.testing.assert_array_equal(outputs[output], array)


def test_interpreter_agrees_withany_schedule(rng: np.random.Generator) -> None:
    graph = NETWORKS["depthwise"](rng)
    inputs = {"x": rng.integers(-128, 128, graph.shape("x")).astype(np.int8)}
    program = lower(graph, LEVELS[0], partial(any_schedule, rng=rng))
    for output, array in evaluate(graph, inputs).items():
        np.testing.assert_array_equal(program.run(inputs, InterpretedMachine())[output], array)


@pytest.mark.parametrize("name", ["image", "depthwise"])
def test_no_schedule_changes_floats_by_more_than_rounding(name: str, rng: np.random.Generator) -> None:
    graph = operators_of(typed(MODELS[name](rng)))
    inputs = {"x": rng.standard_normal(graph.shape("x")).astype(np.float32)}
    level = level_of()
    expected = lower_model(graph, level).run(inputs, NativeMachine())
    for _ in range(4):
        outputs = lower_model(graph, level, partial(any_schedule, rng=rng)).run(inputs, NativeMachine())
        for output, array in expected.items():
            np.testing.assert_allclose(outputs[output], array, atol=1e-5 * np.abs(array).max())


def test_products_of_activations_have_schedules(rng: np.random.Generator) -> None:
    graph = transformer_graph(TransformerShape("small", 9, 48, 3, 80, 1), rng, 16)
    inputs = {name: rng.integers(-128, 128, graph.shape(name)).astype(np.int8) for name in graph.inputs}
    expected = evaluate(graph, inputs)
    assert any(isinstance(problem, BatchProduct) for problem in _problems(graph).values())
    for _ in range(3):
        outputs = lower(graph, level_of(), partial(any_schedule, rng=rng)).run(inputs, NativeMachine())
        for output, array in expected.items():
            np.testing.assert_array_equal(outputs[output], array)


def test_proposals_are_possible_and_end(rng: np.random.Generator) -> None:
    for problem in _problems(_network(rng)).values():
        tried: dict[Schedule, float] = {}
        while (option := proposal(problem, tried)) is not None:
            assert is_possible(problem, option) and option not in tried and option != by_model(problem)
            tried[option] = float(rng.uniform(0.9, 1.5))
        assert 1 <= len(tried) < 60


def test_table_is_used_where_it_is_possible(rng: np.random.Generator) -> None:
    problems = _problems(_network(rng))
    name, problem = next(iter(problems.items()))
    assert by_table({name: Schedule(2, 1, True, 2)})(problem) == Schedule(2, 1, True, 2)
    for wrong in (
        Schedule(1000),
        Schedule(0),
        Schedule(1, 1000),
        Schedule(2, 1, False, 0),
        Schedule(2, 1, False, 10**6),
    ):
        assert by_table({name: wrong})(problem) == by_model(problem)


def test_keys_tell_shapes_apart(rng: np.random.Generator) -> None:
    assert len(_problems(_network(rng))) == 3
    other = _problems(_network(rng, 48))
    assert not other.keys() & _problems(_network(rng)).keys()
    assert [key(problem) for problem in other.values()] == list(other)


def _clock(seconds: Callable[[Step], float]) -> Callable[[Step], float]:
    """Give a clock that stands in: launches run, but take what a function says."""

    def timer(step: Step) -> float:
        step.segment.launch(step.number)
        return seconds(step)

    return timer


def _searched(
    graph: Graph, rng: np.random.Generator, seconds: Callable[[Step], float], rounds: int
) -> tuple[dict[str, Problem], Mapping[str, Mapping[Schedule, float]], Found]:
    inputs = {"x": rng.integers(-128, 128, graph.shape("x")).astype(np.int8)}
    search = Search(partial(lower, graph, level_of()), inputs, _clock(seconds))
    problems, base = search.problems(), search.load({})
    trials: dict[str, dict[Schedule, float]] = {}
    for _ in range(rounds):
        candidates = next_round(problems, trials)
        for name, ratio in search.first_times(base, candidates).items():
            trials.setdefault(name, {})[candidates[name]] = ratio
    return problems, trials, search.confirm(base, finalists(problems, trials))


def test_faster_schedules_are_chosen_by_the_clock(rng: np.random.Generator) -> None:
    def seconds(step: Step) -> float:
        return 1.0 if step.schedule is None else 10.0 + step.schedule.rows * step.schedule.columns

    problems, trials, found = _searched(_network(rng), rng, seconds, 3)
    assert found.seconds < found.model_seconds
    for name, problem in problems.items():
        least = min([by_model(problem), *trials[name]], key=lambda s: s.rows * s.columns)
        chosen = found.chosen[name]
        assert chosen.rows * chosen.columns == least.rows * least.columns


def test_usual_schedules_stay_where_noise_decides(rng: np.random.Generator) -> None:
    problems, _, found = _searched(_network(rng), rng, lambda step: float(rng.uniform(1.0, 1.5)), 2)
    assert found.chosen == {name: by_model(problem) for name, problem in problems.items()}
    assert found.seconds == found.model_seconds


def test_winner_alone_that_loses_together_is_not_chosen(rng: np.random.Generator) -> None:
    """Launches that have no schedule take longer when the others win: all together is slower."""
    usual = {name: by_model(problem) for name, problem in _problems(_network(rng)).items()}
    slower: set[int] = set()

    def seconds(step: Step) -> float:
        if step.schedule is not None and step.schedule != usual[step.problem]:
            slower.add(id(step.segment))
            return 0.5
        return 100.0 if step.schedule is None and id(step.segment) in slower else 1.0

    _, _, found = _searched(_network(rng), rng, seconds, 1)
    assert found.chosen == usual


def test_threads_take_rows(rng: np.random.Generator) -> None:
    """Where threads share a convolution, all channels of a row are one thread's, whatever was measured on one."""
    net = NetworkBuilder("shared", (1, 256, 14, 14), rng)
    ((name, problem),) = _problems(net.graph(net.convolution("x", 256, 3))).items()
    assert not by_model(problem).is_row_major and by_model(problem, is_shared=True).is_row_major
    measured = Schedule(7, 2, False, 8)
    assert by_table({name: measured})(problem) == measured
    assert by_table({name: measured}, is_shared=True)(problem) == Schedule(7, 2, True, 8)
