/* Generated from the Tilewright instruction table; do not edit.
 * Configuration 16x16, hash cb5b557f6b95c7f6. */
#ifndef TILEWRIGHT_ISA_H
#define TILEWRIGHT_ISA_H

#include <stdint.h>
#include <string.h>

#define TW_CONFIG_HASH UINT64_C(0xcb5b557f6b95c7f6)
#define TW_MAGIC UINT32_C(0x544C5752)
#define TW_INSTRUCTION_BYTES 64

/* Registers: byte offsets, and shift and mask of their fields. */
#define TW_ID 0x000u
#define TW_VERSION 0x004u
#define TW_HASH_LOW 0x008u
#define TW_HASH_HIGH 0x00Cu
#define TW_CONTROL 0x010u
#define TW_CONTROL_START_SHIFT 0u
#define TW_CONTROL_START_MASK 0x1u
#define TW_CONTROL_RESET_SHIFT 1u
#define TW_CONTROL_RESET_MASK 0x1u
#define TW_STATUS 0x014u
#define TW_STATUS_BUSY_SHIFT 0u
#define TW_STATUS_BUSY_MASK 0x1u
#define TW_STATUS_DONE_SHIFT 1u
#define TW_STATUS_DONE_MASK 0x1u
#define TW_STATUS_ERROR_SHIFT 8u
#define TW_STATUS_ERROR_MASK 0xFFu
#define TW_IRQ_ENABLE 0x018u
#define TW_IRQ_ENABLE_DONE_SHIFT 0u
#define TW_IRQ_ENABLE_DONE_MASK 0x1u
#define TW_IRQ_PENDING 0x01Cu
#define TW_IRQ_PENDING_DONE_SHIFT 0u
#define TW_IRQ_PENDING_DONE_MASK 0x1u
#define TW_BASE_LOW 0x020u
#define TW_BASE_HIGH 0x024u
#define TW_PROGRAM 0x028u
#define TW_COUNT 0x02Cu
#define TW_CYCLES_LOW 0x080u
#define TW_CYCLES_HIGH 0x084u
#define TW_LOAD_BUSY_LOW 0x088u
#define TW_LOAD_BUSY_HIGH 0x08Cu
#define TW_LOAD_WAIT_LOW 0x090u
#define TW_LOAD_WAIT_HIGH 0x094u
#define TW_COMPUTE_BUSY_LOW 0x098u
#define TW_COMPUTE_BUSY_HIGH 0x09Cu
#define TW_COMPUTE_WAIT_LOW 0x0A0u
#define TW_COMPUTE_WAIT_HIGH 0x0A4u
#define TW_COMPUTE_FENCE_LOW 0x0A8u
#define TW_COMPUTE_FENCE_HIGH 0x0ACu
#define TW_STORE_BUSY_LOW 0x0B0u
#define TW_STORE_BUSY_HIGH 0x0B4u
#define TW_STORE_WAIT_LOW 0x0B8u
#define TW_STORE_WAIT_HIGH 0x0BCu
#define TW_FETCH_WAIT_LOW 0x0C0u
#define TW_FETCH_WAIT_HIGH 0x0C4u
#define TW_GEMM_STEPS_LOW 0x0C8u
#define TW_GEMM_STEPS_HIGH 0x0CCu
#define TW_READ_BEATS_LOW 0x0D0u
#define TW_READ_BEATS_HIGH 0x0D4u
#define TW_READ_BURSTS_LOW 0x0D8u
#define TW_READ_BURSTS_HIGH 0x0DCu
#define TW_WRITE_BEATS_LOW 0x0E0u
#define TW_WRITE_BEATS_HIGH 0x0E4u
#define TW_WRITE_BURSTS_LOW 0x0E8u
#define TW_WRITE_BURSTS_HIGH 0x0ECu

/* Values of STATUS.error. */
#define TW_ERROR_NONE 0u
#define TW_ERROR_ILLEGAL_INSTRUCTION 1u
#define TW_ERROR_READ_RESPONSE 2u
#define TW_ERROR_WRITE_RESPONSE 3u
#define TW_ERROR_DEADLOCK 4u
#define TW_ERROR_BUSY 5u

/* Opcodes and operations. */
#define TW_OPCODE_LOAD_ACT 1u
#define TW_OPCODE_LOAD_WGT 2u
#define TW_OPCODE_LOAD_PRM 3u
#define TW_OPCODE_LOAD_TBL 4u
#define TW_OPCODE_GEMM 8u
#define TW_OPCODE_VECTOR 9u
#define TW_OPCODE_DEPTHWISE 10u
#define TW_OPCODE_ROW 11u
#define TW_OPCODE_STORE_ACT 16u
#define TW_VECTOR_SUM 0u
#define TW_VECTOR_MAX 1u
#define TW_VECTOR_MIN 2u
#define TW_VECTOR_MUL 3u
#define TW_ROW_MAX 0u
#define TW_ROW_SUM 1u
#define TW_ROW_EXP_SUM 2u
#define TW_ROW_SQUARE_SUM 3u
#define TW_ROW_EXP 4u
#define TW_ROW_NORMALISE 5u

/* Put the low `bits` bits of `value` at bit `offset` of a cleared instruction word. */
static inline void tw_pack(uint8_t *word, unsigned offset, unsigned bits, uint64_t value)
{
    for (unsigned i = 0; i < bits; i++)
        if (value >> i & 1)
            word[(offset + i) / 8] |= (uint8_t)(1u << ((offset + i) % 8));
}

/* LOAD_ACT: load a strided, padded box of rows into the activation scratchpad. */
struct tw_load_act {
    int64_t wait; /* take a token from these engines before starting (bit 0: compute, bit 1: store) */
    int64_t signal; /* give a token to these engines when complete (bit 0: compute, bit 1: store) */
    int64_t dram_base; /* first byte in DRAM */
    int64_t base; /* first row in act */
    int64_t extent_run; /* contiguous rows */
    int64_t extent0; /* iterations of loop 0 */
    int64_t extent1; /* iterations of loop 1 */
    int64_t extent2; /* iterations of loop 2 */
    int64_t dram_stride0; /* bytes between iterations of loop 0 */
    int64_t dram_stride1; /* bytes between iterations of loop 1 */
    int64_t dram_stride2; /* bytes between iterations of loop 2 */
    int64_t stride0; /* rows between iterations of loop 0 */
    int64_t stride1; /* rows between iterations of loop 1 */
    int64_t stride2; /* rows between iterations of loop 2 */
    int64_t pad_left; /* rows of pad_value before each run */
    int64_t pad_right; /* rows of pad_value after each run */
    int64_t pad_top; /* padded iterations before loop 0 */
    int64_t pad_bottom; /* padded iterations after loop 0 */
    int64_t pad_value; /* value of padding */
};

static inline void tw_encode_load_act(uint8_t *word, const struct tw_load_act *fields)
{
    memset(word, 0, TW_INSTRUCTION_BYTES);
    tw_pack(word, 0, 6, TW_OPCODE_LOAD_ACT);
    tw_pack(word, 6, 2, (uint64_t)fields->wait);
    tw_pack(word, 8, 2, (uint64_t)fields->signal);
    tw_pack(word, 10, 32, (uint64_t)fields->dram_base);
    tw_pack(word, 42, 13, (uint64_t)fields->base);
    tw_pack(word, 55, 14, (uint64_t)fields->extent_run);
    tw_pack(word, 69, 14, (uint64_t)fields->extent0);
    tw_pack(word, 83, 14, (uint64_t)fields->extent1);
    tw_pack(word, 97, 14, (uint64_t)fields->extent2);
    tw_pack(word, 111, 32, (uint64_t)fields->dram_stride0);
    tw_pack(word, 143, 32, (uint64_t)fields->dram_stride1);
    tw_pack(word, 175, 32, (uint64_t)fields->dram_stride2);
    tw_pack(word, 207, 13, (uint64_t)fields->stride0);
    tw_pack(word, 220, 13, (uint64_t)fields->stride1);
    tw_pack(word, 233, 13, (uint64_t)fields->stride2);
    tw_pack(word, 246, 14, (uint64_t)fields->pad_left);
    tw_pack(word, 260, 14, (uint64_t)fields->pad_right);
    tw_pack(word, 274, 14, (uint64_t)fields->pad_top);
    tw_pack(word, 288, 14, (uint64_t)fields->pad_bottom);
    tw_pack(word, 302, 8, (uint64_t)fields->pad_value);
}

/* LOAD_WGT: load weights. */
struct tw_load_wgt {
    int64_t wait; /* take a token from these engines before starting (bit 0: compute, bit 1: store) */
    int64_t signal; /* give a token to these engines when complete (bit 0: compute, bit 1: store) */
    int64_t dram_base; /* first byte in DRAM */
    int64_t base; /* first entry in wgt */
    int64_t extent_run; /* contiguous entries */
    int64_t extent0; /* iterations of loop 0 */
    int64_t dram_stride0; /* bytes between iterations of loop 0 */
    int64_t stride0; /* entries between iterations of loop 0 */
};

static inline void tw_encode_load_wgt(uint8_t *word, const struct tw_load_wgt *fields)
{
    memset(word, 0, TW_INSTRUCTION_BYTES);
    tw_pack(word, 0, 6, TW_OPCODE_LOAD_WGT);
    tw_pack(word, 6, 2, (uint64_t)fields->wait);
    tw_pack(word, 8, 2, (uint64_t)fields->signal);
    tw_pack(word, 10, 32, (uint64_t)fields->dram_base);
    tw_pack(word, 42, 9, (uint64_t)fields->base);
    tw_pack(word, 51, 14, (uint64_t)fields->extent_run);
    tw_pack(word, 65, 14, (uint64_t)fields->extent0);
    tw_pack(word, 79, 32, (uint64_t)fields->dram_stride0);
    tw_pack(word, 111, 9, (uint64_t)fields->stride0);
}

/* LOAD_PRM: load epilogue parameters. */
struct tw_load_prm {
    int64_t wait; /* take a token from these engines before starting (bit 0: compute, bit 1: store) */
    int64_t signal; /* give a token to these engines when complete (bit 0: compute, bit 1: store) */
    int64_t dram_base; /* first byte in DRAM */
    int64_t base; /* first entry in prm */
    int64_t extent_run; /* contiguous entries */
    int64_t extent0; /* iterations of loop 0 */
    int64_t dram_stride0; /* bytes between iterations of loop 0 */
    int64_t stride0; /* entries between iterations of loop 0 */
};

static inline void tw_encode_load_prm(uint8_t *word, const struct tw_load_prm *fields)
{
    memset(word, 0, TW_INSTRUCTION_BYTES);
    tw_pack(word, 0, 6, TW_OPCODE_LOAD_PRM);
    tw_pack(word, 6, 2, (uint64_t)fields->wait);
    tw_pack(word, 8, 2, (uint64_t)fields->signal);
    tw_pack(word, 10, 32, (uint64_t)fields->dram_base);
    tw_pack(word, 42, 7, (uint64_t)fields->base);
    tw_pack(word, 49, 14, (uint64_t)fields->extent_run);
    tw_pack(word, 63, 14, (uint64_t)fields->extent0);
    tw_pack(word, 77, 32, (uint64_t)fields->dram_stride0);
    tw_pack(word, 109, 7, (uint64_t)fields->stride0);
}

/* LOAD_TBL: load lookup tables. */
struct tw_load_tbl {
    int64_t wait; /* take a token from these engines before starting (bit 0: compute, bit 1: store) */
    int64_t signal; /* give a token to these engines when complete (bit 0: compute, bit 1: store) */
    int64_t dram_base; /* first byte in DRAM */
    int64_t base; /* first entry in tbl */
    int64_t extent_run; /* contiguous entries */
    int64_t extent0; /* iterations of loop 0 */
    int64_t dram_stride0; /* bytes between iterations of loop 0 */
    int64_t stride0; /* entries between iterations of loop 0 */
};

static inline void tw_encode_load_tbl(uint8_t *word, const struct tw_load_tbl *fields)
{
    memset(word, 0, TW_INSTRUCTION_BYTES);
    tw_pack(word, 0, 6, TW_OPCODE_LOAD_TBL);
    tw_pack(word, 6, 2, (uint64_t)fields->wait);
    tw_pack(word, 8, 2, (uint64_t)fields->signal);
    tw_pack(word, 10, 32, (uint64_t)fields->dram_base);
    tw_pack(word, 42, 1, (uint64_t)fields->base);
    tw_pack(word, 43, 14, (uint64_t)fields->extent_run);
    tw_pack(word, 57, 14, (uint64_t)fields->extent0);
    tw_pack(word, 71, 32, (uint64_t)fields->dram_stride0);
    tw_pack(word, 103, 1, (uint64_t)fields->stride0);
}

/* GEMM: multiply and accumulate, then the epilogue. */
struct tw_gemm {
    int64_t wait; /* take a token from these engines before starting (bit 0: load, bit 1: store) */
    int64_t signal; /* give a token to these engines when complete (bit 0: load, bit 1: store) */
    int64_t fence; /* start only when all earlier compute instructions have written their results */
    int64_t extent_out0; /* iterations of an output loop */
    int64_t extent_out1; /* iterations of an output loop */
    int64_t extent_out2; /* iterations of an output loop */
    int64_t extent_red0; /* iterations of a reduction loop */
    int64_t extent_red1; /* iterations of a reduction loop */
    int64_t extent_red2; /* iterations of a reduction loop */
    int64_t a_base; /* operand a: first entry */
    int64_t a_out0; /* operand a: stride of loop out0 */
    int64_t a_out1; /* operand a: stride of loop out1 */
    int64_t a_out2; /* operand a: stride of loop out2 */
    int64_t a_red0; /* operand a: stride of loop red0 */
    int64_t a_red1; /* operand a: stride of loop red1 */
    int64_t a_red2; /* operand a: stride of loop red2 */
    int64_t w_base; /* operand w: first entry */
    int64_t w_out0; /* operand w: stride of loop out0 */
    int64_t w_out1; /* operand w: stride of loop out1 */
    int64_t w_out2; /* operand w: stride of loop out2 */
    int64_t w_red0; /* operand w: stride of loop red0 */
    int64_t w_red1; /* operand w: stride of loop red1 */
    int64_t w_red2; /* operand w: stride of loop red2 */
    int64_t b_base; /* operand b (residual or second factor in act, addend in acc): first entry */
    int64_t b_out0; /* operand b (residual or second factor in act, addend in acc): stride of loop out0 */
    int64_t b_out1; /* operand b (residual or second factor in act, addend in acc): stride of loop out1 */
    int64_t b_out2; /* operand b (residual or second factor in act, addend in acc): stride of loop out2 */
    int64_t p_base; /* epilogue parameters: first entry */
    int64_t p_out0; /* epilogue parameters: stride of loop out0 */
    int64_t p_out1; /* epilogue parameters: stride of loop out1 */
    int64_t p_out2; /* epilogue parameters: stride of loop out2 */
    int64_t d_base; /* destination (act or acc): first entry */
    int64_t d_out0; /* destination (act or acc): stride of loop out0 */
    int64_t d_out1; /* destination (act or acc): stride of loop out1 */
    int64_t d_out2; /* destination (act or acc): stride of loop out2 */
    int64_t to_acc; /* destination is acc (raw sums) instead of act */
    int64_t accumulate; /* add acc[b] to the sum */
    int64_t bias_enable; /* add the parameter entry's bias to the sum */
    int64_t residual; /* add act[b] with its own scale after requantization */
    int64_t table_enable; /* map the result through a lookup table */
    int64_t table; /* which lookup table */
    int64_t zero_out; /* zero point after requantization */
    int64_t clamp_low; /* smallest result */
    int64_t clamp_high; /* largest result */
    int64_t zero_a; /* zero point of the first operand of residual and multiply */
    int64_t zero_b; /* zero point of operand b */
    int64_t residual_multiplier_a; /* scale of the requantized sum */
    int64_t residual_multiplier_b; /* scale of operand b */
    int64_t residual_shift; /* right shift of the residual sum */
    int64_t residual_zero_out; /* zero point after the residual */
};

static inline void tw_encode_gemm(uint8_t *word, const struct tw_gemm *fields)
{
    memset(word, 0, TW_INSTRUCTION_BYTES);
    tw_pack(word, 0, 6, TW_OPCODE_GEMM);
    tw_pack(word, 6, 2, (uint64_t)fields->wait);
    tw_pack(word, 8, 2, (uint64_t)fields->signal);
    tw_pack(word, 10, 1, (uint64_t)fields->fence);
    tw_pack(word, 11, 14, (uint64_t)fields->extent_out0);
    tw_pack(word, 25, 14, (uint64_t)fields->extent_out1);
    tw_pack(word, 39, 14, (uint64_t)fields->extent_out2);
    tw_pack(word, 53, 14, (uint64_t)fields->extent_red0);
    tw_pack(word, 67, 14, (uint64_t)fields->extent_red1);
    tw_pack(word, 81, 14, (uint64_t)fields->extent_red2);
    tw_pack(word, 95, 13, (uint64_t)fields->a_base);
    tw_pack(word, 108, 13, (uint64_t)fields->a_out0);
    tw_pack(word, 121, 13, (uint64_t)fields->a_out1);
    tw_pack(word, 134, 13, (uint64_t)fields->a_out2);
    tw_pack(word, 147, 13, (uint64_t)fields->a_red0);
    tw_pack(word, 160, 13, (uint64_t)fields->a_red1);
    tw_pack(word, 173, 13, (uint64_t)fields->a_red2);
    tw_pack(word, 186, 9, (uint64_t)fields->w_base);
    tw_pack(word, 195, 9, (uint64_t)fields->w_out0);
    tw_pack(word, 204, 9, (uint64_t)fields->w_out1);
    tw_pack(word, 213, 9, (uint64_t)fields->w_out2);
    tw_pack(word, 222, 9, (uint64_t)fields->w_red0);
    tw_pack(word, 231, 9, (uint64_t)fields->w_red1);
    tw_pack(word, 240, 9, (uint64_t)fields->w_red2);
    tw_pack(word, 249, 13, (uint64_t)fields->b_base);
    tw_pack(word, 262, 13, (uint64_t)fields->b_out0);
    tw_pack(word, 275, 13, (uint64_t)fields->b_out1);
    tw_pack(word, 288, 13, (uint64_t)fields->b_out2);
    tw_pack(word, 301, 7, (uint64_t)fields->p_base);
    tw_pack(word, 308, 7, (uint64_t)fields->p_out0);
    tw_pack(word, 315, 7, (uint64_t)fields->p_out1);
    tw_pack(word, 322, 7, (uint64_t)fields->p_out2);
    tw_pack(word, 329, 13, (uint64_t)fields->d_base);
    tw_pack(word, 342, 13, (uint64_t)fields->d_out0);
    tw_pack(word, 355, 13, (uint64_t)fields->d_out1);
    tw_pack(word, 368, 13, (uint64_t)fields->d_out2);
    tw_pack(word, 381, 1, (uint64_t)fields->to_acc);
    tw_pack(word, 382, 1, (uint64_t)fields->accumulate);
    tw_pack(word, 383, 1, (uint64_t)fields->bias_enable);
    tw_pack(word, 384, 1, (uint64_t)fields->residual);
    tw_pack(word, 385, 1, (uint64_t)fields->table_enable);
    tw_pack(word, 386, 1, (uint64_t)fields->table);
    tw_pack(word, 387, 8, (uint64_t)fields->zero_out);
    tw_pack(word, 395, 8, (uint64_t)fields->clamp_low);
    tw_pack(word, 403, 8, (uint64_t)fields->clamp_high);
    tw_pack(word, 411, 8, (uint64_t)fields->zero_a);
    tw_pack(word, 419, 8, (uint64_t)fields->zero_b);
    tw_pack(word, 427, 16, (uint64_t)fields->residual_multiplier_a);
    tw_pack(word, 443, 16, (uint64_t)fields->residual_multiplier_b);
    tw_pack(word, 459, 6, (uint64_t)fields->residual_shift);
    tw_pack(word, 465, 8, (uint64_t)fields->residual_zero_out);
}

/* VECTOR: reduce elementwise, then the epilogue. */
struct tw_vector {
    int64_t wait; /* take a token from these engines before starting (bit 0: load, bit 1: store) */
    int64_t signal; /* give a token to these engines when complete (bit 0: load, bit 1: store) */
    int64_t fence; /* start only when all earlier compute instructions have written their results */
    int64_t extent_out0; /* iterations of an output loop */
    int64_t extent_out1; /* iterations of an output loop */
    int64_t extent_out2; /* iterations of an output loop */
    int64_t extent_red0; /* iterations of a reduction loop */
    int64_t extent_red1; /* iterations of a reduction loop */
    int64_t extent_red2; /* iterations of a reduction loop */
    int64_t a_base; /* operand a: first entry */
    int64_t a_out0; /* operand a: stride of loop out0 */
    int64_t a_out1; /* operand a: stride of loop out1 */
    int64_t a_out2; /* operand a: stride of loop out2 */
    int64_t a_red0; /* operand a: stride of loop red0 */
    int64_t a_red1; /* operand a: stride of loop red1 */
    int64_t a_red2; /* operand a: stride of loop red2 */
    int64_t op; /* vector operation */
    int64_t from_acc; /* operand a is in acc instead of act */
    int64_t b_base; /* operand b (residual or second factor in act, addend in acc): first entry */
    int64_t b_out0; /* operand b (residual or second factor in act, addend in acc): stride of loop out0 */
    int64_t b_out1; /* operand b (residual or second factor in act, addend in acc): stride of loop out1 */
    int64_t b_out2; /* operand b (residual or second factor in act, addend in acc): stride of loop out2 */
    int64_t p_base; /* epilogue parameters: first entry */
    int64_t p_out0; /* epilogue parameters: stride of loop out0 */
    int64_t p_out1; /* epilogue parameters: stride of loop out1 */
    int64_t p_out2; /* epilogue parameters: stride of loop out2 */
    int64_t d_base; /* destination (act or acc): first entry */
    int64_t d_out0; /* destination (act or acc): stride of loop out0 */
    int64_t d_out1; /* destination (act or acc): stride of loop out1 */
    int64_t d_out2; /* destination (act or acc): stride of loop out2 */
    int64_t to_acc; /* destination is acc (raw sums) instead of act */
    int64_t accumulate; /* add acc[b] to the sum */
    int64_t bias_enable; /* add the parameter entry's bias to the sum */
    int64_t residual; /* add act[b] with its own scale after requantization */
    int64_t table_enable; /* map the result through a lookup table */
    int64_t table; /* which lookup table */
    int64_t zero_out; /* zero point after requantization */
    int64_t clamp_low; /* smallest result */
    int64_t clamp_high; /* largest result */
    int64_t zero_a; /* zero point of the first operand of residual and multiply */
    int64_t zero_b; /* zero point of operand b */
    int64_t residual_multiplier_a; /* scale of the requantized sum */
    int64_t residual_multiplier_b; /* scale of operand b */
    int64_t residual_shift; /* right shift of the residual sum */
    int64_t residual_zero_out; /* zero point after the residual */
};

static inline void tw_encode_vector(uint8_t *word, const struct tw_vector *fields)
{
    memset(word, 0, TW_INSTRUCTION_BYTES);
    tw_pack(word, 0, 6, TW_OPCODE_VECTOR);
    tw_pack(word, 6, 2, (uint64_t)fields->wait);
    tw_pack(word, 8, 2, (uint64_t)fields->signal);
    tw_pack(word, 10, 1, (uint64_t)fields->fence);
    tw_pack(word, 11, 14, (uint64_t)fields->extent_out0);
    tw_pack(word, 25, 14, (uint64_t)fields->extent_out1);
    tw_pack(word, 39, 14, (uint64_t)fields->extent_out2);
    tw_pack(word, 53, 14, (uint64_t)fields->extent_red0);
    tw_pack(word, 67, 14, (uint64_t)fields->extent_red1);
    tw_pack(word, 81, 14, (uint64_t)fields->extent_red2);
    tw_pack(word, 95, 13, (uint64_t)fields->a_base);
    tw_pack(word, 108, 13, (uint64_t)fields->a_out0);
    tw_pack(word, 121, 13, (uint64_t)fields->a_out1);
    tw_pack(word, 134, 13, (uint64_t)fields->a_out2);
    tw_pack(word, 147, 13, (uint64_t)fields->a_red0);
    tw_pack(word, 160, 13, (uint64_t)fields->a_red1);
    tw_pack(word, 173, 13, (uint64_t)fields->a_red2);
    tw_pack(word, 186, 4, (uint64_t)fields->op);
    tw_pack(word, 190, 1, (uint64_t)fields->from_acc);
    tw_pack(word, 191, 13, (uint64_t)fields->b_base);
    tw_pack(word, 204, 13, (uint64_t)fields->b_out0);
    tw_pack(word, 217, 13, (uint64_t)fields->b_out1);
    tw_pack(word, 230, 13, (uint64_t)fields->b_out2);
    tw_pack(word, 243, 7, (uint64_t)fields->p_base);
    tw_pack(word, 250, 7, (uint64_t)fields->p_out0);
    tw_pack(word, 257, 7, (uint64_t)fields->p_out1);
    tw_pack(word, 264, 7, (uint64_t)fields->p_out2);
    tw_pack(word, 271, 13, (uint64_t)fields->d_base);
    tw_pack(word, 284, 13, (uint64_t)fields->d_out0);
    tw_pack(word, 297, 13, (uint64_t)fields->d_out1);
    tw_pack(word, 310, 13, (uint64_t)fields->d_out2);
    tw_pack(word, 323, 1, (uint64_t)fields->to_acc);
    tw_pack(word, 324, 1, (uint64_t)fields->accumulate);
    tw_pack(word, 325, 1, (uint64_t)fields->bias_enable);
    tw_pack(word, 326, 1, (uint64_t)fields->residual);
    tw_pack(word, 327, 1, (uint64_t)fields->table_enable);
    tw_pack(word, 328, 1, (uint64_t)fields->table);
    tw_pack(word, 329, 8, (uint64_t)fields->zero_out);
    tw_pack(word, 337, 8, (uint64_t)fields->clamp_low);
    tw_pack(word, 345, 8, (uint64_t)fields->clamp_high);
    tw_pack(word, 353, 8, (uint64_t)fields->zero_a);
    tw_pack(word, 361, 8, (uint64_t)fields->zero_b);
    tw_pack(word, 369, 16, (uint64_t)fields->residual_multiplier_a);
    tw_pack(word, 385, 16, (uint64_t)fields->residual_multiplier_b);
    tw_pack(word, 401, 6, (uint64_t)fields->residual_shift);
    tw_pack(word, 407, 8, (uint64_t)fields->residual_zero_out);
}

/* DEPTHWISE: convolve every channel with its own kernel, then the epilogue. */
struct tw_depthwise {
    int64_t wait; /* take a token from these engines before starting (bit 0: load, bit 1: store) */
    int64_t signal; /* give a token to these engines when complete (bit 0: load, bit 1: store) */
    int64_t fence; /* start only when all earlier compute instructions have written their results */
    int64_t extent_out0; /* channel blocks */
    int64_t extent_out1; /* output rows */
    int64_t extent_out2; /* output columns */
    int64_t extent_red1; /* kernel rows, at most 3 */
    int64_t extent_red2; /* kernel columns, at most 5 */
    int64_t double_y; /* two input rows an output row instead of one */
    int64_t double_x; /* two input columns an output column instead of one */
    int64_t a_base; /* operand a: first entry */
    int64_t a_out0; /* operand a: stride of loop out0 */
    int64_t a_row; /* operand a: stride of loop row */
    int64_t a_pixel; /* operand a: stride of loop pixel */
    int64_t w_base; /* operand w: first entry */
    int64_t w_out0; /* operand w: stride of loop out0 */
    int64_t b_base; /* operand b (residual in act, addend in acc): first entry */
    int64_t b_out0; /* operand b (residual in act, addend in acc): stride of loop out0 */
    int64_t b_out1; /* operand b (residual in act, addend in acc): stride of loop out1 */
    int64_t b_out2; /* operand b (residual in act, addend in acc): stride of loop out2 */
    int64_t p_base; /* epilogue parameters: first entry */
    int64_t p_out0; /* epilogue parameters: stride of loop out0 */
    int64_t p_out1; /* epilogue parameters: stride of loop out1 */
    int64_t p_out2; /* epilogue parameters: stride of loop out2 */
    int64_t d_base; /* destination (act or acc): first entry */
    int64_t d_out0; /* destination (act or acc): stride of loop out0 */
    int64_t d_out1; /* destination (act or acc): stride of loop out1 */
    int64_t d_out2; /* destination (act or acc): stride of loop out2 */
    int64_t to_acc; /* destination is acc (raw sums) instead of act */
    int64_t accumulate; /* add acc[b] to the sum */
    int64_t bias_enable; /* add the parameter entry's bias to the sum */
    int64_t residual; /* add act[b] with its own scale after requantization */
    int64_t table_enable; /* map the result through a lookup table */
    int64_t table; /* which lookup table */
    int64_t zero_out; /* zero point after requantization */
    int64_t clamp_low; /* smallest result */
    int64_t clamp_high; /* largest result */
    int64_t zero_a; /* zero point of the first operand of residual and multiply */
    int64_t zero_b; /* zero point of operand b */
    int64_t residual_multiplier_a; /* scale of the requantized sum */
    int64_t residual_multiplier_b; /* scale of operand b */
    int64_t residual_shift; /* right shift of the residual sum */
    int64_t residual_zero_out; /* zero point after the residual */
};

static inline void tw_encode_depthwise(uint8_t *word, const struct tw_depthwise *fields)
{
    memset(word, 0, TW_INSTRUCTION_BYTES);
    tw_pack(word, 0, 6, TW_OPCODE_DEPTHWISE);
    tw_pack(word, 6, 2, (uint64_t)fields->wait);
    tw_pack(word, 8, 2, (uint64_t)fields->signal);
    tw_pack(word, 10, 1, (uint64_t)fields->fence);
    tw_pack(word, 11, 14, (uint64_t)fields->extent_out0);
    tw_pack(word, 25, 14, (uint64_t)fields->extent_out1);
    tw_pack(word, 39, 14, (uint64_t)fields->extent_out2);
    tw_pack(word, 53, 2, (uint64_t)fields->extent_red1);
    tw_pack(word, 55, 3, (uint64_t)fields->extent_red2);
    tw_pack(word, 58, 1, (uint64_t)fields->double_y);
    tw_pack(word, 59, 1, (uint64_t)fields->double_x);
    tw_pack(word, 60, 13, (uint64_t)fields->a_base);
    tw_pack(word, 73, 13, (uint64_t)fields->a_out0);
    tw_pack(word, 86, 13, (uint64_t)fields->a_row);
    tw_pack(word, 99, 13, (uint64_t)fields->a_pixel);
    tw_pack(word, 112, 9, (uint64_t)fields->w_base);
    tw_pack(word, 121, 9, (uint64_t)fields->w_out0);
    tw_pack(word, 130, 13, (uint64_t)fields->b_base);
    tw_pack(word, 143, 13, (uint64_t)fields->b_out0);
    tw_pack(word, 156, 13, (uint64_t)fields->b_out1);
    tw_pack(word, 169, 13, (uint64_t)fields->b_out2);
    tw_pack(word, 182, 7, (uint64_t)fields->p_base);
    tw_pack(word, 189, 7, (uint64_t)fields->p_out0);
    tw_pack(word, 196, 7, (uint64_t)fields->p_out1);
    tw_pack(word, 203, 7, (uint64_t)fields->p_out2);
    tw_pack(word, 210, 13, (uint64_t)fields->d_base);
    tw_pack(word, 223, 13, (uint64_t)fields->d_out0);
    tw_pack(word, 236, 13, (uint64_t)fields->d_out1);
    tw_pack(word, 249, 13, (uint64_t)fields->d_out2);
    tw_pack(word, 262, 1, (uint64_t)fields->to_acc);
    tw_pack(word, 263, 1, (uint64_t)fields->accumulate);
    tw_pack(word, 264, 1, (uint64_t)fields->bias_enable);
    tw_pack(word, 265, 1, (uint64_t)fields->residual);
    tw_pack(word, 266, 1, (uint64_t)fields->table_enable);
    tw_pack(word, 267, 1, (uint64_t)fields->table);
    tw_pack(word, 268, 8, (uint64_t)fields->zero_out);
    tw_pack(word, 276, 8, (uint64_t)fields->clamp_low);
    tw_pack(word, 284, 8, (uint64_t)fields->clamp_high);
    tw_pack(word, 292, 8, (uint64_t)fields->zero_a);
    tw_pack(word, 300, 8, (uint64_t)fields->zero_b);
    tw_pack(word, 308, 16, (uint64_t)fields->residual_multiplier_a);
    tw_pack(word, 324, 16, (uint64_t)fields->residual_multiplier_b);
    tw_pack(word, 340, 6, (uint64_t)fields->residual_shift);
    tw_pack(word, 346, 8, (uint64_t)fields->residual_zero_out);
}

/* ROW: reduce rows, or compute from each row's own result, then the epilogue. */
struct tw_row {
    int64_t wait; /* take a token from these engines before starting (bit 0: load, bit 1: store) */
    int64_t signal; /* give a token to these engines when complete (bit 0: load, bit 1: store) */
    int64_t fence; /* start only when all earlier compute instructions have written their results */
    int64_t extent_out0; /* iterations of an output loop */
    int64_t extent_out1; /* iterations of an output loop */
    int64_t extent_out2; /* iterations of an output loop */
    int64_t extent_red0; /* iterations of a reduction loop */
    int64_t extent_red1; /* iterations of a reduction loop */
    int64_t extent_red2; /* iterations of a reduction loop */
    int64_t a_base; /* operand a: first entry */
    int64_t a_out0; /* operand a: stride of loop out0 */
    int64_t a_out1; /* operand a: stride of loop out1 */
    int64_t a_out2; /* operand a: stride of loop out2 */
    int64_t a_red0; /* operand a: stride of loop red0 */
    int64_t a_red1; /* operand a: stride of loop red1 */
    int64_t a_red2; /* operand a: stride of loop red2 */
    int64_t op; /* row operation */
    int64_t tail; /* channels in a reduction's last step; 0: all */
    int64_t scale; /* factor or logarithm, by the operation */
    int64_t offset; /* addend or shift, by the operation */
    int64_t b_base; /* operand b, an entry for each batch row, in acc: first entry */
    int64_t b_out0; /* operand b, an entry for each batch row, in acc: stride of loop out0 */
    int64_t b_out1; /* operand b, an entry for each batch row, in acc: stride of loop out1 */
    int64_t b_out2; /* operand b, an entry for each batch row, in acc: stride of loop out2 */
    int64_t p_base; /* epilogue parameters: first entry */
    int64_t p_out0; /* epilogue parameters: stride of loop out0 */
    int64_t p_out1; /* epilogue parameters: stride of loop out1 */
    int64_t p_out2; /* epilogue parameters: stride of loop out2 */
    int64_t d_base; /* destination (act or acc): first entry */
    int64_t d_out0; /* destination (act or acc): stride of loop out0 */
    int64_t d_out1; /* destination (act or acc): stride of loop out1 */
    int64_t d_out2; /* destination (act or acc): stride of loop out2 */
    int64_t to_acc; /* destination is acc (raw sums) instead of act */
    int64_t bias_enable; /* add the parameter entry's bias to the sum */
    int64_t table_enable; /* map the result through a lookup table */
    int64_t table; /* which lookup table */
    int64_t zero_out; /* zero point after requantization */
    int64_t clamp_low; /* smallest result */
    int64_t clamp_high; /* largest result */
};

static inline void tw_encode_row(uint8_t *word, const struct tw_row *fields)
{
    memset(word, 0, TW_INSTRUCTION_BYTES);
    tw_pack(word, 0, 6, TW_OPCODE_ROW);
    tw_pack(word, 6, 2, (uint64_t)fields->wait);
    tw_pack(word, 8, 2, (uint64_t)fields->signal);
    tw_pack(word, 10, 1, (uint64_t)fields->fence);
    tw_pack(word, 11, 14, (uint64_t)fields->extent_out0);
    tw_pack(word, 25, 14, (uint64_t)fields->extent_out1);
    tw_pack(word, 39, 14, (uint64_t)fields->extent_out2);
    tw_pack(word, 53, 14, (uint64_t)fields->extent_red0);
    tw_pack(word, 67, 14, (uint64_t)fields->extent_red1);
    tw_pack(word, 81, 14, (uint64_t)fields->extent_red2);
    tw_pack(word, 95, 13, (uint64_t)fields->a_base);
    tw_pack(word, 108, 13, (uint64_t)fields->a_out0);
    tw_pack(word, 121, 13, (uint64_t)fields->a_out1);
    tw_pack(word, 134, 13, (uint64_t)fields->a_out2);
    tw_pack(word, 147, 13, (uint64_t)fields->a_red0);
    tw_pack(word, 160, 13, (uint64_t)fields->a_red1);
    tw_pack(word, 173, 13, (uint64_t)fields->a_red2);
    tw_pack(word, 186, 4, (uint64_t)fields->op);
    tw_pack(word, 190, 4, (uint64_t)fields->tail);
    tw_pack(word, 194, 20, (uint64_t)fields->scale);
    tw_pack(word, 214, 32, (uint64_t)fields->offset);
    tw_pack(word, 246, 13, (uint64_t)fields->b_base);
    tw_pack(word, 259, 13, (uint64_t)fields->b_out0);
    tw_pack(word, 272, 13, (uint64_t)fields->b_out1);
    tw_pack(word, 285, 13, (uint64_t)fields->b_out2);
    tw_pack(word, 298, 7, (uint64_t)fields->p_base);
    tw_pack(word, 305, 7, (uint64_t)fields->p_out0);
    tw_pack(word, 312, 7, (uint64_t)fields->p_out1);
    tw_pack(word, 319, 7, (uint64_t)fields->p_out2);
    tw_pack(word, 326, 13, (uint64_t)fields->d_base);
    tw_pack(word, 339, 13, (uint64_t)fields->d_out0);
    tw_pack(word, 352, 13, (uint64_t)fields->d_out1);
    tw_pack(word, 365, 13, (uint64_t)fields->d_out2);
    tw_pack(word, 378, 1, (uint64_t)fields->to_acc);
    tw_pack(word, 379, 1, (uint64_t)fields->bias_enable);
    tw_pack(word, 380, 1, (uint64_t)fields->table_enable);
    tw_pack(word, 381, 1, (uint64_t)fields->table);
    tw_pack(word, 382, 8, (uint64_t)fields->zero_out);
    tw_pack(word, 390, 8, (uint64_t)fields->clamp_low);
    tw_pack(word, 398, 8, (uint64_t)fields->clamp_high);
}

/* STORE_ACT: store a strided box of rows from the activation scratchpad. */
struct tw_store_act {
    int64_t wait; /* take a token from these engines before starting (bit 0: load, bit 1: compute) */
    int64_t signal; /* give a token to these engines when complete (bit 0: load, bit 1: compute) */
    int64_t dram_base; /* first byte in DRAM */
    int64_t base; /* first row in act */
    int64_t extent_run; /* contiguous rows */
    int64_t extent0; /* iterations of loop 0 */
    int64_t extent1; /* iterations of loop 1 */
    int64_t extent2; /* iterations of loop 2 */
    int64_t dram_stride0; /* bytes between iterations of loop 0 */
    int64_t dram_stride1; /* bytes between iterations of loop 1 */
    int64_t dram_stride2; /* bytes between iterations of loop 2 */
    int64_t stride0; /* rows between iterations of loop 0 */
    int64_t stride1; /* rows between iterations of loop 1 */
    int64_t stride2; /* rows between iterations of loop 2 */
};

static inline void tw_encode_store_act(uint8_t *word, const struct tw_store_act *fields)
{
    memset(word, 0, TW_INSTRUCTION_BYTES);
    tw_pack(word, 0, 6, TW_OPCODE_STORE_ACT);
    tw_pack(word, 6, 2, (uint64_t)fields->wait);
    tw_pack(word, 8, 2, (uint64_t)fields->signal);
    tw_pack(word, 10, 32, (uint64_t)fields->dram_base);
    tw_pack(word, 42, 13, (uint64_t)fields->base);
    tw_pack(word, 55, 14, (uint64_t)fields->extent_run);
    tw_pack(word, 69, 14, (uint64_t)fields->extent0);
    tw_pack(word, 83, 14, (uint64_t)fields->extent1);
    tw_pack(word, 97, 14, (uint64_t)fields->extent2);
    tw_pack(word, 111, 32, (uint64_t)fields->dram_stride0);
    tw_pack(word, 143, 32, (uint64_t)fields->dram_stride1);
    tw_pack(word, 175, 32, (uint64_t)fields->dram_stride2);
    tw_pack(word, 207, 13, (uint64_t)fields->stride0);
    tw_pack(word, 220, 13, (uint64_t)fields->stride1);
    tw_pack(word, 233, 13, (uint64_t)fields->stride2);
}

#endif
