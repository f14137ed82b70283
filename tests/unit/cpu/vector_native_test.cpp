// Every x87, MMX and SSE row of the decoder's table, lifted and interpreted, against the host executing the same bytes on
// the same registers: results, exception flags, tags, memory. Register operands stay clear of RSP and R15; memory operands
// are [RSI].
#include <array>
#include <catch2/catch.hpp>
#include <cstring>
#include <optional>
#include <set>
#include <sstream>
#include <vector>

#include "cpu/x86/decode/rows.h"
#include "cpu/x86/fpu/fxsave_image.h"
#include "cpu/x86/fpu/mxcsr.h"
#include "cpu/x86/fpu/x87.h"
#include "lifted.h"
#include "native.h"
#include "random_operands.h"

using namespace tandem;
using namespace tandem::cpu::x86;
using namespace tandem::test;
using decode_rows::Form;
using decode_rows::Map;
using decode_rows::Row;

namespace {

constexpr u64 kData = 0x2000;  // guest address of the operand
constexpr unsigned kDataSize = 1024;
constexpr unsigned kRandomData = 128;  // bytes of it that ordinary operands take
constexpr u64 kSeed = 0x7461'6e64'656d;
constexpr u64 kComparedFlags = eflags::Arithmetic;

bool is_vex(const Row& r) { return r.map == Map::Vex0F || r.map == Map::Vex38 || r.map == Map::Vex3A; }

bool has_form(const Row& r, std::initializer_list<Form> forms) {
    for (const Form have : r.forms) {
        for (const Form wanted : forms) {
            if (have == wanted) return true;
        }
    }
    return false;
}

// The ModRM bytes that fit a row and the harness.
std::vector<u8> modrm_choices(const Row& r, bool memory) {
    std::vector<u8> choices;
    for (unsigned m = 0; m < 256; ++m) {
        const bool is_memory = m < 0xc0;
        if (is_memory != memory || !r.modrm.fits(static_cast<u8>(m))) continue;
        if (memory && ((m & 7) != 6 || m >= 0x40)) continue;  // [RSI]
        const bool low_registers = r.map == Map::One || ((m & 7) < 4 && ((m >> 3) & 7) < 4);
        const bool digit = r.modrm.mask != 0;
        if (low_registers || memory || digit) {
            if (!memory && r.map != Map::One && (m & 7) > 3) continue;
            if (memory && !digit && ((m >> 3) & 7) > 3) continue;
            choices.push_back(static_cast<u8>(m));
        }
    }
    return choices;
}

// Encodes the row; nothing when it has no such form.
std::optional<std::vector<u8>> encode(const Row& r, bool memory, RandomOperands& random) {
    const std::vector<u8> modrm = modrm_choices(r, memory);
    if (modrm.empty() && (r.modrm.present || memory)) return std::nullopt;
    std::vector<u8> bytes;
    const bool short_environment = r.map == Map::One && r.prefix == decode_rows::Any && random.one_in(2);
    if (r.prefix == decode_rows::P66 || short_environment) bytes.push_back(0x66);
    if (r.prefix == decode_rows::PF3) bytes.push_back(0xf3);
    if (r.prefix == decode_rows::PF2) bytes.push_back(0xf2);
    const bool wide_choice = has_form(r, {Form::Ey, Form::Gy}) && random.one_in(2);
    u8 rex = (r.flags & kRowRexW) != 0 || wide_choice ? 8 : 0;
    if (r.map != Map::One && r.modrm.mask == 0) rex |= static_cast<u8>((memory ? 4 : 5) & random.bits());
    if (rex != 0) bytes.push_back(0x40 | rex);
    if (r.map != Map::One) bytes.push_back(0x0f);
    if (r.map == Map::Esc38) bytes.push_back(0x38);
    if (r.map == Map::Esc3A) bytes.push_back(0x3a);
    bytes.push_back(r.byte);
    if (r.modrm.present) bytes.push_back(modrm[random.below(modrm.size())]);
    for (const Form f : r.forms) {
        if (f == Form::Ib) bytes.push_back(static_cast<u8>(random.one_in(4) ? random.below(20) : random.bits()));
    }
    return bytes;
}

// Both sides of one comparison.
struct Case {
    NativeState native;
    alignas(64) std::array<u8, kDataSize> data{};
    State state;
};

void randomize_x87(X87& x, RandomOperands& random) {
    for (X87Reg& r : x.reg) r = random.real80();
    const u16 masks = random.one_in(2) ? 0x3f : static_cast<u16>(random.below(64));
    static constexpr std::array<u16, 3> kPrecision{0x000, 0x200, 0x300};
    x.fcw = static_cast<u16>(0x40 | masks | kPrecision[random.below(3)] | random.below(4) << 10);
    const u64 sticky = random.bits() & masks;  // nothing pending
    x.fsw = static_cast<u16>((random.bits() & (fsw::TOP | fsw::Conditions | fsw::SF)) | sticky);
    x.fop = static_cast<u16>(random.below(0x800));
    x.fip = random.bits() >> 17;  // canonical
    x.fdp = random.bits() >> 17;
    x.valid = static_cast<u8>(random.one_in(3) ? random.bits() : 0xff);
    if (random.one_in(2)) x.valid = static_cast<u8>(x.valid & ~(1u << (((x.fsw >> 11) + 7) & 7)));  // room for a push
}

void randomize(Case& c, RandomOperands& random, bool unmask_simd, u64 data_address) {
    State& s = c.state;
    randomize_x87(s.x87, random);
    const unsigned style = static_cast<unsigned>(random.below(5));
    for (Vector512& v : s.vec) v.lane = {random.lane(style), random.lane(style), random.bits(), random.bits()};
    s.mxcsr = static_cast<u32>(random.bits() & (mxcsr::Flags | mxcsr::RC | mxcsr::DAZ | mxcsr::FZ));
    s.mxcsr |= unmask_simd ? static_cast<u32>(random.bits() & mxcsr::Masks) : mxcsr::Masks;
    for (u64& r : s.gpr) r = random.one_in(3) ? random.below(40) : random.bits();
    s.rflags = 0x202 | (random.bits() & kComparedFlags);
    switch (random.below(4)) {
        case 0:
            for (unsigned i = 0; i < kRandomData; i += 4) {
                const u32 v = random.real32();
                std::memcpy(&c.data[i], &v, 4);
            }
            break;
        case 1: {
            const X87Reg r = random.real80();
            std::memcpy(c.data.data(), &r, 10);
            break;
        }
        default:
            for (unsigned i = 0; i < kRandomData; i += 8) {
                const u64 v = random.lane(style);
                std::memcpy(&c.data[i], &v, 8);
            }
    }

    LegacyRegion image;
    image.put_x87(s.x87, true);
    image.put_mxcsr(s.mxcsr);
    image.put_xmm(s, 16);
    c.native.fx = image.byte;
    c.native.gpr = s.gpr;
    c.native.gpr[RSI] = c.native.gpr[RDI] = data_address;
    s.gpr[RSI] = s.gpr[RDI] = kData;
    c.native.flags = s.rflags;
}

template <class T>
void differ(std::ostringstream& out, const char* what, unsigned index, T ours, T native) {
    if (ours == native) return;
    out << std::hex << "  " << what << index << ": " << +ours << ", host " << +native << "\n";
}

// What differs after both ran; empty: nothing. `pointers`: FOP, FIP and FDP count, which an x87 instruction's execution sets
// to what it is here and there.
std::string compare(const State& s, const NativeState& native, const u8* ours, const u8* theirs, bool pointers) {
    std::ostringstream out;
    LegacyRegion image;
    image.byte = native.fx;
    State host;
    image.get_x87(host.x87, true);
    image.get_xmm(host, 16);
    u16 host_fsw = 0;
    std::memcpy(&host_fsw, &native.fx[2], 2);
    differ(out, "fcw", 0, s.x87.fcw, host.x87.fcw);
    differ(out, "fsw", 0, s.x87.fsw, host_fsw);
    if (pointers) {
        differ(out, "fop", 0, s.x87.fop, host.x87.fop);
        differ(out, "fip", 0, s.x87.fip, host.x87.fip);
        differ(out, "fdp", 0, s.x87.fdp, host.x87.fdp);
    }
    differ(out, "valid", 0, s.x87.valid, host.x87.valid);
    for (unsigned i = 0; i < 8; ++i) {
        differ(out, "significand", i, s.x87.reg[i].significand, host.x87.reg[i].significand);
        differ(out, "exponent", i, s.x87.reg[i].sign_exponent, host.x87.reg[i].sign_exponent);
    }
    differ(out, "mxcsr", 0, s.mxcsr, image.mxcsr());
    for (unsigned i = 0; i < 16; ++i) {
        differ(out, "xmm.lo", i, s.vec[i].lane[0], host.vec[i].lane[0]);
        differ(out, "xmm.hi", i, s.vec[i].lane[1], host.vec[i].lane[1]);
        if (i == RSP || i == RSI || i == RDI || i == R15) continue;
        differ(out, "gpr", i, s.gpr[i], native.gpr[i]);
    }
    differ(out, "flags", 0, s.rflags & kComparedFlags, native.flags & kComparedFlags);
    for (unsigned i = 0; i < kDataSize; ++i) differ(out, "memory", i, ours[i], theirs[i]);
    return out.str();
}

std::string hex(std::span<const u8> bytes) {
    std::ostringstream out;
    for (const u8 b : bytes) out << std::hex << (b < 16 ? "0" : "") << +b << " ";
    return out.str();
}

class Comparison {
public:
    // Empty, or a description of the difference.
    std::string run(const std::vector<u8>& bytes, const Case& original, bool pointers = false, bool environment = false) {
        Case c = original;
        const State& before = original.state;
        keep_environment(c.state);
        runner.vcpu.state().s.pending = {};
        std::memcpy(&runner.vcpu.memory[kData], c.data.data(), kDataSize);
        const LiftedRunner::Outcome outcome = runner.run(bytes);
        if (!outcome.error.empty()) return outcome.error + "\n";

        std::memcpy(buffer_.data(), c.data.data(), kDataSize);
        native_.run(bytes, c.native);
        const bool whole_images = pointers;
        if (pointers && !keeps_pointers()) {
            constexpr unsigned kPointers = 6, kPointersEnd = 24;  // in the image that FXSAVE and XSAVE write
            std::memcpy(&buffer_[kPointers], &runner.vcpu.memory[kData + kPointers], kPointersEnd - kPointers);
            pointers = false;
        }
        // FNSTENV and FNSAVE: the pointers of a 16-bit or 32-bit image (SDM volume 1, figures 8-9 to 8-12). A switch of the
        // host's processes loses them, too.
        if (environment && !keeps_pointers()) {
            const bool small = bytes[0] == 0x66;
            const unsigned first = small ? 6 : 12, end = small ? 14 : 28;
            std::memcpy(&buffer_[first], &runner.vcpu.memory[kData + first], end - first);
        }
        // MXCSR_MASK.MM (misaligned SSE) is AMD's own.
        constexpr unsigned kMaskHigh = 30;
        if (whole_images && buffer_[kMaskHigh] == 2) buffer_[kMaskHigh] = runner.vcpu.memory[kData + kMaskHigh];
        std::string difference = compare(runner.state(), c.native, &runner.vcpu.memory[kData], buffer_.data(), pointers);
        const bool trapped = runner.state().pending.valid && runner.state().pending.vector == kXM;
        if (trapped != (c.native.trapped != 0)) difference += trapped ? "  #XM here only\n" : "  #XM on the host only\n";
        if (difference.empty()) return difference;
        std::ostringstream out;
        out << std::hex << "  before: fcw " << before.x87.fcw << " fsw " << before.x87.fsw << " valid " << +before.x87.valid
            << " mxcsr " << before.mxcsr << "\n";
        for (unsigned i = 0; i < 8; ++i) {
            const X87Reg& r = before.x87.reg[((before.x87.fsw >> 11) + i) & 7];
            out << "    st" << i << " " << r.sign_exponent << ":" << r.significand << "\n";
        }
        out << "    data " << hex({c.data.data(), 16}) << "\n";
        return difference + out.str();
    }

    // Whether the host's FXSAVE and FXRSTOR move FOP, FIP and FDP without a pending exception. AMD's need not (APM volume 2,
    // 11.4.4, and CPUID Fn8000_0008 EBX.RstrFpErrPtrs).
    bool keeps_pointers() {
        if (!keeps_pointers_) {
            constexpr unsigned kFip = 8;
            NativeState n{};
            n.fx[0] = 0x7f;
            n.fx[1] = 3;
            n.fx[24] = 0x80;
            n.fx[25] = 0x1f;
            n.fx[kFip] = 0x55;
            n.gpr[RSI] = n.gpr[RDI] = data_address();
            constexpr std::array<u8, 1> kNop{0x90};
            native_.run(kNop, n);
            keeps_pointers_ = n.fx[kFip] == 0x55;
        }
        return *keeps_pointers_;
    }

    u64 data_address() const { return reinterpret_cast<u64>(buffer_.data()); }

private:
    // The guest's system state stays the runner's.
    void keep_environment(const State& from) {
        State& s = runner.state();
        s.x87 = from.x87;
        s.vec = from.vec;
        s.mxcsr = from.mxcsr;
        s.gpr = from.gpr;
        s.rflags = from.rflags;
    }

    LiftedRunner runner;
    Native native_;
    std::optional<bool> keeps_pointers_;
    alignas(64) std::array<u8, kDataSize> buffer_{};
};

bool wanted(const Row& r, u32 flags) { return (r.flags & flags) != 0 && !is_vex(r) && r.feature != Feature::SSE4A; }

// All rows with one of `flags`, `count` cases for each form.
void compare_rows(u32 flags, unsigned count, bool unmask_simd) {
    Comparison comparison;
    unsigned rows = 0;
    for (const Row& r : decode_rows::rows()) {
        if (!wanted(r, flags)) continue;
        ++rows;
        for (const bool memory : {false, true}) {
            const u64 seed =
                kSeed + static_cast<u64>(&r - decode_rows::rows().data()) * 4 + (memory ? 1 : 0) + (unmask_simd ? 2 : 0);
            RandomOperands random(seed);
            for (unsigned i = 0; i < count; ++i) {
                const auto bytes = encode(r, memory, random);
                if (!bytes) break;
                Case c;
                randomize(c, random, unmask_simd, comparison.data_address());
                if (r.opcode == Opcode::LDMXCSR) c.data[2] = c.data[3] = 0;  // reserved bits fault
                const bool environment = r.opcode == Opcode::FNSAVE || r.opcode == Opcode::FNSTENV;
                const std::string difference = comparison.run(*bytes, c, false, environment);
                if (difference.empty()) continue;
                FAIL_CHECK(opcode_name(r.opcode) << " " << hex(*bytes) << "case " << i << " seed " << seed << "\n"
                                                 << difference);
                break;
            }
        }
    }
    CHECK(rows > 50);
}

}  // namespace

namespace {

// FXSAVE, FXRSTOR and XSAVE instructions on [RSI].
struct StateInstruction {
    const char* name;
    std::vector<u8> bytes;
    bool restores;
    bool extended;  // has a header; RFBM in EDX:EAX
};

const StateInstruction kStateInstructions[] = {
    {"FXSAVE", {0x0f, 0xae, 0x06}, false, false},  {"FXSAVE64", {0x48, 0x0f, 0xae, 0x06}, false, false},
    {"FXRSTOR", {0x0f, 0xae, 0x0e}, true, false},  {"FXRSTOR64", {0x48, 0x0f, 0xae, 0x0e}, true, false},
    {"XSAVE", {0x0f, 0xae, 0x26}, false, true},    {"XSAVE64", {0x48, 0x0f, 0xae, 0x26}, false, true},
    {"XSAVEOPT", {0x0f, 0xae, 0x36}, false, true}, {"XSAVEOPT64", {0x48, 0x0f, 0xae, 0x36}, false, true},
    {"XSAVEC", {0x0f, 0xc7, 0x26}, false, true},   {"XSAVEC64", {0x48, 0x0f, 0xc7, 0x26}, false, true},
    {"XRSTOR", {0x0f, 0xae, 0x2e}, true, true},    {"XRSTOR64", {0x48, 0x0f, 0xae, 0x2e}, true, true},
};

// An image of another random state, with a header that XRSTOR accepts.
void randomize_image(Case& c, RandomOperands& random, bool extended) {
    State other;
    randomize_x87(other.x87, random);
    for (Vector512& v : other.vec) v.lane = {random.bits(), random.bits()};
    LegacyRegion image;
    for (u8& b : image.byte) b = static_cast<u8>(random.bits());
    image.put_x87(other.x87, true);
    image.put_mxcsr(static_cast<u32>(random.bits() & mxcsr::Defined));
    image.put_xmm(other, 16);
    c.data.fill(0);
    std::memcpy(c.data.data(), image.byte.data(), image.byte.size());
    if (!extended) return;
    const u64 layout = random.below(4) | u64{1} << 63;
    const u64 header[2] = {random.below(4), 0};
    const u64 compacted[2] = {random.bits() & layout & 3, layout};
    std::memcpy(&c.data[512], random.one_in(2) ? header : compacted, sizeof header);
}

}  // namespace

TEST_CASE("FXSAVE, FXRSTOR and XSAVE images are the host's") {
    Comparison comparison;
    if (!comparison.keeps_pointers()) WARN("skipped: the x87 pointers, which this host's FXSAVE leaves out");
    unsigned compared = 0;
    for (const StateInstruction& insn : kStateInstructions) {
        RandomOperands random(kSeed);
        for (unsigned i = 0; i < 300; ++i) {
            Case c;
            randomize(c, random, false, comparison.data_address());
            if (insn.restores) {
                randomize_image(c, random, insn.extended);
            } else {
                for (unsigned k = 0; k < 512; ++k) c.data[k] = static_cast<u8>(random.bits());
            }
            c.state.gpr[RAX] = c.native.gpr[RAX] = insn.extended ? random.below(4) : random.bits();
            c.state.gpr[RDX] = c.native.gpr[RDX] = 0;
            const std::string difference = comparison.run(insn.bytes, c, true);
            ++compared;
            if (difference.empty()) continue;
            FAIL_CHECK(insn.name << " case " << i << "\n" << difference);
            break;
        }
    }
    CHECK(compared == 300 * std::size(kStateInstructions));
}

TEST_CASE("x87 instructions do what the host's do") { compare_rows(kRowX87, 3000, false); }

TEST_CASE("MMX instructions do what the host's do") { compare_rows(kRowMmx, 200, false); }

TEST_CASE("SSE instructions do what the host's do") { compare_rows(kRowSse, 400, false); }

TEST_CASE("SSE instructions with unmasked exceptions trap as on the host") { compare_rows(kRowSse, 400, true); }
