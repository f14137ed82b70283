#include "accel/jit/jit_vcpu.h"

#include "accel/run_loop.h"
#include "jit/guest/counting.h"
#include "jit/runtime/fp_control.h"

namespace tandem::accel {

void JitVcpu::attach(std::unique_ptr<jit::VcpuTranslator> translator) {
    translator_ = std::move(translator);
    construct(translator_->state());
    translator_->state_replaced();
    attached_.store(true, std::memory_order_release);
}

Result<std::optional<Exit>> JitVcpu::enter(bool stepping) {
    begin(stepping);
    const jit::ir::LeaveReason why = stepping ? translator_->step() : translator_->run();
    // Only a shutdown or a debugger's breakpoint ends a run with Exit: everything else is dispatched where it happens.
    if (rest().kind == Rest::Kind::Shutdown) return std::optional<Exit>(finish(ShutdownExit{exit_pc()}));
    if (const auto stop = take_stop(stepping)) return std::optional<Exit>(finish(*stop));
    if (stepping) return std::optional<Exit>(finish(DebugExit{DebugExit::Reason::SingleStep, exit_pc(), 0}));
    if (why == jit::ir::LeaveReason::Halt) return std::optional<Exit>(halt());
    const jit::FrameHeader& header = jit::header_of(translator_->state());
    if (jit::was_held(header)) return std::optional<Exit>(finish(RequestedExit{}));
    if (header.instructions >= jit::instruction_limit(header)) return std::optional<Exit>(finish(RequestedExit{}));
    return std::optional<Exit>{};
}

ExactVcpu::Held JitVcpu::held() const {
    using Reason = jit::Hold::Reason;
    switch (hold_.reason) {
        case Reason::Access: return Held::Access;
        case Reason::Value: return Held::Value;
        case Reason::Sought: return Held::Sought;
        case Reason::None: break;
    }
    return Held::No;
}

u64 JitVcpu::instructions() const { return jit::header_of(translator_->state()).instructions; }

void JitVcpu::set_instruction_limit(u64 limit) { jit::set_instruction_limit(jit::header_of(translator_->state()), limit); }

void JitVcpu::track_writes(std::vector<u64>* pages) { jit::set_written_pages(jit::header_of(translator_->state()), pages); }

void JitVcpu::prod() {
    if (attached_.load(std::memory_order_acquire)) translator_->request_attention();
}

void JitVcpu::dispatch_now(Exit& exit) {
    const jit::HostFpScope host(jit::header_of(translator_->state()));
    dispatch(*this, handler_, exit);
}

bool JitVcpu::mmio_read(u64 gpa, unsigned size, u64& value) {
    Exit exit = MmioExit{gpa, static_cast<u8>(size), false, 0};
    dispatch_now(exit);
    const auto& answer = std::get<MmioExit>(exit);
    value = answer.data;
    return !answer.unclaimed;
}

bool JitVcpu::mmio_write(u64 gpa, u64 value, unsigned size) {
    Exit exit = MmioExit{gpa, static_cast<u8>(size), true, value};
    dispatch_now(exit);
    return !std::get<MmioExit>(exit).unclaimed;
}

}  // namespace tandem::accel
