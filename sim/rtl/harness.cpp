// Drives one Verilated accelerator: clock, control registers, memory, trace strobes. A plain C interface, no globals;
// library.py is its other half.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "Vmodel.h"
#include "clocks.hpp"  // RESTING_CLOCKS(use): use(name) for each part that has a clock of its own; see resting_clocks.py
#include "memory.hpp"
#include "verilated.h"
#include "verilated_syms.h"
#ifdef TILEWRIGHT_WAVES
#include "verilated_fst_c.h"
#endif
#if VM_COVERAGE
#include "verilated_cov.h"
#endif

// Such a clock rises with `clk`, in the cycles in which the part has anything to do.
#define LOWER(name) top.clk_##name = 0;
#define RAISE(name) top.clk_##name = top.en_##name;

namespace {

constexpr int strobe_count = 6;        // start and finish of load, compute, store, as `trace` of the top level lists them
constexpr uint64_t register_patience = 1000;  // cycles that a control register may take to answer
[[maybe_unused]] constexpr uint64_t never = ~0ull;

class Harness {
    VerilatedContext context;
    std::unique_ptr<Vmodel> model;
    Memory<Vmodel> memory;
    std::vector<uint64_t> strobes[strobe_count];
    uint64_t now = 0;
#ifdef TILEWRIGHT_WAVES
    std::unique_ptr<VerilatedFstC> waves;
    uint64_t first_wave = 0, last_wave = 0, wave_origin = never;

    // Waveforms begin with the cycle behind the first register write after they were opened: the start.
    void dump(uint64_t half) {
        uint64_t cycle = now - wave_origin;
        if (waves && now >= wave_origin && cycle >= first_wave && cycle < last_wave) waves->dump(2 * cycle + half);
    }

    void note_write() {
        if (waves && wave_origin == never) wave_origin = now;
    }
#else
    void dump(uint64_t) {}
    void note_write() {}
#endif

    void note_strobes() {
        const Vmodel& top = *model;
        const bool seen[strobe_count] = {
            bool(top.TRACE(load_start)),  bool(top.TRACE(load_finish)), bool(top.TRACE(compute_start)),
            bool(top.TRACE(compute_finish)), bool(top.TRACE(store_start)), bool(top.TRACE(store_finish))};
        for (int i = 0; i < strobe_count; ++i)
            if (seen[i]) strobes[i].push_back(now);
    }

    // One clock cycle: inputs, settle, look, rising edge.
    void cycle() {
        Vmodel& top = *model;
        memory.drive(top, now);
        settle();
        dump(0);
        memory.observe(top, now);
        note_strobes();
        top.clk = 1;
        RESTING_CLOCKS(RAISE)
        top.eval();
        dump(1);
        ++now;
    }

public:
    explicit Harness(unsigned threads) {
        context.threads(threads);
#ifdef TILEWRIGHT_WAVES
        context.traceEverOn(true);
#endif
        model = std::make_unique<Vmodel>(&context, "harness");
    }

    ~Harness() {
        close_waves();
        model->final();
        Verilated::threadContextp(&context);  // of which the model's memories sign off
        model.reset();
    }

    void reset(const MemorySettings& settings) {
        Vmodel& top = *model;
        memory.attach(top, settings);
        top.REG(awvalid) = top.REG(wvalid) = top.REG(arvalid) = 0;
        top.REG(bready) = top.REG(rready) = 0;
        top.rst = 1;
        for (int i = 0; i < 4; ++i) cycle();
        top.rst = 0;
        cycle();
        memory.attach(top, settings);
        for (auto& list : strobes) list.clear();
    }

    // Returns the cycle in which the register took the value, or -1 when it does not answer.
    int64_t write(uint32_t offset, uint32_t value) {
        Vmodel& top = *model;
        top.REG(awaddr) = offset;
        top.REG(wdata) = value;
        top.REG(wstrb) = 0xF;
        top.REG(awvalid) = top.REG(wvalid) = top.REG(bready) = 1;
        int64_t taken = -1;
        for (uint64_t i = 0; i < register_patience; ++i) {
            settle();
            bool address = top.REG(awvalid) && top.REG(awready), data = top.REG(wvalid) && top.REG(wready);
            bool answered = top.REG(bvalid);
            cycle();
            if (address) top.REG(awvalid) = 0;
            if (data) top.REG(wvalid) = 0;
            if ((address || data) && !top.REG(awvalid) && !top.REG(wvalid)) {
                taken = int64_t(now) - 1;
                note_write();
            }
            if (!answered) continue;
            top.REG(bready) = 0;
            return taken;
        }
        return -1;
    }

    // Returns the register's value, or -1 when it does not answer.
    int64_t read(uint32_t offset) {
        Vmodel& top = *model;
        top.REG(araddr) = offset;
        top.REG(arvalid) = top.REG(rready) = 1;
        for (uint64_t i = 0; i < register_patience; ++i) {
            settle();
            bool accepted = top.REG(arvalid) && top.REG(arready), answered = top.REG(rvalid);
            int64_t value = top.REG(rdata);
            cycle();
            if (accepted) top.REG(arvalid) = 0;
            if (!answered) continue;
            top.REG(rready) = 0;
            return value;
        }
        return -1;
    }

    // Settle the outputs with the inputs of the coming cycle, to see its register handshakes.
    void settle() {
        Vmodel& top = *model;
        top.clk = 0;
        RESTING_CLOCKS(LOWER)
        top.eval();
    }

    // Run until the interrupt, a violation of the bus protocol (both 1), or for this many cycles (0).
    int run(uint64_t cycles) {
        for (uint64_t end = now + cycles; now < end;) {
            cycle();
            if (model->irq || memory.report().violation) return 1;
        }
        return 0;
    }

    void open_waves(const char* path, uint64_t first, uint64_t last) {
#ifdef TILEWRIGHT_WAVES
        close_waves();
        waves = std::make_unique<VerilatedFstC>();
        model->trace(waves.get(), 99);
        waves->open(path);
        first_wave = first;
        last_wave = last;
        wave_origin = never;
#endif
    }

    void close_waves() {
#ifdef TILEWRIGHT_WAVES
        if (waves) waves->close();
        waves.reset();
#endif
    }

    // Write what was counted so far, as Verilator's text.
    void write_coverage([[maybe_unused]] const char* path) {
#if VM_COVERAGE
        context.coveragep()->write(path);
#endif
    }

    // Find a memory by its path below the top module; null when there is none.
    const void* find_memory(const std::string& path, uint64_t& words, uint64_t& word_bytes) const {
        size_t dot = path.rfind('.');
        const VerilatedScope* scope = context.scopeFind((std::string(model->name()) + "." + path.substr(0, dot)).c_str());
        const VerilatedVar* var = scope ? scope->varFind(path.substr(dot + 1).c_str()) : nullptr;
        if (!var) return nullptr;
        word_bytes = var->entSize();
        words = var->totalSize() / word_bytes;
        return var->datap();
    }

    uint64_t cycles() const { return now; }
    bool interrupt() const { return model->irq; }
    const MemoryReport& report() const { return memory.report(); }
    const std::vector<uint64_t>& strobe(int which) const { return strobes[which]; }
};

Harness& of(void* handle) { return *static_cast<Harness*>(handle); }

}  // namespace

#define TILEWRIGHT_EXPORT extern "C" __attribute__((visibility("default")))

TILEWRIGHT_EXPORT void* tilewright_create(uint32_t threads) { return new Harness(threads); }
TILEWRIGHT_EXPORT void tilewright_destroy(void* handle) { delete &of(handle); }
TILEWRIGHT_EXPORT uint64_t tilewright_beat_bytes() { return sizeof(Vmodel::AXI(rdata)); }
TILEWRIGHT_EXPORT void tilewright_reset(void* handle, const MemorySettings* settings) { of(handle).reset(*settings); }
TILEWRIGHT_EXPORT int64_t tilewright_write(void* handle, uint32_t offset, uint32_t value) { return of(handle).write(offset, value); }
TILEWRIGHT_EXPORT int64_t tilewright_read(void* handle, uint32_t offset) { return of(handle).read(offset); }
TILEWRIGHT_EXPORT int32_t tilewright_run(void* handle, uint64_t cycles) { return of(handle).run(cycles); }
TILEWRIGHT_EXPORT uint64_t tilewright_cycle(void* handle) { return of(handle).cycles(); }
TILEWRIGHT_EXPORT int32_t tilewright_interrupt(void* handle) { return of(handle).interrupt(); }
TILEWRIGHT_EXPORT void tilewright_report(void* handle, MemoryReport* report) { *report = of(handle).report(); }
TILEWRIGHT_EXPORT void tilewright_open_waves(void* handle, const char* path, uint64_t first, uint64_t last) {
    of(handle).open_waves(path, first, last);
}
TILEWRIGHT_EXPORT void tilewright_close_waves(void* handle) { of(handle).close_waves(); }
TILEWRIGHT_EXPORT void tilewright_write_coverage(void* handle, const char* path) { of(handle).write_coverage(path); }
TILEWRIGHT_EXPORT uint64_t tilewright_strobes(void* handle, uint32_t which, const uint64_t** cycles) {
    const std::vector<uint64_t>& list = of(handle).strobe(which);
    *cycles = list.data();
    return list.size();
}
TILEWRIGHT_EXPORT const void* tilewright_memory(void* handle, const char* path, uint64_t* words, uint64_t* word_bytes) {
    return of(handle).find_memory(path, *words, *word_bytes);
}
