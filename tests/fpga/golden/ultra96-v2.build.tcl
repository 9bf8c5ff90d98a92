# Written by Tilewright for Avnet Ultra96-V2; do not edit. Run: vivado -mode batch -source build.tcl
# Configuration tiny, hash HASH.
set here [file dirname [file normalize [info script]]]
cd $here
create_project -force tilewright vivado -part xczu3eg-sbva484-1-i
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
create_bd_cell -type ip -vlnv [newest zynq_ultra_ps_e] ps
apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e -config {apply_board_preset 1} [get_bd_cells ps]
set_property -dict {
    CONFIG.PSU__USE__M_AXI_GP0 1 CONFIG.PSU__USE__M_AXI_GP1 0 CONFIG.PSU__USE__M_AXI_GP2 0
    CONFIG.PSU__USE__S_AXI_GP2 1 CONFIG.PSU__SAXIGP2__DATA_WIDTH 64
    CONFIG.PSU__FPGA_PL0_ENABLE 1 CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ 200 CONFIG.PSU__USE__IRQ0 1
} [get_bd_cells ps]
set clock [get_bd_pins ps/pl_clk0]
connect_bd_net $clock [get_bd_pins ps/maxihpm0_fpd_aclk] [get_bd_pins ps/saxihp0_fpd_aclk]
connect_bd_net [get_bd_pins ps/pl_resetn0] [get_bd_pins reset/ext_reset_in]
connect_bd_intf_net [get_bd_intf_pins ps/M_AXI_HPM0_FPD] [get_bd_intf_pins control/S00_AXI]
connect_bd_intf_net [get_bd_intf_pins memory/M00_AXI] [get_bd_intf_pins ps/S_AXI_HP0_FPD]
connect_bd_net [get_bd_pins tilewright_0/irq] [get_bd_pins ps/pl_ps_irq0]
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
