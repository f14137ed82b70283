// A processor without a board for experiments on instructions: guest memory, page tables and one translated vCPU whose run
// ends at the first exception instead of delivering it.
#pragma once

#include <memory>
#include <vector>

#include "base/result.h"
#include "cpu/x86/model.h"
#include "cpu/x86/platform.h"
#include "cpu/x86/translate_state.h"
#include "jit/runtime/translator.h"

namespace tandem::accel::diff {

// Page-table entry bits (SDM volume 3, 4.5).
enum PageBits : u64 {
    kPagePresent = 1,
    kPageWritable = 2,
    kPageUser = 4,
    kPageAccessed = 0x20,
    kPageDirty = 0x40,
    kPageLarge = 0x80,
    kPageNoExecute = u64{1} << 63
};

class BareVcpu {
public:
    // `memory_size` bytes of RAM from address 0, a multiple of 4 KiB. Errors as create_translator's.
    static Result<std::unique_ptr<BareVcpu>> create(const jit::Options& options, u64 memory_size);
    ~BareVcpu();
    BareVcpu(const BareVcpu&) = delete;
    BareVcpu& operator=(const BareVcpu&) = delete;

    // More RAM, elsewhere; its host memory.
    Result<u8*> add_memory(u64 address, u64 size);

    [[nodiscard]] u8* memory() const { return memory_; }
    [[nodiscard]] cpu::x86::TranslateState& state() const { return *state_; }
    [[nodiscard]] jit::Translator& translator() const { return *translator_; }
    [[nodiscard]] jit::VcpuTranslator& vcpu() const { return *vcpu_; }

    // The state of a new processor, with this one's model and platform.
    void clear_state();
    // Writes 4-level page-table entries for a linear address: `bits` go into the last one (with kPageLarge, of 2 MiB).
    // Tables lie at `root` and the pages from `next_table` on, which it advances; their memory must be zero at first.
    void map(u64 root, u64& next_table, u64 linear, u64 physical, u64 bits);
    // Hot regions that the LLVM tier has compiled so far.
    [[nodiscard]] u64 regions_compiled() const { return translator_->statistics().regions_compiled_llvm; }

private:
    explicit BareVcpu(cpu::x86::CpuModel model);

    cpu::x86::CpuModel model_;
    std::unique_ptr<jit::Guest> guest_;
    std::unique_ptr<jit::Bus> bus_;
    std::unique_ptr<cpu::x86::Platform> platform_;
    std::vector<std::unique_ptr<u8[]>> storage_;
    u8* memory_ = nullptr;
    std::unique_ptr<jit::Translator> translator_;
    std::unique_ptr<jit::VcpuTranslator> vcpu_;
    cpu::x86::TranslateState* state_ = nullptr;
};

}  // namespace tandem::accel::diff
