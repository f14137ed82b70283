#include "accel/diff/kvm_cpu.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <optional>
#include <thread>

#include "accel/diff/catcher.h"
#include "accel/diff/compare.h"
#include "accel/diff/image.h"
#include "accel/kvm/kvm_accelerator.h"
#include "accel/run_loop.h"
#include "base/bits.h"
#include "cpu/x86/model.h"
#include "cpu/x86/system/registers.h"

namespace tandem::accel::diff {

using namespace cpu::x86;

namespace {

bool has_error_code(u64 vector) { return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21; }

// Without virtualization hardware a guest does not see its own selectors, and an access across the end of the canonical
// addresses is interpreted by its first byte.
constexpr u64 kLastUserPage = 0x7fff'ffff'f;
bool reads_selector(const TestCase& test) {
    const auto list = instructions(test);
    return std::any_of(list.begin(), list.end(), [](const Instruction& insn) {
        return std::any_of(std::begin(insn.op), std::end(insn.op),
                           [](const Operand& op) { return op.kind == OperandKind::Seg; });
    });
}

// What an exception pushes: error code, RIP, CS, RFLAGS, and with a new stack RSP and SS (SDM volume 3, figures 6-4 and
// 6-9).
struct Frame {
    unsigned word = 4;
    bool error = false, new_stack = true;
    unsigned segments = 0;  // ES, DS, FS and GS of virtual-8086 mode (SDM volume 3, figure 21-4)
    [[nodiscard]] unsigned size() const { return word * ((new_stack ? 5u : 3u) + segments + (error ? 1u : 0u)); }
};

Frame frame_of(const World& world, u64 vector) {
    if (world.real_mode) return {2, false, false};
    if (world.paging == Paging::FourLevel) return {8, has_error_code(vector), true};
    return {4, has_error_code(vector), world.cpl == 3, world.v86 ? 4u : 0u};
}

// Whether it may have stored something when it faults, where the frame of its exception comes to lie.
bool stores_before_fault(const Instruction& insn) {
    return (insn.flags & kRowString) != 0 || insn.opcode == Opcode::ENTER || insn.opcode == Opcode::PUSHA;
}

}  // namespace

struct KvmCpu::Impl final : ExitHandler, devices::CpuInterruptController {
    ~Impl() override;
    Result<void> create();
    Result<void> run_one(const TestCase& test, std::span<const u8> before, Outcome& outcome);
    Result<Exit> run_until_end();
    void caught(const TestCase& test, std::span<const u8> before, const State& s, u64 vector, Outcome& outcome);
    u8* frame_at(const World& world, const State& s, const Frame& frame);
    void watch();
    std::string try_world(unsigned index);
    void narrow(State& s) const;

    // A machine without devices, as TranslatorCpu's.
    void handle(Vcpu&, Exit& exit) override {
        if (auto* mmio = std::get_if<MmioExit>(&exit)) mmio->data = ~u64{0};
        if (auto* port = std::get_if<PortExit>(&exit)) port->data = ~0u;
    }
    devices::CpuInterruptController& interrupt_controller(unsigned) override { return *this; }
    u64 tsc(unsigned) override { return 0; }
    [[nodiscard]] bool interrupt_pending() const override { return false; }
    int acknowledge() override { return -1; }
    [[nodiscard]] u8 cr8() const override { return 0; }
    void set_cr8(u8) override {}

    std::optional<CpuModel> model;
    ExperimentMemory memory;
    std::unique_ptr<Accelerator> accelerator;
    std::unique_ptr<Vcpu> vcpu;
    std::vector<u8> fresh_tables;
    std::vector<std::optional<std::string>> refusals;  // by world; where it has been tried
    bool interprets = false;                           // some code, for lack of hardware

    // Ends experiments that do not end.
    std::atomic<u64> experiments{0};  // odd: one is running
    std::mutex lock;                  // guards `ending`
    std::condition_variable changed;
    bool ending = false;
    std::thread watchdog;
};

KvmCpu::Impl::~Impl() {
    {
        const std::lock_guard guard(lock);
        ending = true;
    }
    changed.notify_all();
    if (watchdog.joinable()) watchdog.join();
}

Result<void> KvmCpu::Impl::create() {
    TANDEM_TRY_ASSIGN(const CpuModel full, CpuModel::create("max"));
    TANDEM_TRY_ASSIGN(model, narrow_to_kvm(full));
    TANDEM_TRY_ASSIGN(accelerator, create_kvm_accelerator(*model));
    TANDEM_TRY(memory.create(Descriptors::Global));
    fresh_tables.assign(memory.tables, memory.tables + kTablesSize);
    TANDEM_TRY(accelerator->map_memory(memory.guest));
    TANDEM_TRY_ASSIGN(vcpu, accelerator->create_vcpu(0, *this));
    watchdog = std::thread([this] { watch(); });
    refusals.resize(worlds().size());
    TANDEM_TRY_ASSIGN(const unsigned supervisor, world_by_name("kernel64"));
    refusals[supervisor] = try_world(supervisor);
    return {};
}

// What experiments do without, because rows of the feature are left out, guests that do not have it cannot switch on.
void KvmCpu::Impl::narrow(State& s) const {
    if (!model->has(Feature::UMIP)) s.cr4 &= ~cr4::UMIP;
    if (!model->has(Feature::FSGSBASE)) s.cr4 &= ~cr4::FSGSBASE;
    if (!model->has(Feature::XSAVE)) s.cr4 &= ~cr4::OSXSAVE;
    if (!model->has(Feature::AVX)) s.xcr0 = model->has(Feature::XSAVE) ? 3 : 1;
}

// An SSE instruction, which KVM's own emulator does not know, and HLT have to end as they must: what KVM interprets, for
// lack of virtualization hardware, says nothing about processors.
std::string KvmCpu::Impl::try_world(unsigned index) {
    TestCase test;
    test.world = static_cast<u8>(index);
    test.in.rip = world_of(test).start();
    test.in.rflags |= world_of(test).mode_flags();
    constexpr u8 kXorps[] = {0x0f, 0x57, 0xc0};
    test.length = sizeof kXorps;
    std::memcpy(test.code.data(), kXorps, sizeof kXorps);
    test.in.gpr[RSP] = kData - world_of(test).data_base() + 0x1000;
    const std::vector<u8> before(kDataSize + kReadOnlySize);
    std::memcpy(memory.data, before.data(), before.size());
    Outcome outcome;
    const auto ran = run_one(test, before, outcome);
    if (!ran) return ran.error().message;
    const u32 expected = world_of(test).cpl == 0 ? Outcome::kHalted : 13;
    const bool good = outcome.skip == Skip::None && outcome.vector == expected;
    interprets = interprets || !good;
    return good ? "" : "this KVM interprets such code";
}

void KvmCpu::Impl::watch() {
    constexpr auto kHang = std::chrono::milliseconds(200);
    u64 seen = 0;
    for (std::unique_lock guard(lock); !changed.wait_for(guard, kHang, [this] { return ending; });) {
        const u64 now = experiments.load();
        if (now == seen && now % 2 != 0) vcpu->request_exit();
        seen = now;
    }
}

Result<Exit> KvmCpu::Impl::run_until_end() {
    ++experiments;
    Exit exit = vcpu->run();
    while (is_access(exit)) {
        dispatch(*vcpu, *this, exit);
        exit = vcpu->run();
    }
    ++experiments;
    return exit;
}

Result<void> KvmCpu::Impl::run_one(const TestCase& test, std::span<const u8> before, Outcome& outcome) {
    const World& world = world_of(test);
    memory.place_code(test);
    State s;
    enter_world(world, s);
    point_at(world, Descriptors::Global, s);
    narrow(s);
    load_image(test.in, s);
    TANDEM_TRY(vcpu->import_state(s));
    outcome = {};
    outcome.vector = Outcome::kHang;
    TANDEM_TRY_ASSIGN(const Exit exit, run_until_end());
    if (std::holds_alternative<HaltExit>(exit)) {
        cpu::ArchState state;
        TANDEM_TRY(vcpu->export_state(state));
        const State& after = std::get<State>(state);
        store_image(after, outcome.out);
        if (!model->has(Feature::AVX)) outcome.out.ymm_high = test.in.ymm_high;
        const u64 handlers = handlers_of(world);
        const u64 vector = after.seg[CS].base + after.rip - 1 - handlers;
        if (vector < kCaughtVectors) {
            caught(test, before, after, vector, outcome);
        } else {
            outcome.vector = Outcome::kHalted;
        }
        if (!world.is64()) truncate(outcome.out);
    } else if (std::holds_alternative<ShutdownExit>(exit)) {
        outcome.skip = Skip::Undeliverable;
    } else if (std::holds_alternative<RequestedExit>(exit)) {
        outcome.skip = Skip::NoEnd;
    } else {
        outcome.skip = Skip::NotEmulated;
    }
    if (interprets && reads_selector(test)) outcome.skip = Skip::NotEmulated;
    outcome.memory = memory_change(before.data(), memory.data, before.size());
    if (outcome.memory.hash != 0) std::memcpy(memory.data, before.data(), before.size());
    if (world.paging == Paging::None) std::memcpy(memory.tables, fresh_tables.data(), fresh_tables.size());
    return {};
}

// Null: the frame is nowhere that the experiment's memory is.
u8* KvmCpu::Impl::frame_at(const World& world, const State& s, const Frame& frame) {
    if (frame.new_stack) return memory.catchers + (catcher_of(world) - kHandlerPages) + kHandlerPagesSize / 2 - frame.size();
    const bool wide = (s.seg[SS].access & access::DB) != 0;
    const u64 linear = s.seg[SS].base + (s.gpr[RSP] & mask(wide ? 32 : 16));
    if (linear < kData || linear + frame.size() > kData + kDataSize + kReadOnlySize) return nullptr;
    return memory.data + (linear - kData);
}

void KvmCpu::Impl::caught(const TestCase& test, std::span<const u8> before, const State& s, u64 vector, Outcome& outcome) {
    const World& world = world_of(test);
    const Frame frame = frame_of(world, vector);
    u8* const at = frame_at(world, s, frame);
    if (at == nullptr) {
        outcome.skip = Skip::Undeliverable;
        return;
    }
    const auto word = [&](unsigned index) {
        u64 value = 0;
        std::memcpy(&value, at + (index + (frame.error ? 1 : 0)) * frame.word, frame.word);
        return value;
    };
    outcome.vector = static_cast<u32>(vector);
    if (frame.error) std::memcpy(&outcome.error, at, sizeof outcome.error);
    outcome.cr2 = vector == 14 ? s.cr2 : 0;
    outcome.doubtful = interprets && (vector == 6 || (vector == 14 && s.cr2 >> 12 == kLastUserPage));
    outcome.out.rip = word(0);
    constexpr u64 kResume = 0x10000;
    const u64 upper = frame.word == 2 ? s.rflags & ~mask(16) : 0;
    outcome.out.rflags = (word(2) | upper) & ~kResume;
    if (frame.new_stack) {
        outcome.out.gpr[RSP] = word(3);
        return;
    }
    const u64 moving = mask((s.seg[SS].access & access::DB) != 0 ? 32 : 16);
    outcome.out.gpr[RSP] = (s.gpr[RSP] & ~moving) | ((s.gpr[RSP] + frame.size()) & moving);
    std::memcpy(at, &before[static_cast<size_t>(at - memory.data)], frame.size());
    const auto list = instructions(test);
    outcome.memory_open = list.size() > 1 || (!list.empty() && stores_before_fault(list[0]));
}

KvmCpu::KvmCpu(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
KvmCpu::~KvmCpu() = default;

Result<std::unique_ptr<KvmCpu>> KvmCpu::create() {
    auto impl = std::make_unique<Impl>();
    TANDEM_TRY(impl->create());
    return std::unique_ptr<KvmCpu>(new KvmCpu(std::move(impl)));
}

std::string KvmCpu::refusal(const World& world) const {
    const auto index = static_cast<unsigned>(&world - worlds().data());
    std::optional<std::string>& known = impl_->refusals[index];
    if (!known) known = impl_->try_world(index);
    return *known;
}

bool KvmCpu::offers(Feature feature) const { return feature == kNoFeature || impl_->model->has(feature); }

Result<void> KvmCpu::run(std::span<const TestCase> cases, std::span<const u8> memory, std::span<Outcome> outcomes) {
    std::memcpy(impl_->memory.data, memory.data(), memory.size());
    for (size_t i = 0; i < cases.size(); ++i) TANDEM_TRY(impl_->run_one(cases[i], memory, outcomes[i]));
    return {};
}

}  // namespace tandem::accel::diff
