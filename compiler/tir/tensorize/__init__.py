"""Tensorization: finding the instruction that means a loop nest.

In the order data passes through: `specialise` (an instruction's meaning in one mode), `canonical` (the form compared
in, a `tree`), `unify` (matching, with `polynomial` and `equations`), `tensorizer` (instructions of a nest,
remembered by nest).
"""

from tilewright.compiler.tir.tensorize.intrinsic import Intrinsic
from tilewright.compiler.tir.tensorize.tensorizer import InstructionCall, Tensorizer
from tilewright.compiler.tir.tensorize.tree import TensorizeError
from tilewright.compiler.tir.tensorize.unify import TooManyLoops

__all__ = ["InstructionCall", "Intrinsic", "TensorizeError", "Tensorizer", "TooManyLoops"]
