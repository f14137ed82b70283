#include "tests/reference/reference.h"

#include <cstdio>
#include <cstring>

#include <aarch64/decoder-aarch64.h>
#include <aarch64/simulator-aarch64.h>

namespace tandem::reference_test {

namespace va = vixl::aarch64;

struct Reference::Impl {
    va::Decoder decoder;
    std::FILE* silence = std::fopen("/dev/null", "w");
    va::Simulator simulator{&decoder, silence};
    // The simulator looks at the word after the current one.
    std::array<u32, 2> code{};
    ~Impl() {
        if (silence != nullptr) std::fclose(silence);
    }
};

Reference::Reference() : impl_(std::make_unique<Impl>()) { impl_->simulator.SetCPUFeatures(vixl::CPUFeatures::All()); }
Reference::~Reference() = default;

void Reference::run(std::span<const u32> words, MachineState& state) {
    va::Simulator& s = impl_->simulator;
    for (unsigned i = 0; i < 31; ++i) s.WriteXRegister(i, static_cast<int64_t>(state.x[i]), va::Simulator::NoRegLog);
    s.WriteSp(static_cast<int64_t>(state.sp));
    for (unsigned i = 0; i < 32; ++i) {
        va::Simulator::qreg_t q;
        std::memcpy(q.val, state.v[i].data(), sizeof q.val);
        s.WriteQRegister(i, q, va::Simulator::NoRegLog);
    }
    s.ReadNzcv().SetRawValue(state.nzcv);
    s.ReadFpcr().SetRawValue(state.fpcr);
    for (const u32 word : words) {
        impl_->code[0] = word;
        s.WritePc(reinterpret_cast<const va::Instruction*>(impl_->code.data()), va::Simulator::NoBranchLog);
        s.ExecuteInstruction();
    }
    for (unsigned i = 0; i < 31; ++i) state.x[i] = static_cast<u64>(s.ReadXRegister(i));
    state.sp = static_cast<u64>(s.ReadXRegister(31, va::Reg31IsStackPointer));
    for (unsigned i = 0; i < 32; ++i) {
        const va::Simulator::qreg_t q = s.ReadQRegister(i);
        std::memcpy(state.v[i].data(), q.val, sizeof q.val);
    }
    state.nzcv = s.ReadNzcv().GetRawValue() & 0xf0000000;
}

}  // namespace tandem::reference_test
