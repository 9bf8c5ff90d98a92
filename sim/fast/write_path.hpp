// Writing: rows of the activation scratchpad, packed into beats, and their bursts, over the bus to the memory.
#pragma once

#include "compute.hpp"
#include "dma_front.hpp"
#include "entry_walker.hpp"

class WritePath {
    struct Mark {
        bool is_last, is_empty;
    };

    struct Row {
        Cycle ready;     // when it can be taken
        bool fills;      // it is the last in its beat
    };

    Context& c;
    DmaFront& front;
    Compute& compute;
    EntryWalker walker;

    Level outstanding;            // bursts on their way
    Queue<int64_t> addresses;     // beats of bursts, between port and bus
    Queue<int64_t> lengths;       // beats of bursts whose data are to be sent
    Queue<Mark> marks;            // of bursts whose responses are to be matched
    Level accepted;               // bursts that the memory has taken and not answered
    Queue<int64_t> writing;       // beats of bursts that the memory has taken, until their data are in
    Ring<Cycle> responses;        // when they are ready
    Level waiting;                // responses that no mark has been matched with
    bool is_written = false;      // an instruction completes in `written_cycle`
    Cycle written_cycle = 0;

    Queue<Row> rows;              // asked for and not sent
    int64_t chunk = 0;            // of the row that is split over beats
    bool has_beat = false;        // in the output register of the reader
    Queue<char> buffer;           // beats between port and bus
    int64_t sent = 0;             // beats of the burst at the head of `lengths`
    int64_t taken = 0;            // beats of the burst at the head of `writing`
    Cycle bus_free = 0;

public:
    WritePath(Context& context, DmaFront& front, Compute& compute)
        : c(context), front(front), compute(compute), walker(c, front.boxes, STORE_START), addresses(2),
          lengths(c.p.writes_in_flight), marks(c.p.writes_in_flight + 1), writing(c.p.outstanding),
          responses(c.p.outstanding), rows(c.p.row_queue), buffer(2) {}

    // Addresses and responses.
    void send(Cycle t) {
        if (is_written && t == written_cycle) {
            is_written = false;
            front.finish(t);
        }
        match(t);
        take_burst(t);
        if (addresses.has(t) && accepted.at(t) < c.p.outstanding) accept(t);
        respond(t);
        plan_send(t);
    }

    // Data.
    void stream(Cycle t) {
        bool beat_taken = send_beat(t);
        if (!has_beat || beat_taken) has_beat = fill_beat(t);
        else gather(t);
        ask_for_row(t);
        take_write(t);
        plan_stream(t);
    }

private:
    void match(Cycle t) {
        if (!marks.has(t)) return;
        Mark mark = marks.front();
        if (!mark.is_empty && waiting.at(t) == 0) return;
        marks.pop(t);
        if (!mark.is_empty) waiting.lower(t);
        if (!mark.is_last) return;
        is_written = true;
        written_cycle = t + 1;
    }

    void take_burst(Cycle t) {
        if (!front.bursts.has(t) || marks.level.at(t) > c.p.writes_in_flight) return;
        bool has_room = addresses.level.at(t) < 2 && outstanding.at(t) != c.p.writes_in_flight;
        if (!front.bursts.front().is_empty && !has_room) return;
        Burst burst = front.take(t);
        marks.push(t, {burst.is_last, burst.is_empty});
        if (burst.is_empty) return;
        addresses.push(t, burst.beats);
        lengths.push(t, burst.beats);
        outstanding.raise(t);
        c.clock.at(STORE_DATA, t + 1);
    }

    void accept(Cycle t) {
        ++c.counters.write_bursts;
        writing.push(t, addresses.pop(t));
        accepted.raise(t);
        c.clock.at(STORE_DATA, t + 1);
    }

    void respond(Cycle t) {
        if (responses.empty() || t < responses.front()) return;
        responses.pop();
        accepted.lower(t);
        outstanding.lower(t);
        waiting.raise(t);
        c.clock.at(WRITE_ADDRESS, t + 1);
    }

    void plan_send(Cycle t) {
        bool has_burst = front.bursts.level.value && marks.level.value <= c.p.writes_in_flight &&
                         (front.bursts.front().is_empty ||
                          (addresses.level.value < 2 && outstanding.value != c.p.writes_in_flight));
        bool has_mark = marks.level.value && (marks.front().is_empty || waiting.value);
        bool has_address = addresses.level.value && accepted.value < c.p.outstanding;
        if (is_written || has_burst || has_mark || has_address)
            c.clock.at(WRITE_ADDRESS, t + 1);
        else if (!responses.empty())
            c.clock.at(WRITE_ADDRESS, std::max(t + 1, responses.front()));
    }

    // Move the reader's beat to the port's buffer.
    bool send_beat(Cycle t) {
        if (!has_beat || !lengths.has(t) || buffer.level.at(t) >= 2) return false;
        buffer.push(t, 0);
        if (++sent == lengths.front()) {
            sent = 0;
            lengths.pop(t);
        }
        return true;
    }

    bool has_row(Cycle t) { return rows.level.value && t >= rows.front().ready; }

    // The output register is free: put a beat there if a row completes one.
    bool fill_beat(Cycle t) {
        if (!has_row(t)) return false;
        bool fills = rows.front().fills;
        if (c.p.chunks[0] > 1) {
            bool is_last = chunk == c.p.chunks[0] - 1;
            chunk = is_last ? 0 : chunk + 1;
            if (!is_last) return true;
        }
        rows.pop(t);
        return fills;
    }

    // It is not free: a narrow row can still join others.
    void gather(Cycle t) {
        if (has_row(t) && !rows.front().fills) rows.pop(t);
    }

    void ask_for_row(Cycle t) {
        bool has_place = rows.level.at(t) != c.p.row_queue;
        bool asks = walker.is_active && !walker.is_empty && has_place && !compute.reads_b(t);
        if (asks) rows.push(t, {t + c.p.act_read + 1, fills_beat()});
        walker.tick(t, walker.is_active && (walker.is_empty || asks));
    }

    bool fills_beat() const {
        int64_t slots = c.p.slots[0];
        return slots == 1 || walker.slot == slots - 1 || walker.run_end;
    }

    // The memory takes a beat.
    void take_write(Cycle t) {
        if (!buffer.has(t) || !writing.has(t) || t < bus_free) return;
        buffer.pop(t);
        ++c.counters.write_beats;
        bus_free = t + c.p.beat_interval;
        if (++taken < writing.front()) return;
        taken = 0;
        writing.pop(t);
        responses.push(t + c.p.latency);
        c.clock.at(WRITE_ADDRESS, t + c.p.latency);
    }

    void plan_stream(Cycle t) {
        bool walks = (walker.is_active && (walker.is_empty || rows.level.value < c.p.row_queue)) || walker.is_moving();
        bool sends = has_beat && lengths.level.value && buffer.level.value < 2;
        bool packs = rows.level.value && rows.front().ready <= t + 1 && (!has_beat || !rows.front().fills || sends);
        if (walks || sends || packs) return c.clock.at(STORE_DATA, t + 1);
        if (rows.level.value && (!has_beat || !rows.front().fills)) c.clock.at(STORE_DATA, rows.front().ready);
        if (buffer.level.value && writing.level.value) c.clock.at(STORE_DATA, std::max(t + 1, bus_free));
    }
};
