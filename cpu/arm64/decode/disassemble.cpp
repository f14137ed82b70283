#include "cpu/arm64/decode/disassemble.h"

#include <capstone/capstone.h>
#include <fmt/format.h>

#include <array>
#include <cstring>

namespace tandem::cpu::arm64 {

std::string disassemble_one(u32 word, u64 address) {
    std::string text = fmt::format(".inst {:#010x}", word);
    csh engine = 0;
    if (cs_open(CS_ARCH_ARM64, CS_MODE_LITTLE_ENDIAN, &engine) != CS_ERR_OK) return text;
    std::array<u8, 4> bytes{};
    std::memcpy(bytes.data(), &word, sizeof word);
    cs_insn* insn = nullptr;
    if (cs_disasm(engine, bytes.data(), bytes.size(), address, 1, &insn) == 1) {
        text = insn->op_str[0] == '\0' ? std::string(insn->mnemonic) : fmt::format("{} {}", insn->mnemonic, insn->op_str);
        cs_free(insn, 1);
    }
    cs_close(&engine);
    return text;
}

}  // namespace tandem::cpu::arm64
