// Walks the scratchpad side of a box: one item for each entry, padding included.
#pragma once

#include "common.hpp"

class EntryWalker {
    Context& c;
    Queue<int32_t>& boxes;
    const Part start_part;
    int32_t following = 0;
    bool has_following = false;
    const Instruction* box = nullptr;
    int64_t columns = 0, rows = 0, column = 0, row = 0, left1 = 0, left2 = 0;
    int64_t slots = 1, slot_start0 = 0, slot_start1 = 0, slot_start2 = 0;
    int64_t slot_strides[3] = {};
    int64_t start0 = 0, start1 = 0, start2 = 0;

public:
    // Of the current item, where `is_active`; see hw/entry_walker.py.
    bool is_active = false, is_empty = false, inside = false, run_end = false, is_last = false;
    int64_t slot = 0;
    int64_t entry = 0;  // modulo the depth
    int64_t space = 0;

    EntryWalker(Context& context, Queue<int32_t>& boxes, Part start_part)
        : c(context), boxes(boxes), start_part(start_part) {}

    // Whether the next cycle changes something without an item being taken.
    bool is_moving() const { return has_following ? !is_active : boxes.level.value > 0; }

    // End the cycle, in which the current item was taken or not.
    void tick(Cycle t, bool advance) {
        bool begin = has_following && (!is_active || (advance && is_last));
        if (begin) has_following = false;
        if (begin) {
            load(c.program[following]);
        } else if (advance) {
            if (is_last)
                is_active = false;
            else
                step();
        }
        take_box(t);
    }

    // Take the next box, if there is one and room for it.
    void take_box(Cycle t) {
        if (has_following || !boxes.has(t)) return;
        has_following = true;
        following = boxes.pop(t);
        c.clock.at(start_part, t + 1);
    }

    // Entries of the run after this one, when this one is inside.
    int64_t rest_of_run() const { return box->pad_left + box->run - 1 - column; }

    // Go on by this many entries within the run.
    void skip(int64_t entries) {
        column += entries;
        entry += entries;
        slot = (slot + entries) & (slots - 1);
        describe();
    }

private:
    void load(const Instruction& instruction) {
        box = &instruction;
        space = box->space;
        columns = box->pad_left + box->run + box->pad_right;
        rows = box->pad_top + box->extents[0] + box->pad_bottom;
        column = row = 0;
        entry = start0 = start1 = start2 = box->entry;
        left1 = box->extents[1];
        left2 = box->extents[2];
        is_empty = !columns || !rows || !left1 || !left2;
        is_active = true;
        slots = c.p.slots[space];
        slot = slot_start0 = slot_start1 = slot_start2 = slot_of(box->base);
        for (int i = 0; i < 3; ++i) slot_strides[i] = slot_of(box->strides[i]);
        describe();
    }

    int64_t slot_of(int64_t address) const { return (address >> c.p.entry_shift[space]) & (slots - 1); }
    bool row_inside() const { return row >= box->pad_top && row < box->pad_top + box->extents[0]; }

    void describe() {
        inside = !is_empty && row_inside() && column >= box->pad_left && column < box->pad_left + box->run;
        run_end = column + 1 == box->pad_left + box->run;
        is_last = is_empty || (column + 1 == columns && row + 1 == rows && left1 == 1 && left2 == 1);
    }

    void step() {
        if (column + 1 < columns) {
            slot = (slot + (column >= box->pad_left && column < box->pad_left + box->run)) & (slots - 1);
            ++column;
            ++entry;
        } else {
            column = 0;
            step_row();
        }
        describe();
    }

    void step_row() {
        if (row + 1 < rows) {
            if (row_inside()) slot_start0 = (slot_start0 + slot_strides[0]) & (slots - 1);
            slot = slot_start0;
            entry = start0 += box->entry_strides[0];
            ++row;
            return;
        }
        row = 0;
        if (--left1) {
            slot = slot_start0 = slot_start1 = (slot_start1 + slot_strides[1]) & (slots - 1);
            entry = start0 = start1 += box->entry_strides[1];
            return;
        }
        left1 = box->extents[1];
        --left2;
        slot = slot_start0 = slot_start1 = slot_start2 = (slot_start2 + slot_strides[2]) & (slots - 1);
        entry = start0 = start1 = start2 += box->entry_strides[2];
    }
};
