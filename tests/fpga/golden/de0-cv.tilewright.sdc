create_clock -name aclk -period 12.500 [get_ports aclk]
derive_clock_uncertainty
