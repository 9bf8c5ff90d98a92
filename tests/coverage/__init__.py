"""What the tests reach: lines of Python, lines and bits of the RTL, combinations of instructions and features."""
