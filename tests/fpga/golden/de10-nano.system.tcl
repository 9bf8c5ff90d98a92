# Written by Tilewright for Terasic DE10-Nano; do not edit. Run: qsys-script --script=system.tcl
package require -exact qsys 16.0
create_system system
set_project_property DEVICE_FAMILY "Cyclone V"
set_project_property DEVICE 5CSEBA6U23I7
add_instance clock clock_source
set_instance_parameter_value clock clockFrequency {50000000}
add_instance pll altera_pll
set_instance_parameter_value pll gui_reference_clock_frequency 50.0
set_instance_parameter_value pll gui_output_clock_frequency0 100.0
set_instance_parameter_value pll gui_use_locked 0
add_instance accelerator tilewright
add_connection clock.clk pll.refclk
add_connection clock.clk_reset pll.reset
add_connection pll.outclk0 accelerator.clock
add_connection clock.clk_reset accelerator.reset
add_interface clk clock end
set_interface_property clk EXPORT_OF clock.clk_in
add_interface reset reset end
set_interface_property reset EXPORT_OF clock.clk_in_reset
add_instance hps altera_hps
set_instance_parameter_value hps F2SDRAM_Type {AXI-3}
set_instance_parameter_value hps F2SDRAM_Width {64}
set_instance_parameter_value hps LWH2F_Enable true
set_instance_parameter_value hps S2F_Width 0
set_instance_parameter_value hps F2S_Width 0
set_instance_parameter_value hps F2SINTERRUPT_Enable true
add_connection pll.outclk0 hps.h2f_lw_axi_clock
add_connection pll.outclk0 hps.f2h_sdram0_clock
add_connection hps.h2f_reset accelerator.reset
add_connection hps.h2f_lw_axi_master accelerator.registers
set_connection_parameter_value hps.h2f_lw_axi_master/accelerator.registers baseAddress 0x0000
add_connection accelerator.memory hps.f2h_sdram0_data
set_connection_parameter_value accelerator.memory/hps.f2h_sdram0_data baseAddress 0x0000
add_connection hps.f2h_irq0 accelerator.interrupt
set_connection_parameter_value hps.f2h_irq0/accelerator.interrupt irqNumber 0
add_interface ddr conduit end
set_interface_property ddr EXPORT_OF hps.memory
save_system system.qsys
