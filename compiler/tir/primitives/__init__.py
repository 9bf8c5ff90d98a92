"""Schedule primitives: each rewrites a function into an equal one, or refuses.

`loops` finds and replaces loops, `dependence` says what an order of iterations must respect, `regions` what part of a
buffer a nest touches; each other module is one primitive.
"""
