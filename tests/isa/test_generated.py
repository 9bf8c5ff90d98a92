"""What is generated from the instruction table: the reference page and the C header."""

from __future__ import annotations

import importlib.util
import random
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from tests.isa.test_instructions import any_operands
from tilewright.isa import c_header, document
from tilewright.isa.config import PRESETS, Config
from tilewright.isa.instructions import InstructionSet, instruction_set
from tilewright.isa.vector_ops import VECTOR_OPS, A, B, VectorOp

ROOT = Path(__file__).resolve().parents[2]


def regenerate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("regenerate", ROOT / "tools" / "regenerate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_committed_files_are_what_the_table_gives() -> None:
    for path, text in regenerate().generated_files().items():
        assert path.read_text() == text, f"{path.name} is stale; run tools/regenerate.py"


def c_program(isa: InstructionSet, cases: list[tuple[str, dict[str, int]]]) -> str:
    lines = [c_header.render(isa), "#include <stdio.h>", "int main(void) { uint8_t word[TW_INSTRUCTION_BYTES];"]
    for name, values in cases:
        shown = ", ".join(f".{k} = {v}" for k, v in values.items() if isa.by_name[name].operands[k].bits)
        lines += [f"{{ struct tw_{name.lower()} f = {{ {shown} }};", f"tw_encode_{name.lower()}(word, &f);"]
        lines += ['for (unsigned i = 0; i < sizeof word; i++)\n    printf("%02x", word[i]);', 'puts(""); }']
    return "\n".join([*lines, "return 0; }"])


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
@pytest.mark.parametrize(
    "config", [PRESETS["tiny"], PRESETS["16x16"], Config().with_values(epilogue={"tables": 0, "residual": False})]
)
def test_c_encoders_equal_python(config: Config, tmp_path: Path, seed: int) -> None:
    isa, rng = instruction_set(config), random.Random(seed)
    cases = [(i.name, any_operands(i, rng)) for i in isa.instructions for _ in range(5)]
    source, binary = tmp_path / "encode.c", tmp_path / "encode"
    source.write_text(c_program(isa, cases))
    subprocess.run(["gcc", "-std=c11", "-Wall", "-Werror", "-Wno-unused-function", "-o", binary, source], check=True)
    printed = subprocess.run([binary], check=True, capture_output=True, text=True).stdout.split()
    assert printed == [isa.encode(name, values).hex() for name, values in cases]


def test_page_states_every_instruction_field_and_register() -> None:
    isa = instruction_set(PRESETS["8x8"])
    page = document.render(isa)
    for instruction in isa.instructions:
        section = page.split(f"\n## {instruction.name}\n")[1].split("\n## ")[0]
        assert all(f"`{f.name}`" in section for f in instruction.fields)
    assert "`(a - zero_a) * (b - zero_b)`" in page
    assert "`STATUS`" in page


def test_a_new_vector_operation_follows_everywhere() -> None:
    ops = (*VECTOR_OPS, VectorOp("absdiff", 9, (A - B).maximum(B - A), "add", "sum of distances"))
    isa = instruction_set(PRESETS["tiny"], ops)
    assert isa.by_name["VECTOR"].operands["op"].choices == {op.name: op.code for op in ops}
    assert "`max(a - b, b - a)`" in document.render(isa)
    assert "#define TW_VECTOR_ABSDIFF 9u" in c_header.render(isa)
