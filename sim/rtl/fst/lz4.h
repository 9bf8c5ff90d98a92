// The two functions of the LZ4 library that Verilator's waveform writer calls, so that waveforms need no development
// package. The output is LZ4's block format: greedy matches found through a hash of four bytes.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

namespace tilewright_lz4 {

inline void put_length(uint8_t*& out, int rest) {
    for (; rest >= 255; rest -= 255) *out++ = 255;
    *out++ = uint8_t(rest);
}

inline void put_sequence(uint8_t*& out, const uint8_t* literals, int count, int offset, int match) {
    const int match_code = match ? match - 4 : 0;
    *out++ = uint8_t((count < 15 ? count : 15) << 4 | (match_code < 15 ? match_code : 15));
    if (count >= 15) put_length(out, count - 15);
    std::memcpy(out, literals, count);
    out += count;
    if (!match) return;
    *out++ = uint8_t(offset);
    *out++ = uint8_t(offset >> 8);
    if (match_code >= 15) put_length(out, match_code - 15);
}

inline uint32_t load(const uint8_t* at) {
    uint32_t value;
    std::memcpy(&value, at, 4);
    return value;
}

}  // namespace tilewright_lz4

inline int LZ4_compressBound(int size) { return size + size / 255 + 16; }

inline int LZ4_compress_default(const char* source, char* target, int size, int) {
    using namespace tilewright_lz4;
    constexpr int hash_bits = 13, last_match_start = 12, last_literals = 5, window = 65535;
    const uint8_t* in = reinterpret_cast<const uint8_t*>(source);
    uint8_t* out = reinterpret_cast<uint8_t*>(target);
    std::vector<int> seen(size_t(1) << hash_bits, -1);
    int anchor = 0;
    for (int at = 0; at + last_match_start < size;) {
        int& slot = seen[load(in + at) * 2654435761u >> (32 - hash_bits)];
        const int before = slot;
        slot = at;
        if (before < 0 || at - before > window || load(in + before) != load(in + at)) {
            ++at;
            continue;
        }
        int match = 4;
        while (at + match < size - last_literals && in[before + match] == in[at + match]) ++match;
        put_sequence(out, in + anchor, at - anchor, at - before, match);
        anchor = at += match;
    }
    put_sequence(out, in + anchor, size - anchor, 0, 0);
    return int(out - reinterpret_cast<uint8_t*>(target));
}
