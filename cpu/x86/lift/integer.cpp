// Data movement and integer arithmetic (Intel SDM volume 2).
#include <array>

#include "cpu/x86/lift/lifter.h"

namespace tandem::cpu::x86 {
namespace {

void lift_mov(Lifter& l) { l.write(0, l.read(1)); }
void lift_nop(Lifter&) {}

constexpr auto kRows = std::to_array<LiftRow>({
    {Opcode::MOV, lift_mov},
    {Opcode::NOP, lift_nop},
});

}  // namespace

std::span<const LiftRow> integer_rows() { return kRows; }

}  // namespace tandem::cpu::x86
