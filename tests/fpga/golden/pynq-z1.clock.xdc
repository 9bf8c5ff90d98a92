create_clock -name aclk -period 10.000 [get_ports aclk]
