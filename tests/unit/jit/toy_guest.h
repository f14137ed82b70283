// A guest architecture small enough to know by heart, for tests of the translator: eight registers, byte-coded instructions
// of one to six bytes, paging by a table that the test fills in, one exception vector.
#pragma once

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <vector>

#include "jit/guest/guest.h"
#include "jit/runtime/translator.h"

namespace tandem::jit::toy {

enum Opcode : u8 {
    kHalt,       // halt
    kMovI,       // movi rd, imm32
    kAdd,        // add rd, rs
    kSubI,       // subi rd, imm8
    kLoad,       // load rd, [rs]
    kStore,      // store [rd], rs
    kJnz,        // jnz r, rel8 (from the next instruction)
    kJmp,        // jmp rel32
    kJmpReg,     // jmpreg r
    kStoreB,     // storeb [rd], rs
    kFlush,      // drop the soft TLB
    kExit,       // leave with Exit
    kXAdd,       // xadd rd, [rs]: rd = old, memory += old rd
    kFlushPage,  // flushpage r
    kAsid,       // asid r: switch page tables, keeping global pages
    kFlushAsid,  // flushasid r: drop what is not global of the address spaces with that identifier
    kERet,       // return from the exception
    kInvalid,    // first opcode that is not one
};

struct State {
    std::array<u64, 8> r{};
    u64 pc = 0;
    u64 vector = 0;  // where exceptions and interrupts go
    u64 epc = 0;
    u64 cause = 0;  // 1 page fault, 2 invalid instruction, 3 interrupt, 4 alignment
    u64 fault_address = 0;
    u64 asid = 0;
    u64 interrupts_on = 0;
};

constexpr u64 kPageFault = 1, kInvalidInstruction = 2, kInterrupt = 3, kAlignment = 4;

struct Mapping {
    u64 phys = 0;
    bool writable = true;
    bool executable = true;
    bool global = false;
    u64 page_size = kPageSize;
};

class ToyGuest final : public Guest {
public:
    // `private_mmus`: as Guest's. The identifier of an address space is the low byte of its number.
    explicit ToyGuest(u32 private_mmus = 0);

    u32 private_mmus() const override { return private_mmus_; }
    AddressSpace address_space(const void* state) const override {
        const u64 asid = static_cast<const State*>(state)->asid;
        return {{asid, 0}, asid & 0xff};
    }

    const StateLayout& layout() const override { return layout_; }
    std::span<const Helper> helpers() const override { return helpers_; }
    ir::BlockKey current_key(void* state) const override;
    LiftStatus lift(const ir::BlockKey& key, const CodeWindow& code, unsigned max_insns, ir::Block& out) const override;
    unsigned fetch_mmu(u64) const override { return 0; }
    bool translate(void* state, u64 va, Access access, unsigned mmu, Translation& out) const override;
    void alignment_fault(void* state, u64 va, Access access, unsigned mmu) const override;
    ir::LeaveReason deliver_exception(void* state) const override;
    bool poll_interrupts(void* state) const override;
    std::string disassemble(const ir::BlockKey& key, std::span<const u8> code) const override;

    // By address space, then virtual page (or the start of a larger mapping).
    std::map<u64, std::map<u64, Mapping>> tables;
    mutable std::atomic<bool> interrupt{false};
    mutable std::atomic<u64> lifts{0};
    u32 memory_flags = 0;  // added to every access

private:
    u32 private_mmus_;
    std::vector<StateSlot> slots_;
    StateLayout layout_;
    std::vector<Helper> helpers_;
};

// Assembles into a vector of bytes.
class Asm {
public:
    std::vector<u8> bytes;
    Asm& op(std::initializer_list<int> list) {
        for (int b : list) bytes.push_back(static_cast<u8>(b));
        return *this;
    }
    Asm& movi(int r, u32 imm) {
        op({kMovI, r});
        for (unsigned i = 0; i < 4; ++i) bytes.push_back(static_cast<u8>(imm >> (8 * i)));
        return *this;
    }
    Asm& jmp(i32 rel) {
        op({kJmp});
        for (unsigned i = 0; i < 4; ++i) bytes.push_back(static_cast<u8>(static_cast<u32>(rel) >> (8 * i)));
        return *this;
    }
};

// Records MMIO and answers reads with `answer`.
class ToyBus final : public Bus {
public:
    struct Access {
        bool write;
        u64 gpa;
        u64 value;
        unsigned size;
    };
    bool mmio_read(void* owner, u64 gpa, unsigned size, u64& value) override;
    bool mmio_write(void* owner, u64 gpa, u64 value, unsigned size) override;

    std::vector<Access> log;
    u64 answer = 0;
    u32 fp_control = 0;       // the host's MXCSR during the last call
    std::map<u64, u8> bytes;  // readable one at a time, for code
};

// RAM of 1 MiB at 0, identity-mapped in address space 0, one translator and one vCPU.
class Machine {
public:
    explicit Machine(Options options, u32 private_mmus = 0);
    void load(u64 gpa, const std::vector<u8>& code);
    toy::State& state() { return *static_cast<toy::State*>(vcpu->state()); }
    ir::LeaveReason run_at(u64 pc) {
        state().pc = pc;
        return vcpu->run();
    }
    u64& word(u64 gpa) { return *reinterpret_cast<u64*>(&ram[gpa]); }

    static constexpr u64 kRam = u64{1} << 20;
    ToyGuest guest;
    ToyBus bus;
    std::unique_ptr<u8[], void (*)(void*)> ram;
    std::unique_ptr<Translator> translator;
    std::unique_ptr<VcpuTranslator> vcpu;
};

}  // namespace tandem::jit::toy
