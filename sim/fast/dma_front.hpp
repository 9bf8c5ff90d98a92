// The front of a DMA engine: starts instructions, walks their runs in DRAM, cuts the runs into bursts.
#pragma once

#include "common.hpp"

struct Burst {
    int64_t beats;
    bool is_last, is_empty;  // the last of its instruction; none at all, only a mark
};

// Goes through the runs of an instruction, one request a cycle.
class RunWalker {
    const Parameters& p;
    const Instruction* box = nullptr;
    int64_t address = 0, start1 = 0, start2 = 0;
    int64_t left[3] = {};

public:
    bool is_empty = false;

    explicit RunWalker(const Parameters& parameters) : p(parameters) {}

    void begin(const Instruction& instruction) {
        box = &instruction;
        address = start1 = start2 = box->base;
        std::copy(box->extents, box->extents + 3, left);
        is_empty = !box->run || !left[0] || !left[1] || !left[2];
    }

    bool is_last() const { return is_empty || (left[0] == 1 && left[1] == 1 && left[2] == 1); }
    int64_t position() const { return (address & p.address_mask) >> p.bus_shift; }

    int64_t beats() const {
        int64_t slots = p.slots[box->space];
        if (slots == 1) return box->run * p.chunks[box->space];
        int64_t slot = (address >> p.entry_shift[box->space]) & (slots - 1);
        return (slot + box->run + slots - 1) / slots;
    }

    void step() {
        if (--left[0]) {
            address += box->strides[0];
            return;
        }
        left[0] = box->extents[0];
        if (--left[1]) {
            address = start1 += box->strides[1];
            return;
        }
        left[1] = box->extents[1];
        --left[2];
        address = start1 = start2 += box->strides[2];
    }
};

class DmaFront {
    Context& c;
    const Engine engine;
    const Part bursts_part, address_part, data_part;
    const bool sends_empty;          // an instruction that moves nothing leaves an empty burst
    int64_t* const wait_counter;
    WaitMeter meter;
    RunWalker runs;
    bool runs_active = false;
    Cycle runs_since = 0;            // the walker holds its box from this cycle on, or is free
    bool cut_active = false, cut_last = false, cut_empty = false;
    int64_t cut_position = 0, cut_beats = 0;

public:
    Queue<int32_t> boxes;            // started, and not yet taken by the back
    Level in_flight;                 // started, and not finished
    Queue<Burst> bursts;

    DmaFront(Context& context, Engine engine, Part bursts_part, Part address_part, Part data_part, bool sends_empty,
             int64_t* wait_counter)
        : c(context), engine(engine), bursts_part(bursts_part), address_part(address_part), data_part(data_part),
          sends_empty(sends_empty), wait_counter(wait_counter), runs(c.p), boxes(c.p.box_queue),
          bursts(c.p.burst_queue) {}

    void start(Cycle t) {
        bool is_ready = c.queue(engine).has(t) && !runs_active && t >= runs_since &&
                        boxes.level.at(t) != c.p.box_queue && in_flight.at(t) != c.p.dma_in_flight;
        if (!is_ready) return meter.set(t, nullptr);
        const Instruction& instruction = c.program[c.queue(engine).front()];
        if (!c.tokens.grants(engine, instruction.wait, t)) return meter.set(t, wait_counter);
        meter.set(t, nullptr);
        boxes.push(t, c.begin(engine, t));
        in_flight.raise(t);
        c.clock.at(data_part, t + 1);
        runs.begin(instruction);
        if (runs.is_empty && !sends_empty) return;
        runs_active = true;
        runs_since = t + 1;
        c.clock.at(bursts_part, t + 1);
    }

    void finish(Cycle t) {
        in_flight.lower(t);
        c.finish(engine, t);
    }

    // Take a burst from the queue.
    Burst take(Cycle t) {
        c.clock.at(bursts_part, t + 1);
        return bursts.pop(t);
    }

    // Cut a burst and take the next request.
    void cut(Cycle t) {
        bool has_room = bursts.level.at(t) != c.p.burst_queue;
        int64_t room = c.p.burst_beats - (cut_position & (c.p.burst_beats - 1));
        bool fits = cut_empty || cut_beats <= room;
        if (cut_active && has_room) {
            bursts.push(t, {fits ? cut_beats : room, cut_last && fits, cut_empty});
            c.clock.at(address_part, t + 1);
            cut_position += room;
            cut_beats -= room;
        }
        if (!cut_active || (has_room && fits)) take_request(t);
        if (cut_active ? bursts.level.value != c.p.burst_queue : runs_active) c.clock.at(bursts_part, t + 1);
    }

private:
    void take_request(Cycle t) {
        cut_active = runs_active && t >= runs_since;
        if (!cut_active) return;
        cut_position = runs.position();
        cut_beats = runs.beats();
        cut_last = runs.is_last();
        cut_empty = runs.is_empty;
        if (!cut_last) return runs.step();
        runs_active = false;
        runs_since = t + 1;
        c.clock.at(starter[engine], t + 1);
    }
};
