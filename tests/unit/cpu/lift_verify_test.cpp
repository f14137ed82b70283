// Every lifted block obeys the rules of the IR: seeded random code in every mode, and random instructions of every row.
// TANDEM_LIFT_COUNT sets the number of blocks for each mode.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <random>

#include "cpu/x86/guest.h"
#include "cpu/x86/mode.h"
#include "jit/ir/printer.h"
#include "jit/ir/verifier.h"

namespace tandem::cpu::x86 {
namespace {

unsigned block_count() {
    const char* text = std::getenv("TANDEM_LIFT_COUNT");
    return text != nullptr ? static_cast<unsigned>(std::strtoul(text, nullptr, 10)) : 3000;
}

struct NamedMode {
    const char* name;
    ModeBits mode;
};

ModeBits protected32(unsigned cpl) {
    ModeBits m;
    m.put(ModeBits::kCodeSize, 1).put(ModeBits::kCpl, cpl).put(ModeBits::kProtected, 1).put(ModeBits::kStack32, 1);
    m.put(ModeBits::kSegments, 0x1aa).put(ModeBits::kOsFxsr, 1);  // ES, CS, SS, DS flat, FS simple
    return m;
}

std::vector<NamedMode> modes() {
    ModeBits real;
    real.put(ModeBits::kSegments, 0x555).put(ModeBits::kIoplOk, 1);
    ModeBits vm86;
    vm86.put(ModeBits::kProtected, 1).put(ModeBits::kVm86, 1).put(ModeBits::kCpl, 3).put(ModeBits::kSegments, 0x555);
    ModeBits segmented = ModeBits{protected32(0).value() & ~(u64{0xfff} << ModeBits::kSegments)};
    ModeBits kernel64;
    kernel64.put(ModeBits::kCodeSize, 2).put(ModeBits::kProtected, 1).put(ModeBits::kLongMode, 1).put(ModeBits::kIoplOk, 1);
    kernel64.put(ModeBits::kOsFxsr, 1).put(ModeBits::kFsGsBase, 1);
    ModeBits user64 = kernel64;
    user64.put(ModeBits::kCpl, 3).put(ModeBits::kAlignCheck, 1);
    ModeBits debug64 = kernel64;
    debug64.put(ModeBits::kDebug, 1);
    ModeBits shadow64 = kernel64;
    shadow64.put(ModeBits::kShadow, 1);
    return {{"real", real},
            {"vm86", vm86},
            {"protected 32, kernel", protected32(0)},
            {"protected 32, user", protected32(3)},
            {"protected 32, segmented", segmented},
            {"64, kernel", kernel64},
            {"64, user", user64},
            {"64, debug", debug64},
            {"64, shadow", shadow64}};
}

// Random bytes decode to few instructions in a row, so opcodes that random bytes seldom reach are given weight.
std::vector<u8> random_code(std::mt19937_64& random) {
    static constexpr u8 kStarts[] = {0x0f, 0x66, 0xf0, 0xf3, 0xf2, 0x48, 0x4c, 0xc4, 0x67, 0x65};
    std::vector<u8> code(48);
    for (u8& byte : code) byte = static_cast<u8>(random());
    for (std::size_t i = 0; i < code.size(); i += 1 + random() % 8) code[i] = kStarts[random() % std::size(kStarts)];
    return code;
}

void check_block(const jit::Guest& guest, const NamedMode& mode, std::span<const u8> code) {
    jit::ir::Block block;
    const jit::ir::BlockKey key{0x1000, 0, mode.mode.value()};
    if (guest.lift(key, {code, {}}, 16, block) != jit::LiftStatus::Ok) return;
    const auto result = jit::ir::verify(block, &guest);
    if (result.ok()) return;
    INFO(mode.name << "\n" << guest.disassemble(key, code.first(block.guest_bytes)));
    FAIL(result.error().message);
}

}  // namespace

TEST_CASE("Lifted random code passes the verifier in every mode") {
    auto model = CpuModel::create("max");
    REQUIRE(model.ok());
    const auto guest = create_guest(model.value());
    std::mt19937_64 random(20260101);
    for (const NamedMode& mode : modes()) {
        for (unsigned i = 0; i < block_count(); ++i) check_block(*guest, mode, random_code(random));
    }
}

TEST_CASE("An instruction that crosses into a missing page is not lifted") {
    auto model = CpuModel::create("max");
    REQUIRE(model.ok());
    const auto guest = create_guest(model.value());
    ModeBits mode;
    mode.put(ModeBits::kCodeSize, 2).put(ModeBits::kProtected, 1).put(ModeBits::kLongMode, 1);
    const u8 first[] = {0x48, 0xb8, 1, 2};  // mov rax, imm64
    const u8 second[] = {3, 4, 5, 6, 7, 8, 0xc3};
    jit::ir::Block block;
    const jit::ir::BlockKey key{0x1ffc, 0, mode.value()};
    CHECK(guest->lift(key, {first, {}}, 16, block) == jit::LiftStatus::NeedSecondPage);
    block.clear();
    CHECK(guest->lift(key, {first, second}, 16, block) == jit::LiftStatus::Ok);
    CHECK(block.guest_bytes == 10);
    CHECK(block.guest_insns == 1);
}

}  // namespace tandem::cpu::x86
