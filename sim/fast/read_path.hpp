// Reading: bursts of fetch and load over the address channel, the memory, the data to fetch and to the scratchpads.
#pragma once

#include "compute.hpp"
#include "dma_front.hpp"
#include "entry_walker.hpp"
#include "fetch.hpp"

class ReadPath {
    struct Request {
        int64_t beats;
        bool is_fetch;
    };

    struct Reading {
        int64_t beats;
        bool is_fetch;
        Cycle ready;
    };

    Context& c;
    Fetch& fetch;
    DmaFront& front;
    Compute& compute;
    EntryWalker walker;

    Level outstanding;          // bursts on their way
    Queue<Request> addresses;   // between port and bus
    Level accepted;             // bursts that the memory has taken and not finished
    Ring<Reading> readings;
    Cycle bus_free = 0;         // the data channel moves again from this cycle on
    int64_t buffered = 0;       // beats between bus and readers, at most two
    bool is_fetch[2] = {};      // whose they are
    int64_t chunk = 0;          // of the current entry
    bool has_row[2] = {};       // a row stands at the port of this half of the activation scratchpad
    bool at_end = false;        // an instruction's last write is in the output registers
    Cycle resumed = 0;          // the state is that at the start of this cycle, if it is a later one

public:
    ReadPath(Context& context, Fetch& fetch, DmaFront& front, Compute& compute)
        : c(context), fetch(fetch), front(front), compute(compute), walker(c, front.boxes, LOAD_START),
          addresses(2), readings(c.p.outstanding) {}

    // The address channel: the memory takes a request, the port takes a burst, fetch first.
    void send(Cycle t) {
        bool has_room = addresses.level.at(t) < 2 && outstanding.at(t) != c.p.reads_in_flight;
        bool moves = false;
        if (addresses.has(t) && accepted.at(t) < c.p.outstanding) {
            accept(t, addresses.pop(t));
            moves = true;
        }
        if (has_room) moves |= take_burst(t);
        if (moves) c.clock.at(READ_ADDRESS, t + 1);
    }

    // The data channel and the load engine's back.
    void receive(Cycle t) {
        if (t < resumed) {
            walker.take_box(t);
            return c.clock.at(READ_DATA, resumed);
        }
        bool bus_moves = buffered < 2 && !readings.empty() && t >= readings.front().ready && t >= bus_free;
        bool to_fetch = buffered && is_fetch[0];
        if (to_fetch) fetch.arrive(t);
        bool to_load = write(t, buffered && !is_fetch[0]);
        if (to_fetch || to_load) {
            --buffered;
            is_fetch[0] = is_fetch[1];
        }
        if (bus_moves) take_beat(t);
        plan(t);
    }

private:
    void accept(Cycle t, const Request& request) {
        ++c.counters.read_bursts;
        accepted.raise(t);
        readings.push({request.beats, request.is_fetch, t + c.p.latency});
        c.clock.at(READ_DATA, t + c.p.latency);
    }

    bool take_burst(Cycle t) {
        int64_t beats = fetch.asks(t);
        if (beats) {
            fetch.ask();
            addresses.push(t, {beats, true});
        } else if (front.bursts.has(t)) {
            addresses.push(t, {front.take(t).beats, false});
        } else {
            return false;
        }
        outstanding.raise(t);
        return true;
    }

    void take_beat(Cycle t) {
        Reading& reading = readings.front();
        ++c.counters.read_beats;
        is_fetch[buffered++] = reading.is_fetch;
        bus_free = t + c.p.beat_interval;
        if (--reading.beats) return;
        readings.pop();
        accepted.lower(t);
        outstanding.lower(t);
        c.clock.at(READ_ADDRESS, t + 1);
    }

    // Write a beat, a part of it or padding; return whether a beat is used up.
    bool write(Cycle t, bool has_beat) {
        bool is_waiting = has_row[0] || has_row[1];
        int result_half = is_waiting ? compute.result_half(t) : -1;
        bool free[2] = {!has_row[0] || result_half != 0, !has_row[1] || result_half != 1};
        int half = walker.entry & 1;
        bool port_free = at_end ? free[0] && free[1] : free[half];
        if (at_end && port_free) front.finish(t);
        bool fires = false, entry_done = false, uses_beat = false, writes = false;
        bool is_act = walker.space == 0;
        if (walker.is_active) {
            bool at_last_chunk = chunk == c.p.chunks[walker.space] - 1;
            entry_done = at_last_chunk || !walker.inside;
            writes = entry_done || !is_act;
            fires = (has_beat || !walker.inside) && (port_free || !writes);
            uses_beat = fires && walker.inside && beat_ends();
            entry_done &= fires;
            if (fires && walker.inside) chunk = at_last_chunk ? 0 : chunk + 1;
        }
        bool has_new = fires && is_act && writes && !walker.is_empty;
        for (int i = 0; i < 2; ++i)
            if (free[i]) has_row[i] = has_new && i == half;
        if (port_free) at_end = entry_done && walker.is_last;
        walker.tick(t, entry_done);
        return uses_beat;
    }

    bool beat_ends() const {
        int64_t slots = c.p.slots[walker.space];
        return slots == 1 || walker.slot == slots - 1 || walker.run_end;
    }

    void plan(Cycle t) {
        bool load_moves = walker.is_active && (!walker.inside || (buffered && !is_fetch[0]));
        if (load_moves && stream(t + 1))
            c.clock.at(READ_DATA, resumed);
        else if ((buffered && is_fetch[0]) || has_row[0] || has_row[1] || at_end || load_moves || walker.is_moving())
            c.clock.at(READ_DATA, t + 1);
        else if (buffered < 2 && !readings.empty())
            c.clock.at(READ_DATA, std::max({t + 1, readings.front().ready, bus_free}));
    }

    // From the start of cycle t on, with a beat of load in the buffer: take as many beats at once as follow each other
    // at the bus's pace, each written in the cycle after it is taken; up to the last but one of the burst and of the
    // run, and to the next cycle in which the write port may belong to compute. Return whether there are several.
    bool stream(Cycle t) {
        if (c.p.is_stepwise || buffered != 1 || !walker.inside || at_end || readings.empty() || readings.front().is_fetch) return false;
        int64_t chunks = c.p.chunks[walker.space];
        if (c.p.slots[walker.space] != 1 || ((has_row[0] || has_row[1]) && walker.space != 0)) return false;
        int64_t parts = walker.rest_of_run() * chunks + chunks - chunk;  // of the run that are not written
        Cycle first = std::max({t, readings.front().ready, bus_free});
        int64_t beats = std::min(readings.front().beats - 1, parts - 1);
        if (walker.space == 0) beats = std::min(beats, (port_free_until(t) - first - 3) / c.p.beat_interval);
        if (beats < 3) return false;
        Cycle last = first + (beats - 1) * c.p.beat_interval;
        c.counters.read_beats += beats;
        readings.front().beats -= beats;
        bus_free = last + c.p.beat_interval;
        chunk += beats;
        walker.skip(chunk / chunks);
        chunk %= chunks;
        has_row[0] = has_row[1] = false;
        has_row[(walker.entry - 1) & 1] = walker.space == 0 && chunk == 0 && c.p.beat_interval == 1;
        resumed = last + 1;
        return true;
    }

    // No result is written to the activation scratchpad from cycle t until, excluding, this one.
    Cycle port_free_until(Cycle t) {
        return std::min(compute.next_write(t), compute.horizon(t - 1) + c.p.compute_latency);
    }
};
