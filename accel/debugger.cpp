#include "accel/debugger.h"

#include <fmt/format.h>

namespace tandem::accel {

Result<void> check_breakpoints(std::span<const Breakpoint> breakpoints) {
    if (breakpoints.size() > DebuggedVcpu::kMost) return invalid("more breakpoints than the processor has");
    for (const Breakpoint& b : breakpoints) {
        const bool power = b.size == 1 || b.size == 2 || b.size == 4 || b.size == 8;
        if (!power || b.address % b.size != 0) {
            return invalid(
                fmt::format("a breakpoint of {} bytes at {:#x}: 1, 2, 4 or 8 at a multiple of them", b.size, b.address));
        }
        if (b.kind == Breakpoint::Kind::Execute && b.size != 1)
            return invalid("a breakpoint on an instruction has one byte");
    }
    return {};
}

}  // namespace tandem::accel
