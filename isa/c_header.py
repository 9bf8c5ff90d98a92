"""The C header of one configuration: registers, opcodes and an encoder for every instruction."""

from __future__ import annotations

from collections.abc import Iterator

from tilewright.isa.instructions import Instruction, InstructionSet
from tilewright.isa.registers import MAGIC, REGISTERS, Error

_PROLOGUE = """\
/* Generated from the Tilewright instruction table; do not edit.
 * Configuration {name}, hash {hash}. */
#ifndef TILEWRIGHT_ISA_H
#define TILEWRIGHT_ISA_H

#include <stdint.h>
#include <string.h>

#define TW_CONFIG_HASH UINT64_C(0x{hash})
#define TW_MAGIC UINT32_C(0x{magic:08X})
#define TW_INSTRUCTION_BYTES {instruction_bytes}
"""

_PACK = """\
/* Put the low `bits` bits of `value` at bit `offset` of a cleared instruction word. */
static inline void tw_pack(uint8_t *word, unsigned offset, unsigned bits, uint64_t value)
{
    for (unsigned i = 0; i < bits; i++)
        if (value >> i & 1)
            word[(offset + i) / 8] |= (uint8_t)(1u << ((offset + i) % 8));
}
"""


def render(isa: InstructionSet) -> str:
    """Return the header's text."""
    prologue = _PROLOGUE.format(
        name=isa.config.name, hash=isa.config.hash, magic=MAGIC, instruction_bytes=isa.instruction_bytes
    )
    parts = [prologue, *_registers(), *_constants(isa), _PACK, *map(_encoder, isa.instructions), "#endif"]
    return "\n".join(parts) + "\n"


def _registers() -> Iterator[str]:
    yield "/* Registers: byte offsets, and shift and mask of their fields. */"
    for register in REGISTERS:
        yield f"#define TW_{register.name} 0x{register.offset:03X}u"
        for f in register.fields:
            yield f"#define TW_{register.name}_{f.name.upper()}_SHIFT {f.shift}u"
            yield f"#define TW_{register.name}_{f.name.upper()}_MASK 0x{(1 << f.bits) - 1:X}u"
    yield ""
    yield "/* Values of STATUS.error. */"
    for error in Error:
        yield f"#define TW_ERROR_{error.name} {int(error)}u"
    yield ""


def _constants(isa: InstructionSet) -> Iterator[str]:
    yield "/* Opcodes and operations. */"
    for instruction in isa.instructions:
        yield f"#define TW_OPCODE_{instruction.name} {int(instruction.opcode)}u"
    for op in isa.vector_ops:
        yield f"#define TW_VECTOR_{op.name.upper()} {op.code}u"
    for row_op in isa.row_ops:
        yield f"#define TW_ROW_{row_op.name.upper()} {row_op.code}u"
    yield ""


def _encoder(instruction: Instruction) -> str:
    name = instruction.name.lower()
    fields = [f for f in instruction.fields[1:] if f.bits]
    lines = [f"/* {instruction.name}: {instruction.doc}. */", f"struct tw_{name} {{"]
    lines += [f"    int64_t {f.name}; /* {f.doc} */" for f in fields]
    lines += ["};", "", f"static inline void tw_encode_{name}(uint8_t *word, const struct tw_{name} *fields)", "{"]
    lines.append("    memset(word, 0, TW_INSTRUCTION_BYTES);")
    offset = instruction.fields[0].bits
    lines.append(f"    tw_pack(word, 0, {offset}, TW_OPCODE_{instruction.name});")
    for f in fields:
        lines.append(f"    tw_pack(word, {offset}, {f.bits}, (uint64_t)fields->{f.name});")
        offset += f.bits
    return "\n".join([*lines, "}", ""])
