// Exceptions as data, and one delivery attempt. Internal to this folder.
#pragma once

#include <string_view>

#include "cpu/x86/system/internal.h"

namespace tandem::cpu::x86 {

// SDM volume 3, table 6-1.
enum class ExceptionKind : u8 { Fault, Trap, FaultOrTrap, Abort, Interrupt };
// SDM volume 3, table 6-4.
enum class ExceptionClass : u8 { Benign, Contributory, PageFault, DoubleFault };

struct ExceptionInfo {
    std::string_view mnemonic;
    ExceptionKind kind = ExceptionKind::Interrupt;
    ExceptionClass severity = ExceptionClass::Benign;
    bool has_error = false;
};
const ExceptionInfo& exception_info(u8 vector);
// Faults push RF = 1. #DB pushes what RF is: as a trap it returns behind its instruction, or between two elements of a
// repeated one, where RF is set; an instruction breakpoint's handler sets RF itself (SDM volume 3, 17.3.1.1).
bool is_fault(u8 vector);

// Where an event came from: decides DPL checks and the EXT bit of nested faults (SDM volume 3, 6.12.1.2 and 6.13).
enum class EventSource : u8 { Exception, External, Nmi, IntN, Int3OrInto, Int1 };

struct Event {
    EventSource source = EventSource::Exception;
    u8 vector = 0;
    bool has_error = false;
    u32 error = 0;
    u64 return_rip = 0;
    bool set_rf = false;  // in the pushed flags

    [[nodiscard]] u32 ext() const { return source == EventSource::IntN || source == EventSource::Int3OrInto ? 0 : 1; }
};

// Goes through the IVT or IDT once. False: an exception is pending and, task switches apart, nothing has changed.
bool deliver_event(TranslateState& t, const Event& event);
// Delivers with nested faults, double fault and shutdown. Lookup or Exit.
LeaveReason deliver_with_nesting(TranslateState& t, Event event);

}  // namespace tandem::cpu::x86
