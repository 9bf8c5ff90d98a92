// The memory behind the accelerator's AXI4 port: deterministic, with settable latency, rate and bursts in flight.
//
// A read burst accepted in cycle t delivers its first beat in cycle t + latency at the earliest; a write response
// follows the last beat of its burst by latency cycles. Bursts are served in order, one beat every beat_interval
// cycles, and at most `outstanding` bursts each way are accepted and not finished. Write data are taken from the
// cycle after their address on. What lies behind the end of the array answers DECERR.
//
// For verification channels stall at random, latencies vary from burst to burst, beats of different read ids come
// interleaved (those of one id in order, as AXI4 says), and one response is an error.
#pragma once

#include <cstdint>
#include <cstring>
#include <deque>

// Verilator writes the two underscores in Amaranth's names of ports (m_axi__araddr) in hexadecimal.
#define AXI(member) m_axi___05F##member
#define REG(member) s_axi___05F##member
#define TRACE(member) trace___05F##member

// How the memory behaves; the same struct stands in library.py.
struct MemorySettings {
    uint8_t* data;
    uint64_t bytes;
    uint64_t latency;
    uint64_t beat_interval;
    uint64_t outstanding;
    uint64_t burst_beats;        // the longest burst that the master may ask for
    uint64_t reads_in_flight;    // and how many bursts it may have outstanding
    uint64_t writes_in_flight;
    uint64_t stall_seed;
    uint64_t stall_threshold;    // a channel stalls in a cycle when 32 random bits are below this
    uint64_t latency_spread;     // each burst's latency is longer by a random number up to this
    uint64_t interleave;         // whether beats of read bursts with different ids come in any order
    uint64_t fault_channel;      // a FaultChannel
    uint64_t fault_number;       // which beat (of reads) or response (of writes) of the channel, from 0
    uint64_t fault_response;     // SLVERR or DECERR
};

// Where an error is planted; the same numbers stand in library.py.
enum FaultChannel : uint64_t { NO_FAULT = 0, FAULT_FETCH = 1, FAULT_LOAD = 2, FAULT_STORE = 3 };

// What the memory saw; the same struct stands in library.py.
struct MemoryReport {
    uint64_t read_beats;
    uint64_t write_beats;
    uint64_t read_errors;        // bursts answered with DECERR
    uint64_t write_errors;
    uint64_t first_error;        // address of the first of them
    uint64_t violation;          // a Violation, 0 for none
    uint64_t violation_cycle;
    uint64_t violation_address;
};

// How a master can break AXI4 or what Tilewright promises beyond it.
enum Violation : uint64_t {
    NONE = 0,
    READ_ADDRESS = 1,            // not aligned, too long, across 4 KiB, not incrementing, not full beats
    READ_WITHDRAWN = 2,          // arvalid fell, or the address changed, before arready
    READS_IN_FLIGHT = 3,
    WRITE_ADDRESS = 4,
    WRITE_WITHDRAWN = 5,
    WRITES_IN_FLIGHT = 6,
    WRITE_LAST = 7,              // wlast not exactly on the last beat
    WRITE_DATA_WITHDRAWN = 8,
};

template <class Top>
class Memory {
    static constexpr uint64_t beat_bytes = sizeof(Top::AXI(rdata));
    static constexpr uint64_t all_lanes = beat_bytes == 64 ? ~0ull : (1ull << beat_bytes) - 1;
    static constexpr uint64_t beat_size = __builtin_ctzll(beat_bytes);
    static constexpr uint64_t okay = 0, decode_error = 3, incrementing = 1, page = 4096;

    struct Burst {
        uint64_t address;
        uint64_t beats_left;
        uint64_t id;
        uint64_t ready_cycle;    // reads: of the first beat; writes: of the response
        bool failed;
    };

    // An address channel as it was in the last cycle, to see whether the master withdraws a request.
    struct Held {
        bool valid = false;
        uint64_t address = 0;
    };

    MemorySettings settings{};
    MemoryReport report_{};
    std::deque<Burst> reads, writes, responses;
    uint64_t read_free = 0, write_free = 0;  // first cycle in which the data channel may move again
    Held held_read, held_write;
    bool held_write_data = false;
    bool read_taken = false, response_taken = false;  // what was offered has been transferred
    uint64_t random = 0;
    size_t chosen = 0;           // the read burst whose beat is offered
    uint64_t answered[4] = {};   // by FaultChannel: beats or responses offered

    uint64_t draw() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        return random * 0x2545F4914F6CDD1Dull >> 32;
    }

    bool stall() { return settings.stall_threshold && draw() < settings.stall_threshold; }

    uint64_t latency() {
        return settings.latency + (settings.latency_spread ? draw() % (settings.latency_spread + 1) : 0);
    }

    // The burst to serve: the oldest; with interleaving the oldest of an id that is chosen at random, if it is ready.
    size_t choose(uint64_t cycle) {
        if (!settings.interleave) return 0;
        uint64_t id = draw() & 1;
        for (size_t i = 0; i < reads.size(); ++i)
            if (reads[i].id == id) return cycle < reads[i].ready_cycle ? 0 : i;
        return 0;
    }

    bool is_faulty(uint64_t channel) {
        return answered[channel]++ == settings.fault_number && channel == settings.fault_channel;
    }

    void violate(Violation violation, uint64_t cycle, uint64_t address) {
        if (report_.violation) return;
        report_.violation = violation;
        report_.violation_cycle = cycle;
        report_.violation_address = address;
    }

    bool legal(uint64_t address, uint64_t beats, uint64_t size, uint64_t kind) const {
        return address % beat_bytes == 0 && beats <= settings.burst_beats && size == beat_size && kind == incrementing &&
               address % page + beats * beat_bytes <= page;
    }

    // A beat that begins inside the array is served; bytes behind its end read as zero and are not written.
    uint64_t inside(uint64_t address) const {
        if (address >= settings.bytes) return 0;
        uint64_t rest = settings.bytes - address;
        return rest < beat_bytes ? rest : beat_bytes;
    }

    void fail(uint64_t address, uint64_t& count) {
        if (report_.read_errors + report_.write_errors == 0) report_.first_error = address;
        ++count;
    }

    void offer_read(Top& top, uint64_t cycle) {
        if (read_taken) top.AXI(rvalid) = read_taken = false;
        if (top.AXI(rvalid) || reads.empty()) return;
        if (cycle < read_free) return;
        chosen = choose(cycle);
        Burst& burst = reads[chosen];
        if (cycle < burst.ready_cycle || stall()) return;
        uint64_t bytes = inside(burst.address);
        uint8_t* lanes = reinterpret_cast<uint8_t*>(&top.AXI(rdata));
        if (bytes < beat_bytes) std::memset(lanes, 0, beat_bytes);
        std::memcpy(lanes, settings.data + burst.address, bytes);
        if (!bytes && !burst.failed) {
            burst.failed = true;
            fail(burst.address, report_.read_errors);
        }
        top.AXI(rvalid) = 1;
        top.AXI(rresp) = bytes ? okay : decode_error;
        if (is_faulty(FAULT_FETCH + burst.id)) top.AXI(rresp) = settings.fault_response;
        top.AXI(rlast) = burst.beats_left == 1;
        top.AXI(rid) = burst.id;
    }

    void offer_response(Top& top, uint64_t cycle) {
        if (response_taken) top.AXI(bvalid) = response_taken = false;
        if (top.AXI(bvalid) || responses.empty()) return;
        const Burst& burst = responses.front();
        if (cycle < burst.ready_cycle || stall()) return;
        top.AXI(bvalid) = 1;
        top.AXI(bresp) = burst.failed ? decode_error : okay;
        if (is_faulty(FAULT_STORE)) top.AXI(bresp) = settings.fault_response;
        top.AXI(bid) = burst.id;
    }

    void accept_read(const Top& top, uint64_t cycle) {
        uint64_t address = top.AXI(araddr);
        if (held_read.valid && (!top.AXI(arvalid) || address != held_read.address))
            violate(READ_WITHDRAWN, cycle, held_read.address);
        held_read = {top.AXI(arvalid) && !top.AXI(arready), address};
        if (!top.AXI(arvalid) || !top.AXI(arready)) return;
        uint64_t beats = uint64_t(top.AXI(arlen)) + 1;
        if (!legal(address, beats, top.AXI(arsize), top.AXI(arburst))) violate(READ_ADDRESS, cycle, address);
        reads.push_back({address, beats, top.AXI(arid), cycle + latency(), false});
        if (reads.size() > settings.reads_in_flight) violate(READS_IN_FLIGHT, cycle, address);
    }

    void deliver_read(const Top& top, uint64_t cycle) {
        if (!top.AXI(rvalid) || !top.AXI(rready)) return;
        Burst& burst = reads[chosen];
        burst.address += beat_bytes;
        if (--burst.beats_left == 0) reads.erase(reads.begin() + chosen);
        read_free = cycle + settings.beat_interval;
        ++report_.read_beats;
        read_taken = true;
    }

    void accept_write(const Top& top, uint64_t cycle) {
        uint64_t address = top.AXI(awaddr);
        if (held_write.valid && (!top.AXI(awvalid) || address != held_write.address))
            violate(WRITE_WITHDRAWN, cycle, held_write.address);
        held_write = {top.AXI(awvalid) && !top.AXI(awready), address};
        if (!top.AXI(awvalid) || !top.AXI(awready)) return;
        uint64_t beats = uint64_t(top.AXI(awlen)) + 1;
        if (!legal(address, beats, top.AXI(awsize), top.AXI(awburst))) violate(WRITE_ADDRESS, cycle, address);
        writes.push_back({address, beats, top.AXI(awid), 0, false});
        if (writes.size() + responses.size() > settings.writes_in_flight) violate(WRITES_IN_FLIGHT, cycle, address);
    }

    void write_beat(const Top& top, uint64_t address, uint64_t bytes) {
        const uint8_t* lanes = reinterpret_cast<const uint8_t*>(&top.AXI(wdata));
        uint64_t enabled = top.AXI(wstrb);
        if (enabled == all_lanes) {
            std::memcpy(settings.data + address, lanes, bytes);
            return;
        }
        for (uint64_t lane = 0; lane < bytes; ++lane)
            if (enabled >> lane & 1) settings.data[address + lane] = lanes[lane];
    }

    void take_write(const Top& top, uint64_t cycle) {
        if (held_write_data && !top.AXI(wvalid)) violate(WRITE_DATA_WITHDRAWN, cycle, 0);
        held_write_data = top.AXI(wvalid) && !top.AXI(wready);
        if (!top.AXI(wvalid) || !top.AXI(wready)) return;
        Burst& burst = writes.front();
        uint64_t bytes = inside(burst.address);
        write_beat(top, burst.address, bytes);
        if (!bytes && !burst.failed) {
            burst.failed = true;
            fail(burst.address, report_.write_errors);
        }
        burst.address += beat_bytes;
        if (bool(top.AXI(wlast)) != (burst.beats_left == 1)) violate(WRITE_LAST, cycle, burst.address);
        write_free = cycle + settings.beat_interval;
        ++report_.write_beats;
        if (--burst.beats_left) return;
        responses.push_back(burst);
        responses.back().ready_cycle = cycle + latency();
        writes.pop_front();
    }

    void deliver_response(const Top& top) {
        if (!top.AXI(bvalid) || !top.AXI(bready)) return;
        responses.pop_front();
        response_taken = true;
    }

public:
    // Attach an array; anything in flight is forgotten.
    void attach(Top& top, const MemorySettings& chosen) {
        settings = chosen;
        report_ = {};
        reads.clear();
        writes.clear();
        responses.clear();
        read_free = write_free = 0;
        held_read = held_write = {};
        held_write_data = read_taken = response_taken = false;
        for (uint64_t& count : answered) count = 0;
        random = chosen.stall_seed * 0x9E3779B97F4A7C15ull + 1;
        if (random == 0) random = 1;
        top.AXI(rvalid) = top.AXI(bvalid) = 0;
        top.AXI(arready) = top.AXI(awready) = top.AXI(wready) = 0;
    }

    // Set the model's inputs for this cycle; they depend on earlier cycles only.
    void drive(Top& top, uint64_t cycle) {
        top.AXI(arready) = reads.size() < settings.outstanding && !stall();
        offer_read(top, cycle);
        top.AXI(awready) = writes.size() + responses.size() < settings.outstanding && !stall();
        top.AXI(wready) = !writes.empty() && cycle >= write_free && !stall();
        offer_response(top, cycle);
    }

    // Note what the settled signals transfer at the end of this cycle; changes no input of the model.
    void observe(const Top& top, uint64_t cycle) {
        take_write(top, cycle);
        accept_write(top, cycle);
        deliver_response(top);
        accept_read(top, cycle);
        deliver_read(top, cycle);
    }

    bool is_idle() const { return reads.empty() && writes.empty() && responses.empty(); }
    const MemoryReport& report() const { return report_; }
};
