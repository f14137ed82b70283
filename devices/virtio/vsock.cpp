#include "devices/virtio/vsock.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <deque>
#include <map>

#include "devices/virtio/cursor.h"
#include "devices/virtio/device_loop.h"
#include "devices/virtio/vsock_stream.h"

namespace tandem::devices::virtio {
namespace {

using Stream = VsockStream;
using Phase = Stream::Phase;

constexpr u16 kDeviceId = 19, kQueueSize = 128;
constexpr u16 kReceiveQueue = 0, kTransmitQueue = 1, kEventQueue = 2;
constexpr u64 kHostCid = 2;
constexpr u16 kStream = 1;
constexpr u32 kTransportReset = 0;
constexpr u64 kFeatureStream = u64{1} << 0;

// 5.10.6
enum Operation : u16 {
    Request = 1,
    Response = 2,
    Reset = 3,
    Shutdown = 4,
    ReadWrite = 5,
    CreditUpdate = 6,
    CreditRequest = 7
};
constexpr u32 kNoReceive = 1, kNoSend = 2, kEnd = kNoReceive | kNoSend;  // of Shutdown

constexpr std::size_t kMaxStreams = 1023;
constexpr std::size_t kMaxAnswers = 1024;  // packets that wait for the driver's buffers; then its own have to wait
constexpr u32 kMaxPacket = 64 << 10;       // bytes of data
constexpr unsigned kBurst = 256;           // packets before the host's streams are looked at again
constexpr u32 kFirstPort = 1u << 30;       // of those that the device gives to programs
constexpr auto kPatience = std::chrono::seconds(8);

struct Ports {
    u32 host = 0, guest = 0;
    auto operator<=>(const Ports&) const = default;
};

class Vsock final : public VirtioDevice {
public:
    Vsock(GuestMemory& memory, std::unique_ptr<VsockHost> host, const VsockOptions& options, Fd wake)
        : VirtioDevice(memory, {options.name, kDeviceId, kFeatureStream, std::vector<u16>(3, kQueueSize)}),
          guest_cid_(options.guest_cid),
          host_(std::move(host)),
          loop_(std::move(wake), "tandem-vsock",
                {[this](std::vector<pollfd>& fds, int& timeout_ms) { watch(fds, timeout_ms); },
                 [this](std::span<const pollfd> fds) { round(fds); }}) {}

    void drain() const override { loop_.drain(); }
    int own_bell(u16) override {
        untold_ = 1u << kTransmitQueue;
        return loop_.wake_descriptor();
    }
    u32 config_read(u32 offset, unsigned size) override {
        if (offset + size > sizeof guest_cid_) return 0;
        return static_cast<u32>(guest_cid_ >> (8 * offset) & (~u64{0} >> (64 - 8 * size)));
    }
    void config_write(u32, u32, unsigned) override {}

protected:
    void queue_ready(u16 index) override {
        rung_.fetch_or(1u << index);
        loop_.wake();
    }
    void reset_config() override {
        forget_ = true;
        loop_.wake();
    }
    Result<void> apply_config(const std::vector<u8>& config) override {
        if (!config.empty()) return Error{Errc::Corrupt, fmt::format("{}: saved configuration has another size", name())};
        forget_ = true;
        tell_reset_ = true;
        return {};
    }

private:
    // --- The loop.

    void watch(std::vector<pollfd>& fds, int& timeout_ms) {
        if (busy_) timeout_ms = 0;
        watched_.clear();
        const auto add = [&](int fd, short events, std::optional<Ports> ports) {
            fds.push_back({fd, events, 0});
            watched_.push_back(ports);
        };
        if (host_->listener() >= 0 && streams_.size() < kMaxStreams) add(host_->listener(), POLLIN, std::nullopt);
        const auto now = Stream::Clock::now();
        for (auto& [ports, s] : streams_) {
            if (s.deadline) {
                const auto left = std::chrono::ceil<std::chrono::milliseconds>(*s.deadline - now).count();
                const int ms = static_cast<int>(std::clamp<i64>(left, 0, 1000000));
                timeout_ms = timeout_ms < 0 ? ms : std::min(timeout_ms, ms);
            }
            short events = 0;
            if (wants_input(s) && !s.readable) events |= POLLIN;
            if (s.wants_output()) events |= POLLOUT;
            // Without events poll() tells only of a stream that hung up, and again and again.
            if (events != 0 || half_ended(s)) add(s.fd(), events, ports);
        }
    }

    void round(std::span<const pollfd> fds) {
        const u32 rung = rung_.exchange(0) | untold_;
        if (forget_.exchange(false)) {
            streams_.clear();
            answers_.clear();
        }
        for (std::size_t i = 0; i < fds.size(); ++i) {
            if (fds[i].revents == 0) continue;
            if (!watched_[i]) {
                accept_program();
            } else {
                stir(*watched_[i], fds[i].revents);
            }
        }
        if ((rung & 1u << kTransmitQueue) != 0 || busy_) transmit();
        expire();
        deliver();
        if (tell_reset_) announce_reset();
        // Room for answers may have come.
        if (held_up_ && answers_.size() < kMaxAnswers) busy_ = true;
    }

    // --- The host's side.

    void accept_program() {
        Fd fd = host_->accept();
        if (!fd.valid()) return;
        // Ports are given in turn, so that an old one is not soon used again.
        Ports ports{next_port_, 0};
        next_port_ = next_port_ == ~u32{0} ? kFirstPort : next_port_ + 1;
        Stream stream(std::move(fd), Phase::Command);
        stream.deadline = Stream::Clock::now() + kPatience;
        streams_.emplace(ports, std::move(stream));
    }

    void stir(const Ports& ports, short events) {
        const auto at = streams_.find(ports);
        if (at == streams_.end()) return;
        Stream& s = at->second;
        if (s.phase() == Phase::Command) return take_command(at);
        if (half_ended(s) && (events & (POLLHUP | POLLERR)) != 0) return program_gone(at);
        if ((events & POLLOUT) != 0 || s.wants_output()) push(at);
        if ((events & (POLLIN | POLLHUP | POLLERR)) != 0 && streams_.contains(ports)) s.readable = true;
    }

    using Place = std::map<Ports, Stream>::iterator;

    void take_command(Place at) {
        u32 port = 0;
        switch (at->second.read_command(port)) {
            case Stream::Command::Incomplete: return;
            case Stream::Command::Bad: streams_.erase(at); return;
            case Stream::Command::Good: break;
        }
        // Only now the guest's port is known, by which the connection is found.
        Stream s = std::move(at->second);
        const Ports ports{at->first.host, port};
        streams_.erase(at);
        s.enter(Phase::Requested);
        s.deadline = Stream::Clock::now() + kPatience;
        const auto placed = streams_.insert_or_assign(ports, std::move(s)).first;
        answer(placed, Request);
    }

    // Bytes from the guest go to the program.
    void push(Place at) {
        Stream& s = at->second;
        if (!s.flush()) return abort(at);
        if (s.owes_credit()) answer(at, CreditUpdate);
        finish_if_ended(at);
    }

    // What follows from what each side has said it will not do any more.
    void finish_if_ended(Place at) {
        Stream& s = at->second;
        if (!s.flushed()) return;
        if ((s.guest_ended & kEnd) == kEnd) return abort(at);
        if ((s.guest_ended & kNoSend) != 0) (void)::shutdown(s.fd(), SHUT_WR);
    }

    void abort(Place at) {
        answer(at, Reset);
        streams_.erase(at);
    }

    void expire() {
        const auto now = Stream::Clock::now();
        for (auto at = streams_.begin(); at != streams_.end();) {
            const auto here = at++;
            if (!here->second.deadline || *here->second.deadline > now) continue;
            if (here->second.phase() == Phase::Command) {
                streams_.erase(here);
            } else {
                abort(here);
            }
        }
    }

    // --- From the guest (5.10.6.3 and following).

    void transmit() {
        Chain chain;
        busy_ = false;
        for (unsigned n = 0;; ++n) {
            held_up_ = answers_.size() >= kMaxAnswers;
            if (held_up_) return;
            if (n == kBurst) {
                busy_ = true;
                return;
            }
            if (take(kTransmitQueue, chain) != Queue::Pop::Chain) return;
            Cursor in(chain.readable);
            VsockHeader header;
            if (!in.copy_out(&header, sizeof header)) return fail(chain, "no packet header");
            const bool whole = header.length <= kMaxPacket && header.length <= in.left();
            data_.resize(whole ? header.length : 0);
            (void)in.copy_out(data_.data(), data_.size());
            complete(kTransmitQueue, chain, 0);
            receive(header, whole);
        }
    }

    void receive(const VsockHeader& header, bool whole) {
        if (header.source_cid != guest_cid_) return;
        const Ports ports{header.destination_port, header.source_port};
        const auto at = streams_.find(ports);
        const bool known = at != streams_.end() && at->second.phase() != Phase::Command;
        if (header.destination_cid != kHostCid || header.type != kStream || !whole || !known) {
            const bool new_one = header.destination_cid == kHostCid && header.type == kStream && header.operation == Request;
            if (new_one && !known) return dial(header, ports);
            if (known && header.destination_cid == kHostCid) streams_.erase(at);
            return refuse(header);
        }
        Stream& s = at->second;
        s.note_credit(header);
        switch (header.operation) {
            case Response: return opened(at);
            case Reset: streams_.erase(at); return;
            case Shutdown: s.guest_ended |= header.flags & kEnd; return finish_if_ended(at);
            case ReadWrite:
                if (s.phase() == Phase::Requested || (s.guest_ended & kNoSend) != 0 || !s.queue(data_)) return abort(at);
                return push(at);
            case CreditUpdate: return;
            case CreditRequest: return answer(at, CreditUpdate);
            default: return abort(at);
        }
    }

    void dial(const VsockHeader& header, const Ports& ports) {
        if (streams_.size() >= kMaxStreams) return refuse(header);
        Fd fd = host_->dial(ports.host);
        if (!fd.valid()) return refuse(header);
        Stream stream(std::move(fd), Phase::Open);
        stream.note_credit(header);
        answer(streams_.insert_or_assign(ports, std::move(stream)).first, Response);
    }

    void opened(Place at) {
        Stream& s = at->second;
        if (s.phase() != Phase::Requested) return abort(at);
        s.enter(Phase::Open);
        s.deadline.reset();
        const std::string line = fmt::format("OK {}\n", at->first.host);
        if (::send(s.fd(), line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size())) abort(at);
    }

    // --- To the guest.

    void answer(Place at, Operation operation, u32 flags = 0) {
        VsockHeader h = header_for(at->first, operation);
        h.flags = flags;
        at->second.sign(h);
        answers_.push_back(h);
    }
    // A packet that belongs to nothing; an RST is never answered.
    void refuse(const VsockHeader& to) {
        if (to.operation == Reset) return;
        VsockHeader h = header_for({to.destination_port, to.source_port}, Reset);
        h.source_cid = to.destination_cid;
        h.type = to.type;
        answers_.push_back(h);
    }
    [[nodiscard]] VsockHeader header_for(const Ports& ports, Operation operation) const {
        VsockHeader h;
        h.source_cid = kHostCid;
        h.destination_cid = guest_cid_;
        h.source_port = ports.host;
        h.destination_port = ports.guest;
        h.type = kStream;
        h.operation = operation;
        return h;
    }

    [[nodiscard]] static bool wants_input(const Stream& s) {
        if (s.phase() == Phase::Command) return true;
        return s.phase() == Phase::Open && (s.host_ended & kNoSend) == 0 && (s.guest_ended & kNoReceive) == 0 &&
               s.credit() != 0;
    }

    // The program will send no more, but takes what the guest sends.
    [[nodiscard]] static bool half_ended(const Stream& s) { return s.phase() == Phase::Open && s.host_ended == kNoSend; }

    // What waits for the driver's buffers: answers first, then data of each stream in turn.
    void deliver() {
        bool more = true;
        for (unsigned n = 0; more && n < kBurst; ++n) {
            while (!answers_.empty()) {
                if (!place(answers_.front(), {})) return;
                answers_.pop_front();
            }
            more = false;
            for (auto at = streams_.begin(); at != streams_.end();) {
                const auto here = at++;
                if (!here->second.readable || !wants_input(here->second)) continue;
                if (!deliver_data(here)) return;
                more = true;
            }
            for (auto& [ports, s] : streams_) ask_for_credit(ports, s);
        }
        busy_ = busy_ || more;
    }

    // False: the driver has no buffers now.
    bool deliver_data(Place at) {
        Stream& s = at->second;
        Chain chain;
        if (!take_buffer(chain)) return false;
        Cursor out(chain.writable);
        const u64 room = std::min<u64>({out.left() - sizeof(VsockHeader), s.credit(), kMaxPacket});
        data_.resize(room);
        const ssize_t n = ::recv(s.fd(), data_.data(), data_.size(), 0);
        if (n <= 0) {
            give_back(kReceiveQueue, 1);
            s.readable = false;
            if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
            program_ended(at, n < 0);
            return true;
        }
        VsockHeader header = header_for(at->first, ReadWrite);
        header.length = static_cast<u32>(n);
        s.sign(header);
        s.sent(header.length);
        u64 written = out.copy_in(dma(), as_bytes(header));
        written += out.copy_in(dma(), std::span<const u8>(data_).first(header.length));
        complete(kReceiveQueue, chain, static_cast<u32>(written));
        return true;
    }

    // A stream's end: one that still takes bytes has only been shut down.
    void program_ended(Place at, bool broken) {
        Stream& s = at->second;
        if (broken) return abort(at);
        pollfd state{s.fd(), POLLOUT, 0};
        const bool gone = ::poll(&state, 1, 0) > 0 && (state.revents & (POLLHUP | POLLERR)) != 0;
        if (gone) return program_gone(at);
        s.host_ended = kNoSend;
        answer(at, Shutdown, s.host_ended);
    }

    // The guest may go on reading what it was sent; its RST comes when it is done.
    void program_gone(Place at) {
        at->second.host_ended = kEnd;
        at->second.enter(Phase::Closing);
        answer(at, Shutdown, kEnd);
    }

    void ask_for_credit(const Ports& ports, Stream& s) {
        if (s.phase() != Phase::Open || s.credit() != 0 || s.asked_for_credit) return;
        s.asked_for_credit = true;
        VsockHeader h = header_for(ports, CreditRequest);
        s.sign(h);
        answers_.push_back(h);
    }

    // A receive buffer with room for more than a header; false: none, or the device is broken.
    bool take_buffer(Chain& chain) {
        if (take(kReceiveQueue, chain) != Queue::Pop::Chain) return false;
        if (Cursor(chain.writable).left() > sizeof(VsockHeader)) return true;
        fail(chain, "a receive buffer has no room for a packet");
        return false;
    }

    bool place(const VsockHeader& header, std::span<const u8> data) {
        Chain chain;
        if (!take_buffer(chain)) return false;
        Cursor out(chain.writable);
        u64 written = out.copy_in(dma(), as_bytes(header));
        written += out.copy_in(dma(), data);
        complete(kReceiveQueue, chain, static_cast<u32>(written));
        return true;
    }

    // The driver is to forget all connections and to read its CID again.
    void announce_reset() {
        Chain chain;
        if (take(kEventQueue, chain) != Queue::Pop::Chain) return;
        Cursor out(chain.writable);
        if (out.left() < sizeof kTransportReset) return fail(chain, "no room for an event");
        const u64 written = out.copy_in(dma(), as_bytes(kTransportReset));
        tell_reset_ = false;
        complete(kEventQueue, chain, static_cast<u32>(written));
    }

    template <class T>
    static std::span<const u8> as_bytes(const T& value) {
        return {reinterpret_cast<const u8*>(&value), sizeof value};
    }

    const u64 guest_cid_;
    std::unique_ptr<VsockHost> host_;
    std::atomic<u32> rung_{0};    // by queue
    std::atomic<u32> untold_{0};  // queues whose bells may ring by nothing but the loop's wake-up
    std::atomic<bool> forget_{false}, tell_reset_{false};

    // The loop's own.
    std::map<Ports, Stream> streams_;
    std::vector<std::optional<Ports>> watched_;  // by position of the descriptor; empty: the listener
    std::deque<VsockHeader> answers_;
    std::vector<u8> data_;
    u32 next_port_ = kFirstPort;
    bool busy_ = false, held_up_ = false;
    DeviceLoop loop_;  // last: its thread uses everything above
};

}  // namespace

Result<std::unique_ptr<VirtioDevice>> create_vsock(GuestMemory& memory, std::unique_ptr<VsockHost> host,
                                                   const VsockOptions& options) {
    if (options.guest_cid < kMinGuestCid || options.guest_cid > kMaxGuestCid) {
        return invalid(fmt::format("{}: guest-cid {} is reserved", options.name, options.guest_cid));
    }
    TANDEM_TRY_ASSIGN(Fd wake, create_wake_descriptor());
    return std::unique_ptr<VirtioDevice>(std::make_unique<Vsock>(memory, std::move(host), options, std::move(wake)));
}

}  // namespace tandem::devices::virtio
