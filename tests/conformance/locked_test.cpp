// Contract X4: locked instructions with a memory operand are atomic, and decode right, in every operand size. Two processors
// go at one location with each of them.
#include <algorithm>
#include <array>
#include <thread>

#include "tests/conformance/bench.h"
#include "tests/flat_state.h"

using namespace tandem;
using namespace tandem::tests;

namespace {

constexpr u64 kTables = 0x10000, kShared = 0x20000;
// Hosts may take long for a locked access across two cache lines (split lock detection): few, and of one instruction.
constexpr u32 kRounds = 1000, kSplitRounds = 1;

using Bytes = std::vector<u8>;
void add(Bytes& code, std::initializer_list<u8> bytes) { code.insert(code.end(), bytes); }

// An instruction with ModRM: prefixes for `size` bytes of operand, of two opcodes the one for bytes or the other.
// `reg`: register number or opcode extension; the operand is [rdi].
void add_op(Bytes& code, bool lock, unsigned size, std::initializer_list<u8> opcode, u8 reg) {
    if (lock) code.push_back(0xf0);
    if (size == 2) code.push_back(0x66);
    const u8 rex = static_cast<u8>((size == 8 ? 0x48 : 0) | (size == 1 ? 0x40 : 0));
    if (rex != 0) code.push_back(rex);
    add(code, opcode);
    if (size == 1) --code.back();  // of such pairs the even one is for bytes
    code.push_back(static_cast<u8>(reg << 3 | 7));
}

enum Kind : u8 {
    Up,      // adds one, by the register (ESI = 1), or with the carry (ESI = 0, CF = 1)
    Down,    // likewise, subtracts
    Flip,    // undone by the second time
    SetOwn,  // sets a bit of the processor's own, and clears it: with CF as it was
    OrAnd,
    Compare,  // adds one by CMPXCHG
};

struct Row {
    const char* name;
    Kind kind;
    bool carry;  // needs CF = 1 and a zero operand
    u8 opcode[3];
    u8 length;
    u8 reg;        // 6: RSI, or an opcode extension
    bool no_byte;  // there is no form for bytes
    u8 immediate;  // bytes of it, the operand's: 0 and the carry
};
constexpr Row kRows[] = {
    {"add", Up, false, {0x01}, 1, 6, false, 0},
    {"adc", Up, true, {0x11}, 1, 6, false, 0},
    {"adc imm", Up, true, {0x83}, 1, 2, true, 1},
    {"inc", Up, false, {0xff}, 1, 0, false, 0},
    {"xadd", Up, false, {0x0f, 0xc1}, 2, 6, false, 0},
    {"sub", Down, false, {0x29}, 1, 6, false, 0},
    {"sbb", Down, true, {0x19}, 1, 6, false, 0},
    {"sbb imm", Down, true, {0x83}, 1, 3, true, 1},
    {"dec", Down, false, {0xff}, 1, 1, false, 0},
    {"xor", Flip, false, {0x31}, 1, 6, false, 0},
    {"not", Flip, false, {0xf7}, 1, 2, false, 0},
    {"neg", Flip, false, {0xf7}, 1, 3, false, 0},
    {"bts, btr", SetOwn, false, {0x0f, 0xab}, 2, 1, true, 0},
    {"btc", SetOwn, false, {0x0f, 0xbb}, 2, 1, true, 0},
    {"bts, btr imm", SetOwn, false, {0x0f, 0xba}, 2, 5, true, 1},
    {"btc imm", SetOwn, false, {0x0f, 0xba}, 2, 7, true, 1},
    {"or, and", OrAnd, false, {0x09}, 1, 6, false, 0},
    {"cmpxchg", Compare, false, {0x0f, 0xb1}, 2, 2, false, 0},
};

void add_opcode(Bytes& code, bool lock, unsigned size, const Row& row, u8 last, u8 reg) {
    if (row.length == 1) return add_op(code, lock, size, {last}, reg);
    add_op(code, lock, size, {row.opcode[0], last}, reg);
}

// One round of processor `cpu` with RDI at the location; RBX counts what went wrong. RSI is its operand, ECX its bit.
void add_round(Bytes& code, const Row& row, unsigned size, unsigned cpu) {
    const u8 last = row.opcode[row.length - 1];
    const u8 own = static_cast<u8>(cpu * 5 + 1);  // the number of its bit
    switch (row.kind) {
        case Up:
        case Down:
        case Flip:
            add(code, {0xbe, static_cast<u8>(row.carry ? 0 : 1), 0, 0, 0});  // mov esi, ...
            if (row.carry) code.push_back(0xf9);                             // stc
            add_opcode(code, true, size, row, last, row.reg);
            if (row.immediate != 0) code.push_back(0);
            break;
        case SetOwn: {
            const bool btc = row.immediate != 0 ? row.reg == 7 : last == 0xbb;
            add(code, {0xb9, own, 0, 0, 0});  // mov ecx, own
            add_opcode(code, true, size, row, last, row.reg);
            if (row.immediate != 0) code.push_back(own);
            add(code, {0x83, 0xd3, 0});  // adc ebx, 0: it was set already
            const u8 back = row.immediate != 0 || btc ? last : 0xb3;
            add_opcode(code, true, size, row, back, row.immediate != 0 && !btc ? 6 : row.reg);
            if (row.immediate != 0) code.push_back(own);
            add(code, {0xf5, 0x83, 0xd3, 0});  // cmc; adc ebx, 0: it was clear
            break;
        }
        case OrAnd: {
            const u8 mask = static_cast<u8>(1 << own);
            add(code, {0xbe, mask, 0, 0, 0});  // mov esi, mask
            add_op(code, true, size, {0x09}, 6);
            add(code, {0xf6, 0x07, mask, 0x75, 2, 0xff, 0xc3});  // test byte [rdi], mask; jnz +2; inc ebx
            add(code, {0x48, 0xc7, 0xc6, static_cast<u8>(~mask), 0xff, 0xff, 0xff});  // mov rsi, ~mask
            add_op(code, true, size, {0x21}, 6);
            add(code, {0xf6, 0x07, mask, 0x74, 2, 0xff, 0xc3});  // test byte [rdi], mask; jz +2; inc ebx
            break;
        }
        case Compare: {
            add_op(code, false, size, {0x8b}, 0);  // mov rax, [rdi]
            const auto again = code.size();
            add(code, {0x48, 0x8d, 0x50, 1});  // lea rdx, [rax + 1]
            add_opcode(code, true, size, row, last, row.reg);
            add(code, {0x75, static_cast<u8>(again - code.size() - 2)});
            break;
        }
    }
}

// `rounds` of them, then a port, where the processor stays.
Bytes program(const std::function<void(Bytes&)>& round, u32 rounds = kRounds) {
    Bytes code{0x41, 0xbf, static_cast<u8>(rounds), static_cast<u8>(rounds >> 8), 0, 0};  // mov r15d, rounds
    const auto top = code.size();
    round(code);
    add(code, {0x41, 0xff, 0xcf});  // dec r15d
    const u32 distance = static_cast<u32>(top - code.size() - 6);
    add(code, {0x0f, 0x85, static_cast<u8>(distance), static_cast<u8>(distance >> 8), 0xff, 0xff});
    add(code, {0xe6, 0x10, 0xeb, 0xfc});  // out 10h, al; jmp to it
    return code;
}

// Two processors in 64-bit code at CPL 3 on one engine, and what they share.
class Two {
public:
    explicit Two(Engine engine) {
        REQUIRE(memory_.add("ram", 0, 1 << 20).ok());
        REQUIRE(map_onto_itself(memory_, kTables));
        auto made = create_engine(engine);
        REQUIRE(made.ok());
        accelerator_ = std::move(made).value();
        REQUIRE(accelerator_->map_memory(memory_).ok());
        for (unsigned i = 0; i < 2; ++i) {
            auto vcpu = accelerator_->create_vcpu(i, handler_);
            REQUIRE(vcpu.ok());
            vcpus_.push_back(std::move(vcpu).value());
        }
        handler_.on_port = [](accel::Vcpu& v) { v.request_exit(); };
    }

    // Both run their program with the location at `offset` from kShared. The answer: what went wrong by their own counts.
    u64 run(const Bytes (&code)[2], u64 offset) {
        std::vector<std::thread> threads;
        u64 wrong[2] = {};
        for (unsigned i = 0; i < 2; ++i) {
            const u64 at = kCode + 0x1000 * i;
            REQUIRE(memory_.write(at, code[i].data(), code[i].size()));
            cpu::x86::State s = flat_state(true, at, kTables, 3);
            s.rflags |= 0x3000;  // IOPL
            s.gpr[cpu::x86::RDI] = kShared + offset;
            REQUIRE(vcpus_[i]->import_state(s).ok());
        }
        for (unsigned i = 0; i < 2; ++i) {
            threads.emplace_back([&, i] {
                (void)accel::run_until_event(*vcpus_[i], handler_);
                cpu::ArchState out;
                const bool good = vcpus_[i]->export_state(out).ok();
                const auto& s = std::get<cpu::x86::State>(out);
                wrong[i] = good && s.gpr[cpu::x86::R15] == 0 ? s.gpr[cpu::x86::RBX] : ~u64{0};
            });
        }
        for (auto& t : threads) t.join();
        return wrong[0] + wrong[1];
    }
    void set(u64 offset, u64 low, u64 high = 0) {
        const u64 words[] = {low, high};
        REQUIRE(memory_.write(kShared + offset, words, sizeof words));
    }
    [[nodiscard]] std::pair<u64, u64> get(u64 offset) {
        u64 words[2] = {};
        REQUIRE(memory_.read(kShared + offset, words, sizeof words));
        return {words[0], words[1]};
    }

private:
    devices::GuestMemory memory_;
    Handler handler_;
    std::unique_ptr<accel::Accelerator> accelerator_;
    std::vector<std::unique_ptr<accel::Vcpu>> vcpus_;  // go before their engine
};

// What the location holds afterwards.
u64 expected(const Row& row, u64 before, unsigned size, u32 rounds) {
    const u64 mask = size == 8 ? ~u64{0} : (u64{1} << (8 * size)) - 1;
    u64 after = before;
    if (row.kind == Up || row.kind == Compare) after = before + 2 * rounds;
    if (row.kind == Down) after = before - 2 * rounds;
    return (after & mask) | (before & ~mask);
}

}  // namespace

TEST_CASE("locked instructions of two processors on one location, in every operand size", "[X4]") {
    for (const Engine engine : engines()) {
        Two two(engine);
        for (const Row& row : kRows) {
            for (const unsigned size : {1u, 2u, 4u, 8u}) {
                if (size == 1 && row.no_byte) continue;
                // Aligned; across two words of a cache line; across two pages.
                for (const u64 offset : {u64{0}, u64{5}, u64{4095}}) {
                    const bool split = offset > 5;
                    if ((size == 1 && offset != 0) || (split && (size != 4 || row.opcode[1] != 0xc1))) continue;
                    CAPTURE(static_cast<int>(engine), row.name, size, offset);
                    const u32 rounds = split ? kSplitRounds : kRounds;
                    const Bytes code[] = {program([&](Bytes& c) { add_round(c, row, size, 0); }, rounds),
                                          program([&](Bytes& c) { add_round(c, row, size, 1); }, rounds)};
                    const u64 start = row.kind == SetOwn || row.kind == OrAnd ? 0 : 0x00ff'00ff'7fff'fff0;
                    two.set(offset, start);
                    CHECK(two.run(code, offset) == 0);
                    CHECK(two.get(offset).first == expected(row, start, size, rounds));
                }
            }
        }
    }
}

TEST_CASE("CMPXCHG8B and CMPXCHG16B of two processors on one location", "[X4]") {
    for (const Engine engine : engines()) {
        Two two(engine);
        for (const bool wide : {false, true}) {
            CAPTURE(static_cast<int>(engine), wide);
            const auto round = [&](Bytes& code) {
                const auto rex = [&] {
                    if (wide) code.push_back(0x48);
                };
                rex(), add(code, {0x8b, 0x07});                                 // mov eax, [rdi]
                rex(), add(code, {0x8b, 0x57, static_cast<u8>(wide ? 8 : 4)});  // mov edx, [rdi + 4]
                const auto again = code.size();
                rex(), add(code, {0x89, 0xc3});     // mov ebx, eax
                rex(), add(code, {0x89, 0xd1});     // mov ecx, edx
                rex(), add(code, {0x83, 0xc3, 1});  // add ebx, 1
                rex(), add(code, {0x83, 0xd1, 0});  // adc ecx, 0
                code.push_back(0xf0);
                rex(), add(code, {0x0f, 0xc7, 0x0f});  // lock cmpxchg8b [rdi]
                add(code, {0x75, static_cast<u8>(again - code.size() - 2)});
            };
            const Bytes code[] = {program([&](Bytes& c) { round(c), add(c, {0x31, 0xdb}); }),  // xor ebx, ebx
                                  program([&](Bytes& c) { round(c), add(c, {0x31, 0xdb}); })};
            constexpr u64 kLow = ~u64{0} - kRounds, kLow32 = 0xffffffff - kRounds;  // a carry on the way
            two.set(0, wide ? kLow : kLow32, 7);
            CHECK(two.run(code, 0) == 0);
            if (wide) {
                CHECK(two.get(0) == std::pair<u64, u64>{kLow + 2 * kRounds, 8});
            } else {
                CHECK(two.get(0) == std::pair<u64, u64>{kLow32 + 2 * kRounds, 7});
            }
        }
    }
}

// XCHG is atomic without the prefix: a lock, with plain increments inside.
TEST_CASE("XCHG of two processors is a lock", "[X4]") {
    for (const Engine engine : engines()) {
        Two two(engine);
        for (const unsigned size : {1u, 2u, 4u, 8u}) {
            CAPTURE(static_cast<int>(engine), size);
            const auto round = [&](Bytes& code) {
                const auto again = code.size();
                add(code, {0xf3, 0x90, 0xb8, 1, 0, 0, 0});                                // pause; mov eax, 1
                add_op(code, false, size, {0x87}, 0);                                     // xchg [rdi], rax
                add(code, {0x84, 0xc0, 0x75, static_cast<u8>(again - code.size() - 4)});  // test al, al; jnz
                add(code, {0x48, 0x83, 0x47, 0x08, 1});                                   // add qword [rdi + 8], 1
                add(code, {0x31, 0xc0});                                                  // xor eax, eax
                add_op(code, false, size, {0x87}, 0);                                     // xchg [rdi], rax
            };
            const Bytes code[] = {program(round), program(round)};
            two.set(0, 0, 0);
            CHECK(two.run(code, 0) == 0);
            CHECK(two.get(0) == std::pair<u64, u64>{0, 2 * kRounds});
        }
    }
}

TEST_CASE("LOCK before what cannot be locked is an invalid opcode", "[X4]") {
    constexpr std::array<u8, 5> kInvalid[] = {
        {0xf0, 0x11, 0xd8},           // adc ax, bx
        {0xf0, 0x13, 0x07},           // adc ax, [bx]
        {0xf0, 0x83, 0xda, 0},        // sbb dx, 0
        {0xf0, 0x39, 0x07},           // cmp [bx], ax
        {0xf0, 0x83, 0x3f, 0},        // cmp word [bx], 0
        {0xf0, 0x89, 0x07},           // mov [bx], ax
        {0xf0, 0x85, 0x07},           // test [bx], ax
        {0xf0, 0x0f, 0xa3, 0x07},     // bt [bx], ax
        {0xf0, 0x0f, 0xba, 0x27, 1},  // bt word [bx], 1
        {0xf0, 0x0f, 0xab, 0xd8},     // bts ax, bx
        {0xf0, 0x0f, 0xba, 0xf0, 1},  // btr ax, 1
        {0xf0, 0x0f, 0xb1, 0xd8},     // cmpxchg ax, bx
        {0xf0, 0x0f, 0xc1, 0xd8},     // xadd ax, bx
        {0xf0, 0x87, 0xd8},           // xchg ax, bx
        {0xf0, 0xf7, 0xd0},           // not ax
        {0xf0, 0xff, 0xc0},           // inc ax
        {0xf0, 0x40},                 // inc ax
        {0xf0, 0xff, 0x37},           // push word [bx]
        {0xf0, 0xd1, 0x27},           // shl word [bx], 1
        {0xf0, 0xf7, 0x27},           // mul word [bx]
        {0xf0, 0x90},                 // nop
    };
    for (const Engine engine : engines()) {
        Bench b(engine, {0xf4});
        const u32 handler = 0x2000;
        const u8 halt = 0xf4;
        REQUIRE(b.memory.write(6 * 4, &handler, sizeof handler));
        REQUIRE(b.memory.write(handler, &halt, 1));
        cpu::x86::State s = b.state();
        s.gpr[cpu::x86::RSP] = 0x9000;
        s.gpr[cpu::x86::RBX] = 0x8000;
        for (const auto& code : kInvalid) {
            CAPTURE(static_cast<int>(engine), code);
            REQUIRE(b.memory.write(kCode, code.data(), code.size()));
            REQUIRE(b.vcpu->import_state(s).ok());
            CHECK(std::holds_alternative<accel::HaltExit>(b.vcpu->run()));
            const cpu::x86::State after = b.state();
            CHECK(after.rip == handler + 1);
            CHECK(after.gpr[cpu::x86::RAX] == s.gpr[cpu::x86::RAX]);
        }
    }
}
