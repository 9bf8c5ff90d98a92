"""The CPU target: integer graphs as one native function, lowered through the tensor IR and LLVM.

What stands for a target's generation of instructions is in `levels`, what those compute in `instructions`. Tensors are
unsigned bytes, 128 more than the graph's int8: the dot product instructions multiply unsigned by signed bytes.
"""
