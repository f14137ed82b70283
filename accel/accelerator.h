// The engine interface: what the machine and the run loop know of a translator or of KVM.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "accel/exit.h"
#include "base/result.h"
#include "cpu/arch_state.h"
#include "devices/fabric/doorbells.h"
#include "devices/fabric/guest_memory.h"
#include "devices/fabric/interrupts.h"
#include "devices/fabric/pc_controllers.h"
#include "devices/fabric/system_register.h"

namespace tandem::accel {

class Vcpu;

// The machine's side of an exit. Called on the vCPU's thread, from the run loop or, when the engine takes the short cut,
// from inside run(); the same function and the same trace point either way.
class ExitHandler {
public:
    virtual ~ExitHandler() = default;
    // Port, MMIO, MSR, system register and hypercall exits: performs the access and fills in the answer.
    virtual void handle(Vcpu& vcpu, Exit& exit) = 0;
    // x86: the interrupt controller's side of this vCPU.
    virtual devices::CpuInterruptController& interrupt_controller(unsigned vcpu_index) = 0;
    // What this vCPU's counter is derived from: x86 its time-stamp counter, Arm the physical counter (CNTPCT_EL0).
    virtual u64 tsc(unsigned vcpu_index) = 0;
    // x86: what the host's own counter (RDTSC) lacks to tsc(), where they run at the same rate and that is exact until the
    // machine's clock is stopped or started. Nothing: an engine whose guests read the host's counter measures it.
    virtual std::optional<u64> host_tsc_base() { return {}; }
    // Arm: one of this vCPU's generic timers was programmed. Also called after a state was imported.
    virtual void timer_programmed(unsigned /*vcpu_index*/, devices::ArmTimer, const devices::TimerSetting&) {}
    // Arm, from an engine that has the timers itself and no interrupt controller: a timer's interrupt changed.
    virtual void timer_output(unsigned /*vcpu_index*/, devices::ArmTimer, bool /*level*/) {}
    // The vCPU's guest now reads tsc() + offset as its time-stamp counter. Also called after a state was imported.
    virtual void tsc_offset_changed(unsigned /*vcpu_index*/, u64 /*offset*/) {}
    // FERR#: an x87 exception that the guest wants by interrupt (CR0.NE = 0).
    virtual void fpu_error(unsigned /*vcpu_index*/) {}
    // An x86 engine's own local APIC has finished a level-triggered interrupt, which I/O APICs hear of.
    virtual void end_of_interrupt(u8 /*vector*/) {}
    // Ticks of tsc() per second (x86: what CPUID tells, 0: nothing; Arm: CNTFRQ_EL0), and the number of processors.
    virtual u64 tsc_hz() { return 0; }
    virtual unsigned cpu_count() { return 1; }
};

// One virtual processor. It is also the sink for its local interrupt controller: the sink functions may be called from any
// thread at any time; everything else only from the thread that calls run(), or while nobody does.
class Vcpu : public devices::CpuSignals {
public:
    [[nodiscard]] virtual unsigned index() const = 0;

    // Runs guest code until an exit that ExitHandler does not complete: Halt, Shutdown, Debug, Requested, EmulationFailure,
    // InternalError. Engines that do not take the short cut return the others too.
    virtual Exit run() = 0;

    // Around several run() and wait_for_event() of one thread, for what an engine then need not do at each: in between, its
    // one signal (contract U6) may reach the thread. In pairs, not nested, with no change of the engine. vCPU thread.
    virtual void begin_runs() {}
    virtual void end_runs() {}

    // Makes run() return Requested as soon as possible; before or between runs, the next run returns at once
    // (contracts U1..U4). Any thread, any time, async-signal-safe.
    virtual void request_exit() = 0;

    // Blocks while the processor is halted or waits for SIPI and nothing wakes it: until its interrupt line is up, an NMI,
    // INIT, SIPI or request_exit(). Spurious returns are allowed; the next run() then answers Halt again.
    virtual void wait_for_event() = 0;

    // pc of the instruction that an exit belongs to, for traces. vCPU thread.
    [[nodiscard]] virtual u64 exit_pc() const = 0;

    // The whole architectural state, complete after any exit (contract U5).
    virtual Result<void> export_state(cpu::ArchState& out) = 0;
    virtual Result<void> import_state(const cpu::ArchState& in) = 0;

    // Executes exactly one guest instruction, interrupts not delivered first, and returns Debug{SingleStep}, or another exit
    // (contract D1).
    virtual Exit step() = 0;
};

struct Capabilities {
    std::string name;                 // "jit", "kvm"
    bool short_cut_dispatch = false;  // run() handles port and MMIO exits through ExitHandler itself
    bool in_kernel_irqchip = false;
};

class Accelerator {
public:
    virtual ~Accelerator() = default;
    [[nodiscard]] virtual const Capabilities& capabilities() const = 0;
    // Registers every RAM and ROM range of `memory` as it is now; before the first vCPU.
    virtual Result<void> map_memory(devices::GuestMemory& memory) = 0;
    // Contract I5: vCPUs are created once per index; a second creation is Errc::Busy.
    virtual Result<std::unique_ptr<Vcpu>> create_vcpu(unsigned index, ExitHandler& handler) = 0;
    // Something other than this engine's vCPUs and the devices has written guest memory: drops what was derived from it.
    // While no vCPU runs.
    virtual void memory_changed() {}
    // Moves the machine to another engine, by the name that -accel has for it. While no vCPU runs. Errors: NotFound for
    // one that nobody knows; Unsupported where this machine or the other engine cannot, and the machine stays where it is.
    virtual Result<void> change_engine(std::string_view /*name*/) {
        return Error{Errc::Unsupported, "this machine stays on the engine that it was started with"};
    }
    // The interrupt controllers that this engine runs itself, or null: it uses the machine's models. For the engine that the
    // machine is on; changes with it.
    [[nodiscard]] virtual devices::HostControllers* host_controllers() { return nullptr; }
    // Who rings doorbells in place of the machine, or null: this engine brings every access to the machine. For the engine
    // that the machine is on; changes with it.
    [[nodiscard]] virtual devices::DoorbellHost* doorbells() { return nullptr; }
    // Engine statistics for people, one "name value" per line.
    [[nodiscard]] virtual std::string statistics() const = 0;
};

}  // namespace tandem::accel
