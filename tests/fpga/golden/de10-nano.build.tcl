load_package flow
qexec "qsys-script --script=system.tcl --search-path=.,$"
qexec "qsys-generate system.qsys --synthesis=VERILOG --output-directory=system"
project_open tilewright
execute_flow -compile
project_close
