"""Inputs drawn from their own grammar by hypothesis: a result, or one line that says what is wrong."""

from __future__ import annotations

from typing import Any

import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewright.isa.assembly import assemble, disassemble
from tilewright.isa.config import PRESETS, Config
from tilewright.isa.errors import ConfigError, ProgramError, TilewrightError
from tilewright.isa.fields import Field
from tilewright.isa.instructions import Instruction, instruction_set
from tilewright.sim.program_trace import ProgramTrace
from tilewright.sweep.expressions import Expression
from tilewright.sweep.metrics import METRICS
from tilewright.sweep.space import Space

SETTINGS = settings(max_examples=150, deadline=None, derandomize=True)

FIELDS = {path: value for path, _, value in Config().describe_fields()}
ISAS = [instruction_set(PRESETS[name]) for name in ("tiny", "8x8")]
#: What a value of a field can be by mistake; long numbers are those that Python does not write in decimal.
SCALARS = st.one_of(
    st.integers(-2, 70), st.integers(), st.sampled_from([1 << k for k in (4, 9, 31, 63, 64, 20000)]), st.booleans(),
    st.floats(), st.text(max_size=6), st.dates(), st.lists(st.integers(0, 9), max_size=2),
)  # fmt: skip
NAMES = st.one_of(st.sampled_from(list(FIELDS)), st.sampled_from(["gemm.nothing", "gemm", "", "no.field", "a.b.c"]))


def written(data: dict[str, Any]) -> str:
    """Return TOML of nested values, long numbers in hexadecimal."""
    marks: dict[str, str] = {}

    def shown(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shown(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [shown(inner) for inner in value]
        if not _is_long(value):
            return value
        mark = f"long number {len(marks)}"
        marks[f'"{mark}"'] = hex(value)
        return mark

    text = tomli_w.dumps(shown(data))
    for mark, number in marks.items():
        text = text.replace(mark, number)
    return text


def _is_long(value: object) -> bool:
    return isinstance(value, int) and abs(value) >= 1 << 10000


def one_line(error: TilewrightError) -> None:
    assert str(error) and "\n" not in str(error).strip(), str(error)


@st.composite
def sections(draw: st.DrawFn) -> dict[str, Any]:
    """Sections of a configuration with some fields, most of them right."""
    data: dict[str, Any] = {}
    for path, value in draw(st.lists(st.tuples(NAMES, SCALARS), max_size=4)):
        section, _, key = path.partition(".")
        if key and isinstance(data.setdefault(section, {}), dict):
            data[section][key] = value
        elif not key:
            data[section] = value if not _is_long(value) else 0
    return data


@SETTINGS
@given(sections())
def test_a_configuration_or_one_line(data: dict[str, Any]) -> None:
    try:
        config = Config.from_toml(written(data))
    except ConfigError as error:
        one_line(error)
    else:
        assert Config.from_toml(config.to_toml()) == config
        instruction_set(config)


#: Expressions over fields, with what must be refused among them.
OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "<", "<=", "==", "and", "or"]
EXPRESSIONS = st.recursive(
    st.one_of(st.sampled_from(list(FIELDS)), st.integers(-3, 1 << 70).map(str), st.floats().map(repr),
              st.sampled_from(["gemm", "x.y", "1e999", "'text'", "()", "lambda: 1", "2 ** 9999", "[1]"])),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(OPERATORS), inner).map(" ".join),
        inner.map("({})".format), inner.map("not {}".format), inner.map("-{}".format),
        st.tuples(st.sampled_from(["min", "max", "abs", "exec"]), inner, inner).map("{0[0]}({0[1]}, {0[2]})".format),
    ),
    max_leaves=5,
)  # fmt: skip


@SETTINGS
@given(EXPRESSIONS)
def test_an_expression_has_a_value_or_one_line(text: str) -> None:
    try:
        value = Expression(text).value(FIELDS)
    except ConfigError as error:
        one_line(error)
    else:
        assert isinstance(value, int | float)


RANGES = st.dictionaries(st.sampled_from(["low", "high", "step", "factor", "else"]), SCALARS, max_size=4)
CHOICES = st.one_of(st.lists(st.one_of(st.integers(0, 600), SCALARS), max_size=4), RANGES, SCALARS)


@st.composite
def spaces(draw: st.DrawFn) -> dict[str, Any]:
    data: dict[str, Any] = {
        "models": draw(st.lists(st.sampled_from(["resnet18", "mobilenet_v2", ""]), max_size=2)),
        "objectives": draw(st.lists(st.sampled_from([*METRICS, "beauty"]), max_size=2)),
        "constraints": draw(st.lists(EXPRESSIONS, max_size=1)),
        "search": draw(
            st.dictionaries(st.sampled_from(["trials", "sampler", "seed", "batch", "x"]), SCALARS, max_size=2)
        ),
        "memory": draw(st.dictionaries(st.sampled_from(["latency_cycles", "bytes_per_cycle"]), SCALARS, max_size=1)),
        "parameters": draw(st.dictionaries(NAMES, CHOICES, max_size=3)),
        "derived": draw(st.dictionaries(NAMES, EXPRESSIONS, max_size=1)),
    }
    return {key: value for key, value in data.items() if value}


@SETTINGS
@given(spaces(), st.randoms(use_true_random=False))
def test_a_search_space_or_one_line(data: dict[str, Any], rng: Any) -> None:
    try:
        space = Space.from_toml(written(data))
        chosen = {path: rng.choice(values) for path, values in space.parameters.items()}
        config = space.config(chosen)
    except TilewrightError as error:
        one_line(error)
    else:
        assert all(getattr(getattr(config, p.split(".")[0]), p.split(".")[1]) == v for p, v in chosen.items()
                   if p not in space.derived)  # fmt: skip


@st.composite
def operands(draw: st.DrawFn, instruction: Instruction) -> dict[str, int]:
    return {name: draw(legal_value(f)) for name, f in instruction.operands.items() if draw(st.booleans())}


def legal_value(f: Field) -> st.SearchStrategy[int]:
    if f.choices is not None:
        return st.sampled_from(list(f.choices.values()))
    return st.integers(f.values.start // f.align, (f.values.stop - 1) // f.align).map(lambda n: n * f.align)


@SETTINGS
@given(st.data())
def test_words_and_text_of_an_instruction_say_the_same(data: st.DataObject) -> None:
    isa = data.draw(st.sampled_from(ISAS))
    instruction = data.draw(st.sampled_from(isa.instructions))
    values = data.draw(operands(instruction))
    try:
        words = isa.encode(instruction.name, values)
    except ProgramError as error:  # what excludes each other, or a constraint
        one_line(error)
        return
    assert instruction.decode(int.from_bytes(words, "little")) == instruction.complete(values)
    assert assemble(disassemble(words, isa), isa) == words


@SETTINGS
@given(st.binary(max_size=200), st.sampled_from(range(len(ISAS))))
def test_any_bytes_are_a_program_or_one_line(data: bytes, which: int) -> None:
    isa = ISAS[which]
    try:
        text = disassemble(data, isa)
    except TilewrightError as error:
        one_line(error)
    else:
        assert assemble(text, isa) == data


@SETTINGS
@given(st.dictionaries(st.sampled_from(["format", "seed", "memory", "stalls", "program", "note", "config"]), SCALARS))
def test_a_trace_or_one_line(data: dict[str, Any]) -> None:
    try:
        ProgramTrace.from_text(written(data))
    except TilewrightError as error:
        one_line(error)
