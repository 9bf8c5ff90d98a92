/* Bare-metal driver of a Tilewright accelerator. Compile with the header of its configuration, tilewright_isa.h
 * (`tilewright isa --config C --c-header`). No libc but <stdint.h> and <string.h> is used. */
#ifndef TILEWRIGHT_H
#define TILEWRIGHT_H

#include <stdint.h>

#include "tilewright_isa.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The way to an accelerator's registers; `offset` is in bytes. */
struct tw_device {
    uint32_t (*read)(void *context, uint32_t offset);
    void (*write)(void *context, uint32_t offset, uint32_t value);
    void *context;
};

/* What the functions below return: 0, one of these, or TW_ERROR_... of the accelerator. */
#define TW_OK 0
#define TW_NO_ACCELERATOR (-1)  /* register ID reads something else */
#define TW_OTHER_CONFIGURATION (-2) /* built from another configuration than tilewright_isa.h */
#define TW_BAD_ADDRESS (-3)     /* `memory` is no multiple of 4096, or `program` no multiple of 64 */
#define TW_BUSY (-4)            /* a program runs */
#define TW_TIMEOUT (-5)         /* not over after so many looks */

/* Reach memory-mapped registers through plain accesses. */
struct tw_device tw_mmio(volatile uint32_t *registers);

/* Check that the accelerator is there and of this configuration. */
int tw_check(const struct tw_device *device);

/* Start `count` instructions that lie `program` bytes behind `memory`, the address to which DRAM addresses are
 * relative. Caches must be written back before. */
int tw_start(const struct tw_device *device, uint64_t memory, uint32_t program, uint32_t count);

/* Look at the state until the program is over, at most `looks` times; acknowledge the interrupt. */
int tw_wait(const struct tw_device *device, uint64_t looks);

/* Abandon what runs. */
void tw_reset(const struct tw_device *device);

/* Read a performance counter, TW_..._LOW being `offset`. */
uint64_t tw_counter(const struct tw_device *device, uint32_t offset);

#ifdef __cplusplus
}
#endif

#endif
