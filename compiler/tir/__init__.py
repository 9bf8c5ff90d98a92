"""The tensor IR: tools over the loop-nest language of `tilewright.isa.ir`.

In the order data passes through them: `visit` (walking), `printer`, `verify`, `simplify`, schedules, `interpreter` (the
reference), `llvm` (machine code).
"""
