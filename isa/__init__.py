"""The instruction set: configuration, instruction table, and what is derived from them.

The ground floor of the house: imports nothing else of Tilewright.
"""
