"""A segment as LLVM IR: functions that call its kernels in order.

`void network(u8 *memory, u8 *constants, u8 **terminals)` does all launches at places that are constants of the code, so
that the code fits any memory; `launch` does one of them, and `share` what one of several threads does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llvmlite import binding
from llvmlite import ir as ll

from tilewright.compiler.targets.cpu import threads
from tilewright.compiler.targets.cpu.emit import POINTER, emit_kernels
from tilewright.compiler.targets.cpu.instructions import moved
from tilewright.compiler.targets.cpu.program import Launch, Segment
from tilewright.compiler.tir.llvm_scalars import I64, Value

_SHARED_WORK = 1 << 15  # bytes or words of products below which one thread does a launch by itself
_CHUNKS = 4  # of a launch for each thread


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
    kinds = {"tw_wait": [POINTER, I64, POINTER], "tw_wake": [POINTER, POINTER]}
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


def _emit_share(module: ll.Module, segment: Segment, offsets: Mapping[str, int], count: int) -> None:
    """Emit what each thread does in a run: launch after launch, chunks of tasks as long as there are any."""
    share = ll.Function(module, ll.FunctionType(ll.VoidType(), [POINTER, I64, I64]), name="share")
    builder = ll.IRBuilder(share.append_basic_block("entry"))
    job, run, thread = share.args
    bases = [_word(builder, job, place, POINTER) for place in (threads.MEMORY, threads.CONSTANTS, threads.TERMINALS)]
    for number, group in enumerate(_groups(segment.launches)):
        is_shared = not _is_small(group[0])
        parts, per_part = (count, _CHUNKS) if is_shared else (1, 1)
        tasks = group[0].kernel.tasks if is_shared else 1
        size = -(-tasks // (parts * per_part))
        start = threads.COUNTERS + threads.launch_words(count) * number
        done, sleepers = (_word(builder, job, start + place) for place in (threads.DONE, threads.SLEEPERS))
        first, last = (builder.mul(r, I64(per_part)) for r in (run, builder.add(run, I64(1))))
        before = builder.block
        names = ("part", "look", "take", "work", "next", "wait")
        part, look, take, work, following, wait = (share.append_basic_block(name) for name in names)
        builder.branch(part)
        builder.position_at_end(part)
        turn = builder.phi(I64)
        turn.add_incoming(I64(0), before)
        owner = builder.urem(builder.add(thread, turn), I64(parts)) if is_shared else I64(0)
        taken = _word(builder, job, builder.add(builder.mul(owner, I64(threads.LINE)), I64(start + threads.TAKEN)))
        builder.branch(look)
        builder.position_at_end(look)
        found = builder.load_atomic(taken, "acquire", 8, typ=I64)
        builder.cbranch(builder.icmp_signed("<", found, last), take, following)
        builder.position_at_end(take)
        pair = builder.cmpxchg(taken, found, builder.add(found, I64(1)), "seq_cst", "seq_cst")
        builder.cbranch(builder.extract_value(pair, 1), work, look)
        builder.position_at_end(work)
        chunk = builder.add(builder.mul(owner, I64(per_part)), builder.sub(found, first))
        begin = builder.mul(chunk, I64(size))
        end = builder.add(begin, I64(size))
        end = builder.select(builder.icmp_signed("<", end, I64(tasks)), end, I64(tasks))
        for launch in group:
            _call(builder, bases, segment, offsets, launch, (begin, end) if is_shared else None)
        finished = builder.add(builder.atomic_rmw("add", done, I64(1), "seq_cst"), I64(1))
        limit = builder.mul(last, I64(parts))
        with builder.if_then(builder.icmp_signed("==", finished, limit)):
            builder.call(module.globals["tw_wake"], [done, sleepers])
        builder.branch(look)
        builder.position_at_end(following)
        again = builder.add(turn, I64(1))
        turn.add_incoming(again, following)
        builder.cbranch(builder.icmp_signed("<", again, I64(parts)), part, wait)
        builder.position_at_end(wait)
        builder.call(module.globals["tw_wait"], [done, builder.mul(last, I64(parts)), sleepers])
    builder.ret_void()


def _word(builder: ll.IRBuilder, job: Value, place: int | Value, kind: Any = None) -> Value:
    """Give the address of a word of a job, or what is there."""
    number = I64(place) if isinstance(place, int) else place
    pointer = builder.gep(job, [number], inbounds=True, source_etype=I64)
    return pointer if kind is None else builder.load(pointer, typ=kind)


def _groups(launches: tuple[Launch, ...]) -> list[list[Launch]]:
    """Put small launches that follow each other together: one thread does them."""
    found: list[list[Launch]] = []
    for launch in launches:
        if found and _is_small(launch) and _is_small(found[-1][-1]):
            found[-1].append(launch)
        else:
            found.append([launch])
    return found


def _is_small(launch: Launch) -> bool:
    return launch.kernel.tasks == 1 or launch.work < _SHARED_WORK


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
