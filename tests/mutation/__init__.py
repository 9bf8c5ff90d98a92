"""Tests of the tests: do they notice faults in the hardware?"""
