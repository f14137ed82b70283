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

// A page that catches exceptions: interrupt descriptors, one HLT for each vector, segment descriptors, task state, and from
// the end downwards a stack. One for long mode, one for the rest; of the third, in the first megabyte, real mode has the
// HLTs.
constexpr u64 kVectors = 32, kPage = 0x1000;
constexpr u64 kHandlers = 0x200, kGdt = 0x300, kTask = 0x400;
constexpr u64 kRealPage = kTablesSize - kPage;
constexpr u16 kTaskLimit = 0x67;
constexpr u16 kCodeSelector = 8, kStackSelector = 0x10, kTaskSelector = 0x18;
constexpr u8 kInterruptGate = 0x8e, kUserGate = 0xee;

u64 catcher_of(const World& world) {
    if (world.real_mode) return kRealPage;
    return kHandlerPages + (world.paging == Paging::FourLevel ? 0 : kPage);
}

// Experiments may use INT3, INTO and INT1 in user mode, as under every system.
u8 gate_type(u64 vector) { return vector == 1 || vector == 3 || vector == 4 ? kUserGate : kInterruptGate; }

void put(u8* to, u64 value, unsigned size) { std::memcpy(to, &value, size); }

// SDM volume 3, figures 6-2 and 6-8 (gates), 8-2 and 8-11 (task state).
void write_catcher(u8* page, u64 at, bool wide) {
    constexpr u64 kFirstOfIst = 1;
    for (u64 vector = 0; vector < kVectors; ++vector) {
        const u64 handler = at + kHandlers + vector;
        page[kHandlers + vector] = kStop;
        const u64 gate = (handler & 0xffff) | u64{kCodeSelector} << 16 | (wide ? kFirstOfIst : 0) << 32 |
                         u64{gate_type(vector)} << 40 | (handler >> 16 & 0xffff) << 48;
        put(page + vector * (wide ? 16 : 8), gate, 8);
        if (wide) put(page + vector * 16 + 8, handler >> 32, 8);
    }
    put(page + kGdt + kCodeSelector, wide ? 0x00af9b000000ffff : 0x00cf9b000000ffff, 8);
    put(page + kGdt + kStackSelector, 0x00cf93000000ffff, 8);
    constexpr u64 kRing0Stack = 4, kRing0Selector = 8, kIst1 = 0x24, kIoMapBase = 0x66;
    put(page + kTask + kIoMapBase, kTaskLimit + 1, 2);  // user mode may use no port
    put(page + kTask + kRing0Stack, at + kPage, wide ? 8 : 4);
    if (wide) put(page + kTask + kIst1, at + kPage, 8);
    if (!wide) put(page + kTask + kRing0Selector, kStackSelector, 4);
}

// The interrupt vectors of real mode (SDM volume 3, 21.1.4) and their handlers.
void write_real_vectors(u8* low) {
    for (u64 vector = 0; vector < kVectors; ++vector) {
        put(low + vector * 4, vector | kRealPage >> 4 << 16, 4);
        low[kRealPage + vector] = kStop;
    }
}

void point_at(const World& world, State& s) {
    const u64 at = catcher_of(world);
    constexpr u16 kBusyTask = 0x8b;
    if (world.real_mode) {
        s.idtr = {0, kVectors * 4 - 1};
        return;
    }
    s.gdtr = {at + kGdt, kTaskSelector - 1};
    s.idtr = {at, static_cast<u16>(kVectors * (world.paging == Paging::FourLevel ? 16 : 8) - 1)};
    s.tr = {at + kTask, kTaskLimit, kTaskSelector, kBusyTask};
}

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
    [[nodiscard]] unsigned size() const { return word * ((new_stack ? 5u : 3u) + (error ? 1u : 0u)); }
};

Frame frame_of(const World& world, u64 vector) {
    if (world.real_mode) return {2, false, false};
    if (world.paging == Paging::FourLevel) return {8, has_error_code(vector), true};
    return {4, has_error_code(vector), world.cpl == 3};
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
    devices::GuestMemory memory;
    std::unique_ptr<Accelerator> accelerator;
    std::unique_ptr<Vcpu> vcpu;
    u8 *tables = nullptr, *code = nullptr, *data = nullptr, *catchers = nullptr;
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
    TANDEM_TRY(memory.add("tables", 0, kTablesSize));
    TANDEM_TRY(memory.add("code", kCodePage, kPage));
    TANDEM_TRY(memory.add("catchers", kHandlerPages, kHandlerPagesSize));
    TANDEM_TRY(memory.add("data", kData, kDataSize + kReadOnlySize));
    const auto& ranges = memory.ranges();
    tables = ranges[0].host;
    code = ranges[1].host;
    catchers = ranges[2].host;
    data = ranges[3].host;
    write_page_tables(tables, true);
    write_real_vectors(tables);
    fresh_tables.assign(tables, tables + kTablesSize);
    write_catcher(catchers, kHandlerPages, true);
    write_catcher(catchers + kPage, kHandlerPages + kPage, false);
    TANDEM_TRY(accelerator->map_memory(memory));
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
    constexpr u8 kXorps[] = {0x0f, 0x57, 0xc0};
    test.length = sizeof kXorps;
    std::memcpy(test.code.data(), kXorps, sizeof kXorps);
    test.in.gpr[RSP] = kData - world_of(test).data_base() + 0x1000;
    const std::vector<u8> before(kDataSize + kReadOnlySize);
    std::memcpy(data, before.data(), before.size());
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
    std::memset(code, kStop, kPage);
    std::memcpy(code + (code_address(test) - kCodePage), test.code.data(), test.length);
    State s;
    enter_world(world, s);
    point_at(world, s);
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
        const u64 handlers = catcher_of(world) + (world.real_mode ? 0 : kHandlers);
        const u64 vector = after.seg[CS].base + after.rip - 1 - handlers;
        if (vector < kVectors) {
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
    outcome.memory = memory_change(before.data(), data, before.size());
    if (outcome.memory.hash != 0) std::memcpy(data, before.data(), before.size());
    if (world.paging == Paging::None) std::memcpy(tables, fresh_tables.data(), fresh_tables.size());
    return {};
}

// Null: the frame is nowhere that the experiment's memory is.
u8* KvmCpu::Impl::frame_at(const World& world, const State& s, const Frame& frame) {
    if (frame.new_stack) return catchers + (catcher_of(world) - kHandlerPages) + kPage - frame.size();
    const bool wide = (s.seg[SS].access & access::DB) != 0;
    const u64 linear = s.seg[SS].base + (s.gpr[RSP] & mask(wide ? 32 : 16));
    if (linear < kData || linear + frame.size() > kData + kDataSize + kReadOnlySize) return nullptr;
    return data + (linear - kData);
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
    std::memcpy(at, &before[static_cast<size_t>(at - data)], frame.size());
    const auto list = instructions(test);
    outcome.memory_open = list.size() > 1 || (!list.empty() && (list[0].flags & kRowString) != 0);
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
    std::memcpy(impl_->data, memory.data(), memory.size());
    for (size_t i = 0; i < cases.size(); ++i) TANDEM_TRY(impl_->run_one(cases[i], memory, outcomes[i]));
    return {};
}

}  // namespace tandem::accel::diff
