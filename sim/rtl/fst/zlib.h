// The functions of zlib that Verilator's waveform writer calls, so that waveforms need no development package. The
// output is zlib's format with stored blocks; the writer keeps the plain bytes where those are smaller.
#pragma once

#include <cstdint>
#include <cstring>

using uLong = unsigned long;
using uLongf = unsigned long;
using Bytef = unsigned char;
constexpr int Z_OK = 0;

inline uLong compressBound(uLong size) { return size + 5 * (size / 65535 + 1) + 6; }

inline int compress2(Bytef* target, uLongf* target_size, const Bytef* source, uLong size, int) {
    Bytef* out = target;
    *out++ = 0x78;
    *out++ = 0x01;
    uint32_t low = 1, high = 0;
    uLong at = 0;
    do {
        const uLong count = size - at < 65535 ? size - at : 65535;
        *out++ = at + count == size;
        for (uLong word : {count, ~count}) {
            *out++ = Bytef(word);
            *out++ = Bytef(word >> 8);
        }
        if (count) std::memcpy(out, source + at, count);
        for (uLong i = 0; i < count; ++i) {
            low = (low + source[at + i]) % 65521;
            high = (high + low) % 65521;
        }
        out += count;
        at += count;
    } while (at < size);
    for (uint32_t half : {high, low}) {
        *out++ = Bytef(half >> 8);
        *out++ = Bytef(half);
    }
    *target_size = uLongf(out - target);
    return Z_OK;
}
