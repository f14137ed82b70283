#include "cpu/x86/decode/disassemble.h"

#include <capstone/capstone.h>
#include <fmt/format.h>

#include <algorithm>

namespace tandem::cpu::x86 {
namespace {

class Capstone {
public:
    explicit Capstone(Mode mode) {
        constexpr cs_mode kModes[] = {CS_MODE_16, CS_MODE_32, CS_MODE_64};
        ok_ = cs_open(CS_ARCH_X86, kModes[static_cast<unsigned>(mode)], &handle_) == CS_ERR_OK;
    }
    ~Capstone() {
        if (ok_) cs_close(&handle_);
    }
    Capstone(const Capstone&) = delete;
    Capstone& operator=(const Capstone&) = delete;

    std::string one(std::span<const u8> bytes, u64 address, unsigned& length) {
        length = 0;
        cs_insn* insn = nullptr;
        if (!ok_ || cs_disasm(handle_, bytes.data(), bytes.size(), address, 1, &insn) == 0) return "(bad)";
        length = insn->size;
        std::string text = insn->op_str[0] != '\0' ? fmt::format("{} {}", insn->mnemonic, insn->op_str) : insn->mnemonic;
        cs_free(insn, 1);
        return text;
    }

private:
    csh handle_ = 0;
    bool ok_ = false;
};

}  // namespace

std::string disassemble_one(std::span<const u8> bytes, Mode mode, u64 address, unsigned* length) {
    unsigned size = 0;
    std::string text = Capstone(mode).one(bytes, address, size);
    if (length != nullptr) *length = size;
    return text;
}

std::string disassemble(std::span<const u8> bytes, Mode mode, u64 address) {
    Capstone capstone(mode);
    std::string out;
    while (!bytes.empty()) {
        unsigned length = 0;
        std::string text = capstone.one(bytes, address, length);
        if (length == 0) {
            length = 1;
            text = fmt::format(".byte 0x{:02x}", bytes[0]);
        }
        out +=
            fmt::format("0x{:016x}:  {:<30} {}\n", address, fmt::format("{:02x}", fmt::join(bytes.first(length), "")), text);
        bytes = bytes.subspan(length);
        address += length;
    }
    return out;
}

}  // namespace tandem::cpu::x86
