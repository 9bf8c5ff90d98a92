"""Tests of fpga."""
