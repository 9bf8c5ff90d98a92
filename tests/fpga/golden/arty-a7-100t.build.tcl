# Written by Tilewright for Digilent Arty A7-100T; do not edit. Run: vivado -mode batch -source build.tcl
# Configuration tiny, hash HASH.
set here [file dirname [file normalize [info script]]]
cd $here
create_project -force tilewright vivado -part xc7a100tcsg324-1
add_files -norecurse {accelerator.v tilewright_axi.v}
add_files -fileset constrs_1 -norecurse clock.xdc
synth_design -top tilewright_axi -part xc7a100tcsg324-1 -mode out_of_context
opt_design
place_design
phys_opt_design
route_design
report_utilization -file utilization.rpt
report_utilization -hierarchical -file hierarchy.rpt
report_timing_summary -file timing.rpt
write_checkpoint -force tilewright_HASH.dcp
