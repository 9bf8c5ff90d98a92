"""The GPU target: kernels of the tensor IR as PTX, and whole integer networks as one CUDA graph.

In the order data passes through them: `layout` (where tensors lie), `lower` (a graph to launches of `kernels`),
`memory_plan`, `emit` and `ptx` (machine code), `driver` and `network` (loading and running).
"""
