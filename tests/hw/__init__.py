"""Tests of hw."""
