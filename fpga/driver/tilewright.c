#include "tilewright.h"

static uint32_t mmio_read(void *context, uint32_t offset)
{
    return ((volatile uint32_t *)context)[offset / 4];
}

static void mmio_write(void *context, uint32_t offset, uint32_t value)
{
    ((volatile uint32_t *)context)[offset / 4] = value;
}

struct tw_device tw_mmio(volatile uint32_t *registers)
{
    struct tw_device device = {mmio_read, mmio_write, (void *)registers};
    return device;
}

static uint32_t get(const struct tw_device *device, uint32_t offset)
{
    return device->read(device->context, offset);
}

static void set(const struct tw_device *device, uint32_t offset, uint32_t value)
{
    device->write(device->context, offset, value);
}

static uint32_t field(uint32_t value, unsigned shift, uint32_t mask)
{
    return value >> shift & mask;
}

int tw_check(const struct tw_device *device)
{
    if (get(device, TW_ID) != TW_MAGIC)
        return TW_NO_ACCELERATOR;
    if (((uint64_t)get(device, TW_HASH_HIGH) << 32 | get(device, TW_HASH_LOW)) != TW_CONFIG_HASH)
        return TW_OTHER_CONFIGURATION;
    return TW_OK;
}

int tw_start(const struct tw_device *device, uint64_t memory, uint32_t program, uint32_t count)
{
    if (memory % 4096 || program % 64)
        return TW_BAD_ADDRESS;
    if (field(get(device, TW_STATUS), TW_STATUS_BUSY_SHIFT, TW_STATUS_BUSY_MASK))
        return TW_BUSY;
    set(device, TW_IRQ_ENABLE, TW_IRQ_ENABLE_DONE_MASK << TW_IRQ_ENABLE_DONE_SHIFT);
    set(device, TW_BASE_LOW, (uint32_t)memory);
    set(device, TW_BASE_HIGH, (uint32_t)(memory >> 32));
    set(device, TW_PROGRAM, program);
    set(device, TW_COUNT, count);
    set(device, TW_CONTROL, TW_CONTROL_START_MASK << TW_CONTROL_START_SHIFT);
    return TW_OK;
}

int tw_wait(const struct tw_device *device, uint64_t looks)
{
    while (looks--) {
        uint32_t pending = get(device, TW_IRQ_PENDING);
        if (field(pending, TW_IRQ_PENDING_DONE_SHIFT, TW_IRQ_PENDING_DONE_MASK)) {
            set(device, TW_IRQ_PENDING, TW_IRQ_PENDING_DONE_MASK << TW_IRQ_PENDING_DONE_SHIFT);
            return (int)field(get(device, TW_STATUS), TW_STATUS_ERROR_SHIFT, TW_STATUS_ERROR_MASK);
        }
    }
    return TW_TIMEOUT;
}

void tw_reset(const struct tw_device *device)
{
    set(device, TW_CONTROL, TW_CONTROL_RESET_MASK << TW_CONTROL_RESET_SHIFT);
}

uint64_t tw_counter(const struct tw_device *device, uint32_t offset)
{
    uint32_t low = get(device, offset);
    return (uint64_t)get(device, offset + 4) << 32 | low;
}
