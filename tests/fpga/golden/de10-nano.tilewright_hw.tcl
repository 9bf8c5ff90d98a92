# Written by Tilewright; do not edit. Platform Designer component, configuration tiny, hash HASH.
package require -exact qsys 16.0
set_module_property NAME tilewright
set_module_property DISPLAY_NAME Tilewright
set_module_property VERSION 1.0
set_module_property GROUP Accelerators
add_fileset synthesis QUARTUS_SYNTH
set_fileset_property synthesis TOP_LEVEL tilewright_axi
add_fileset_file tilewright_axi.v VERILOG PATH tilewright_axi.v TOP_LEVEL_FILE
add_fileset_file accelerator.v VERILOG PATH accelerator.v
add_interface clock clock end
add_interface_port clock aclk clk Input 1
add_interface reset reset end
set_interface_property reset associatedClock clock
add_interface_port reset aresetn reset_n Input 1
add_interface registers axi4lite end
set_interface_property registers associatedClock clock
set_interface_property registers associatedReset reset
add_interface_port registers s_axi_awaddr awaddr Input 10
add_interface_port registers s_axi_awvalid awvalid Input 1
add_interface_port registers s_axi_awready awready Output 1
add_interface_port registers s_axi_wdata wdata Input 32
add_interface_port registers s_axi_wstrb wstrb Input 4
add_interface_port registers s_axi_wvalid wvalid Input 1
add_interface_port registers s_axi_wready wready Output 1
add_interface_port registers s_axi_bresp bresp Output 2
add_interface_port registers s_axi_bvalid bvalid Output 1
add_interface_port registers s_axi_bready bready Input 1
add_interface_port registers s_axi_araddr araddr Input 10
add_interface_port registers s_axi_arvalid arvalid Input 1
add_interface_port registers s_axi_arready arready Output 1
add_interface_port registers s_axi_rdata rdata Output 32
add_interface_port registers s_axi_rresp rresp Output 2
add_interface_port registers s_axi_rvalid rvalid Output 1
add_interface_port registers s_axi_rready rready Input 1
add_interface_port registers s_axi_awprot awprot Input 3
add_interface_port registers s_axi_arprot arprot Input 3
add_interface memory axi4 start
set_interface_property memory associatedClock clock
set_interface_property memory associatedReset reset
set_interface_property memory readIssuingCapability 16
set_interface_property memory writeIssuingCapability 8
set_interface_property memory combinedIssuingCapability 24
add_interface_port memory m_axi_arid arid Output 1
add_interface_port memory m_axi_araddr araddr Output 32
add_interface_port memory m_axi_arlen arlen Output 8
add_interface_port memory m_axi_arsize arsize Output 3
add_interface_port memory m_axi_arburst arburst Output 2
add_interface_port memory m_axi_arvalid arvalid Output 1
add_interface_port memory m_axi_arready arready Input 1
add_interface_port memory m_axi_rid rid Input 1
add_interface_port memory m_axi_rdata rdata Input 64
add_interface_port memory m_axi_rresp rresp Input 2
add_interface_port memory m_axi_rlast rlast Input 1
add_interface_port memory m_axi_rvalid rvalid Input 1
add_interface_port memory m_axi_rready rready Output 1
add_interface_port memory m_axi_awid awid Output 1
add_interface_port memory m_axi_awaddr awaddr Output 32
add_interface_port memory m_axi_awlen awlen Output 8
add_interface_port memory m_axi_awsize awsize Output 3
add_interface_port memory m_axi_awburst awburst Output 2
add_interface_port memory m_axi_awvalid awvalid Output 1
add_interface_port memory m_axi_awready awready Input 1
add_interface_port memory m_axi_wdata wdata Output 64
add_interface_port memory m_axi_wstrb wstrb Output 8
add_interface_port memory m_axi_wlast wlast Output 1
add_interface_port memory m_axi_wvalid wvalid Output 1
add_interface_port memory m_axi_wready wready Input 1
add_interface_port memory m_axi_bid bid Input 1
add_interface_port memory m_axi_bresp bresp Input 2
add_interface_port memory m_axi_bvalid bvalid Input 1
add_interface_port memory m_axi_bready bready Output 1
add_interface interrupt interrupt end
set_interface_property interrupt associatedAddressablePoint registers
set_interface_property interrupt associatedClock clock
add_interface_port interrupt irq irq Output 1
