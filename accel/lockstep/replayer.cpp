#include "accel/lockstep/replayer.h"

#include <fmt/format.h>

#include <algorithm>

#include "accel/lockstep/image.h"

namespace tandem::accel::lockstep {

void Replayer::begin(const Journal& journal, devices::GuestMemory& memory) {
    journal_ = &journal;
    memory_ = &memory;
    cursor_ = 0;
    complaint_.clear();
    armed_ = false;
    written_.clear();
}

void Replayer::complain(const std::string& what) const {
    if (complaint_.empty()) complaint_ = what;
}

const Event* Replayer::next(Event::Kind kind, const std::string& asked) const {
    if (journal_ == nullptr || cursor_ == journal_->size()) {
        complain(fmt::format("{}: the other engine did nothing of the kind before the end of the stretch", asked));
        return nullptr;
    }
    const Event& e = (*journal_)[cursor_];
    if (e.kind != kind) {
        complain(fmt::format("{}: the other engine's next event is {}", asked,
                             e.kind == Event::Kind::Access ? describe(e.exit) : name_of(e.kind)));
        return nullptr;
    }
    return &e;
}

u64 Replayer::take(Event::Kind kind) const {
    const Event* const e = next(kind, name_of(kind));
    if (e == nullptr) return 0;
    ++cursor_;
    return e->value;
}

void Replayer::write_memory() {
    for (; cursor_ < journal_->size() && (*journal_)[cursor_].kind == Event::Kind::Memory; ++cursor_) {
        const Event& e = (*journal_)[cursor_];
        memory_->write(e.address, e.bytes.data(), e.bytes.size());
        for (u64 page = e.address & ~(kPage - 1); page < e.address + e.bytes.size(); page += kPage) written_.push_back(page);
    }
}

void Replayer::finish() {
    if (journal_ != nullptr) write_memory();
}

void Replayer::handle(Vcpu&, Exit& exit) {
    finish();
    const std::string asked = describe(exit);
    const Event* const e = next(Event::Kind::Access, asked);
    if (e == nullptr) return;
    if (!same_access(e->exit, exit)) {
        complain(fmt::format("{}: the other engine's access is {}", asked, describe(e->exit)));
        return;
    }
    ++cursor_;
    if (native_ && (e->value & Event::kCr8Changed) != 0) cr8_ = static_cast<u8>(e->value);
    write_memory();  // what the access has made devices write
}

int Replayer::acknowledge() {
    if (!armed_) return -1;
    armed_ = false;
    const u64 vector = take(Event::Kind::Interrupt);
    return vector == ~u64{0} ? -1 : static_cast<int>(vector);
}

u8 Replayer::cr8() const { return native_ ? cr8_ : static_cast<u8>(take(Event::Kind::ReadCr8)); }

void Replayer::set_cr8(u8 value) {
    if (native_) {
        cr8_ = value;
        return;
    }
    const Event* const e = next(Event::Kind::WriteCr8, fmt::format("write of {:#x} to CR8", value));
    if (e == nullptr) return;
    if (e->value != value) complain(fmt::format("write of {:#x} to CR8: the other engine writes {:#x}", value, e->value));
    ++cursor_;
}

const Event* Replayer::next_interrupt() const {
    const auto from = journal_->begin() + static_cast<std::ptrdiff_t>(cursor_);
    const auto it = std::find_if(from, journal_->end(), [](const Event& e) { return e.kind == Event::Kind::Interrupt; });
    return it == journal_->end() ? nullptr : &*it;
}

void Replayer::take_interrupt(Vcpu& vcpu, ExactVcpu& exact) {
    write_memory();
    if (next(Event::Kind::Interrupt, "taking an interrupt") == nullptr) return;
    armed_ = true;
    exact.set_instruction_limit(exact.instructions());
    // Writes to translated code make it come back once without having done anything.
    for (unsigned tries = 0; armed_ && tries < 3; ++tries) (void)vcpu.run();
    if (armed_) complain("an interrupt that the other engine took is not taken");
    armed_ = false;
}

void Replayer::skip_interrupt() {
    write_memory();
    if (next(Event::Kind::Interrupt, "an interrupt") != nullptr) ++cursor_;
}

Exit Replayer::advance(Vcpu& vcpu, ExactVcpu& exact, u64 base, u64 count) {
    Exit last = RequestedExit{};
    const auto run_to = [&](u64 limit) {
        exact.set_instruction_limit(base + limit);
        if (exact.instructions() < base + limit) last = vcpu.run();
    };
    while (complaint_.empty()) {
        const Event* const interrupt = next_interrupt();
        if (interrupt == nullptr || interrupt->at > count) {
            run_to(count);
            break;
        }
        run_to(interrupt->at);
        if (exact.instructions() != base + interrupt->at) break;
        take_interrupt(vcpu, exact);
    }
    if (complaint_.empty() && exact.instructions() != base + count) {
        complain(fmt::format("{} after {} instructions, where the other engine goes on", describe(last),
                             exact.instructions() - base));
    }
    return last;
}

}  // namespace tandem::accel::lockstep
