// The state of a PC's interrupt controllers and interval timer, and the interface of whoever runs them in place of the
// models: an engine whose kernel has them (contract I6). Both sides exchange these structures.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "base/result.h"
#include "devices/fabric/interrupts.h"

namespace tandem::devices {

struct LapicState {
    static constexpr u32 kVersion = 2;
    u32 id = 0;
    u64 base = 0;
    u64 eoi_msr = 0;  // KVM_EOI_EN
    u32 tpr = 0, ldr = 0, dfr = 0, svr = 0, esr = 0, errors = 0, icr_low = 0, icr_high = 0, divide = 0, initial = 0;
    std::array<u32, 6> lvt{};
    std::array<u32, 8> isr{}, tmr{}, irr{};
    std::array<bool, 2> lint{};
    bool ext_int_latched = false;
    bool timer_running = false;
    u64 timer_elapsed_ns = 0;  // since the count was loaded
    u32 timer_count = 0;       // ticks from then to the first expiry
    u64 tsc_deadline = 0;
    u64 tsc_offset = 0;

    void visit(auto& v) {
        v("id", id);
        v("base", base);
        v("eoi_msr", eoi_msr);
        v("tpr", tpr);
        v("ldr", ldr);
        v("dfr", dfr);
        v("svr", svr);
        v("esr", esr);
        v("errors", errors);
        v("icr_low", icr_low);
        v("icr_high", icr_high);
        v("divide", divide);
        v("initial", initial);
        v("lvt", lvt);
        v("isr", isr);
        v("tmr", tmr);
        v("irr", irr);
        v("lint", lint);
        v("ext_int_latched", ext_int_latched);
        v("timer_running", timer_running);
        v("timer_elapsed_ns", timer_elapsed_ns);
        v("timer_count", timer_count);
        v("tsc_deadline", tsc_deadline);
        v("tsc_offset", tsc_offset);
    }
};

struct IoapicState {
    static constexpr u32 kVersion = 1;
    u32 id = 0;
    u8 select = 0;
    u32 levels = 0;
    std::array<u64, 24> entries{};
    void visit(auto& v) {
        v("id", id);
        v("select", select);
        v("levels", levels);
        v("entries", entries);
    }
};

struct PicChipState {
    u8 irr = 0, imr = 0, isr = 0, lines = 0, elcr = 0;
    u8 vector_base = 0;
    u8 lowest = 7;     // IR with the lowest priority
    u8 init_step = 0;  // next initialisation word to come (2..4); 0: operating
    bool needs_icw4 = false, single = false, level_mode = false, auto_eoi = false, rotate_on_auto_eoi = false;
    bool special_mask = false, fully_nested_special = false, read_isr = false, poll = false;
    void visit(auto& v) {
        v("irr", irr);
        v("imr", imr);
        v("isr", isr);
        v("lines", lines);
        v("elcr", elcr);
        v("vector_base", vector_base);
        v("lowest", lowest);
        v("init_step", init_step);
        v("needs_icw4", needs_icw4);
        v("single", single);
        v("level_mode", level_mode);
        v("auto_eoi", auto_eoi);
        v("rotate_on_auto_eoi", rotate_on_auto_eoi);
        v("special_mask", special_mask);
        v("fully_nested_special", fully_nested_special);
        v("read_isr", read_isr);
        v("poll", poll);
    }
};

struct PicState {
    static constexpr u32 kVersion = 1;
    std::array<PicChipState, 2> chip;
    void visit(auto& v) { v("chip", chip); }
};

// 8254
constexpr u64 kPitHz = 1'193'182;

// Times are in ticks of the input clock. `age` fields are relative to the moment of saving.
struct PitChannelState {
    u8 control = 0x36;        // read/write, mode and BCD bits (5:0) of the last control word
    u32 reload = 0x10000;     // the count register as a number of ticks
    u32 period = 0x10000;     // the count that the counting element was loaded with
    u32 next_period = 0;      // modes 2 and 3: takes over at switch_tick; 0: none
    bool programmed = false;  // a count was written since the control word
    bool running = false;     // the counting element was loaded (modes 1 and 5: triggered)
    bool gate = true;
    i64 start_tick = 0;  // when the counting element was loaded; while the gate holds it: elapsed ticks
    i64 switch_tick = 0;
    u8 write_low = 0;
    bool write_high_next = false, read_high_next = false;
    u16 latched_count = 0;
    u8 latched_bytes = 0;  // of it, still to be read
    u8 latched_status = 0;
    bool status_latched = false;
    void visit(auto& v) {
        v("control", control);
        v("reload", reload);
        v("period", period);
        v("next_period", next_period);
        v("programmed", programmed);
        v("running", running);
        v("gate", gate);
        v("start_tick", start_tick);
        v("switch_tick", switch_tick);
        v("write_low", write_low);
        v("write_high_next", write_high_next);
        v("read_high_next", read_high_next);
        v("latched_count", latched_count);
        v("latched_bytes", latched_bytes);
        v("latched_status", latched_status);
        v("status_latched", status_latched);
    }
};

struct PitState {
    static constexpr u32 kVersion = 1;
    std::array<PitChannelState, 3> channel;
    u8 port61 = 0;
    u32 backlog = 0;
    void visit(auto& v) {
        v("channel", channel);
        v("port61", port61);
        v("backlog", backlog);
    }
};

struct ControllerState {
    std::vector<LapicState> lapics;  // by vCPU
    IoapicState ioapic;
    PicState pic;
    PitState pit;
};

// Interrupt controllers outside the models. While they are in use, models pass on what reaches them: lines, messages. The
// I/O APIC's and the 8259s' models go on keeping the levels of their inputs. Interrupts come from any thread; everything
// else while no vCPU runs and no device raises anything.
class HostControllers {
public:
    enum class Extent : u8 {
        LocalApics,  // the other controllers are the models
        All,
    };
    virtual ~HostControllers() = default;
    [[nodiscard]] virtual Extent extent() const = 0;
    [[nodiscard]] bool all() const { return extent() == Extent::All; }

    // A message to local APICs as its sender would write it (SDM volume 3, 10.11).
    virtual Delivery send_message(u64 address, u32 data) = 0;
    // The same for who does not ask what became of it. It may take effect a little later, but before fetch().
    virtual void post_message(u64 address, u32 data) { (void)send_message(address, data); }
    // Extent::All
    virtual Delivery set_ioapic_pin(unsigned pin, bool level) = 0;
    virtual Delivery set_pic_line(unsigned irq, bool level) = 0;
    // The interval timer's interrupt is cut off while something else drives its line.
    virtual void set_pit_closed(bool closed) = 0;
    // Extent::LocalApics: the I/O APIC's entries have changed. The end of interrupts of level-triggered ones is then told to
    // the machine (accel::ExitHandler::end_of_interrupt).
    virtual void set_ioapic_entries(std::span<const u64> entries) = 0;

    // Takes over from the models what `state` says, lines that are up included. Errors as the engine's.
    virtual Result<void> store(const ControllerState& state) = 0;
    // Replaces in `state`, which is the models', what these controllers have: everything but levels of lines.
    virtual Result<void> fetch(ControllerState& state) = 0;
};

}  // namespace tandem::devices
