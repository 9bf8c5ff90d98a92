"""A segment as LLVM IR: functions that call its kernels in order.

`void network(u8 *memory, u8 *constants, u8 **terminals)` does all launches at places that are constants of the code, so
that the code fits any memory; `launch` does one of them, and `share` what one of several threads does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llvmlite import binding
from llvmlite import ir as ll

from tilewright.compiler.targets.cpu import threads
from tilewright.compiler.targets.cpu.emit import POINTER, emit_kernels
from tilewright.compiler.targets.cpu.program import Launch, Segment
from tilewright.compiler.targets.cpu.vectors import moved
from tilewright.compiler.tir.llvm_scalars import I64, Value

_GRAIN = 1 << 17  # of work, some two microseconds: less is no thread's own part of a launch
_CHUNKS, _CHUNK_WORK = 4, 1 << 19  # of a part at most, and what is worth being one: others take what is left of a part


def emit_segment(segment: Segment, offsets: Mapping[str, int], count: int = 1) -> str:
    """Return LLVM IR text of a segment; for several threads, also of `void share(job, run, thread)`."""
    module = ll.Module(name="tilewright")
    emit_kernels(module, segment.kernels, segment.level)
    whole = ll.Function(module, ll.FunctionType(ll.VoidType(), [POINTER] * 3), name="network")
    builder = ll.IRBuilder(whole.append_basic_block("entry"))
    for launch in segment.launches:
        _call(builder, whole.args, segment, offsets, launch)
    builder.ret_void()
    _emit_single(module, segment, offsets)
    if count == 1:
        return str(module)
    kinds = {"tw_wait": [POINTER, I64, POINTER], "tw_over": [POINTER, I64, POINTER]}
    for name, kind in kinds.items():
        ll.Function(module, ll.FunctionType(ll.VoidType(), kind), name=name)
    _emit_share(module, segment, offsets, count)
    lines = [line for line in str(module).split("\n") if not (line.startswith("declare") and '@"tw_' in line)]
    return "\n".join(lines) + threads.runtime_text()


def _emit_single(module: ll.Module, segment: Segment, offsets: Mapping[str, int]) -> None:
    """Emit `void launch(u8 *memory, u8 *constants, u8 **terminals, i64 number)`, which does one of the launches."""
    single = ll.Function(module, ll.FunctionType(ll.VoidType(), [POINTER] * 3 + [I64]), name="launch")
    builder = ll.IRBuilder(single.append_basic_block("entry"))
    end = single.append_basic_block("end")
    choice = builder.switch(single.args[3], end)
    for number, launch in enumerate(segment.launches):
        block = single.append_basic_block("case")
        choice.add_case(I64(number), block)
        case = ll.IRBuilder(block)
        _call(case, single.args, segment, offsets, launch)
        case.branch(end)
    ll.IRBuilder(end).ret_void()


def used_threads(segment: Segment, count: int) -> int:
    """Return how many of so many threads have anything to do in a segment."""
    return max((_parts(launch, count)[0] for launch in segment.launches), default=1)


def _parts(launch: Launch, count: int) -> tuple[int, int]:
    """Cut a launch: into parts, each of one thread, and those into chunks, which may be another's."""
    parts = min(count, launch.kernel.tasks, launch.work // _GRAIN)
    if parts < 2:
        return 1, 1
    return parts, max(1, min(_CHUNKS, launch.work // (parts * _CHUNK_WORK), launch.kernel.tasks // parts))


@dataclass(frozen=True)
class _Share:
    """What is at hand while `share` is emitted."""

    builder: ll.IRBuilder
    segment: Segment
    offsets: Mapping[str, int]
    count: int
    bases: tuple[Value, ...]
    job: Value
    run: Value
    thread: Value


def _emit_share(module: ll.Module, segment: Segment, offsets: Mapping[str, int], count: int) -> None:
    """Emit what each thread does in a run: launch after launch, chunks of tasks as long as there are any."""
    function = ll.Function(module, ll.FunctionType(ll.VoidType(), [POINTER, I64, I64]), name="share")
    builder = ll.IRBuilder(function.append_basic_block("entry"))
    job, run, thread = function.args
    places = (threads.MEMORY, threads.CONSTANTS, threads.TERMINALS)
    bases = tuple(_word(builder, job, place, POINTER) for place in places)
    share = _Share(builder, segment, offsets, count, bases, job, run, thread)
    for number, group in enumerate(_groups(segment.launches, count)):
        _emit_group(share, number, group)
    builder.ret_void()


def _emit_group(share: _Share, number: int, group: list[Launch]) -> None:
    """Emit a thread's share of a launch, or of some that one thread does; the counters are those of `number`."""
    builder, count = share.builder, share.count
    parts, per_part = _parts(group[0], count)
    start = threads.COUNTERS + threads.launch_words(count) * number
    words = (threads.DONE, threads.OVER, threads.SLEEPERS)
    done, over, sleepers = (_word(builder, share.job, start + place) for place in words)
    following = builder.add(share.run, I64(1))
    first, last = (builder.mul(run, I64(per_part)) for run in (share.run, following))
    names = ("begin", "part", "look", "take", "work", "report", "add", "wake", "next", "wait")
    begin, part, look, take, work, report, add, wake, step, wait = map(builder.function.append_basic_block, names)
    builder.cbranch(builder.icmp_signed("<", share.thread, I64(parts)), begin, wait)
    builder.position_at_end(begin)
    builder.branch(part)
    builder.position_at_end(part)
    turn = builder.phi(I64)
    turn.add_incoming(I64(0), begin)
    owner = builder.urem(builder.add(share.thread, turn), I64(parts)) if parts > 1 else I64(0)
    place = builder.add(builder.mul(owner, I64(threads.LINE)), I64(start + threads.TAKEN))
    taken = _word(builder, share.job, place)
    builder.branch(look)
    builder.position_at_end(look)
    mine = builder.phi(I64)
    found = builder.load_atomic(taken, "acquire", 8, typ=I64)
    builder.cbranch(builder.icmp_signed("<", found, last), take, report)
    builder.position_at_end(take)
    pair = builder.cmpxchg(taken, found, builder.add(found, I64(1)), "seq_cst", "seq_cst")
    builder.cbranch(builder.extract_value(pair, 1), work, look)
    builder.position_at_end(work)
    chunk = builder.add(builder.mul(owner, I64(per_part)), builder.sub(found, first))
    _emit_chunk(share, group, chunk, parts * per_part)
    for value, block in ((I64(0), part), (mine, take), (builder.add(mine, I64(1)), builder.block)):
        mine.add_incoming(value, block)
    builder.branch(look)
    builder.position_at_end(report)
    builder.cbranch(builder.icmp_signed(">", mine, I64(0)), add, step)
    builder.position_at_end(add)
    finished = builder.add(builder.atomic_rmw("add", done, mine, "seq_cst"), mine)
    builder.cbranch(builder.icmp_signed("==", finished, builder.mul(last, I64(parts))), wake, step)
    builder.position_at_end(wake)
    builder.call(builder.module.globals["tw_over"], [over, following, sleepers])
    builder.branch(step)
    builder.position_at_end(step)
    again = builder.add(turn, I64(1))
    turn.add_incoming(again, step)
    builder.cbranch(builder.icmp_signed("<", again, I64(parts)), part, wait)
    builder.position_at_end(wait)
    builder.call(builder.module.globals["tw_wait"], [over, following, sleepers])


def _emit_chunk(share: _Share, group: list[Launch], chunk: Value, chunks: int) -> None:
    """Emit the tasks of one chunk: its even share of a launch, or everything where there is but one."""
    builder, bounds = share.builder, None
    if chunks > 1:
        tasks = I64(group[0].kernel.tasks)
        begin, end = (builder.mul(number, tasks) for number in (chunk, builder.add(chunk, I64(1))))
        bounds = builder.udiv(begin, I64(chunks)), builder.udiv(end, I64(chunks))
    for launch in group:
        _call(builder, share.bases, share.segment, share.offsets, launch, bounds)


def _word(builder: ll.IRBuilder, job: Value, place: int | Value, kind: Any = None) -> Value:
    """Give the address of a word of a job, or what is there."""
    number = I64(place) if isinstance(place, int) else place
    pointer = builder.gep(job, [number], inbounds=True, source_etype=I64)
    return pointer if kind is None else builder.load(pointer, typ=kind)


def _groups(launches: tuple[Launch, ...], count: int) -> list[list[Launch]]:
    """Put launches together that follow each other and are not shared: one thread does them."""
    found: list[list[Launch]] = []
    for launch in launches:
        if found and _parts(launch, count)[0] == _parts(found[-1][-1], count)[0] == 1:
            found[-1].append(launch)
        else:
            found.append([launch])
    return found


def _call(
    builder: ll.IRBuilder, bases: Any, segment: Segment, offsets: Mapping[str, int], launch: Launch,
    part: tuple[Value, Value] | None = None,
) -> None:  # fmt: skip
    places = [_place(builder, bases, segment, offsets, launch, b.name) for b in launch.kernel.function.buffers]
    begin, end = part or (I64(0), I64(launch.kernel.tasks))
    builder.call(builder.module.globals[launch.kernel.name], [begin, end, *places])


def _place(
    builder: ll.IRBuilder, bases: Any, segment: Segment, offsets: Mapping[str, int], launch: Launch, buffer: str
) -> Value:
    memory, constants, terminals = bases[:3]
    name = launch.arguments[buffer]
    if name in offsets:
        return moved(builder, constants, offsets[name])
    if name in segment.terminals:
        number = list(segment.terminals).index(name)
        return builder.load(builder.gep(terminals, [I64(number)], inbounds=True, source_etype=I64), typ=POINTER)
    return moved(builder, memory, segment.plan.offsets[name])


def optimized(text: str, machine: Any, exported: frozenset[str] | None = None) -> Any:
    """Parse LLVM IR and optimize it: loops are unrolled and vectors formed already.

    Functions that are not `exported` are the module's own; None exports all that say nothing else.
    """
    module = binding.parse_assembly(text)
    for function in module.functions:
        if exported is not None and not function.is_declaration and function.name not in exported:
            function.linkage = "internal"
    module.verify()
    options = binding.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = False
    options.slp_vectorization = False
    options.loop_interleaving = False
    options.loop_unrolling = False
    builder = binding.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return module
