// Power State Coordination Interface 1.1 (DEN 0022D) and SMC Calling Convention 1.1 (DEN 0028C), as the firmware that this
// board does not have would answer them.
#pragma once

#include <functional>
#include <mutex>
#include <vector>

#include "accel/exit.h"
#include "devices/fabric/state.h"

namespace tandem::machines::virt {

struct PsciState {
    static constexpr u32 kVersion = 1;
    std::vector<u8> on;  // by processor
    void visit(auto& v) { v("on", on); }
};

class Psci final : public devices::StatefulDevice<PsciState> {
public:
    // What it asks of the machine. Any vCPU's thread; must not block.
    struct Requests {
        std::function<void(unsigned cpu, u64 entry, u64 context)> power_on;
        std::function<void()> power_off, reset;
    };
    // `affinities` by processor. One conduit is offered; the other has nobody behind it.
    Psci(std::vector<u64> affinities, accel::HypercallExit::Conduit conduit, Requests requests);

    // The calling processor's thread.
    void call(unsigned cpu, accel::HypercallExit& call);

    [[nodiscard]] std::string_view name() const override { return "psci"; }
    // The first processor is on.
    void reset() override;
    // Somebody else switches processors, whose state this is. While the machine is stopped.
    void set_on(unsigned cpu, bool on);

private:
    enum Status : i64 {
        kSuccess = 0,
        kNotSupported = -1,
        kInvalidParameters = -2,
        kDenied = -3,
        kAlreadyOn = -4,
        kInvalidAddress = -9
    };
    using Call = accel::HypercallExit;
    struct Row {
        u32 number;  // of the 32-bit convention
        bool both;   // there is a 64-bit one, too
        i64 (Psci::*perform)(unsigned cpu, Call& call);
    };
    static std::span<const Row> rows();
    static const Row* find(u32 number);

    [[nodiscard]] PsciState capture() const override;
    Result<void> apply(const PsciState& state) override;

    i64 version(unsigned, Call&);
    i64 suspend(unsigned, Call& call);
    i64 turn_off(unsigned cpu, Call& call);
    i64 turn_on(unsigned, Call& call);
    i64 affinity_info(unsigned, Call& call);
    i64 migrate_info(unsigned, Call&);
    i64 system_off(unsigned, Call& call);
    i64 system_reset(unsigned, Call& call);
    i64 system_reset2(unsigned, Call& call);
    i64 features(unsigned, Call& call);
    i64 smccc_version(unsigned, Call&);
    i64 smccc_features(unsigned, Call& call);
    [[nodiscard]] int processor(u64 affinity) const;

    const std::vector<u64> affinities_;
    const Call::Conduit conduit_;
    const Requests requests_;
    mutable std::mutex lock_;  // guards on_; a leaf
    std::vector<u8> on_;
};

}  // namespace tandem::machines::virt
