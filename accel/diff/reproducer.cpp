#include "accel/diff/reproducer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "accel/diff/catcher.h"
#include "accel/diff/compare.h"
#include "accel/diff/image.h"
#include "accel/diff/translator_cpu.h"
#include "accel/exact.h"
#include "accel/jit/x86_jit.h"
#include "accel/lockstep/image.h"
#include "accel/lockstep/reproducer.h"
#include "cpu/x86/model.h"

namespace tandem::accel::diff {

using namespace cpu::x86;

namespace {

constexpr u32 kBlock = 64;  // instructions: all of a stream

// Whether the stream may look into descriptor tables, or show them: then it keeps the GDT that its state has.
bool uses_tables(const TestCase& test) {
    using O = Opcode;
    constexpr O kUsers[] = {O::LAR,  O::LSL,  O::VERR,     O::VERW,    O::LTR,     O::LLDT,     O::STR,    O::SLDT,
                            O::SGDT, O::LGDT, O::CALL_FAR, O::JMP_FAR, O::RET_FAR, O::IRET,     O::LDS,    O::LES,
                            O::LFS,  O::LGS,  O::LSS,      O::SYSCALL, O::SYSRET,  O::SYSENTER, O::SYSEXIT};
    const auto list = instructions(test);
    return std::any_of(list.begin(), list.end(), [&](const Instruction& insn) {
        const bool segment = std::any_of(std::begin(insn.op), std::end(insn.op),
                                         [](const Operand& op) { return op.kind == OperandKind::Seg; });
        return segment || std::find(std::begin(kUsers), std::end(kUsers), insn.opcode) != std::end(kUsers);
    });
}

// A machine without devices, as in a campaign; what it answers is the journal.
class NoDevices final : public ExitHandler, public devices::CpuInterruptController {
public:
    explicit NoDevices(lockstep::Journal& journal) : journal_(journal) {}
    void handle(Vcpu&, Exit& exit) override {
        if (auto* mmio = std::get_if<MmioExit>(&exit)) mmio->data = mmio->write ? mmio->data : ~u64{0};
        if (auto* port = std::get_if<PortExit>(&exit)) port->data = port->write ? port->data : ~0u;
        if (auto* msr = std::get_if<MsrExit>(&exit)) msr->fault = true;
        note(lockstep::Event::Kind::Access, 0, exit);
    }
    devices::CpuInterruptController& interrupt_controller(unsigned) override { return *this; }
    u64 tsc(unsigned) override { return note(lockstep::Event::Kind::Tsc, 0); }
    u64 random() { return note(lockstep::Event::Kind::Random, 0); }
    [[nodiscard]] bool interrupt_pending() const override { return false; }
    int acknowledge() override { return -1; }
    [[nodiscard]] u8 cr8() const override { return static_cast<u8>(note(lockstep::Event::Kind::ReadCr8, 0)); }
    void set_cr8(u8 value) override { note(lockstep::Event::Kind::WriteCr8, value); }

private:
    u64 note(lockstep::Event::Kind kind, u64 value, const Exit& exit = {}) const {
        lockstep::Event event;
        event.kind = kind;
        event.value = value;
        event.exit = exit;
        journal_.push_back(std::move(event));
        return value;
    }
    lockstep::Journal& journal_;
};

// What the interpreter does from the stretch's state until the processor halts: count and journal.
Result<void> record(const CpuModel& model, devices::GuestMemory& memory, lockstep::Stretch& stretch) {
    jit::Options options;
    options.tier = jit::Tier::Interp;
    options.count_instructions = true;
    NoDevices machine(stretch.journal);
    TANDEM_TRY_ASSIGN(const auto accelerator, create_jit_accelerator(model, options));
    TANDEM_TRY(accelerator->map_memory(memory));
    TANDEM_TRY_ASSIGN(const auto vcpu, accelerator->create_vcpu(0, machine));
    auto* const exact = dynamic_cast<ExactVcpu*>(vcpu.get());
    if (exact == nullptr) return Error{Errc::Internal, "the interpreter does not count instructions"};
    exact->set_random_source([&machine] { return machine.random(); });
    TANDEM_TRY(vcpu->import_state(stretch.state));
    const u64 before = exact->instructions();
    exact->set_instruction_limit(before + TranslatorCpu::kMaxInstructions);
    (void)vcpu->run();
    stretch.count = exact->instructions() - before;
    return {};
}

}  // namespace

Result<void> save_reproducer(const std::string& directory, const Experiment& experiment, const lockstep::Names& engines,
                             const std::string& report) {
    const TestCase& test = experiment.test;
    const World& world = world_of(test);
    const Descriptors descriptors = uses_tables(test) ? Descriptors::Local : Descriptors::Global;
    ExperimentMemory memory;
    TANDEM_TRY(memory.create(descriptors));
    memory.place_code(test);
    std::memcpy(memory.data, experiment.memory.data(), experiment.memory.size());
    lockstep::Case c;
    c.cpu = "max";
    c.engines = engines;
    State& state = c.stretch.state;
    enter_world(world, state);
    load_image(test.in, state);
    point_at(world, descriptors, state);
    c.stretch.max_block = kBlock;
    TANDEM_TRY_ASSIGN(const CpuModel model, CpuModel::create(c.cpu));
    devices::GuestMemory scratch;
    TANDEM_TRY(lockstep::clone(memory.guest, scratch));
    TANDEM_TRY(record(model, scratch, c.stretch));
    return lockstep::save_case(directory, c, memory.guest, report);
}

}  // namespace tandem::accel::diff
