"""FPGA flows, boards and the driver."""
