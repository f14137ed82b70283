#include "accel/run_loop.h"

#include "accel/trace.h"

namespace tandem::accel {

void dispatch(Vcpu& vcpu, ExitHandler& handler, Exit& exit) {
    const bool tracing = log::enabled(log::Exits);
    if (tracing) trace_exit(vcpu.index(), vcpu.exit_pc(), exit);
    handler.handle(vcpu, exit);
    if (tracing) trace_completion(exit);
}

namespace {

class Runs {
public:
    explicit Runs(Vcpu& vcpu) : vcpu_(vcpu) { vcpu_.begin_runs(); }
    ~Runs() { vcpu_.end_runs(); }
    Runs(const Runs&) = delete;
    Runs& operator=(const Runs&) = delete;

private:
    Vcpu& vcpu_;
};

}  // namespace

Exit run_until_event(Vcpu& vcpu, ExitHandler& handler) {
    const Runs runs(vcpu);
    for (;;) {
        if (log::enabled(log::Exits)) trace_entry(vcpu.index(), vcpu.exit_pc());
        Exit exit = vcpu.run();
        if (is_access(exit)) {
            dispatch(vcpu, handler, exit);
            continue;
        }
        if (log::enabled(log::Exits)) trace_exit(vcpu.index(), vcpu.exit_pc(), exit);
        const auto* halt = std::get_if<HaltExit>(&exit);
        if (halt == nullptr) return exit;
        if (halt->requested) return RequestedExit{};
        vcpu.wait_for_event();
    }
}

}  // namespace tandem::accel
