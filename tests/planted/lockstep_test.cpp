// Two engines in lockstep on a small machine: they agree; with a planted fault the instruction is found, named and saved.
#include <unistd.h>

#include <fmt/format.h>
#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <span>
#include <thread>

#include "accel/jit/x86_jit.h"
#include "accel/kvm/kvm_accelerator.h"
#include "accel/lockstep/compare.h"
#include "accel/lockstep/lockstep.h"
#include "accel/lockstep/replayer.h"
#include "accel/lockstep/reproducer.h"
#include "accel/run_loop.h"
#include "base/plant.h"
#include "cpu/x86/state.h"
#include "cpu/x86/system/registers.h"

namespace tandem::accel::lockstep {
namespace {

using plant::Fault;

constexpr u64 kCode = 0x1000, kHandler = 0x800;

EngineSpec engine(const std::string& name, jit::Tier tier) {
    return {name,
            [tier](u32 max_block) {
                jit::Options options;
                options.tier = tier;
                options.count_instructions = true;
                if (max_block != 0) options.max_block_insns = max_block;
                return create_jit_accelerator(*cpu::x86::CpuModel::create("max"), options);
            },
            false};
}

// Port 0x10 reads as a number that changes, port 0x20 requests an interrupt, port 0x30 has the machine write memory.
class Board final : public ExitHandler, devices::CpuInterruptController {
public:
    devices::GuestMemory memory;
    Vcpu* vcpu = nullptr;
    u64 clock = 0, written = 0, interrupts = 0;

    void handle(Vcpu&, Exit& exit) override {
        auto* port = std::get_if<PortExit>(&exit);
        if (port == nullptr) return;
        if (!port->write) port->data = static_cast<u32>(clock += 0x1234567);
        if (port->write && port->port == 0x20) {
            waiting_ = true;
            vcpu->set_line(devices::CpuLine::Interrupt, true);
        }
        if (port->write && port->port == 0x30) {
            const u64 bytes = ++written * 0x0101010101010101;
            memory.write(0x3000, &bytes, sizeof bytes);
        }
    }
    devices::CpuInterruptController& interrupt_controller(unsigned) override { return *this; }
    u64 tsc(unsigned) override { return clock += 77; }
    [[nodiscard]] bool interrupt_pending() const override { return waiting_; }
    int acknowledge() override {
        waiting_ = false;
        ++interrupts;
        vcpu->set_line(devices::CpuLine::Interrupt, false);
        return 0x40;
    }
    [[nodiscard]] u8 cr8() const override { return cr8_; }
    void set_cr8(u8 value) override { cr8_ = value; }

private:
    bool waiting_ = false;
    u8 cr8_ = 0;
};

struct Run {
    Exit exit;
    Board board;
    u64 counter = 0;  // of the interrupt handler
    std::string statistics;
    std::string directory =
        fmt::format("{}/tandem-lockstep-{}", std::filesystem::temp_directory_path().string(), ::getpid());
};

// Real mode. 200 rounds of: IN, mixing by ADC, MOVSX, IMUL, SAR and RDTSC and RDRAND, an interrupt, a device's write that is
// read back, stores; then HLT with interrupts off.
constexpr u8 kProgram[] = {
    0xfb,                          // 1000 sti
    0xb9, 0xc8, 0x00,              // 1001 mov cx, 200
    0xe5, 0x10,                    // 1004 in ax, 0x10
    0x01, 0xc3,                    // 1006 add bx, ax
    0x66, 0x11, 0xc3,              // 1008 adc ebx, eax
    0x11, 0xdf,                    // 100b adc di, bx
    0x66, 0x0f, 0xbe, 0xd3,        // 100d movsx edx, bl
    0x66, 0x0f, 0xaf, 0xda,        // 1011 imul ebx, edx
    0x70, 0x00,                    // 1015 jo next
    0x66, 0xc1, 0xfa, 0x03,        // 1017 sar edx, 3
    0x66, 0x89, 0x16, 0x00, 0x20,  // 101b mov [0x2000], edx
    0xe7, 0x20,                    // 1020 out 0x20, ax
    0xe7, 0x30,                    // 1022 out 0x30, ax
    0x66, 0x03, 0x1e, 0x00, 0x30,  // 1024 add ebx, [0x3000]
    0x51,                          // 1029 push cx
    0x0f, 0x31,                    // 102a rdtsc
    0x0f, 0xc7, 0xf6,              // 102c rdrand si
    0x59,                          // 102f pop cx
    0x66, 0x89, 0x1e, 0x10, 0x20,  // 1030 mov [0x2010], ebx
    0xe2, 0xcd,                    // 1035 loop 1004
    0xfa,                          // 1037 cli
    0xf4,                          // 1038 hlt
};
// inc word [0x2020]; iret
constexpr u8 kInterruptHandler[] = {0xff, 0x06, 0x20, 0x20, 0xcf};

cpu::x86::State start_state() {
    cpu::x86::State state;
    cpu::x86::reset(state, true);
    state.seg[cpu::x86::CS].base = state.seg[cpu::x86::CS].selector = 0;
    state.rip = kCode;
    state.gpr[cpu::x86::RSP] = 0x7000;
    return state;
}

struct Program {
    std::span<const u8> code;
    cpu::x86::State state;
    void (*prepare)(devices::GuestMemory& memory);  // or null
};

void run(Run& r, EngineSpec first, EngineSpec second, const Program& program) {
    REQUIRE(r.board.memory.add("ram", 0, 0x100000).ok());
    auto made = create_lockstep_accelerator({std::move(first), std::move(second), "max", r.directory});
    REQUIRE(made.ok());
    REQUIRE((*made)->map_memory(r.board.memory).ok());
    auto vcpu = (*made)->create_vcpu(0, r.board);
    REQUIRE(vcpu.ok());
    r.board.vcpu = vcpu->get();
    r.board.memory.write(kCode, program.code.data(), program.code.size());
    r.board.memory.write(kHandler, kInterruptHandler, sizeof kInterruptHandler);
    const u32 vector = kHandler;
    r.board.memory.write(0x40 * 4, &vector, sizeof vector);
    if (program.prepare != nullptr) program.prepare(r.board.memory);
    REQUIRE((*vcpu)->import_state(program.state).ok());
    for (;;) {
        r.exit = (*vcpu)->run();
        if (!std::holds_alternative<RequestedExit>(r.exit)) break;
    }
    r.board.memory.read(0x2020, &r.counter, 2);
    r.statistics = (*made)->statistics();
}
void run(Run& r, EngineSpec first, EngineSpec second, std::span<const u8> code = kProgram) {
    run(r, std::move(first), std::move(second), Program{code, start_state(), nullptr});
}
void run(Run& r, jit::Tier first, jit::Tier second) { run(r, engine("first", first), engine("second", second)); }

EngineSpec kvm() {
    const auto create = [](u32) -> Result<std::unique_ptr<Accelerator>> {
        TANDEM_TRY_ASSIGN(const auto narrowed, narrow_to_kvm(*cpu::x86::CpuModel::create("max")));
        return create_kvm_accelerator(narrowed);
    };
    return {"kvm", create, true};
}

// Says so where this host has none.
bool have_kvm() {
    auto made = kvm().create(0);
    if (!made) std::printf("skipped: lockstep with KVM: %s\n", made.error().message.c_str());
    return made.ok();
}

}  // namespace

TEST_CASE("Two engines in lockstep take the same interrupts, answers and device writes", "[lockstep]") {
    for (const auto& [first, second] :
         {std::pair{jit::Tier::Interp, jit::Tier::Baseline}, {jit::Tier::Baseline, jit::Tier::Interp}}) {
        Run r;
        run(r, first, second);
        if (const auto* error = std::get_if<InternalErrorExit>(&r.exit)) FAIL(error->why);
        CHECK(std::holds_alternative<HaltExit>(r.exit));
        CHECK(r.board.interrupts == 200);
        CHECK(r.counter == 200);
        CHECK(r.board.written == 200);
    }
}

// Real mode with SSE enabled. 200 rounds of CMPXCHG, BSF of zero and ADC to all ones with carry, after IN; then an aligned
// SSE load from an odd address, whose #GP halts.
constexpr u8 kMore[] = {
    0xfa,                                // 1000 cli
    0xc7, 0x06, 0x34, 0x00, 0x2c, 0x10,  // 1001 mov word [0x34], 0x102c
    0xc7, 0x06, 0x36, 0x00, 0x00, 0x00,  // 1007 mov word [0x36], 0
    0xb9, 0xc8, 0x00,                    // 100d mov cx, 200
    0xe5, 0x10,                          // 1010 in ax, 0x10
    0x0f, 0xb1, 0xd3,                    // 1012 cmpxchg bx, dx
    0xa3, 0x00, 0x20,                    // 1015 mov [0x2000], ax
    0x31, 0xf6,                          // 1018 xor si, si
    0x0f, 0xbc, 0xfe,                    // 101a bsf di, si
    0x47,                                // 101d inc di
    0xb0, 0xff,                          // 101e mov al, 0xff
    0xf9,                                // 1020 stc
    0x10, 0xd0,                          // 1021 adc al, dl
    0xe2, 0xeb,                          // 1023 loop 1010
    0x0f, 0x28, 0x06, 0x01, 0x20,        // 1025 movaps xmm0, [0x2001]
    0xeb, 0xfe,                          // 102a jmp 102a
    0xf4,                                // 102c hlt
};

// 32-bit code at CPL 3 in identical pages: a store, and LMSW, whose #GP comes before the page fault of its
// operand. Either goes to ring 0.
constexpr u8 kUser[] = {
    0xb8, 0x01, 0x00, 0x00, 0x00,              // 1000 mov eax, 1
    0xa3, 0x00, 0x20, 0x00, 0x00,              // 1005 mov [0x2000], eax
    0x0f, 0x01, 0x35, 0x00, 0x00, 0x00, 0xf0,  // 100a lmsw [0xf0000000]
    0xeb, 0xfe,                                // 1011 jmp 1011
};

cpu::x86::State sse_state() {
    cpu::x86::State state = start_state();
    state.cr4 |= cpu::x86::cr4::OSFXSR;
    return state;
}

constexpr u64 kGdt = 0x5000, kTss = 0x5100, kIdt = 0x5800, kDirectory = 0x10000, kTable = 0x11000, kRingZero = 0x900;

void prepare_user(devices::GuestMemory& memory) {
    constexpr u64 kDescriptors[] = {0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00cffb000000ffff, 0x00cff3000000ffff};
    memory.write(kGdt, kDescriptors, sizeof kDescriptors);
    const u32 stack[] = {0x7000, 0x10};  // ESP0 and SS0 (SDM volume 3, 8.2.1)
    memory.write(kTss + 4, stack, sizeof stack);
    constexpr u64 kGate = u64{0x8e00} << 32 | u64{8} << 16 | kRingZero;
    for (const u64 vector : {u64{13}, u64{14}}) memory.write(kIdt + vector * 8, &kGate, sizeof kGate);
    constexpr u8 kHalt = 0xf4;
    memory.write(kRingZero, &kHalt, 1);
    constexpr u32 kPresentWritableUser = 7;
    const u32 directory = static_cast<u32>(kTable) | kPresentWritableUser;
    memory.write(kDirectory, &directory, sizeof directory);
    for (u32 page = 0; page < 0x100; ++page) {
        const u32 entry = page << 12 | kPresentWritableUser;
        memory.write(kTable + u64{page} * 4, &entry, sizeof entry);
    }
}

cpu::x86::State user_state() {
    using namespace cpu::x86;
    constexpr u16 kCode3 = 0xc0fb, kData3 = 0xc0f3, kTss32Busy = 0x8b;
    State state = start_state();
    for (Segment& s : state.seg) s = {0, 0xffffffff, 0x23, kData3};
    state.seg[CS] = {0, 0xffffffff, 0x1b, kCode3};
    state.tr = {kTss, 0x67, 0x28, kTss32Busy};
    state.gdtr = {kGdt, 0x2f};
    state.idtr = {kIdt, 0x7ff};
    state.cr3 = kDirectory;
    state.cr0 |= cr0::PE | cr0::PG;
    return state;
}

TEST_CASE("Lockstep finds every planted fault, names its instruction and saves it", "[lockstep][planted]") {
    const Program mixed{kProgram, start_state(), nullptr}, more{kMore, sse_state(), nullptr},
        user{kUser, user_state(), prepare_user};
    struct Row {
        Fault fault;
        const Program& program;
        u64 address;
    };
    const Row kRows[] = {
        {Fault::AdcFlags, more, 0x1021},           {Fault::MovsxZeroes, mixed, 0x100d},
        {Fault::ImulOverflow, mixed, 0x1011},      {Fault::SarShiftsZeroes, mixed, 0x1017},
        {Fault::CmpxchgAccumulator, more, 0x1012}, {Fault::BsfZero, more, 0x101a},
        {Fault::MissedAlignment, more, 0x1025},    {Fault::MissedPrivilege, user, 0x100a},
        {Fault::LostAccessed, user, 0x1000},       {Fault::LostDirty, user, 0x1005},
    };
    static_assert(std::size(kRows) == static_cast<std::size_t>(Fault::Count_) - 1);
    for (const Row& row : kRows) {
        plant::select(row.fault);
        Run r;
        run(r, engine("first", jit::Tier::Interp), engine("second", jit::Tier::Baseline), row.program);
        INFO(plant::name(row.fault));
        const auto* error = std::get_if<InternalErrorExit>(&r.exit);
        if (error == nullptr) plant::select(Fault::None);
        REQUIRE(error != nullptr);
        INFO(error->why);
        CHECK(error->why.find(fmt::format("{:#x}", row.address)) != std::string::npos);
        devices::GuestMemory memory;
        auto saved = load_case(r.directory, memory);
        REQUIRE(saved.ok());
        CHECK(saved->stretch.state.rip == row.address);
        CHECK(saved->stretch.count == 1);
        const EngineSpec wrong = engine("second", jit::Tier::Baseline), right = engine("first", jit::Tier::Interp);
        Investigation again(right, wrong, memory);
        REQUIRE(again.make_sides(saved->stretch).ok());
        auto found = again.compare(saved->stretch, saved->stretch.count);
        plant::select(Fault::None);
        REQUIRE(found.ok());
        CHECK_FALSE(found->empty());
        auto mended = again.make_sides(saved->stretch);
        REQUIRE(mended.ok());
        auto same = again.compare(saved->stretch, saved->stretch.count);
        REQUIRE(same.ok());
        CHECK(same->empty());
        std::filesystem::remove_all(r.directory);
    }
    for (const Program* program : {&mixed, &more, &user}) {
        Run r;
        run(r, engine("first", jit::Tier::Interp), engine("second", jit::Tier::Baseline), *program);
        CHECK(std::holds_alternative<HaltExit>(r.exit));
    }
}

// 400,000 rounds of two instructions, and MOVSX of a negative byte.
constexpr u8 kLong[] = {
    0xfa,                                // 1000 cli
    0x66, 0xb9, 0x80, 0x1a, 0x06, 0x00,  // 1001 mov ecx, 400000
    0x66, 0x49,                          // 1007 dec ecx
    0x75, 0xfc,                          // 1009 jnz 1007
    0xb3, 0x80,                          // 100b mov bl, 0x80
    0x66, 0x0f, 0xbe, 0xd3,              // 100d movsx edx, bl
    0xf4,                                // 1011 hlt
};

TEST_CASE("While the first differing instruction is looked for, the machine can be stopped, looked at and ended",
          "[lockstep][planted]") {
    plant::select(Fault::MovsxZeroes);
    std::atomic<bool> searching{false};
    const auto watched = [&searching](EngineSpec spec) {
        spec.create = [&searching, create = spec.create](u32 max_block) {
            if (max_block != 0) searching = true;
            return create(max_block);
        };
        return spec;
    };
    Run r;
    REQUIRE(r.board.memory.add("ram", 0, 0x100000).ok());
    auto made = create_lockstep_accelerator(
        {watched(engine("first", jit::Tier::Interp)), watched(engine("second", jit::Tier::Baseline)), "max", r.directory});
    REQUIRE(made.ok());
    REQUIRE((*made)->map_memory(r.board.memory).ok());
    auto vcpu = (*made)->create_vcpu(0, r.board);
    REQUIRE(vcpu.ok());
    r.board.memory.write(kCode, kLong, sizeof kLong);
    REQUIRE((*vcpu)->import_state(start_state()).ok());
    std::thread terminator([&] {
        while (!searching) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        (*vcpu)->request_exit();
    });
    r.exit = (*vcpu)->run();
    terminator.join();
    CHECK(std::holds_alternative<RequestedExit>(r.exit));
    cpu::ArchState seen;
    CHECK((*vcpu)->export_state(seen).ok());
    CHECK(std::get<cpu::x86::State>(seen).gpr[cpu::x86::RCX] == 0);
    const auto start = std::chrono::steady_clock::now();
    CHECK((*vcpu)->import_state(start_state()).ok());
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
    r.exit = (*vcpu)->run();
    plant::select(Fault::None);
    const auto* error = std::get_if<InternalErrorExit>(&r.exit);
    REQUIRE(error != nullptr);
    INFO(error->why);
    CHECK(error->why.find("was broken off") != std::string::npos);
    CHECK_FALSE(std::filesystem::exists(r.directory));
}

// 64-bit code whose MOVSX decides what CR8 gets; the registers are alike again at the end.
constexpr u8 kPriority[] = {
    0xfa,                    // 1000 cli
    0xb3, 0x8f,              // 1001 mov bl, 0x8f
    0x0f, 0xbe, 0xc3,        // 1003 movsx eax, bl
    0xc1, 0xe8, 0x1c,        // 1006 shr eax, 28
    0x44, 0x0f, 0x22, 0xc0,  // 1009 mov cr8, rax
    0x31, 0xc0,              // 100d xor eax, eax
    0xf4,                    // 100f hlt
};

// The first 2 MiB, one page.
void prepare_long(devices::GuestMemory& memory) {
    constexpr u64 kPage2M = 0x83, kPresentWritable = 3, kDirectory2 = 0x12000;
    const u64 entries[][2] = {
        {kDirectory, kTable | kPresentWritable}, {kTable, kDirectory2 | kPresentWritable}, {kDirectory2, kPage2M}};
    for (const auto& [at, entry] : entries) memory.write(at, &entry, sizeof entry);
}

cpu::x86::State long_state() {
    using namespace cpu::x86;
    constexpr u16 kCode64 = 0xa09b, kFlatData = 0xc093;
    State state = start_state();
    for (Segment& s : state.seg) s = {0, 0xffffffff, 0x10, kFlatData};
    state.seg[CS] = {0, 0xffffffff, 8, kCode64};
    state.cr3 = kDirectory;
    state.cr0 |= cr0::PE | cr0::PG;
    state.cr4 |= cr4::PAE;
    state.msr.efer |= efer::LME | efer::LMA;
    return state;
}

TEST_CASE("A CR8 that differs is found, and what made it differ", "[lockstep][planted][kvm][I7]") {
    const bool native = GENERATE(false, true);
    if (native && !have_kvm()) return;
    const EngineSpec first = native ? kvm() : engine("first", jit::Tier::Interp);
    for (const Fault fault : {Fault::MovsxZeroes, Fault::None}) {
        plant::select(fault);
        Run r;
        run(r, first, engine("second", jit::Tier::Baseline), Program{kPriority, long_state(), prepare_long});
        plant::select(Fault::None);
        const auto* error = std::get_if<InternalErrorExit>(&r.exit);
        INFO((error == nullptr ? "no error" : error->why));
        if (fault == Fault::None) {
            CHECK(std::holds_alternative<HaltExit>(r.exit));
            CHECK(r.board.cr8() == 15);
        } else {
            REQUIRE(error != nullptr);
            CHECK(error->why.find("differ at 0x1003") != std::string::npos);
        }
        std::filesystem::remove_all(r.directory);
    }
}

TEST_CASE("Another value in CR8 is reported with both", "[lockstep][I7]") {
    devices::GuestMemory memory;
    Replayer replayer;
    Event written;
    written.kind = Event::Kind::WriteCr8;
    written.value = 3;
    const Journal journal{written};
    replayer.begin(journal, memory);
    replayer.set_cr8(5);
    CHECK(replayer.complaint() == "write of 0x5 to CR8: the other engine writes 0x3");
    replayer.begin(journal, memory);
    replayer.set_cr8(3);
    CHECK(replayer.complaint().empty());
    CHECK(replayer.exhausted());
    std::vector<std::string> lines;
    compare_cr8(3, 3, {"kvm", "interp"}, lines);
    CHECK(lines.empty());
    compare_cr8(3, 5, {"kvm", "interp"}, lines);
    CHECK(lines == std::vector<std::string>{"cr8: kvm 0x3, interp 0x5"});
}

TEST_CASE("KVM and the translator in lockstep take the same interrupts, answers and device writes", "[lockstep][kvm]") {
    if (!have_kvm()) return;
    const jit::Tier tier = GENERATE(jit::Tier::Interp, jit::Tier::Baseline);
    Run r;
    run(r, kvm(), engine("second", tier));
    if (const auto* error = std::get_if<InternalErrorExit>(&r.exit)) FAIL(error->why);
    CHECK(std::holds_alternative<HaltExit>(r.exit));
    CHECK(r.board.interrupts == 200);
    CHECK(r.counter == 200);
    CHECK(r.board.written == 200);
    INFO(r.statistics);
    // Each round leaves the guest for three accesses and an interrupt, and stops at RDTSC.
    CHECK(std::stoull(r.statistics.substr(r.statistics.find_first_of("0123456789"))) >= 4 * 200);
}

// 2000 rounds of MUL, a shift by more than one and a push of the flags that they leave; a REP string; HLT.
constexpr u8 kUndefined[] = {
    0xfa,              // 1000 cli
    0xb9, 0xd0, 0x07,  // 1001 mov cx, 2000
    0xf7, 0xe1,        // 1004 mul cx
    0xc1, 0xc0, 0x05,  // 1006 rol ax, 5
    0x9c,              // 1009 pushf
    0x5a,              // 100a pop dx
    0x89, 0xca,        // 100b mov dx, cx
    0x40,              // 100d inc ax
    0xe2, 0xf4,        // 100e loop 1004
    0xb9, 0x00, 0x01,  // 1010 mov cx, 256
    0xbf, 0x00, 0x30,  // 1013 mov di, 0x3000
    0xf3, 0xaa,        // 1016 rep stosb
    0xb9, 0x40, 0x00,  // 1018 mov cx, 64
    0xbe, 0x00, 0x30,  // 101b mov si, 0x3000
    0xba, 0x44, 0x00,  // 101e mov dx, 0x44
    0xf3, 0x6e,        // 1021 rep outsb
    0xf4,              // 1023 hlt
};

TEST_CASE("Lockstep with KVM lets undefined flags be and takes repeated strings whole", "[lockstep][kvm]") {
    if (!have_kvm()) return;
    Run r;
    run(r, kvm(), engine("second", jit::Tier::Baseline), kUndefined);
    if (const auto* error = std::get_if<InternalErrorExit>(&r.exit)) FAIL(error->why);
    CHECK(std::holds_alternative<HaltExit>(r.exit));
}

TEST_CASE("Lockstep with KVM finds a planted fault, names its instruction and saves it", "[lockstep][kvm][planted]") {
    if (!have_kvm()) return;
    plant::select(Fault::MovsxZeroes);
    Run r;
    run(r, kvm(), engine("second", jit::Tier::Baseline));
    const auto* error = std::get_if<InternalErrorExit>(&r.exit);
    REQUIRE(error != nullptr);
    INFO(error->why);
    CHECK(error->why.find("0x100d") != std::string::npos);
    devices::GuestMemory memory;
    auto saved = load_case(r.directory, memory);
    REQUIRE(saved.ok());
    CHECK(saved->stretch.state.rip == 0x100d);
    // Replayed on KVM and on the translator, with and without the fault.
    for (const bool mended : {false, true}) {
        if (mended) plant::select(Fault::None);
        Investigation again(kvm(), engine("second", jit::Tier::Baseline), memory);
        REQUIRE(again.make_sides(saved->stretch).ok());
        auto found = again.compare(saved->stretch, saved->stretch.count);
        REQUIRE(found.ok());
        INFO(fmt::format("{}", fmt::join(*found, "\n")));
        CHECK(found->empty() == mended);
    }
    std::filesystem::remove_all(r.directory);
}

// 4 million rounds of four instructions without an exit.
constexpr u8 kQuiet[] = {
    0xfa,                                // 1000 cli
    0x66, 0xb9, 0x00, 0x09, 0x3d, 0x00,  // 1001 mov ecx, 4000000
    0x66, 0x01, 0xc8,                    // 1007 add eax, ecx
    0x66, 0x11, 0xc3,                    // 100a adc ebx, eax
    0x66, 0x49,                          // 100d dec ecx
    0x75, 0xf6,                          // 100f jnz 1007
    0xf4,                                // 1011 hlt
};

TEST_CASE("Lockstep with KVM is at least half as fast as KVM alone on this code", "[.][speed]") {
    if (!have_kvm()) return;
    const auto seconds = [](auto&& f) {
        const auto start = std::chrono::steady_clock::now();
        f();
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    Run pair;
    const double both = seconds([&] { run(pair, kvm(), engine("second", jit::Tier::Baseline), kQuiet); });
    CHECK(std::holds_alternative<HaltExit>(pair.exit));
    Board board;
    REQUIRE(board.memory.add("ram", 0, 0x100000).ok());
    auto alone = kvm().create(0);
    REQUIRE(alone.ok());
    REQUIRE((*alone)->map_memory(board.memory).ok());
    auto vcpu = (*alone)->create_vcpu(0, board);
    REQUIRE(vcpu.ok());
    board.memory.write(kCode, kQuiet, sizeof kQuiet);
    REQUIRE((*vcpu)->import_state(start_state()).ok());
    const double one = seconds([&] { CHECK(std::holds_alternative<HaltExit>((*vcpu)->run())); });
    std::printf("16 million instructions: %.2f s on KVM, %.2f s in lockstep\n", one, both);
    CHECK(both < 2 * one);
}

TEST_CASE("A reproducer that is not one is named", "[lockstep]") {
    devices::GuestMemory memory;
    const auto none = load_case("/nonexistent", memory);
    REQUIRE_FALSE(none.ok());
    CHECK(none.error().message.find("/nonexistent") != std::string::npos);
}

}  // namespace tandem::accel::lockstep
