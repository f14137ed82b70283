// Steps and breakpoints (api.rst 4.87 KVM_SET_GUEST_DEBUG), and the record of written pages.
#include "accel/kvm/kvm_vcpu.h"

#include <algorithm>

namespace tandem::accel::kvm {
namespace {

constexpr u64 kTrapFlag = 0x100, kLongModeActive = 0x400;
constexpr u8 kHalt = 0xf4;

bool in_64_bit_code(const kvm_sregs& s) { return (s.efer & kLongModeActive) != 0 && s.cs.l != 0; }

}  // namespace

u8* KvmVcpu::guest_byte(u64 linear) const {
    kvm_translation where{};
    where.linear_address = linear;
    if (!TANDEM_KVM(fd_, KVM_TRANSLATE, &where) || where.valid == 0) return nullptr;
    return shared_.slots.at(where.physical_address);
}

cpu::x86::DecodeStatus KvmVcpu::decode_next(const kvm_regs& regs, const kvm_sregs& special,
                                            cpu::x86::Instruction& out) const {
    using cpu::x86::Mode;
    const bool wide = in_64_bit_code(special);
    const u64 start = regs.rip + (wide ? 0 : special.cs.base);
    u8 bytes[cpu::x86::kMaxInstructionLength];
    std::size_t count = 0;
    for (; count < std::size(bytes); ++count) {
        const u8* const byte = guest_byte(start + count);
        if (byte == nullptr) break;
        bytes[count] = *byte;
    }
    const Mode mode = wide ? Mode::Bits64 : special.cs.db != 0 ? Mode::Bits32 : Mode::Bits16;
    return cpu::x86::decode({bytes, count}, mode, out);
}

// Any instruction may raise an exception, whose frame has the TF that KVM steps by, and whose handler KVM does not stop in.
// Left to KVM is what a translator lacks: instructions that it does not know, guests that may have guests of their own, and
// interrupt controllers in the kernel.
bool KvmVcpu::step_shows() {
    constexpr u64 kVmxEnable = 1u << 13, kSvmEnable = 1u << 12;
    kvm_regs regs{};
    kvm_sregs special{};
    if (shared_.irqchip != KvmOptions::Irqchip::User || !complete()) return false;
    if (!TANDEM_KVM(fd_, KVM_GET_REGS, &regs) || !TANDEM_KVM(fd_, KVM_GET_SREGS, &special)) return false;
    if ((special.cr4 & kVmxEnable) != 0 || (special.efer & kSvmEnable) != 0) return false;
    cpu::x86::Instruction instruction;
    return decode_next(regs, special, instruction) != cpu::x86::DecodeStatus::Invalid;
}

Exit KvmVcpu::step() {
    told_.reset();
    return step_guest(false);
}

// KVM steps by RFLAGS.TF, and the processor's PUSHF shows it to the guest.
Exit KvmVcpu::step_guest(bool past_breakpoints) {
    if (std::exchange(past_breakpoints_, past_breakpoints) != past_breakpoints) debug_known_ = false;
    if (const Result<void> done = complete(); !done) return failed(done.error());
    kvm_regs regs{};
    kvm_sregs special{};
    cpu::x86::Instruction instruction;
    const bool pushes = TANDEM_KVM(fd_, KVM_GET_REGS, &regs).ok() && TANDEM_KVM(fd_, KVM_GET_SREGS, &special).ok() &&
                        (regs.rflags & kTrapFlag) == 0 &&
                        decode_next(regs, special, instruction) == cpu::x86::DecodeStatus::Ok &&
                        instruction.opcode == cpu::x86::Opcode::PUSHF;
    const Exit exit = run_guest(true);
    const auto* const debug = std::get_if<DebugExit>(&exit);
    if (!pushes || debug == nullptr || debug->reason != DebugExit::Reason::SingleStep) return exit;
    if (!TANDEM_KVM(fd_, KVM_GET_REGS, &regs)) return exit;
    constexpr u64 kTrapFlagByte = kTrapFlag / 256;  // of its image, which has 2, 4 or 8
    const u64 in_stack = (regs.rsp + kTrapFlagByte) & (special.ss.db != 0 ? 0xffff'ffff : 0xffff);
    u8* const image = guest_byte(in_64_bit_code(special) ? regs.rsp + kTrapFlagByte : special.ss.base + in_stack);
    if (image != nullptr) *image &= static_cast<u8>(~(kTrapFlag >> 8));
    return exit;
}

Result<void> KvmVcpu::set_breakpoints(std::span<const u64> addresses) {
    if (addresses.size() > kBreakpoints) return invalid("more breakpoints than the processor has");
    breakpoints_.assign(addresses.begin(), addresses.end());
    debug_known_ = false;
    return {};
}

Result<void> KvmVcpu::set_debug(bool stepping) {
    if (debug_known_ && stepping == stepping_) return {};
    kvm_guest_debug debug{};
    if (stepping) {
        debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
        if (shared_.system.step_blocks_interrupts) debug.control |= KVM_GUESTDBG_BLOCKIRQ;
    } else if (!breakpoints_.empty() && shared_.system.breakpoints) {
        constexpr u64 kReserved = 0x400;  // reads as one; length and condition 0: execution
        debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
        debug.arch.debugreg[7] = kReserved;
        for (std::size_t i = 0; i < breakpoints_.size(); ++i) {
            debug.arch.debugreg[i] = breakpoints_[i];
            debug.arch.debugreg[7] |= u64{2} << (2 * i);  // global enable
        }
    }
    stepping_ = stepping;
    if (!debugger_.empty() && breakpoints_.empty()) TANDEM_TRY(share_debug_registers(debug));
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(fd_, KVM_SET_GUEST_DEBUG, &debug));
    debug_known_ = true;
    return {};
}

// A processor whose APIC is in the kernel would sleep there.
bool KvmVcpu::plants() const { return !breakpoints_.empty() && !shared_.system.breakpoints && !shared_.apic_in_kernel(); }

void KvmVcpu::plant_breakpoints() {
    for (const u64 address : breakpoints_) {
        u8* const byte = guest_byte(address);
        if (byte == nullptr || *byte == kHalt) continue;
        planted_.push_back({byte, *byte});
        *byte = kHalt;
    }
}

// What the guest has written over one stays.
void KvmVcpu::lift_breakpoints() {
    for (const Planted& planted : planted_) {
        if (*planted.at == kHalt) *planted.at = planted.was;
    }
    planted_.clear();
}

Result<bool> KvmVcpu::stands_at_planted() {
    kvm_regs regs{};
    kvm_sregs special{};
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int got, TANDEM_KVM(fd_, KVM_GET_REGS, &regs));
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int also, TANDEM_KVM(fd_, KVM_GET_SREGS, &special));
    const u64 linear = regs.rip - 1 + (in_64_bit_code(special) ? 0 : special.cs.base);
    if (std::ranges::find(breakpoints_, linear) == breakpoints_.end()) return false;
    --regs.rip;
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int set, TANDEM_KVM(fd_, KVM_SET_REGS, &regs));
    if (shared_.system.sync_regs) page_->s.regs.regs.rip = regs.rip;
    return true;
}

Result<void> KvmVcpu::take_written(std::vector<u64>& pages) { return shared_.slots.take_written(shared_.vm, pages); }

}  // namespace tandem::accel::kvm
