load_package flow
project_open tilewright
execute_flow -compile
project_close
