// What all parts of the cycle model share: time, queues with registered levels, tokens, the program, the counters.
//
// Every part is stepped in the cycles in which something may change for it. Within a cycle the order of the parts does
// not matter: what one part reads of another is its state at the start of the cycle (`Level::at`).
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

using Cycle = int64_t;
constexpr Cycle never = INT64_MAX;

enum Engine { LOAD = 0, COMPUTE = 1, STORE = 2, ENGINES = 3 };

// The other engines: bit i of `wait` and `signal` means the i-th of them.
constexpr int others[ENGINES][2] = {{COMPUTE, STORE}, {LOAD, STORE}, {LOAD, COMPUTE}};

constexpr int spaces = 4;  // act, wgt, prm, tbl

// Facts of configuration, hardware and memory; the same struct stands in library.py.
struct Parameters {
    int64_t queue_depth[ENGINES];
    int64_t token_limit;
    int64_t reads_in_flight, writes_in_flight;
    int64_t burst_beats;                       // longest burst of load and store
    int64_t fetch_buffer_beats, fetch_burst_beats;
    int64_t instruction_beats;
    int64_t program_beat;                      // where the program begins, in beats
    int64_t box_queue, burst_queue, dma_in_flight;
    int64_t begin_cycle;                       // in which fetch is told to begin
    int64_t compute_start, compute_decode, compute_latency;
    int64_t act_read, row_queue, atom_shift;   // atom_shift: log2 of the atoms in a row
    int64_t address_mask, bus_shift;           // bits of a DRAM address; log2 of the bytes in a beat
    int64_t chunks[spaces], slots[spaces], entry_shift[spaces];
    int64_t latency, beat_interval, outstanding;
    int64_t is_stepwise;                       // step every part in every cycle: slow, to check the jumps
};

// An instruction; the same fields, in this order, are the columns of the table that table.py makes.
struct Instruction {
    int64_t engine, wait, signal;
    int64_t fence, steps, length;              // steps counted as busy; cycles from the first to the last of them
    int64_t interval;                          // cycles from a step to the next, and from the one before to the first
    int64_t is_gemm;
    int64_t writes_act, reads_b_always, reads_b_last;
    int64_t first_result;                      // cycles from the first step to the first with a result
    int64_t counts[3], periods[3];             // three loops of results, outermost first, and their cycles
    int64_t result, result_strides[3];         // where results go, in entries of the destination
    int64_t entry, entry_strides[3];           // of a box: rows of the activation scratchpad
    int64_t space, base, run, extents[3], strides[3], pad_left, pad_right, pad_top, pad_bottom;
};

// The performance counters, in the order of `registers.COUNTERS`.
struct Counters {
    int64_t cycles, load_busy, load_wait, compute_busy, compute_wait, compute_fence, store_busy, store_wait, fetch_wait,
        gemm_steps, read_beats, read_bursts, write_beats, write_bursts;
};

enum Part {
    DISPATCH, READ_ADDRESS, READ_DATA, LOAD_START, LOAD_BURSTS, COMPUTE_START, COMPUTE_FINISH, STORE_START,
    STORE_BURSTS, WRITE_ADDRESS, STORE_DATA, PARTS
};

constexpr Part starter[ENGINES] = {LOAD_START, COMPUTE_START, STORE_START};

// When each part is to be stepped next: in the next cycle, as most are, or later.
class Clock {
    unsigned soon = 0;               // parts to be stepped in the next cycle, a bit each
    Cycle later[PARTS];              // when else each part is to be stepped
    Cycle first_later = never;

public:
    Cycle now;

    explicit Clock(Cycle begin) : now(begin) { std::fill(later, later + PARTS, never); }

    void at(Part part, Cycle cycle) {
        if (cycle == now + 1) {
            soon |= 1u << part;
            return;
        }
        later[part] = std::min(later[part], cycle);
        first_later = std::min(first_later, cycle);
    }

    // Go to the next cycle in which a part is to be stepped; return which ones, none when nothing happens any more.
    unsigned advance() {
        unsigned due = soon;
        Cycle next = due ? now + 1 : first_later;
        if (next == never) return 0;
        now = next;
        soon = 0;
        return first_later == now ? due | take_later() : due;
    }

private:
    unsigned take_later() {
        unsigned due = 0;
        first_later = never;
        for (int i = 0; i < PARTS; ++i) {
            bool is_due = later[i] == now;
            due |= unsigned(is_due) << i;
            later[i] = is_due ? never : later[i];
            first_later = std::min(first_later, later[i]);
        }
        return due;
    }
};

// A number that goes up and down by one at most once a cycle each; changes show in the next cycle.
struct Level {
    int64_t value = 0;
    Cycle raised = -1, lowered = -1;

    int64_t at(Cycle t) const { return value - (raised == t) + (lowered == t); }
    void raise(Cycle t) { ++value, raised = t; }
    void lower(Cycle t) { --value, lowered = t; }
};

// A circular buffer of a fixed capacity.
template <class T>
class Ring {
    std::vector<T> items;
    uint64_t head = 0, tail = 0, mask;

public:
    explicit Ring(int64_t capacity) {
        uint64_t size = 1;
        while (size < uint64_t(capacity)) size *= 2;
        items.resize(size);
        mask = size - 1;
    }

    bool empty() const { return head == tail; }
    T& front() { return items[head & mask]; }
    void push(const T& item) { items[tail++ & mask] = item; }
    T pop() { return items[head++ & mask]; }
};

// A queue whose entries are seen, and whose places are free, from the next cycle on.
template <class T>
struct Queue {
    Level level;
    Ring<T> items;

    explicit Queue(int64_t capacity) : items(capacity) {}
    bool has(Cycle t) const { return level.at(t) > 0; }
    T& front() { return items.front(); }

    void push(Cycle t, const T& item) {
        items.push(item);
        level.raise(t);
    }

    T pop(Cycle t) {
        level.lower(t);
        return items.pop();
    }
};

// Adds the cycles in which an engine's next instruction waits to the counter of what it waits for.
class WaitMeter {
    int64_t* counter = nullptr;
    Cycle since = 0;

public:
    void set(Cycle t, int64_t* now) {
        if (counter) *counter += t - since;
        counter = now;
        since = t;
    }
};

class Tokens {
    Level levels[ENGINES][ENGINES];  // giver, taker
    Clock& clock;
    const int64_t limit;

public:
    Tokens(Clock& clock, int64_t limit) : clock(clock), limit(limit) {}

    bool grants(Engine engine, int64_t wait, Cycle t) const {
        for (int i = 0; i < 2; ++i) {
            int other = others[engine][i];
            if ((wait >> i & 1) && levels[other][engine].at(t) == 0) return false;
            if (levels[engine][other].at(t) >= limit) return false;
        }
        return true;
    }

    void take(Engine engine, int64_t wait, Cycle t) {
        for (int i = 0; i < 2; ++i)
            if (wait >> i & 1) {
                levels[others[engine][i]][engine].lower(t);
                clock.at(starter[others[engine][i]], t + 1);
            }
    }

    void give(Engine engine, int64_t signal, Cycle t) {
        for (int i = 0; i < 2; ++i)
            if (signal >> i & 1) {
                levels[engine][others[engine][i]].raise(t);
                clock.at(starter[others[engine][i]], t + 1);
            }
    }
};

// What every part can reach.
struct Context {
    const Parameters p;
    const std::vector<Instruction> program;
    Clock clock;
    Tokens tokens;
    Counters counters{};
    Queue<int32_t> load_queue, compute_queue, store_queue;
    std::vector<Cycle> start, end;
    std::vector<int32_t> order[ENGINES];  // of the instructions dispatched
    size_t finished[ENGINES] = {};

    Context(const Parameters& parameters, const Instruction* instructions, int64_t count)
        : p(parameters), program(instructions, instructions + count),
          clock(parameters.begin_cycle), tokens(clock, parameters.token_limit),
          load_queue(parameters.queue_depth[LOAD]), compute_queue(parameters.queue_depth[COMPUTE]),
          store_queue(parameters.queue_depth[STORE]), start(count, -1), end(count, -1) {}

    Queue<int32_t>& queue(Engine engine) {
        return engine == LOAD ? load_queue : engine == COMPUTE ? compute_queue : store_queue;
    }

    // The engine's next instruction starts: take it from its queue, with its tokens.
    int32_t begin(Engine engine, Cycle t) {
        int32_t index = queue(engine).pop(t);
        tokens.take(engine, program[index].wait, t);
        start[index] = t;
        clock.at(DISPATCH, t + 1);
        clock.at(starter[engine], t + 1);
        return index;
    }

    // The oldest instruction of the engine that has started is complete.
    void finish(Engine engine, Cycle t) {
        int32_t index = order[engine][finished[engine]++];
        tokens.give(engine, program[index].signal, t);
        end[index] = t;
        clock.at(starter[engine], t + 1);
    }
};
