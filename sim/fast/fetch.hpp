// Fetch and dispatch: asks for the program in bursts, puts beats together to instructions, gives those to the queues.
#pragma once

#include "common.hpp"

class Fetch {
    Context& c;
    int64_t position, beats_left;   // of what is still to be asked for
    int64_t room;                   // in the buffer, for beats not asked for
    Cycle beat_taken = never;       // the last cycle in which a beat left the buffer; `room` shows it one cycle later
    Ring<Cycle> arrivals;           // of the beats in the buffer
    int64_t index = 0;              // of the next beat in its instruction
    int32_t next_instruction = 0;
    bool is_offered = false;        // an assembled instruction stands before the queues
    Cycle offered_from = 0;

public:
    explicit Fetch(Context& context)
        : c(context), position(c.p.program_beat), beats_left(int64_t(c.program.size()) * c.p.instruction_beats),
          room(c.p.fetch_buffer_beats), arrivals(c.p.fetch_buffer_beats) {
        if (beats_left) c.clock.at(READ_ADDRESS, c.p.begin_cycle + 1);
    }

    // Beats of the next burst, or 0 when none is asked for in this cycle.
    int64_t asks(Cycle t) const {
        if (beats_left == 0) return 0;
        int64_t beats = burst();
        return room - (beat_taken == t) >= beats ? beats : 0;
    }

    void ask() {
        int64_t beats = burst();
        room -= beats;
        beats_left -= beats;
        position += beats;
    }

    // A beat arrives from the read port.
    void arrive(Cycle t) {
        arrivals.push(t);
        c.clock.at(DISPATCH, t + 2);
    }

    void dispatch(Cycle t) {
        bool is_free = !is_offered || (t >= offered_from && hand_over(t));
        if (arrivals.empty()) return;
        if (t < arrivals.front() + 2) return c.clock.at(DISPATCH, arrivals.front() + 2);
        bool is_last = index == c.p.instruction_beats - 1;
        if (is_last && !is_free) return;
        take_beat(t);
        index = is_last ? 0 : index + 1;
        if (is_last) {
            is_offered = true;
            offered_from = t + 1;
            c.clock.at(DISPATCH, t + 1);
        }
    }

private:
    int64_t burst() const {
        int64_t limit = c.p.fetch_burst_beats;
        return std::min(beats_left, limit - position % limit);
    }

    void take_beat(Cycle t) {
        arrivals.pop();
        ++room;
        beat_taken = t;
        if (beats_left && room >= burst()) c.clock.at(READ_ADDRESS, t + 1);
        if (!arrivals.empty()) c.clock.at(DISPATCH, std::max(t + 1, arrivals.front() + 2));
    }

    // Give the instruction offered to its queue, if that has room.
    bool hand_over(Cycle t) {
        const Engine engine = Engine(c.program[next_instruction].engine);
        Queue<int32_t>& queue = c.queue(engine);
        if (queue.level.at(t) == c.p.queue_depth[engine]) return false;
        c.counters.fetch_wait += t - offered_from;
        queue.push(t, next_instruction);
        c.order[engine].push_back(next_instruction++);
        c.clock.at(starter[engine], t + 1);
        is_offered = false;
        return true;
    }
};
