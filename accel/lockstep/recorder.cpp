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

void Recorder::begin() {
    journal_.clear();
    published_.clear();
    base_ = exact_->instructions();
}

Recorder::Page& Recorder::published(u64 page) {
    const auto [it, fresh] = published_.try_emplace(page);
    if (fresh) std::memcpy(it->second.data(), page_of(*memories_.agreed, page), kPage);
    return it->second;
}

void Recorder::publish() {
    take_in();
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
        e.at = exact_->instructions() - base_;
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
    e.at = exact_->instructions() - base_;
    e.value = value;
    journal_.push_back(std::move(e));
}

// The stretch ends after the access.
void Recorder::handle(Vcpu&, Exit& exit) {
    publish();
    const std::size_t at = journal_.size();
    journal_.push_back({Event::Kind::Access, 0, 0, exit, 0, {}});
    machine_.handle(outer_, exit);
    journal_[at].exit = exit;
    take_in();
    leader_->request_exit();
}

u64 Recorder::tsc(unsigned index) {
    const u64 value = machine_.tsc(index);
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

bool Recorder::interrupt_pending() const { return machine_.interrupt_controller(0).interrupt_pending(); }

int Recorder::acknowledge() {
    publish();
    const int vector = machine_.interrupt_controller(0).acknowledge();
    note(Event::Kind::Interrupt, vector < 0 ? ~u64{0} : static_cast<u64>(vector));
    return vector;
}

u8 Recorder::cr8() const {
    const u8 value = machine_.interrupt_controller(0).cr8();
    note(Event::Kind::ReadCr8, value);
    return value;
}

void Recorder::set_cr8(u8 value) {
    note(Event::Kind::WriteCr8, value);
    machine_.interrupt_controller(0).set_cr8(value);
}

}  // namespace tandem::accel::lockstep
