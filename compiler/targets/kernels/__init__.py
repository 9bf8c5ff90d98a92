"""What kernels for processors and for GPUs are made of: nests, layouts, memory, constants, and lowering to them."""
