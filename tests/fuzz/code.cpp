// Any bytes as guest code in any mode: decoded, lifted, verified, optimised and verified again.
#include "base/log.h"
#include "cpu/x86/guest.h"
#include "cpu/x86/mode.h"
#include "jit/ir/verifier.h"
#include "jit/passes/passes.h"
#include "tests/fuzz/input.h"

using namespace tandem;
using namespace tandem::cpu::x86;
using tandem::fuzz::Input;

namespace {

// Mode bits that can stand beside each other.
ModeBits mode_of(u64 word) {
    ModeBits m;
    const auto flag = [&](unsigned i) { return (word >> i) & 1; };
    const u64 code = word % 3;
    m.put(ModeBits::kCodeSize, code);
    const bool protected_mode = code != 0 || flag(2) != 0;
    if (protected_mode) {
        m.put(ModeBits::kProtected, 1).put(ModeBits::kCpl, (word >> 3) & 3);
        if (code == 0 && flag(5) != 0) m.put(ModeBits::kVm86, 1);
    }
    if (code == 2) {
        m.put(ModeBits::kLongMode, 1).put(ModeBits::kLa57, flag(6));
    } else {
        m.put(ModeBits::kStack32, flag(6));
        for (unsigned seg = 0; seg < 6; ++seg)
            m.put(static_cast<ModeBits::Bit>(ModeBits::kSegments + 2 * seg), (word >> (8 + seg)) % 3);
    }
    for (unsigned b = ModeBits::kIoplOk; b <= ModeBits::kMxcsrUnmasked; ++b) {
        m.put(static_cast<ModeBits::Bit>(b), flag(14 + b - ModeBits::kIoplOk));
    }
    if (m.has(ModeBits::kOsXsave)) m.put(ModeBits::kAvx, flag(30));
    return m;
}

void check(const jit::ir::Block& block, const jit::Guest& guest) {
    if (!jit::ir::verify(block, &guest).ok()) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
    log::set_level(log::Level::Error);
    static const CpuModel model = *CpuModel::create("max");
    static const auto guest = create_guest(model);
    static jit::ir::Block block;
    Input in({data, size});
    const ModeBits mode = mode_of(in.word());
    const u8 shape = in.byte();
    const std::vector<u8> code = in.bytes(256);
    if (code.empty()) return 0;
    // The window may end anywhere, with or without a second page behind it.
    const std::size_t split = (shape & 1) != 0 ? code.size() : 1 + shape % code.size();
    const u64 pc = mode.is64() ? 0x400000 : 0x1000;
    const jit::CodeWindow window{std::span(code).first(split),
                                 (shape & 2) != 0 ? std::span(code).subspan(split) : std::span<const u8>()};
    const jit::ir::BlockKey key{pc + 0x1000 - split, mode.is64() ? 0 : (shape & 4) * 0x400u, mode.value()};
    block.clear();
    if (guest->lift(key, window, 1 + shape / 8, block) != jit::LiftStatus::Ok) return 0;
    if (block.guest_bytes > code.size()) __builtin_trap();
    check(block, *guest);
    jit::passes::run(block, *guest);
    check(block, *guest);
    if ((shape & 0xf0) == 0) (void)guest->disassemble(key, code);
    return 0;
}
