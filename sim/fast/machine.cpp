// The cycle model of the accelerator: its parts, the order of events, and a plain C interface without globals;
// library.py is its other half.
#include <memory>

#include "compute.hpp"
#include "dma_front.hpp"
#include "fetch.hpp"
#include "read_path.hpp"
#include "write_path.hpp"

namespace {

class Machine {
    Context c;
    Fetch fetch;
    Compute compute;
    DmaFront load, store;
    ReadPath read_path;
    WritePath write_path;

    void step(Part part, Cycle t) {
        switch (part) {
            case DISPATCH: return fetch.dispatch(t);
            case READ_ADDRESS: return read_path.send(t);
            case READ_DATA: return read_path.receive(t);
            case LOAD_START: return load.start(t);
            case LOAD_BURSTS: return load.cut(t);
            case COMPUTE_START: return compute.start(t);
            case COMPUTE_FINISH: return compute.finish(t);
            case STORE_START: return store.start(t);
            case STORE_BURSTS: return store.cut(t);
            case WRITE_ADDRESS: return write_path.send(t);
            case STORE_DATA: return write_path.stream(t);
            case PARTS: return;
        }
    }

    bool is_complete() const {
        return c.finished[LOAD] + c.finished[COMPUTE] + c.finished[STORE] == c.program.size();
    }

public:
    Machine(const Parameters& parameters, const Instruction* program, int64_t count)
        : c(parameters, program, count), fetch(c), compute(c),
          load(c, LOAD, LOAD_BURSTS, READ_ADDRESS, READ_DATA, false, &c.counters.load_wait),
          store(c, STORE, STORE_BURSTS, WRITE_ADDRESS, STORE_DATA, true, &c.counters.store_wait),
          read_path(c, fetch, load, compute), write_path(c, store, compute) {}

    // Go on until nothing happens any more (true) or this cycle is reached (false).
    bool run(Cycle until) {
        if (c.p.is_stepwise) return run_stepwise(until);
        while (c.clock.now < until) {
            unsigned due = c.clock.advance();
            if (!due) return true;
            for (; due; due &= due - 1) step(Part(__builtin_ctz(due)), c.clock.now);
        }
        return false;
    }

    bool run_stepwise(Cycle until) {
        while (c.clock.now < until) {
            if (is_complete()) return true;
            ++c.clock.now;
            for (int part = 0; part < PARTS; ++part) step(Part(part), c.clock.now);
        }
        return false;
    }

    // Sum up: instructions are worked in order, so what is busy is the union of (start, end].
    const Counters& counters() {
        int64_t* const busy[ENGINES] = {&c.counters.load_busy, nullptr, &c.counters.store_busy};
        Cycle last = c.p.begin_cycle;
        for (int engine = 0; engine < ENGINES; ++engine) {
            Cycle counted = 0, sum = 0;
            for (int32_t index : c.order[engine]) {
                if (c.end[index] < 0) break;
                sum += c.end[index] - std::max(c.start[index], counted);
                counted = c.end[index];
            }
            if (busy[engine]) *busy[engine] = sum;
            last = std::max(last, counted);
        }
        c.counters.cycles = last;
        return c.counters;
    }

    const Cycle* start() const { return c.start.data(); }
    const Cycle* end() const { return c.end.data(); }
};

Machine& of(void* handle) { return *static_cast<Machine*>(handle); }

}  // namespace

#define TILEWRIGHT_EXPORT extern "C" __attribute__((visibility("default")))

TILEWRIGHT_EXPORT void* tilewright_create(const Parameters* parameters, const Instruction* program, int64_t count) {
    return new Machine(*parameters, program, count);
}
TILEWRIGHT_EXPORT void tilewright_destroy(void* handle) { delete &of(handle); }
TILEWRIGHT_EXPORT int32_t tilewright_run(void* handle, int64_t until) { return of(handle).run(until); }
TILEWRIGHT_EXPORT void tilewright_result(void* handle, int64_t count, int64_t* counters, int64_t* start, int64_t* end) {
    const Counters& summed = of(handle).counters();
    std::copy_n(reinterpret_cast<const int64_t*>(&summed), sizeof summed / sizeof *counters, counters);
    std::copy_n(of(handle).start(), count, start);
    std::copy_n(of(handle).end(), count, end);
}
