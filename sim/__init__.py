"""Four ways to run a program, behind one interface."""
