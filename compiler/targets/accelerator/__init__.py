"""From the integer graph to an accelerator program.

`layout` says how tensors lie in memory; `tiling` chooses the pieces of a layer, asking `cost`; `convolution`, `pool`,
`elementwise` and `copies` turn a layer into steps of operations; `ordering` makes one stream of them, `tokens`
synchronises it, `emit` encodes it; `partition` and `lower` do so for whole graphs, with `dram` placing the tensors.
"""
