// One connection of a vsock device: the state of both directions, with their credit (virtio 1.2, 5.10.6.3), and the stream
// on the host. The device decides what packets mean; this counts and copies. Not synchronised: the device's thread.
#pragma once

#include <chrono>
#include <deque>
#include <optional>
#include <span>
#include <string>

#include "base/types.h"
#include "devices/char/stream_backend.h"

namespace tandem::devices::virtio {

// 5.10.6
struct VsockHeader {
    u64 source_cid = 0, destination_cid = 0;
    u32 source_port = 0, destination_port = 0;
    u32 length = 0;
    u16 type = 1;
    u16 operation = 0;
    u32 flags = 0;
    u32 buffer = 0;     // buf_alloc: the sender's receive buffer
    u32 forwarded = 0;  // fwd_cnt: bytes that have left it
} __attribute__((packed));
static_assert(sizeof(VsockHeader) == 44);

class VsockStream {
public:
    using Clock = std::chrono::steady_clock;
    static constexpr u32 kBuffer = 256 << 10;  // bytes from the guest that the host's program has not taken

    enum class Phase : u8 {
        Command,    // a program of the host has not said yet what it wants
        Requested,  // the guest was asked
        Open,
        Closing  // the program is gone; the guest's RST is to come
    };

    VsockStream(Fd fd, Phase phase) : fd_(std::move(fd)), phase_(phase) {}

    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] Phase phase() const { return phase_; }
    void enter(Phase phase) { phase_ = phase; }
    // When a phase that must not last is over.
    std::optional<Clock::time_point> deadline;

    // --- The command of a program on the host.
    enum class Command : u8 { Incomplete, Good, Bad };
    // Reads up to the line's end, never further. Good: `port` is what it asks for.
    Command read_command(u32& port);

    // --- From the guest.
    // What a packet says of the guest's buffer.
    void note_credit(const VsockHeader& header) { peer_buffer_ = header.buffer, peer_forwarded_ = header.forwarded; }
    // Takes a packet's bytes; false: more than there was credit for.
    [[nodiscard]] bool queue(std::span<const u8> bytes);
    // Writes what the host takes now; false: the program is gone.
    [[nodiscard]] bool flush();
    [[nodiscard]] bool flushed() const { return pending_.empty(); }
    [[nodiscard]] bool wants_output() const { return !pending_.empty(); }
    // Whether the guest should hear of room that it does not know of.
    [[nodiscard]] bool owes_credit() const { return forwarded_ - told_ >= kBuffer / 4; }
    // Puts this side's counts into a packet.
    void sign(VsockHeader& header);

    // --- To the guest.
    [[nodiscard]] u32 credit() const {
        const u32 in_flight = sent_ - peer_forwarded_;
        return peer_buffer_ > in_flight ? peer_buffer_ - in_flight : 0;
    }
    void sent(u32 bytes) { sent_ += bytes, asked_for_credit = false; }
    bool asked_for_credit = false;

    // SHUTDOWN flags: what each side will not do any more.
    u32 guest_ended = 0, host_ended = 0;
    bool readable = false;  // the host's stream has something, or its end

private:
    Fd fd_;
    Phase phase_;
    std::string command_;
    std::deque<u8> pending_;
    u32 forwarded_ = 0, told_ = 0;
    u32 sent_ = 0, peer_buffer_ = 0, peer_forwarded_ = 0;
};

}  // namespace tandem::devices::virtio
