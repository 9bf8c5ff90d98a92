"""Ahead of time: an object file that holds a network's code and constants, for any of the processors.

The object defines two functions, `void NAME_prepare(void *memory)` and `void NAME_run(void *memory, inputs, outputs)`,
and asks for nothing but what a C library has: `memset`, `memcpy`, and `rintf` where a processor cannot round by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import binding

from tilewright.compiler.graph.graph import Node
from tilewright.compiler.targets.cpu.native_segment import ALIGNMENT, SLACK, Constants
from tilewright.compiler.targets.cpu.processors import Processor
from tilewright.compiler.targets.cpu.program import CpuProgram, Segment, Terminal
from tilewright.compiler.targets.cpu.segment_code import emit_segment, optimized
from tilewright.isa.errors import ModelError


@dataclass(frozen=True, eq=False)
class ObjectFile:
    """A network's object file and what a caller must know.

    Attributes
    ----------
    name : str
        That its functions begin with.
    processor : Processor
    inputs, outputs : tuple of Terminal
        In the order of `NAME_run`'s arguments.
    memory_bytes, constant_bytes : int
        `NAME_run` needs so much memory; its constants are in the object.
    code : bytes
        The object file.
    """

    name: str
    processor: Processor
    inputs: tuple[Terminal, ...]
    outputs: tuple[Terminal, ...]
    memory_bytes: int
    constant_bytes: int
    code: bytes


def compile_object(program: CpuProgram, processor: Processor, name: str) -> ObjectFile:
    """Compile a network to an object file.

    Parameters
    ----------
    program : CpuProgram
        Lowered for the processor's level.
    processor : Processor
    name : str
        A C identifier.

    Raises
    ------
    ModelError
        When an operator has no kernel, so that it would need this compiler's host.
    """
    segment = _only_segment(program)
    constants = Constants.of(segment.constants)
    memory = segment.plan.size + SLACK
    by_value = {(key.partition(":")[0], terminal.value): key for key, terminal in segment.terminals.items()}
    ends = [("in", value) for value in program.graph.inputs] + [("out", value) for value in program.graph.outputs]
    places = {key: list(segment.terminals).index(by_value[key]) for key in ends if key in by_value}
    arguments = [places.get(key) for key in ends]
    text = emit_segment(segment, constants.offsets) + _entry_text(name, arguments, constants.data.size)
    code = _object(text + _prepare_text(name, segment, memory), _data_text(constants), processor, name)
    graph = program.graph
    inputs, outputs = (
        tuple(Terminal(value, graph.dtype(value), graph.shape(value)) for value in values)
        for values in (graph.inputs, graph.outputs)
    )
    return ObjectFile(name, processor, inputs, outputs, memory, constants.data.size, code)


def _only_segment(program: CpuProgram) -> Segment:
    for step in program.steps:
        if isinstance(step, Node):
            origin = step.name
            raise ModelError(
                f"`{program.graph.name}` cannot be compiled ahead of time: {step.op} `{origin}` has no kernel for CPUs"
            )
    if len(program.segments) != 1:
        raise ModelError(f"`{program.graph.name}` cannot be compiled ahead of time: it computes nothing")
    return program.segments[0]


def _entry_text(name: str, places: list[int | None], constant_bytes: int) -> str:
    """Return LLVM IR of `NAME_run`: which argument is which terminal."""
    count = max((place + 1 for place in places if place is not None), default=1)
    lines = [f"@tw_constants = external hidden constant [{max(1, constant_bytes)} x i8], align {ALIGNMENT}"]
    formals = "".join(f", ptr %a{number}" for number in range(len(places)))
    lines += [f"define void @{name}_run(ptr %memory{formals}) nounwind {{", f"  %t = alloca [{count} x i64], align 8"]
    for number, place in enumerate(places):
        if place is not None:
            lines.append(f"  %p{number} = getelementptr i64, ptr %t, i64 {place}")
            lines.append(f"  store ptr %a{number}, ptr %p{number}, align 8")
    lines += ["  call void @network(ptr %memory, ptr @tw_constants, ptr %t)", "  ret void", "}"]
    return "\n" + "\n".join(lines) + "\n"


def _prepare_text(name: str, segment: Segment, memory: int) -> str:
    """Return LLVM IR of `NAME_prepare`: the borders of images, written once."""
    lines = [
        "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)",
        f"define void @{name}_prepare(ptr %memory) nounwind {{",
    ]
    for number, (offset, size, byte) in enumerate(_joined([*segment.plan.fills, (segment.plan.size, SLACK, 0)])):
        lines.append(f"  %p{number} = getelementptr i8, ptr %memory, i64 {offset}")
        lines.append(f"  call void @llvm.memset.p0.i64(ptr align 64 %p{number}, i8 {byte}, i64 {size}, i1 false)")
    return "\n".join([*lines, "  ret void", "}"]) + "\n"


def _joined(fills: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Join fills of the same byte that lie side by side."""
    found: list[tuple[int, int, int]] = []
    for offset, size, byte in sorted(fills):
        if found and found[-1][2] == byte and sum(found[-1][:2]) == offset:
            found[-1] = (found[-1][0], found[-1][1] + size, byte)
        else:
            found.append((offset, size, byte))
    return found


def _data_text(constants: Constants) -> str:
    """Return LLVM IR of the constants."""
    data = constants.data.tobytes() or b"\0"
    return f'@tw_constants = hidden constant [{len(data)} x i8] c"\\{data.hex(chr(92))}", align {ALIGNMENT}\n'


def _object(text: str, data: str, processor: Processor, name: str) -> bytes:
    machine = processor.target_machine()
    head = f'target datalayout = "{machine.target_data}"\ntarget triple = "{processor.triple}"\n'
    module = optimized(head + text, machine, frozenset((f"{name}_run", f"{name}_prepare")))
    module.link_in(binding.parse_assembly(head + data))
    module.get_global_variable("tw_constants").linkage = "internal"
    code: bytes = machine.emit_object(module)
    return code
