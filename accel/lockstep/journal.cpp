#include "accel/lockstep/journal.h"

#include <fmt/format.h>

#include <algorithm>

namespace tandem::accel::lockstep {

const char* name_of(Event::Kind kind) {
    constexpr const char* kNames[] = {"access",      "interrupt",    "time-stamp counter", "random number",
                                      "read of CR8", "write of CR8", "device write"};
    return kNames[static_cast<unsigned>(kind)];
}

namespace {

bool same(const PortExit& a, const PortExit& b) {
    return a.port == b.port && a.size == b.size && a.write == b.write && (!a.write || a.data == b.data);
}
bool same(const MmioExit& a, const MmioExit& b) {
    return a.address == b.address && a.size == b.size && a.write == b.write && (!a.write || a.data == b.data);
}
bool same(const MsrExit& a, const MsrExit& b) {
    return a.index == b.index && a.write == b.write && (!a.write || a.data == b.data);
}
bool same(const HypercallExit& a, const HypercallExit& b) {
    return a.number == b.number && std::equal(std::begin(a.args), std::end(a.args), std::begin(b.args));
}
template <class T>
bool same(const T&, const T&) {
    return true;
}

struct Describe {
    std::string operator()(const PortExit& e) const {
        if (!e.write) return fmt::format("IN of {} bytes from port {:#x}", e.size, e.port);
        return fmt::format("OUT of {:#x} ({} bytes) to port {:#x}", e.data, e.size, e.port);
    }
    std::string operator()(const MmioExit& e) const {
        if (!e.write) return fmt::format("read of {} bytes at {:#x}", e.size, e.address);
        return fmt::format("write of {:#x} ({} bytes) at {:#x}", e.data, e.size, e.address);
    }
    std::string operator()(const MsrExit& e) const {
        if (!e.write) return fmt::format("RDMSR {:#x}", e.index);
        return fmt::format("WRMSR {:#x} of {:#x}", e.index, e.data);
    }
    std::string operator()(const HypercallExit& e) const { return fmt::format("hypercall {:#x}", e.number); }
    std::string operator()(const HaltExit&) const { return "halt"; }
    std::string operator()(const ShutdownExit&) const { return "shutdown"; }
    std::string operator()(const RequestedExit&) const { return "end of the stretch"; }
    std::string operator()(const InternalErrorExit& e) const { return e.why; }
    std::string operator()(const EmulationFailureExit& e) const { return e.why; }
    template <class T>
    std::string operator()(const T&) const {
        return "another exit";
    }
};

}  // namespace

// The access as it was asked for and the recorded one differ in their answers only.
bool same_access(const Exit& recorded, Exit& answer) {
    if (recorded.index() != answer.index()) return false;
    const bool equal =
        std::visit([&](const auto& r) { return same(r, std::get<std::decay_t<decltype(r)>>(answer)); }, recorded);
    if (equal) answer = recorded;
    return equal;
}

std::string describe(const Exit& exit) { return std::visit(Describe{}, exit); }

}  // namespace tandem::accel::lockstep
