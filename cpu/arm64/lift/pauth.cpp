// Pointer authentication on general registers: decode/dp_register.inc.
#include "cpu/arm64/lift/helpers.h"
#include "cpu/arm64/lift/lifter.h"

namespace tandem::cpu::arm64 {

// PAC* and AUT*: key in bits 11:10, AUT in bit 12, the zero modifier in bit 13.
void lift_pauth_register(Lifter& l) {
    constexpr u64 kEnabled[4] = {ModeBits::kPauthIa, ModeBits::kPauthIb, ModeBits::kPauthDa, ModeBits::kPauthDb};
    const unsigned key = l.field(11, 10);
    if (!l.mode.has(kEnabled[key])) return;
    l.check_pauth_trap();
    const Value modifier = l.is(13) ? l.imm64(0) : l.x_sp(l.rn());
    const HelperId id = l.is(12) ? HelperId::pointer_authenticate : HelperId::pointer_sign;
    l.set_x(l.rd(), l.call(id, {l.x(l.rd()), modifier, l.imm32(key)}));
}

void lift_pauth_strip(Lifter& l) {
    l.set_x(l.rd(), l.call(HelperId::pointer_strip, {l.x(l.rd()), l.imm32(l.field(10, 10))}));
}

void lift_pacga(Lifter& l) {
    l.check_pauth_trap();
    l.set_x(l.rd(), l.call(HelperId::pointer_generic, {l.x(l.rn()), l.x_sp(l.rm())}));
}

}  // namespace tandem::cpu::arm64
