// What a run makes of events that come together.
#include <catch2/catch.hpp>

#include <stdexcept>

#include "machines/run_control.h"

using namespace tandem;
using namespace tandem::machines;

namespace {

// Of a machine without processors.
class NoProcessors final : public accel::ExitHandler {
public:
    void handle(accel::Vcpu&, accel::Exit&) override {}
    devices::CpuInterruptController& interrupt_controller(unsigned) override { throw std::logic_error("no processor"); }
    u64 tsc(unsigned) override { return 0; }
};

}  // namespace

TEST_CASE("run control: a guest that triple-faults behind its request for a reset has asked for a reset") {
    using Event = RunControl::Event;
    RunControl control;
    NoProcessors handler;
    unsigned resets = 0;
    RunControl::Actions actions;
    actions.stopped = actions.continues = [] {};
    actions.reset = [&]() -> Result<void> {
        ++resets;
        control.post(Event::PowerOff);
        return {};
    };
    SECTION("a run that a reset ends") {
        actions.on_reset = OnGuestReset::End;
        control.post(Event::Reset);
        control.post(Event::TripleFault, "at 0");
        CHECK(control.run({}, handler, actions).kind == Outcome::Kind::Reset);
    }
    SECTION("a triple fault alone") {
        actions.on_reset = OnGuestReset::End;
        control.post(Event::TripleFault, "at 0");
        const Outcome outcome = control.run({}, handler, actions);
        CHECK(outcome.kind == Outcome::Kind::Shutdown);
        CHECK(outcome.detail == "at 0");
    }
    SECTION("a run that goes on") {
        control.post(Event::Reset);
        control.post(Event::TripleFault, "at 0");
        CHECK(control.run({}, handler, actions).kind == Outcome::Kind::PowerOff);
        CHECK(resets == 1);
    }
}
