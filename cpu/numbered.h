// Registers by number, whatever engine runs the processor (contracts R1 and R2): one row for each register of an
// architecture, with an id, a size and a class. Values are little-endian bytes, as many as the register's size says.
//
// An id has 64 bits, in the spirit of those of KVM_GET_ONE_REG (Linux Documentation/virt/kvm/api.rst, 4.68), whose two upper
// fields it shares:
//   63:56  architecture: 0x20 x86, 0x60 AArch64
//   55:52  log2 of the size in bytes
//   51:40  zero
//   39:32  class (RegisterClass)
//   31:0   number within the class; each architecture's header (cpu/*/system/numbered.h) says how it counts
// Numbers do not depend on the processor's model, nor on its state: an id means the same for ever.
//
// Errors, by their code: NotFound, no processor of the architecture has a register with that id; InvalidArgument, the size
// of the id or of the value is not the register's, or the register cannot hold the value; Unsupported, this model's features
// lack the register; Invariant, another value for what cannot change. Each names the register.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cpu/arch_model.h"
#include "cpu/arch_state.h"

namespace tandem::cpu {

enum class RegisterClass : u8 {
    General = 1,  // what programs compute with: general registers, program counter, flags
    Control = 2,  // x86: control and descriptor-table registers, XCR0, PKRU
    Segment = 3,  // x86: segment registers, LDTR and TR in their parts
    Vector = 4,   // floating point and vectors, with their control and status
    Debug = 5,    // x86: DR0 to DR7
    System = 6,   // x86: model-specific registers; AArch64: whatever MRS and MSR name
};
std::string_view to_string(RegisterClass kind);

enum class RegisterArchitecture : u8 { X86 = 0x20, Arm64 = 0x60 };

// `size` is a power of two.
constexpr u64 register_id(RegisterArchitecture architecture, RegisterClass kind, unsigned size, u32 number) {
    u64 log2 = 0;
    while (1u << log2 < size) ++log2;
    return static_cast<u64>(architecture) << 56 | log2 << 52 | static_cast<u64>(kind) << 32 | number;
}
constexpr unsigned size_in(u64 id) { return 1u << (id >> 52 & 15); }

constexpr unsigned kLargestRegister = 64;

struct RegisterRow {
    u64 id = 0;
    std::string_view name;  // the manual's; unique within the architecture but for upper and lower case
    unsigned size = 8;      // bytes
    RegisterClass kind = RegisterClass::General;
    bool invariant = false;  // says what the processor is: can be written with its own value only
    bool counts = false;     // moves by itself: what is read is not what was written
};

// What a processor's registers show of the machine around it. The caller of read() and write() below; no locks held.
class RegisterSurroundings {
public:
    virtual ~RegisterSurroundings() = default;
    // The count that the processor's counters are derived from, and how many of them make a second.
    [[nodiscard]] virtual u64 count() = 0;
    [[nodiscard]] virtual u64 count_hz() = 0;
    // x86: MSRs that devices have (APIC, paravirtual clock). False: refused.
    virtual bool msr_read(u32 index, u64& value) = 0;
    virtual bool msr_write(u32 index, u64 value) = 0;
    // x86: the task priority (contract I7), 4 bits.
    [[nodiscard]] virtual u8 cr8() = 0;
    virtual void set_cr8(u8 value) = 0;
    // The processor's place among the machine's.
    [[nodiscard]] virtual unsigned index() const = 0;
};

// Every row of the model's architecture, also those that the model's features lack, in ascending order of class and number.
std::span<const RegisterRow> all_registers(const ArchModel& model);
// Those that the model has.
std::vector<RegisterRow> registers_of(const ArchModel& model);
// By name, upper and lower case alike. NotFound; Unsupported where the model lacks it.
Result<RegisterRow> find_register(const ArchModel& model, std::string_view name);
// By id. `size`: of the value that goes with it.
Result<RegisterRow> find_register(const ArchModel& model, u64 id, std::size_t size);

// `state` is one of the model's architecture.
Result<void> read_register(const ArchModel& model, const ArchState& state, RegisterSurroundings& around, u64 id,
                           std::span<u8> value);
// What is no part of `state` is written to `around` at once, everything else to `state`. After an error both are unchanged.
// No register's write depends on another register's value: it stores, and what an instruction that writes the register does
// besides does not happen.
Result<void> write_register(const ArchModel& model, ArchState& state, RegisterSurroundings& around, u64 id,
                            std::span<const u8> value);

// A value as hexadecimal digits, most significant first, for messages.
std::string register_value_text(std::span<const u8> value);

}  // namespace tandem::cpu
