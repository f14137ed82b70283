// Doorbells that an engine rings without an exit (contract T4).
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/conformance/bench.h"

using namespace tandem;
using namespace tandem::tests;
using devices::Doorbell;
using Space = devices::DoorbellHost::Space;

namespace {

class Event {
public:
    Event() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) { REQUIRE(fd_ >= 0); }
    ~Event() { ::close(fd_); }
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;
    [[nodiscard]] int get() const { return fd_; }
    // How often it was signalled since the last call.
    [[nodiscard]] u64 take() const {
        u64 count = 0;
        return ::read(fd_, &count, sizeof count) == sizeof count ? count : 0;
    }

private:
    int fd_;
};

// Real mode, DS at F000H, where the memory ends before this offset: a byte and a word with 3, a word with 4; the
// same to port 80H; a read of port 10H, where the round ends.
constexpr std::initializer_list<u8> kRounds = {
    0xb8, 0x00, 0xf0, 0x8e, 0xd8,        // mov ax, 0f000h; mov ds, ax
    0xb8, 0x03, 0x00,                    // again: mov ax, 3
    0xa2, 0xf0, 0xff, 0xa3, 0xf0, 0xff,  // mov [0fff0h], al; mov [0fff0h], ax
    0xe6, 0x80, 0xe7, 0x80,              // out 80h, al; out 80h, ax
    0x40,                                // inc ax
    0xa3, 0xf0, 0xff, 0xe7, 0x80,        // mov [0fff0h], ax; out 80h, ax
    0xe4, 0x10, 0xeb, 0xe9,              // in al, 10h; jmp again
};
constexpr u64 kBell = 0xffff0, kPort = 0x80;

// What came to the machine in a round, by the value that was written.
struct Seen {
    unsigned memory3 = 0, memory4 = 0, port3 = 0, port4 = 0;
    bool operator==(const Seen&) const = default;
};

}  // namespace

TEST_CASE("a doorbell signals its event and not the machine, until it is taken away", "[T4]") {
    CHECK(create_engine(Engine::Baseline).value()->doorbells() == nullptr);  // every access is a call of the machine's there
    auto made = create_engine(Engine::Kvm);
    if (!made) {
        std::printf("skipped: doorbells on KVM: %s\n", made.error().message.c_str());
        return;
    }
    devices::DoorbellHost* host = (*made)->doorbells();
    if (host == nullptr) {
        std::printf("skipped: doorbells on KVM: this host's has no KVM_CAP_IOEVENTFD\n");
        return;
    }
    Bench b(std::move(made), kRounds, 0xff000);
    Seen seen;
    bool wrote = false;
    b.handler.on_mmio = [&](accel::Vcpu&, const accel::MmioExit& m) {
        ++((m.data & 0xff) == 3 ? seen.memory3 : seen.memory4);
    };
    b.handler.on_write = [&](const accel::PortExit& p) {
        ++((p.data & 0xff) == 3 ? seen.port3 : seen.port4);
        wrote = true;
    };
    b.handler.on_port = [&](accel::Vcpu& vcpu) {
        if (!wrote) vcpu.request_exit();
        wrote = false;
    };
    const auto round = [&] {
        seen = {};
        const accel::Exit exit = accel::run_until_event(*b.vcpu, b.handler);
        REQUIRE(std::holds_alternative<accel::RequestedExit>(exit));
        return seen;
    };
    const Event event;
    CHECK(round() == Seen{2, 1, 2, 1});
    CHECK(event.take() == 0);
    const Doorbell any_memory{kBell, 2, {}, event.get()}, three_in_memory{kBell, 2, 3, event.get()};
    const Doorbell any_port{kPort, 2, {}, event.get()}, three_to_port{kPort, 2, 3, event.get()};
    REQUIRE(host->add_doorbell(Space::Memory, any_memory).ok());
    CHECK_FALSE(host->add_doorbell(Space::Memory, any_memory).ok());
    CHECK(round() == Seen{0, 0, 2, 1});
    CHECK(event.take() == 3);
    host->remove_doorbell(Space::Memory, any_memory);
    CHECK(round() == Seen{2, 1, 2, 1});
    CHECK(event.take() == 0);
    REQUIRE(host->add_doorbell(Space::Ports, any_port).ok());
    REQUIRE(host->add_doorbell(Space::Memory, three_in_memory).ok());
    CHECK(round() == Seen{1, 1, 0, 0});
    CHECK(event.take() == 4);
    host->remove_doorbell(Space::Ports, any_port);
    REQUIRE(host->add_doorbell(Space::Ports, three_to_port).ok());
    CHECK(round() == Seen{1, 1, 1, 1});
    CHECK(event.take() == 2);
    host->remove_doorbell(Space::Ports, three_to_port);
    host->remove_doorbell(Space::Memory, three_in_memory);
    CHECK(round() == Seen{2, 1, 2, 1});
}
