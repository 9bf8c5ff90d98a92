# Written by Tilewright for Digilent PYNQ-Z1; do not edit. Run: vivado -mode batch -source build.tcl
# Configuration tiny, hash HASH.
set here [file dirname [file normalize [info script]]]
cd $here
create_project -force tilewright vivado -part xc7z020clg400-1
add_files -norecurse {accelerator.v tilewright_axi.v}
set_property top tilewright_axi [current_fileset]
update_compile_order -fileset sources_1
ipx::package_project -root_dir ip -vendor tilewright -library user -taxonomy /UserIP -import_files -force
set core [ipx::current_core]
set_property name tilewright $core
set_property display_name Tilewright $core
ipx::associate_bus_interfaces -busif m_axi -clock aclk $core
ipx::associate_bus_interfaces -busif s_axi -clock aclk $core
ipx::create_xgui_files $core
ipx::update_checksums $core
ipx::save_core $core
set_property ip_repo_paths [file normalize ip] [current_project]
update_ip_catalog
proc newest {name} { return [lindex [lsort -dictionary [get_ipdefs -all xilinx.com:ip:$name:*]] end] }
create_bd_design system
create_bd_cell -type ip -vlnv tilewright:user:tilewright:1.0 tilewright_0
create_bd_cell -type ip -vlnv [newest smartconnect] control
set_property -dict {CONFIG.NUM_SI 1 CONFIG.NUM_MI 1} [get_bd_cells control]
create_bd_cell -type ip -vlnv [newest smartconnect] memory
set_property -dict {CONFIG.NUM_SI 1 CONFIG.NUM_MI 1} [get_bd_cells memory]
create_bd_cell -type ip -vlnv [newest proc_sys_reset] reset
create_bd_cell -type ip -vlnv [newest processing_system7] ps
apply_bd_automation -rule xilinx.com:bd_rule:processing_system7 \
    -config {make_external "FIXED_IO, DDR" apply_board_preset 1} [get_bd_cells ps]
set_property -dict {
    CONFIG.PCW_USE_M_AXI_GP0 1 CONFIG.PCW_USE_S_AXI_HP0 1 CONFIG.PCW_S_AXI_HP0_DATA_WIDTH 64
    CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ 100 CONFIG.PCW_USE_FABRIC_INTERRUPT 1 CONFIG.PCW_IRQ_F2P_INTR 1
} [get_bd_cells ps]
set clock [get_bd_pins ps/FCLK_CLK0]
connect_bd_net $clock [get_bd_pins ps/M_AXI_GP0_ACLK] [get_bd_pins ps/S_AXI_HP0_ACLK]
connect_bd_net [get_bd_pins ps/FCLK_RESET0_N] [get_bd_pins reset/ext_reset_in]
connect_bd_intf_net [get_bd_intf_pins ps/M_AXI_GP0] [get_bd_intf_pins control/S00_AXI]
connect_bd_intf_net [get_bd_intf_pins memory/M00_AXI] [get_bd_intf_pins ps/S_AXI_HP0]
connect_bd_net [get_bd_pins tilewright_0/irq] [get_bd_pins ps/IRQ_F2P]
connect_bd_net $clock [get_bd_pins reset/slowest_sync_clk] [get_bd_pins tilewright_0/aclk] \
    [get_bd_pins control/aclk] [get_bd_pins memory/aclk]
connect_bd_net [get_bd_pins reset/peripheral_aresetn] [get_bd_pins tilewright_0/aresetn] \
    [get_bd_pins control/aresetn] [get_bd_pins memory/aresetn]
connect_bd_intf_net [get_bd_intf_pins control/M00_AXI] [get_bd_intf_pins tilewright_0/s_axi]
connect_bd_intf_net [get_bd_intf_pins tilewright_0/m_axi] [get_bd_intf_pins memory/S00_AXI]
assign_bd_address
set_property range 4K [get_bd_addr_segs -of_objects [get_bd_addr_spaces ps/*] -filter {NAME =~ *tilewright_0*}]
validate_bd_design
save_bd_design
set wrapper [make_wrapper -files [get_files system.bd] -top]
add_files -norecurse $wrapper
set_property top system_wrapper [current_fileset]
update_compile_order -fileset sources_1
launch_runs impl_1 -to_step write_bitstream -jobs 4
wait_on_run impl_1
if {[get_property PROGRESS [get_runs impl_1]] ne "100%"} { error "ERROR: implementation failed" }
open_run impl_1
report_utilization -file utilization.rpt
report_utilization -hierarchical -file hierarchy.rpt
report_timing_summary -file timing.rpt
file copy -force [glob vivado/tilewright.runs/impl_1/*.bit] tilewright_HASH.bit
file copy -force [lindex [glob vivado/tilewright.gen/sources_1/bd/system/hw_handoff/*.hwh] 0] tilewright_HASH.hwh
