#include "accel/lockstep/recorder.h"

#include <sys/random.h>

#include <algorithm>
#include <cstring>

namespace tandem::accel::lockstep {
namespace {

// Copies the bytes in which `now` is not `before`, also to `before`. All 4 KiB.
void merge_page(u8* before, const u8* now, u8* to) {
    for (u64 at = 0; at < kPage; at += 8) {
        if (std::memcmp(before + at, now + at, 8) == 0) continue;
        for (u64 i = at; i < at + 8; ++i) {
            if (before[i] != now[i]) to[i] = before[i] = now[i];
        }
    }
}

}  // namespace

void Recorder::attach(Vcpu& leader, ExactVcpu& exact, const Memories& memories) {
    leader_ = &leader;
    exact_ = &exact;
    memories_ = memories;
}

void Recorder::attach(Vcpu& leader, Gate& gate, const Memories& memories) {
    leader_ = &leader;
    gate_ = &gate;
    memories_ = memories;
}

void Recorder::begin() {
    journal_.clear();
    published_.clear();
    if (exact_ != nullptr) base_ = exact_->instructions();
}

void Recorder::allow_interrupt(std::optional<int> again) {
    may_take_ = true;
    hidden_ = false;
    again_ = again;
    agreed_cr8_ = cr8_ = controller().cr8();
}

void Recorder::retake_interrupt(int vector) {
    allow_interrupt(vector);
    note(Event::Kind::Interrupt, static_cast<u64>(vector));
}

Recorder::Page& Recorder::published(u64 page) {
    const auto [it, fresh] = published_.try_emplace(page);
    if (fresh) std::memcpy(it->second.data(), page_of(*memories_.agreed, page), kPage);
    return it->second;
}

void Recorder::publish() {
    take_in();
    if (gate_ != nullptr) {
        gate_->collect_written(*memories_.written);
        if (controller().cr8() != cr8_) controller().set_cr8(cr8_);
    }
    tidy(*memories_.written);
    for (const u64 page : *memories_.written) {
        const u8* const now = page_of(*memories_.leader, page);
        u8* const to = page_of(*memories_.machine, page);
        if (now == nullptr || to == nullptr) continue;
        Page& before = published(page);
        if (std::memcmp(before.data(), now, kPage) != 0) merge_page(before.data(), now, to);
    }
}

void Recorder::device_wrote(u64 address, u64 size) {
    {
        std::lock_guard guard(lock_);
        device_writes_.emplace_back(address, size);
    }
    // The leader is not to wait long for what it may be polling for.
    if (leader_ != nullptr) leader_->request_exit();
}

std::vector<std::pair<u64, u64>> Recorder::take_device_writes() {
    std::lock_guard guard(lock_);
    return std::exchange(device_writes_, {});
}

void Recorder::take_in() {
    for (const auto& [address, size] : take_device_writes()) {
        Event e;
        e.kind = Event::Kind::Memory;
        e.at = position();
        e.address = address;
        e.bytes.resize(size);
        if (!memories_.machine->read(address, e.bytes.data(), size)) continue;
        memories_.leader->write(address, e.bytes.data(), size);
        for (u64 at = address; at < address + size;) {
            const u64 part = std::min(address + size - at, kPage - at % kPage);
            std::memcpy(published(at - at % kPage).data() + at % kPage, &e.bytes[at - address], part);
            memories_.written->push_back(at - at % kPage);
            at += part;
        }
        journal_.push_back(std::move(e));
    }
}

void Recorder::note(Event::Kind kind, u64 value) const {
    Event e;
    e.kind = kind;
    e.at = position();
    e.value = value;
    journal_.push_back(std::move(e));
}

namespace {

// Read from the machine by KVM's guest, from the processor itself by the translator's.
bool own_register(const Exit& exit) {
    constexpr u32 kApicBase = 0x1b;
    const auto* msr = std::get_if<MsrExit>(&exit);
    return msr != nullptr && msr->index == kApicBase && !msr->write;
}

}  // namespace

// The stretch ends after the access.
void Recorder::handle(Vcpu&, Exit& exit) {
    if (gate_ != nullptr && !gate_->before_access(exit)) return leader_->request_exit();
    if (gate_ != nullptr && own_register(exit)) {
        machine_.handle(outer_, exit);
        return leader_->request_exit();
    }
    publish();
    const std::size_t at = journal_.size();
    journal_.push_back({Event::Kind::Access, 0, 0, exit, 0, {}});
    machine_.handle(outer_, exit);
    journal_[at].exit = exit;
    if (gate_ != nullptr && controller().cr8() != cr8_) {
        cr8_ = controller().cr8();
        journal_[at].value = Event::kCr8Changed | cr8_;
    }
    take_in();
    leader_->request_exit();
}

u64 Recorder::tsc(unsigned index) {
    const u64 value = machine_.tsc(index);
    if (gate_ != nullptr) return value;
    note(Event::Kind::Tsc, value);
    return value;
}

u64 Recorder::random() {
    u64 value = 0;
    // A request of this size is never cut short once the host's pool is initialised.
    if (getrandom(&value, sizeof value, 0) != static_cast<ssize_t>(sizeof value)) value = 0;
    note(Event::Kind::Random, value);
    return value;
}

bool Recorder::interrupt_pending() const {
    if (again_.has_value()) return true;
    return !hidden_ && controller().interrupt_pending();
}

int Recorder::acknowledge() {
    if (gate_ != nullptr) {
        if (again_.has_value()) return *std::exchange(again_, {});
        if (!std::exchange(may_take_, false) || !gate_->stands()) {
            leader_->request_exit();  // the follower first comes to this place
            return -1;
        }
    }
    publish();
    const int vector = controller().acknowledge();
    if (gate_ == nullptr || vector >= 0) note(Event::Kind::Interrupt, vector < 0 ? ~u64{0} : static_cast<u64>(vector));
    return vector;
}

u8 Recorder::cr8() const {
    if (gate_ != nullptr) return cr8_;
    const u8 value = controller().cr8();
    note(Event::Kind::ReadCr8, value);
    return value;
}

// An interrupt that a lower CR8 lets through enters where the follower knows the place.
void Recorder::set_cr8(u8 value) {
    if (gate_ != nullptr) {
        cr8_ = value;
        return leader_->request_exit();
    }
    note(Event::Kind::WriteCr8, value);
    controller().set_cr8(value);
}

}  // namespace tandem::accel::lockstep
