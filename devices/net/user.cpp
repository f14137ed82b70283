// User-mode networking: libslirp on the device's loop.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <slirp/libslirp.h>
#include <time.h>

#include <algorithm>
#include <list>

#include "base/log.h"
#include "devices/net/backends.h"
#include "devices/net/checksum.h"
#include "devices/net/user_options.h"

namespace tandem::devices {
namespace {

constexpr i64 kNsPerMs = 1'000'000;
constexpr int kLongestWaitMs = 60'000;

i64 host_ns() {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<i64>(t.tv_sec) * 1000 * kNsPerMs + t.tv_nsec;
}

// libslirp has its own words for poll events.
struct EventRow {
    int slirp;
    short host;
};
constexpr EventRow kEvents[] = {{SLIRP_POLL_IN, POLLIN},
                                {SLIRP_POLL_OUT, POLLOUT},
                                {SLIRP_POLL_PRI, POLLPRI},
                                {SLIRP_POLL_ERR, POLLERR},
                                {SLIRP_POLL_HUP, POLLHUP}};

class UserNetwork final : public NetBackend {
public:
    explicit UserNetwork(const UserNetOptions& options) : options_(options) {}
    ~UserNetwork() override {
        if (slirp_ != nullptr) slirp_cleanup(slirp_);
    }
    UserNetwork(const UserNetwork&) = delete;
    UserNetwork& operator=(const UserNetwork&) = delete;

    Result<void> start();

    // libslirp takes segments of any size that IP can carry, but wants every checksum right.
    [[nodiscard]] bool takes_unfinished() const override { return true; }
    [[nodiscard]] bool gives_unfinished() const override { return false; }
    void set_offloads(const Offloads& offloads) override { trusted_ = offloads.checksum; }

    void send(const FrameHeader& header, std::span<const u8> frame) override {
        outgoing_.assign(frame.begin(), frame.end());
        complete_checksum(header, outgoing_);
        slirp_input(slirp_, outgoing_.data(), static_cast<int>(outgoing_.size()));
    }

    void watch(std::vector<pollfd>& fds, int& timeout_ms, bool want_frames) override {
        polled_ = want_frames;
        if (want_frames) {
            u32 timeout = timeout_ms < 0 ? ~u32{0} : static_cast<u32>(timeout_ms);
            fds_ = &fds;
            first_ = fds.size();
            slirp_pollfds_fill(slirp_, &timeout, add_poll, this);
            if (timeout != ~u32{0}) timeout_ms = static_cast<int>(std::min<u32>(timeout, kLongestWaitMs));
        }
        const i64 now = host_ns() / kNsPerMs;
        for (const Timer& t : timers_) {
            if (t.due_ms < 0) continue;
            const int left = static_cast<int>(std::clamp<i64>(t.due_ms - now, 0, kLongestWaitMs));
            timeout_ms = timeout_ms < 0 ? left : std::min(timeout_ms, left);
        }
    }

    void serve(std::span<const pollfd> fds, const Receiver& receiver) override {
        receiver_ = &receiver;
        for (const Frame& f : early_) pass_on(f);
        early_.clear();
        answers_ = fds;
        if (polled_) slirp_pollfds_poll(slirp_, 0, get_events, this);
        const i64 now = host_ns() / kNsPerMs;
        for (Timer& t : timers_) {
            if (t.due_ms < 0 || t.due_ms > now) continue;
            t.due_ms = -1;
            t.callback(t.opaque);
        }
        receiver_ = nullptr;
    }

private:
    using Frame = std::vector<u8>;
    struct Timer {
        SlirpTimerCb callback;
        void* opaque;
        i64 due_ms;  // -1: not armed
    };

    static UserNetwork& self(void* opaque) { return *static_cast<UserNetwork*>(opaque); }

    void pass_on(std::span<const u8> frame) const {
        FrameHeader header;
        if (trusted_) header.flags = FrameHeader::kChecksumValid;
        (*receiver_)(header, frame);
    }
    static ssize_t send_packet(const void* bytes, size_t size, void* opaque) {
        UserNetwork& me = self(opaque);
        const std::span frame(static_cast<const u8*>(bytes), size);
        if (me.receiver_ != nullptr) {
            me.pass_on(frame);
        } else if (me.early_.size() < kEarlyFrames) {
            // The answer to a send() comes at once and waits for the next serve().
            me.early_.emplace_back(frame.begin(), frame.end());
        }
        return static_cast<ssize_t>(size);
    }
    static int add_poll(int fd, int events, void* opaque) {
        UserNetwork& me = self(opaque);
        int wanted = 0;
        for (const auto& row : kEvents) wanted |= (events & row.slirp) != 0 ? row.host : 0;
        me.fds_->push_back({fd, static_cast<short>(wanted), 0});
        return static_cast<int>(me.fds_->size() - me.first_) - 1;
    }
    static int get_events(int index, void* opaque) {
        const UserNetwork& me = self(opaque);
        if (index < 0 || static_cast<std::size_t>(index) >= me.answers_.size()) return 0;
        const short answer = me.answers_[static_cast<std::size_t>(index)].revents;
        int events = 0;
        for (const auto& row : kEvents) events |= (answer & row.host) != 0 ? row.slirp : 0;
        return events;
    }
    static void guest_error(const char* message, void*) { log::trace(log::GuestErrors, "guest_errors: net: {}", message); }
    static int64_t clock_ns(void*) { return host_ns(); }
    static void* timer_new(SlirpTimerCb callback, void* callback_opaque, void* opaque) {
        return &self(opaque).timers_.emplace_back(Timer{callback, callback_opaque, -1});
    }
    static void timer_free(void* timer, void* opaque) {
        self(opaque).timers_.remove_if([&](const Timer& t) { return &t == timer; });
    }
    static void timer_mod(void* timer, int64_t due_ms, void*) { static_cast<Timer*>(timer)->due_ms = due_ms; }
    static void ignore_fd(int, void*) {}
    static void ignore(void*) {}

    Result<void> forward(const std::string& text);

    static constexpr std::size_t kEarlyFrames = 1024;
    static constexpr SlirpCb kCallbacks{send_packet, guest_error, clock_ns, timer_new, timer_free, timer_mod,
                                        ignore_fd,   ignore_fd,   ignore,   nullptr,   nullptr};

    const UserNetOptions options_;  // libslirp keeps pointers into some of it
    Slirp* slirp_ = nullptr;
    std::list<Timer> timers_;
    std::vector<u8> outgoing_;
    std::vector<Frame> early_;
    const Receiver* receiver_ = nullptr;  // during serve()
    std::vector<pollfd>* fds_ = nullptr;  // during watch()
    std::size_t first_ = 0;
    std::span<const pollfd> answers_;
    bool polled_ = false;
    bool trusted_ = false;  // the guest takes our word for checksums
};

Result<void> UserNetwork::forward(const std::string& text) {
    TANDEM_TRY_ASSIGN(const user_net::Forward f, user_net::parse_forward(text));
    if (slirp_add_hostfwd(slirp_, f.udp ? 1 : 0, f.host, f.host_port, f.guest, f.guest_port) != 0) {
        return io_error(fmt::format("hostfwd='{}': cannot listen on the host's port", text));
    }
    return {};
}

Result<void> UserNetwork::start() {
    TANDEM_TRY_ASSIGN(const user_net::Addresses a, user_net::parse_addresses(options_));
    const auto text = [](const std::string& s) { return s.empty() ? nullptr : s.c_str(); };
    std::vector<const char*> search;
    for (const auto& s : options_.dns_search) search.push_back(s.c_str());
    search.push_back(nullptr);
    SlirpConfig c{};
    c.version = 1;
    c.restricted = options_.restricted ? 1 : 0;
    c.in_enabled = options_.ipv4;
    c.vnetwork = a.network;
    c.vnetmask = a.mask;
    c.vhost = a.host;
    c.vdhcp_start = a.dhcp_start;
    c.vnameserver = a.dns;
    // QEMU's site-local network, so that guests see the addresses that its users know.
    c.in6_enabled = options_.ipv6;
    c.vprefix_len = 64;
    inet_pton(AF_INET6, "fec0::", &c.vprefix_addr6);
    inet_pton(AF_INET6, "fec0::2", &c.vhost6);
    inet_pton(AF_INET6, "fec0::3", &c.vnameserver6);
    c.vhostname = text(options_.hostname);
    c.tftp_path = text(options_.tftp);
    c.bootfile = text(options_.boot_file);
    c.vdomainname = text(options_.domain);
    c.vdnssearch = search.size() > 1 ? search.data() : nullptr;
    slirp_ = slirp_new(&c, &kCallbacks, this);
    if (slirp_ == nullptr) return Error{Errc::Unsupported, "libslirp refuses this configuration"};
    for (const auto& f : options_.forwards) TANDEM_TRY(forward(f));
    return {};
}

}  // namespace

Result<std::unique_ptr<NetBackend>> create_user_network(const UserNetOptions& options) {
    auto network = std::make_unique<UserNetwork>(options);
    TANDEM_TRY(network->start());
    return std::unique_ptr<NetBackend>(std::move(network));
}

}  // namespace tandem::devices
