"""A stand-in for the accelerator: a small machine with its ports that executes one copying instruction after another.

It knows LOAD_ACT (one run into a buffer of 64 beats) and STORE_ACT (one run out of it), hangs at GEMM, and stops with
an error at anything else. With it, the memory model and the harness are tested exactly and without the real RTL.
"""

from __future__ import annotations

from string import Template

from tilewright.isa.instructions import InstructionSet, Opcode
from tilewright.isa.registers import ADDRESS_BITS, COUNTERS, MAGIC, REGISTERS, Error

TOP = "standin"

_TEXT = Template("""
module standin(
  input clk, input rst, output irq,
  output m_axi__arvalid, input m_axi__arready, output [31:0] m_axi__araddr, output [7:0] m_axi__arlen,
  output [2:0] m_axi__arsize, output [1:0] m_axi__arburst, output m_axi__arid,
  input m_axi__rvalid, output m_axi__rready, input [$data_top:0] m_axi__rdata, input [1:0] m_axi__rresp,
  input m_axi__rlast, input m_axi__rid,
  output m_axi__awvalid, input m_axi__awready, output [31:0] m_axi__awaddr, output [7:0] m_axi__awlen,
  output [2:0] m_axi__awsize, output [1:0] m_axi__awburst, output m_axi__awid,
  output m_axi__wvalid, input m_axi__wready, output [$data_top:0] m_axi__wdata, output [$strobe_top:0] m_axi__wstrb,
  output m_axi__wlast,
  input m_axi__bvalid, output m_axi__bready, input [1:0] m_axi__bresp, input m_axi__bid,
  input s_axi__awvalid, output s_axi__awready, input [$register_top:0] s_axi__awaddr,
  input s_axi__wvalid, output s_axi__wready, input [31:0] s_axi__wdata, input [3:0] s_axi__wstrb,
  output reg s_axi__bvalid, input s_axi__bready, output [1:0] s_axi__bresp,
  input s_axi__arvalid, output s_axi__arready, input [$register_top:0] s_axi__araddr,
  output reg s_axi__rvalid, input s_axi__rready, output reg [31:0] s_axi__rdata, output [1:0] s_axi__rresp,
  output trace__load_start, output trace__load_finish, output trace__compute_start, output trace__compute_finish,
  output trace__store_start, output trace__store_finish
);
  localparam IDLE = 0, FETCH = 1, DECODE = 2, LOAD = 3, STORE = 4, RESPONSE = 5, STUCK = 6;
  reg [2:0] state;
  reg [31:0] base, program, count, index;
  reg [63:0] cycles;
  reg done, pending, irq_enable, asked;
  reg [7:0] error, beat, length;
  reg [$instruction_top:0] word;
  reg [$data_top:0] buffer [0:63];

  wire [5:0] opcode = word[5:0];
  wire [31:0] load_base = base + word[$load_base +: 32];
  wire [31:0] store_base = base + word[$store_base +: 32];
  wire [31:0] load_beats = (word[$load_run +: $run_bits] * $row_bytes + $beat_bytes - 1) / $beat_bytes;
  wire [31:0] store_beats = (word[$store_run +: $run_bits] * $row_bytes + $beat_bytes - 1) / $beat_bytes;
  wire is_load = opcode == $load_opcode, is_store = opcode == $store_opcode, is_gemm = opcode == $gemm_opcode;

  assign irq = pending & irq_enable;
  assign m_axi__arvalid = (state == FETCH || state == LOAD) && !asked;
  assign m_axi__araddr = state == FETCH ? base + program + index * $instruction_bytes : load_base;
  assign m_axi__arlen = state == FETCH ? $instruction_beats - 1 : load_beats - 1;
  assign m_axi__arsize = $$clog2($beat_bytes);
  assign m_axi__arburst = 1;
  assign m_axi__arid = state == LOAD;
  assign m_axi__rready = 1;
  assign m_axi__awvalid = state == STORE && !asked;
  assign m_axi__awaddr = store_base;
  assign m_axi__awlen = store_beats - 1;
  assign m_axi__awsize = $$clog2($beat_bytes);
  assign m_axi__awburst = 1;
  assign m_axi__awid = 0;
  assign m_axi__wvalid = state == STORE;
  assign m_axi__wdata = buffer[beat[5:0]];
  assign m_axi__wstrb = ~0;
  assign m_axi__wlast = beat == store_beats - 1;
  assign m_axi__bready = 1;
  assign trace__load_start = state == DECODE && is_load;
  assign trace__load_finish = state == LOAD && m_axi__rvalid && m_axi__rlast && m_axi__rresp == 0;
  assign trace__store_start = state == DECODE && is_store;
  assign trace__store_finish = state == RESPONSE && m_axi__bvalid && m_axi__bresp == 0;
  assign trace__compute_start = state == DECODE && is_gemm;
  assign trace__compute_finish = 0;

  assign s_axi__awready = s_axi__wvalid && !s_axi__bvalid;
  assign s_axi__wready = s_axi__awvalid && !s_axi__bvalid;
  assign s_axi__arready = !s_axi__rvalid;
  assign s_axi__bresp = 0;
  assign s_axi__rresp = 0;
  wire register_write = s_axi__awvalid && s_axi__wvalid && !s_axi__bvalid;

  always @(posedge clk) begin
    if (s_axi__bready) s_axi__bvalid <= 0;
    if (register_write) s_axi__bvalid <= 1;
    if (s_axi__rready) s_axi__rvalid <= 0;
    if (s_axi__arvalid && s_axi__arready) begin
      s_axi__rvalid <= 1;
      case (s_axi__araddr)
        $ID: s_axi__rdata <= $magic;
        $HASH_LOW: s_axi__rdata <= 32'h$hash_low;
        $HASH_HIGH: s_axi__rdata <= 32'h$hash_high;
        $STATUS: s_axi__rdata <= {16'b0, error, 6'b0, done, state != IDLE};
        $CYCLES_LOW: s_axi__rdata <= cycles[31:0];
        $CYCLES_HIGH: s_axi__rdata <= cycles[63:32];
        default: s_axi__rdata <= 0;
      endcase
    end
    if (state != IDLE) cycles <= cycles + 1;
    case (state)
      IDLE: ;
      FETCH: begin
        if (m_axi__arready) asked <= 1;
        if (m_axi__rvalid) begin
          word <= {m_axi__rdata, word[$instruction_top:$data_bits]};
          if (m_axi__rresp != 0) begin error <= $read_error; state <= IDLE; pending <= 1; end
          else if (m_axi__rlast) state <= DECODE;
        end
      end
      DECODE: begin
        asked <= 0;
        beat <= 0;
        if (is_load) state <= LOAD;
        else if (is_store) state <= STORE;
        else if (is_gemm) state <= STUCK;
        else begin error <= $illegal; state <= IDLE; pending <= 1; end
      end
      LOAD: begin
        if (m_axi__arready) asked <= 1;
        if (m_axi__rvalid) begin
          buffer[beat[5:0]] <= m_axi__rdata;
          beat <= beat + 1;
          if (m_axi__rresp != 0) begin error <= $read_error; state <= IDLE; pending <= 1; end
        end
      end
      STORE: begin
        if (m_axi__awready) asked <= 1;
        if (m_axi__wready) beat <= beat + 1;
        if (m_axi__wready && m_axi__wlast) state <= RESPONSE;
      end
      RESPONSE: if (m_axi__bvalid && m_axi__bresp != 0) begin error <= $write_error; state <= IDLE; pending <= 1; end
      default: ;
    endcase
    if (trace__load_finish || trace__store_finish) begin
      asked <= 0;
      index <= index + 1;
      state <= FETCH;
      if (index + 1 == count) begin state <= IDLE; done <= 1; pending <= 1; end
    end
    if (register_write) case (s_axi__awaddr)
      $IRQ_ENABLE: irq_enable <= s_axi__wdata[0];
      $IRQ_PENDING: if (s_axi__wdata[0]) pending <= 0;
      $BASE_LOW: base <= s_axi__wdata;
      $PROGRAM: program <= s_axi__wdata;
      $COUNT: count <= s_axi__wdata;
      $CONTROL: if (s_axi__wdata[0]) begin
        state <= FETCH; index <= 0; asked <= 0; done <= 0; error <= 0; cycles <= 0;
      end
      default: ;
    endcase
    if (rst) begin
      state <= IDLE; pending <= 0; irq_enable <= 0; done <= 0; error <= 0; cycles <= 0;
      s_axi__bvalid <= 0; s_axi__rvalid <= 0;
    end
  end
endmodule
""")


def _field(isa: InstructionSet, instruction: str, name: str) -> tuple[int, int]:
    shift = 0
    for field in isa.by_name[instruction].fields:
        if field.name == name:
            return shift, field.bits
        shift += field.bits
    raise KeyError(name)


def standin(isa: InstructionSet) -> str:
    """Return the stand-in's Verilog for a configuration with 32 address bits."""
    config = isa.config
    load_run, run_bits = _field(isa, "LOAD_ACT", "extent_run")
    numbers: dict[str, object] = {register.name: register.offset for register in REGISTERS}
    assert {"CYCLES_LOW", "CYCLES_HIGH"} <= set(numbers) and COUNTERS[0][0] == "cycles"
    numbers |= {
        "data_top": config.bus.data_bits - 1,
        "data_bits": config.bus.data_bits,
        "strobe_top": config.bus_bytes - 1,
        "register_top": ADDRESS_BITS - 1,
        "instruction_top": 8 * isa.instruction_bytes - 1,
        "instruction_bytes": isa.instruction_bytes,
        "instruction_beats": isa.instruction_bytes // config.bus_bytes,
        "beat_bytes": config.bus_bytes,
        "row_bytes": config.row_bytes,
        "load_base": _field(isa, "LOAD_ACT", "dram_base")[0],
        "store_base": _field(isa, "STORE_ACT", "dram_base")[0],
        "load_run": load_run,
        "store_run": _field(isa, "STORE_ACT", "extent_run")[0],
        "run_bits": run_bits,
        "load_opcode": int(Opcode.LOAD_ACT),
        "store_opcode": int(Opcode.STORE_ACT),
        "gemm_opcode": int(Opcode.GEMM),
        "illegal": int(Error.ILLEGAL_INSTRUCTION),
        "read_error": int(Error.READ_RESPONSE),
        "write_error": int(Error.WRITE_RESPONSE),
        "magic": MAGIC,
        "hash_low": config.hash[8:],
        "hash_high": config.hash[:8],
    }
    return _TEXT.substitute(numbers)
