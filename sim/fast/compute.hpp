// The compute engine: decoder, sequencer and the pipeline behind it, which never stalls.
#pragma once

#include "common.hpp"

class Compute {
    // What one instruction issues: steps in the cycles `first` to `last`, results in loops from `result` on.
    struct Issue {
        Cycle first, last, result;
        const Instruction* loops;
        bool writes_act, reads_b_always, reads_b_last;
    };

    Context& c;
    WaitMeter meter;
    bool is_decoded = false;
    Cycle decode_from = 0, decoded_from = 0, free_from = 0;
    Level in_flight;
    std::vector<Issue> issues;
    Cycle upcoming_write = never;                    // as `next_write` found it last
    size_t writing = 0, reading = 0, finishing = 0;  // the issues that the result write, operand b, the finish are at

public:
    explicit Compute(Context& context) : c(context) {}

    void start(Cycle t) {
        if (!is_decoded) decode(t);
        if (!is_decoded) return;
        Cycle ready_from = std::max(decoded_from, free_from);
        if (t < ready_from) return c.clock.at(COMPUTE_START, ready_from);
        const Instruction& instruction = c.program[c.compute_queue.front()];
        if (instruction.fence && in_flight.at(t) > 0) return meter.set(t, &c.counters.compute_fence);
        if (!c.tokens.grants(COMPUTE, instruction.wait, t)) return meter.set(t, &c.counters.compute_wait);
        meter.set(t, nullptr);
        c.begin(COMPUTE, t);
        in_flight.raise(t);
        is_decoded = false;
        decode_from = t + c.p.compute_decode - 1;
        issue(instruction, std::max(t + c.p.compute_start, free_from + instruction.interval));
    }

    void finish(Cycle t) {
        if (finishing == issues.size()) return;
        if (t < finish_cycle()) return c.clock.at(COMPUTE_FINISH, finish_cycle());
        ++finishing;
        in_flight.lower(t);
        c.finish(COMPUTE, t);
        if (finishing < issues.size()) c.clock.at(COMPUTE_FINISH, finish_cycle());
    }

    // Whether a result is written to the activation scratchpad in this cycle; cycles asked for never go back.
    bool writes_act(Cycle t) { return next_write(t) == t; }

    // Whether that is to an even or an odd row: 0 or 1; -1 where there is none.
    int result_half(Cycle t) { return writes_act(t) ? int(result_row(t) & 1) : -1; }

    // The first cycle from t on in which a result of what has been issued so far is written there.
    Cycle next_write(Cycle t) {
        if (upcoming_write < t || upcoming_write == never) upcoming_write = find_write(t);
        return upcoming_write;
    }

    // Likewise for operand b, in the cycle of the step.
    bool reads_b(Cycle t) { return next_read(t) == t; }

    Cycle next_read(Cycle t) {
        while (reading < issues.size() && (issues[reading].last < t || !reads_b(issues[reading]))) ++reading;
        if (reading == issues.size()) return never;
        const Issue& issue = issues[reading];
        return issue.reads_b_always ? next_step(issue, t) : next_result(issue, t);
    }

    // No instruction that has not started yet issues a step before this cycle, seen from cycle t.
    Cycle horizon(Cycle t) const { return std::max(free_from, t) + c.p.compute_start; }

private:
    Cycle finish_cycle() const { return issues[finishing].last + c.p.compute_latency; }
    static bool reads_b(const Issue& issue) { return issue.reads_b_always || issue.reads_b_last; }

    // The first step from this cycle on, which is not after the last.
    static Cycle next_step(const Issue& issue, Cycle t) {
        if (t <= issue.first) return issue.first;
        int64_t interval = issue.loops->interval;
        return issue.first + (t - issue.first + interval - 1) / interval * interval;
    }

    // The first step with a result from this cycle on, which is not after the last.
    static Cycle next_result(const Issue& issue, Cycle step) {
        if (step <= issue.result) return issue.result;
        const int64_t* periods = issue.loops->periods;
        int64_t rest = step - issue.result, begin = issue.result;
        for (int i = 0; i < 2; ++i) {
            int64_t index = rest / periods[i];
            rest -= index * periods[i];
            begin += index * periods[i];
            if (rest > span(*issue.loops, i + 1)) return begin + periods[i];
        }
        return begin + (rest + periods[2] - 1) / periods[2] * periods[2];
    }

    // Cycles from the first to the last result of one iteration around loop `i`.
    static int64_t span(const Instruction& loops, int i) {
        int64_t sum = 0;
        for (; i < 3; ++i) sum += (loops.counts[i] - 1) * loops.periods[i];
        return sum;
    }

    // The row of the result that is written in cycle t, modulo the depth.
    int64_t result_row(Cycle t) const {
        const Instruction& loops = *issues[writing].loops;
        int64_t rest = t - c.p.compute_latency - issues[writing].result, atom = loops.result;
        for (int i = 0; i < 3; ++i) {
            atom += rest / loops.periods[i] * loops.result_strides[i];
            rest %= loops.periods[i];
        }
        return atom >> c.p.atom_shift;
    }

    Cycle find_write(Cycle t) {
        Cycle step = t - c.p.compute_latency;
        while (writing < issues.size() && (issues[writing].last < step || !issues[writing].writes_act)) ++writing;
        if (writing == issues.size()) return never;
        return c.p.compute_latency + next_result(issues[writing], step);
    }

    void decode(Cycle t) {
        if (t < decode_from) return c.clock.at(COMPUTE_START, decode_from);
        if (!c.compute_queue.has(t)) return;
        is_decoded = true;
        decoded_from = t + 1;
    }

    void issue(const Instruction& instruction, Cycle first) {
        bool has_steps = instruction.steps > 0;
        Cycle last = first + instruction.length - 1;
        issues.push_back({first, last, first + instruction.first_result, &instruction,
                          has_steps && instruction.writes_act, has_steps && instruction.reads_b_always,
                          has_steps && instruction.reads_b_last});
        free_from = last;
        if (finishing + 1 == issues.size()) c.clock.at(COMPUTE_FINISH, finish_cycle());
        c.counters.compute_busy += instruction.steps;
        if (instruction.is_gemm) c.counters.gemm_steps += instruction.steps;
    }
};
