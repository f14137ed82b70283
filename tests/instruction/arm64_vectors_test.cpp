// A64 integer instructions against results worked out by hand from the manual's pseudocode (DDI 0487, C6.2), on all tiers.
#include <fmt/format.h>

#include <array>
#include <catch2/catch.hpp>
#include <cstring>
#include <new>
#include <vector>

#include "accel/diff/arm64/no_machine.h"
#include "base/bits.h"
#include "cpu/arm64/guest.h"
#include "jit/runtime/translator.h"

namespace tandem::cpu::arm64 {
namespace {

class NoBus final : public jit::Bus {
public:
    bool mmio_read(void*, u64, unsigned, u64& value) override {
        value = 0;
        return true;
    }
    bool mmio_write(void*, u64, u64, unsigned) override { return true; }
};

constexpr u64 kMemory = 0x10000, kCode = 0x1000, kData = 0x8000, kStack = 0x7000;
constexpr u32 kWfi = 0xd503207f;

// Registers and memory that instructions of the vectors use: X0 to X3, NZCV, and 16 bytes at X4.
struct Values {
    u64 x0 = 0, x1 = 0, x2 = 0, x3 = 0;
    unsigned nzcv = 0;
    u64 m0 = 0, m1 = 0;
};

struct Vector {
    const char* text;
    std::array<u32, 2> words;  // the second may be 0: none
    Values in;
    Values out;  // of X2 and m1 only what is said
};

constexpr u64 kOnes = ~u64{0};
constexpr Vector kVectors[] = {
    {"adds w0, w1, w2", {0x2b020020}, {0, 0xffffffff7fffffff, 1}, {0x80000000, 0xffffffff7fffffff, 1, 0, 9}},
    {"subs x0, x1, x2: borrow", {0xeb020020}, {0, 0, 1}, {kOnes, 0, 1, 0, 8}},
    {"subs x0, x1, x2: equal", {0xeb020020}, {0, 5, 5}, {0, 5, 5, 0, 6}},
    {"adcs x0, x1, x2", {0xba020020}, {7, kOnes, 0, 0, 2}, {0, kOnes, 0, 0, 6}},
    {"sbcs w0, w1, w2", {0x7a020020}, {0, 0x80000000, 0}, {0x7fffffff, 0x80000000, 0, 0, 3}},
    {"ccmp x1, x2, #5, ne: fails", {0xfa421025}, {0, 1, 2, 0, 4}, {0, 1, 2, 0, 5}},
    {"ccmp x1, x2, #5, ne: compares", {0xfa421025}, {0, 1, 2, 0, 0}, {0, 1, 2, 0, 8}},
    {"csinc w0, w1, w2, hi: holds", {0x1a828420}, {0, 0x100000007, 0, 0, 2}, {7, 0x100000007, 0, 0, 2}},
    {"csinc w0, w1, w2, hi: fails", {0x1a828420}, {0, 7, 0xffffffff, 0, 6}, {0, 7, 0xffffffff, 0, 6}},
    {"sbfx x0, x1, #8, #8", {0x93483c20}, {0, 0x8000}, {0xffffffffffffff80, 0x8000}},
    {"bfi x0, x1, #4, #8", {0xb37c1c20}, {kOnes, 0x12}, {0xfffffffffffff12f, 0x12}},
    {"lsl w0, w1, #4", {0x531c6c20}, {0, 0xf0000001}, {0x10, 0xf0000001}},
    {"extr x0, x1, x2, #12", {0x93c23020}, {0, 0x123, 0xabcdef0000000fff}, {0x123abcdef0000000, 0x123, 0xabcdef0000000fff}},
    {"madd x0, x1, x2, x3", {0x9b020c20}, {0, kOnes, 3, 10}, {7, kOnes, 3, 10}},
    {"smulh x0, x1, x2", {0x9b427c20}, {0, kOnes, 2}, {kOnes, kOnes, 2}},
    {"umulh x0, x1, x2", {0x9bc27c20}, {0, kOnes, 2}, {1, kOnes, 2}},
    {"sdiv w0, w1, w2: overflow", {0x1ac20c20}, {0, 0x80000000, 0xffffffff}, {0x80000000, 0x80000000, 0xffffffff}},
    {"sdiv w0, w1, w2: by zero", {0x1ac20c20}, {9, 5, 0}, {0, 5, 0}},
    {"udiv x0, x1, x2", {0x9ac20820}, {0, 100, 7}, {14, 100, 7}},
    {"asr w0, w1, w2", {0x1ac22820}, {0, 0x80000000, 33}, {0xc0000000, 0x80000000, 33}},
    {"ror x0, x1, x2", {0x9ac22c20}, {0, 1, 1}, {0x8000000000000000, 1, 1}},
    // The checksums of "12345678" and "a" before their final inversion.
    {"crc32x w0, w1, x2", {0x9ac24c20}, {0, 0xffffffff, 0x3837363534333231}, {0x651f2550, 0xffffffff, 0x3837363534333231}},
    {"crc32cb w0, w1, w2", {0x1ac25020}, {0, 0xffffffff, 0x61}, {0x3e2fbccf, 0xffffffff, 0x61}},
    {"rbit w0, w1", {0x5ac00020}, {0, 1}, {0x80000000, 1}},
    {"rev16 x0, x1", {0xdac00420}, {0, 0x0102030405060708}, {0x0201040306050807, 0x0102030405060708}},
    {"rev32 x0, x1", {0xdac00820}, {0, 0x0102030405060708}, {0x0403020108070605, 0x0102030405060708}},
    {"cls x0, x1", {0xdac01420}, {0, 0xfff0000000000000}, {11, 0xfff0000000000000}},
    {"cls x0, x1: zero", {0xdac01420}, {0, 0}, {63, 0}},
    {"add x0, sp, w1, sxth #3", {0x8b21afe0}, {0, 0xffff}, {kStack - 8, 0xffff}},
    {"ands x0, x1, #0xff00ff00ff00ff00",
     {0xf2089c20},
     {0, 0x8000000000000001, 0, 0, 3},
     {1ull << 63, 0x8000000000000001, 0, 0, 8}},
    {"movk x0, #0x1234, lsl #32", {0xf2c24680}, {kOnes}, {0xffff1234ffffffff}},
    {"bic x0, x1, x2, asr #4", {0x8aa21020}, {0, kOnes, 1ull << 63}, {0x07ffffffffffffff, kOnes, 1ull << 63}},
    {"csneg x0, x1, x2, lt: holds", {0xda82b420}, {0, 3, 4, 0, 8}, {3, 3, 4, 0, 8}},
    {"csneg x0, x1, x2, lt: fails", {0xda82b420}, {0, 3, 4, 0, 9}, {0xfffffffffffffffc, 3, 4, 0, 9}},
    {"rmif x1, #3, #9", {0xba018429}, {0, 0x40, 0, 0, 7}, {0, 0x40, 0, 0, 14}},
    {"cfinv", {0xd500401f}, {}, {0, 0, 0, 0, 2}},
    {"setf8 w1", {0x3a00082d}, {0, 0x80, 0, 0, 2}, {0, 0x80, 0, 0, 11}},
    {"ldadd x1, x0, [x4]", {0xf8210080}, {0, 3, 0, 0, 0, 5}, {5, 3, 0, 0, 0, 8}},
    {"ldclrb w1, w0, [x4]", {0x38211080}, {0, 0x0f, 0, 0, 0, 0x11ff}, {0xff, 0x0f, 0, 0, 0, 0x11f0}},
    {"ldsmax w1, w0, [x4]", {0xb8214080}, {0, 1, 0, 0, 0, 0xffffffff}, {0xffffffff, 1, 0, 0, 0, 1}},
    {"swph w1, w0, [x4]", {0x78218080}, {0, 0x5678, 0, 0, 0, 0xabcd1234}, {0x1234, 0x5678, 0, 0, 0, 0xabcd5678}},
    {"cas x1, x2, [x4]: equal", {0xc8a17c82}, {0, 7, 9, 0, 0, 7}, {0, 7, 9, 0, 0, 9}},
    {"cas x1, x2, [x4]: other", {0xc8a17c82}, {0, 7, 9, 0, 0, 8}, {0, 8, 9, 0, 0, 8}},
    {"casp x0, x1, x2, x3, [x4]", {0x48207c82}, {1, 2, 10, 11, 0, 1, 2}, {1, 2, 10, 11, 0, 10, 11}},
    {"ldrsh w0, [x4, #2]", {0x79c00480}, {0, 0, 0, 0, 0, 0x80000000}, {0xffff8000, 0, 0, 0, 0, 0x80000000}},
    {"ldp x0, x3, [x4], #16", {0xa8c10c80}, {0, 0, 0, 0, 0, 1, 2}, {1, 0, 0, 2, 0, 1, 2}},
    {"ldpsw x0, x3, [x4]", {0x69400c80}, {0, 0, 0, 0, 0, 0x1ffffffff}, {kOnes, 0, 0, 1, 0, 0x1ffffffff}},
    {"ldxr x0, [x4]; stxr w3, x1, [x4]", {0xc85f7c80, 0xc8037c81}, {0, 6, 0, 9, 0, 5}, {5, 6, 0, 0, 0, 6}},
    {"stxr w3, x1, [x4] without a mark", {0xc8037c81}, {0, 6, 0, 9, 0, 5}, {0, 6, 0, 1, 0, 5}},
    {"stlr x1, [x4]", {0xc89ffc81}, {0, 6}, {0, 6, 0, 0, 0, 6}},
};

class Bare {
public:
    explicit Bare(jit::Tier tier)
        : model_(*CpuModel::named("max")), guest_(create_guest(model_)), storage_(kMemory + 0x1000) {
        jit::Options options;
        options.tier = tier;
        options.verify_ir = true;
        options.llvm_threshold = tier == jit::Tier::Llvm ? 1 : 0;
        memory_ = reinterpret_cast<u8*>(align_up(reinterpret_cast<u64>(storage_.data()), 0x1000));
        auto translator = jit::create_translator(*guest_, bus_, options);
        REQUIRE(translator);
        translator_ = std::move(*translator);
        REQUIRE(translator_->add_slot({0, kMemory, memory_, false}));
        auto vcpu = translator_->create_vcpu(nullptr);
        REQUIRE(vcpu);
        vcpu_ = std::move(*vcpu);
        t_ = new (vcpu_->state()) TranslateState();
        t_->model = &model_;
        t_->platform = &machine_;
    }

    void place(u64 at, u32 word) {
        std::memcpy(memory_ + at, &word, sizeof word);
        translator_->memory_written(at, sizeof word);
    }

    Values run(u64 at, const Values& in) {
        reset(t_->s, 1);
        t_->s.sp[1] = kStack;
        t_->s.x[0] = in.x0;
        t_->s.x[1] = in.x1;
        t_->s.x[2] = in.x2;
        t_->s.x[3] = in.x3;
        t_->s.x[4] = kData;
        t_->s.pstate |= u64{in.nzcv} << 28;
        t_->s.pc = at;
        import_flags(*t_);
        std::memcpy(memory_ + kData, &in.m0, 8);
        std::memcpy(memory_ + kData + 8, &in.m1, 8);
        REQUIRE(vcpu_->run() == jit::ir::LeaveReason::Halt);
        export_flags(*t_);
        const State& s = t_->s;
        Values out{s.x[0], s.x[1], s.x[2], s.x[3], static_cast<unsigned>(bits(s.pstate, 31, 28)), 0, 0};
        std::memcpy(&out.m0, memory_ + kData, 8);
        std::memcpy(&out.m1, memory_ + kData + 8, 8);
        return out;
    }

private:
    const CpuModel model_;
    std::unique_ptr<jit::Guest> guest_;
    NoBus bus_;
    accel::diff::arm64::NoMachine machine_;
    std::vector<u8> storage_;
    u8* memory_ = nullptr;
    std::unique_ptr<jit::Translator> translator_;
    std::unique_ptr<jit::VcpuTranslator> vcpu_;
    TranslateState* t_ = nullptr;
};

TEST_CASE("A64 integer instructions give the manual's results") {
    const auto tier = GENERATE(jit::Tier::Interp, jit::Tier::Baseline, jit::Tier::Llvm);
    Bare bare(tier);
    u64 at = kCode;
    for (const Vector& v : kVectors) {
        INFO(fmt::format("{} on tier {}", v.text, static_cast<unsigned>(tier)));
        const u64 start = at;
        for (const u32 word : v.words) {
            if (word == 0) continue;
            bare.place(at, word);
            at += 4;
        }
        bare.place(at, kWfi);
        at += 4;
        for (unsigned repetition = 0; repetition < 3; ++repetition) {
            const Values out = bare.run(start, v.in);
            CHECK(out.x0 == v.out.x0);
            CHECK(out.x1 == v.out.x1);
            CHECK(out.x2 == v.in.x2);
            CHECK(out.x3 == v.out.x3);
            CHECK(out.nzcv == v.out.nzcv);
            CHECK(out.m0 == v.out.m0);
            if (v.out.m1 != 0) CHECK(out.m1 == v.out.m1);
        }
    }
}

}  // namespace
}  // namespace tandem::cpu::arm64
