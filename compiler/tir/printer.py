"""The tensor IR as text: stable, readable, one statement a line; golden tests compare it."""

from __future__ import annotations

from collections.abc import Iterator

from tilewright.isa.ir import Allocate, Block, Buffer, Call, Const, For, Function, If, Stmt, Store, Var
from tilewright.isa.ir_text import expression_text

_INDENT = "  "


def function_text(function: Function) -> str:
    """Return a function as text, ending in a line feed."""
    scalars = [_scalar_text(scalar) for scalar in function.scalars]
    lines = [f"def {function.name}({', '.join(scalars)}):"]
    lines += [f"{_INDENT}buffer {buffer_text(buffer)}" for buffer in function.buffers]
    lines += _lines(function.body, 1)
    return "\n".join(lines) + "\n"


def stmt_text(stmt: Stmt) -> str:
    """Return a statement as text, ending in a line feed."""
    return "\n".join(_lines(stmt, 0)) + "\n"


def buffer_text(buffer: Buffer) -> str:
    """Return a buffer's declaration: `name: type[extents] in space`."""
    return f"{buffer.name}: {buffer.dtype}[{', '.join(map(str, buffer.shape))}] in {buffer.space}"


def _scalar_text(scalar: Var) -> str:
    return f"{scalar.name}: {scalar.type}"


def _lines(stmt: Stmt, depth: int) -> Iterator[str]:
    pad = _INDENT * depth
    match stmt:
        case For(var, extent, body, kind):
            note = "" if kind == "serial" else f"  # {kind}"
            yield f"{pad}for {var.name} in range({expression_text(extent)}):{note}"
            yield from _lines(body, depth + 1)
        case Store(buffer, indices, value):
            place = ", ".join(expression_text(i) for i in indices)
            yield f"{pad}{buffer.name}[{place}] = {expression_text(value)}"
        case If(condition, then, otherwise):
            yield from _if_lines(If(condition, then, otherwise), depth, "if")
        case Block(()):
            yield f"{pad}pass"
        case Block(body):
            for inner in body:
                yield from _lines(inner, depth)
        case Allocate(buffer, body):
            yield f"{pad}with {buffer_text(buffer)}:"
            yield from _lines(body, depth + 1)
        case Call(name, operands):
            shown = ", ".join(f"{key}={expression_text(value)}" for key, value in operands if value != Const(0))
            yield f"{pad}{name}({shown})"
        case _:
            raise TypeError(f"not a statement: {stmt!r}")


def _if_lines(stmt: If, depth: int, word: str) -> Iterator[str]:
    pad = _INDENT * depth
    yield f"{pad}{word} {expression_text(stmt.condition)}:"
    yield from _lines(stmt.then, depth + 1)
    match stmt.otherwise:
        case None | Block(()):
            return
        case If():
            yield from _if_lines(stmt.otherwise, depth, "elif")
        case _:
            yield f"{pad}else:"
            yield from _lines(stmt.otherwise, depth + 1)
