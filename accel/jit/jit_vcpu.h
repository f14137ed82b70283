// One vCPU on the translator, as far as it is the same for every guest architecture: an architecture's binding derives from
// it.
#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "accel/exact.h"
#include "accel/vcpu_base.h"
#include "jit/guest/hold.h"
#include "jit/runtime/translator.h"

namespace tandem::accel {

class JitVcpu : public VcpuBase, public ExactVcpu {
public:
    Exit run() final { return loop(false); }
    Exit step() final { return loop(true); }

    // Completes construction: the translator was made for this vCPU as its owner.
    void attach(std::unique_ptr<jit::VcpuTranslator> translator);

    // ExactVcpu; exact where the translator was made to count instructions.
    [[nodiscard]] u64 instructions() const final;
    void set_instruction_limit(u64 limit) final;
    void track_writes(std::vector<u64>* pages) final;
    void forget_writes() final { translator_->state_replaced(); }
    void set_random_source(std::function<u64()> source) final { random_source_ = std::move(source); }
    void hold_accesses() final { jit::set_hold(jit::header_of(translator_->state()), &hold_); }
    [[nodiscard]] Held held() const final;
    void seek(const cpu::ArchState*) override {}

    // The translator's bus.
    // As jit::Bus.
    bool mmio_read(u64 gpa, unsigned size, u64& value);
    bool mmio_write(u64 gpa, u64 value, unsigned size);

protected:
    JitVcpu(unsigned index, ExitHandler& handler) : VcpuBase(index, handler) {}

    // Constructs the processor in the translator's zeroed state, in its power-on state.
    virtual void construct(void* state) = 0;

    // A debugger's stop that run() or step() has come back for, which is taken.
    virtual std::optional<DebugExit> take_stop(bool /*stepping*/) { return {}; }
    // Before run() or step() goes into guest code.
    virtual void begin(bool /*stepping*/) {}

    // VcpuBase
    void prod() override;

    // Has the machine perform an access of the instruction that is executing, under the host's floating-point control.
    void dispatch_now(Exit& exit);
    [[nodiscard]] jit::VcpuTranslator& translator() { return *translator_; }
    [[nodiscard]] jit::Hold& hold() { return hold_; }
    [[nodiscard]] const std::function<u64()>& random_source() const { return random_source_; }

private:
    Result<std::optional<Exit>> enter(bool stepping) final;

    std::unique_ptr<jit::VcpuTranslator> translator_;
    std::atomic<bool> attached_{false};
    std::function<u64()> random_source_;
    jit::Hold hold_;
};

}  // namespace tandem::accel
