"""Measurements: suites of cases, each giving records that stand beside published figures."""
