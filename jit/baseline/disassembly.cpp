#include "jit/baseline/disassembly.h"

#include <capstone/capstone.h>
#include <fmt/format.h>

namespace tandem::jit::baseline {

std::string disassemble_host(u64 address, std::span<const u8> code) {
    csh handle = 0;
    if (cs_open(CS_ARCH_X86, CS_MODE_64, &handle) != CS_ERR_OK) return "  (no disassembler)\n";
    cs_option(handle, CS_OPT_SKIPDATA, CS_OPT_ON);
    cs_insn* insns = nullptr;
    const size_t count = cs_disasm(handle, code.data(), code.size(), address, 0, &insns);
    std::string out;
    for (size_t i = 0; i < count; ++i) {
        out += fmt::format("  {:#014x}  {} {}\n", insns[i].address, insns[i].mnemonic, insns[i].op_str);
    }
    if (count != 0) cs_free(insns, count);
    cs_close(&handle);
    return out;
}

}  // namespace tandem::jit::baseline
