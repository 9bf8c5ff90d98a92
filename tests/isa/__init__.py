"""Tests of isa."""
