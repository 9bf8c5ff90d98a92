"""The ground floor: the accelerator's configuration, its instruction table and what is derived from them."""
