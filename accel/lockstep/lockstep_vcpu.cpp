#include "accel/lockstep/lockstep_vcpu.h"

#include <fmt/format.h>

#include "accel/lockstep/latitude.h"
#include "accel/lockstep/native_leader.h"
#include "accel/lockstep/reproducer.h"
#include "base/log.h"

namespace tandem::accel::lockstep {
namespace {

using cpu::x86::State;

constexpr u64 kStretch = 2'000'000;  // instructions, after which both are compared whatever happens
constexpr u32 kHeldSignals = SignalWord::Nmi | SignalWord::Init | SignalWord::Sipi;

}  // namespace

NoTrace::NoTrace() : before_(log::g_categories.load()) {
    if ((before_ & log::Exits) != 0) log::set_categories(before_ & ~u32{log::Exits});
}

NoTrace::~NoTrace() {
    if ((before_ & log::Exits) != 0) log::set_categories(before_);
}

namespace {

// The leader counts instructions, and the follower runs as many.
class CountedLeader final : public LockstepVcpu {
public:
    CountedLeader(Pair& pair, ExitHandler& machine) : LockstepVcpu(pair, machine) {}
    ~CountedLeader() override {
        if (exact_ != nullptr) exact_->track_writes(nullptr);
    }

private:
    Result<void> open() override;
    Result<Exit> stretch(bool stepping) override;

    ExactVcpu* exact_ = nullptr;
};

Result<void> CountedLeader::open() {
    TANDEM_TRY_ASSIGN(leader_, pair_.leader->create_vcpu(0, recorder_));
    exact_ = dynamic_cast<ExactVcpu*>(leader_.get());
    if (exact_ == nullptr) {
        return Error{Errc::Unsupported, fmt::format("engine '{}' does not count instructions", names().first)};
    }
    exact_->track_writes(&leader_pages_);
    exact_->set_random_source([this] { return recorder_.random(); });
    recorder_.attach(*leader_, *exact_, {pair_.machine, &pair_.leader_memory, &pair_.agreed, &leader_pages_});
    return {};
}

}  // namespace

Result<std::unique_ptr<LockstepVcpu>> LockstepVcpu::create(Pair& pair, ExitHandler& machine) {
    std::unique_ptr<LockstepVcpu> vcpu;
    if (pair.options.leader.native) {
        vcpu = std::make_unique<NativeLeader>(pair, machine);
    } else {
        vcpu = std::make_unique<CountedLeader>(pair, machine);
    }
    TANDEM_TRY(vcpu->open());
    return vcpu;
}

LockstepVcpu::~LockstepVcpu() { end_search(); }

void LockstepVcpu::end_search() {
    if (search_ == nullptr) return;
    search_.reset();
    failed_ = fmt::format("{} and {} differ ({}); the search for the instruction was broken off", names().first,
                          names().second, difference_.found.front());
    log::error("{}", failed_);
}

void LockstepVcpu::request_exit() {
    requested_ = true;
    leader_->request_exit();
}

void LockstepVcpu::wait_for_event() {
    if ((signals_.peek() & kHeldSignals) == 0) leader_->wait_for_event();
}

void LockstepVcpu::raise(u32 bits) {
    signals_.raise(bits);
    leader_->request_exit();
}

void LockstepVcpu::raise_sipi(u8 vector) {
    signals_.raise_sipi(vector);
    leader_->request_exit();
}

Result<void> LockstepVcpu::import_state(const cpu::ArchState& in) {
    end_search();
    take_device_writes();
    TANDEM_TRY(leader_->import_state(in));
    TANDEM_TRY(pair_.follower->vcpu().import_state(in));
    state_known_ = false;
    return {};
}

Result<void> LockstepVcpu::take_signals() {
    if ((signals_.peek() & kHeldSignals) == 0) return {};
    const u32 taken = signals_.take(kHeldSignals);
    for (Vcpu* vcpu : {leader_.get(), &pair_.follower->vcpu()}) {
        if ((taken & SignalWord::Nmi) != 0) vcpu->raise_nmi();
        if ((taken & SignalWord::Init) != 0) vcpu->raise_init();
        if ((taken & SignalWord::Sipi) != 0) vcpu->raise_sipi(static_cast<u8>(taken >> SignalWord::kSipiVectorShift));
    }
    state_known_ = false;
    return {};
}

void LockstepVcpu::take_device_writes() {
    std::vector<u8> bytes;
    for (const auto& [address, size] : recorder_.take_device_writes()) {
        bytes.resize(size);
        if (!pair_.machine->read(address, bytes.data(), size)) continue;
        pair_.leader_memory.write(address, bytes.data(), size);
        pair_.follower->memory().write(address, bytes.data(), size);
        pair_.agreed.write(address, bytes.data(), size);
    }
}

Exit LockstepVcpu::go(bool stepping) {
    for (;;) {
        if (!stepping && requested_.exchange(false)) return RequestedExit{};
        if (!failed_.empty()) return InternalErrorExit{failed_};
        const bool searching = search_ != nullptr;
        auto exit = searching ? await_search() : stretch(stepping);
        if (!exit) {
            failed_ = exit.error().message;
            return InternalErrorExit{failed_};
        }
        if (auto* halt = std::get_if<HaltExit>(&*exit)) halt->requested = requested_.exchange(false);
        if (!std::holds_alternative<RequestedExit>(*exit)) return std::move(*exit);
        // A search that has ended stood between the caller and its step.
        if (stepping && (!searching || requested_.exchange(false))) return std::move(*exit);
    }
}

Result<void> LockstepVcpu::settle() {
    TANDEM_TRY(take_signals());
    take_device_writes();
    if (state_known_) return {};
    TANDEM_TRY_ASSIGN(agreed_state_, state_of(*leader_));
    cpu::ArchState other;  // exporting takes INIT and SIPI
    TANDEM_TRY(pair_.follower->vcpu().export_state(other));
    state_known_ = true;
    return {};
}

void LockstepVcpu::agree(State now, const std::vector<u64>& pages) {
    for (const u64 page : pages) copy_page(pair_.leader_memory, pair_.agreed, page);
    ++pair_.stretches;
    pair_.pages += pages.size();
    agreed_state_ = now;
    leader_pages_.clear();
    pair_.follower->forget();
}

Result<Exit> CountedLeader::stretch(bool stepping) {
    TANDEM_TRY(settle());
    recorder_.begin();
    const u64 base = exact_->instructions();
    exact_->set_instruction_limit(base + kStretch);
    Exit exit = stepping ? leader_->step() : leader_->run();
    const u64 count = exact_->instructions() - base;
    recorder_.publish();
    if (count == 0 && recorder_.journal().empty() && leader_pages_.empty() && !stepping) return exit;

    {
        const NoTrace quiet;
        (void)pair_.follower->follow(recorder_.journal(), count);
        pair_.follower->replayer().finish();
    }
    pair_.instructions += count;
    TANDEM_TRY_ASSIGN(State now, state_of(*leader_));
    std::vector<u64> pages = leader_pages_;
    TANDEM_TRY_ASSIGN(const auto found, compare(now, pages));
    if (!found.empty()) return explain({found, count, {}, {}});
    agree(now, pages);
    exact_->forget_writes();
    return exit;
}

Result<std::vector<std::string>> LockstepVcpu::compare(const State& now, std::vector<u64>& pages) {
    const Names names = this->names();
    std::vector<std::string> lines;
    const Replayer& replayer = pair_.follower->replayer();
    if (!replayer.complaint().empty()) {
        lines.push_back(fmt::format("{}: {}", names.second, replayer.complaint()));
    } else if (!replayer.exhausted()) {
        const Event& e = recorder_.journal()[replayer.position()];
        lines.push_back(fmt::format("{}: {}, which {} does not do", names.first,
                                    e.kind == Event::Kind::Access ? describe(e.exit) : name_of(e.kind), names.second));
    }
    const std::vector<u64> written = pair_.follower->written();
    pages.insert(pages.end(), written.begin(), written.end());
    tidy(pages);
    if (pair_.options.leader.native) level_tables(now, pair_.leader_memory, pair_.follower->memory(), pages);
    TANDEM_TRY_ASSIGN(const State other, pair_.follower->state());
    const auto found =
        differences(now, other, pair_.leader_memory, pair_.follower->memory(), pages, names, pair_.options.leader.native);
    lines.insert(lines.end(), found.begin(), found.end());
    if (pair_.options.leader.native) compare_cr8(recorder_.cr8(), replayer.cr8(), names, lines);
    return lines;
}

Result<Exit> LockstepVcpu::explain(Difference difference) {
    const LockstepOptions& o = pair_.options;
    Stretch whole;
    whole.state = agreed_state_;
    whole.journal = recorder_.journal();
    whole.count = difference.count;
    whole.tsc_hz = recorder_.tsc_hz();
    whole.cr8 = recorder_.agreed_cr8();
    whole.end = difference.end;
    difference_ = std::move(difference);
    search_ = std::make_unique<Search>(o.leader, o.follower, pair_.agreed, whole);
    return await_search();
}

bool LockstepVcpu::search_ended(const std::function<bool()>& stop) {
    constexpr std::chrono::milliseconds kLook(20), kQuiet(300);
    while (!search_->wait(kLook)) {
        if (stop()) return false;
        if (difference_.told || std::chrono::steady_clock::now() - difference_.since < kQuiet) continue;
        difference_.told = true;
        log::write(fmt::format("{} and {} differ ({}); looking for the first instruction that does\n", names().first,
                               names().second, difference_.found.front()));
    }
    return true;
}

// A guest that ends itself in the stretch that differs, as by powering off, does not leave it at that.
Result<void> LockstepVcpu::conclude(const std::function<bool()>& stop) {
    if (search_ != nullptr) {
        if (!search_ended(stop)) return {};
        const std::unique_ptr<Search> search = std::move(search_);
        Result<Finding> finding = search->take();
        if (finding && finding->open && difference_.if_open) return {};
        (void)report_finding(std::move(finding), search->memory());
    }
    if (failed_.empty()) return {};
    return Error{Errc::Internal, failed_};
}

Result<Exit> LockstepVcpu::await_search() {
    if (!search_ended([this] { return requested_.load(); })) return Exit(RequestedExit{});
    const std::unique_ptr<Search> search = std::move(search_);
    Result<Finding> finding = search->take();
    if (finding && finding->open && difference_.if_open) return std::exchange(difference_, {}).if_open();
    return report_finding(std::move(finding), search->memory());
}

Exit LockstepVcpu::report_finding(Result<Finding> finding, const devices::GuestMemory& memory) {
    const LockstepOptions& o = pair_.options;
    const Names names = this->names();
    const std::vector<std::string> found = std::exchange(difference_, {}).found;
    if (!finding) {
        failed_ = fmt::format("{} and {} differ ({}), and looking for the place failed: {}", names.first, names.second,
                              found.front(), finding.error().message);
        return InternalErrorExit{failed_};
    }
    if (!finding->reproduced) finding->differences = found;
    const std::string text = report(*finding, names);
    log::write(text);
    const Case c{o.cpu, names, finding->stretch};
    const auto saved = save_case(o.directory, c, memory, text);
    failed_ = fmt::format("{} and {} differ{}; {}", names.first, names.second,
                          finding->reproduced ? fmt::format(" at {:#x}", finding->trail.back()) : "",
                          saved ? fmt::format("'tandem replay {}' shows it again", o.directory) : saved.error().message);
    return InternalErrorExit{failed_};
}

}  // namespace tandem::accel::lockstep
