#include "devices/virtio/console.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>

#include "devices/virtio/cursor.h"
#include "devices/virtio/worker_pool.h"

namespace tandem::devices::virtio {
namespace {

constexpr u16 kDeviceId = 3, kQueueSize = 128;
constexpr u16 kControlReceive = 2, kControlTransmit = 3, kFirstExtra = 4;  // 5.3.2
constexpr std::size_t kMaxPending = 1024;  // control messages that wait for the driver's buffers
constexpr u64 kChunk = 4096;
constexpr std::size_t kMaxName = 128;

// 5.3.3
enum Feature : u64 { Multiport = 1u << 1, EmergencyWrite = 1u << 2 };
constexpr u32 kConfigMaxPorts = 4, kConfigEmergency = 8;

// 5.3.6.2
enum Event : u16 { DeviceReady = 0, DeviceAdd = 1, PortReady = 3, ConsolePort = 4, PortOpen = 6, PortName = 7 };
struct ControlMessage {
    u32 port;
    u16 event;
    u16 value;
};
static_assert(sizeof(ControlMessage) == 8);

constexpr u16 receive_queue(u32 port) { return static_cast<u16>(port == 0 ? 0 : kFirstExtra + 2 * (port - 1)); }
constexpr bool is_control(u16 queue) { return queue == kControlReceive || queue == kControlTransmit; }
constexpr u32 port_of(u16 queue) { return queue < kFirstExtra ? 0 : (queue - kFirstExtra) / 2u + 1; }

class Console final : public SerialBus {
public:
    Console(GuestMemory& memory, std::string name, u32 ports)
        : SerialBus(memory, {std::move(name), kDeviceId, Multiport | EmergencyWrite,
                             std::vector<u16>(2 * (ports + std::size_t{1}), kQueueSize)}),
          max_ports_(ports),
          pool_(1, 2 * (ports + 1), [this](u16 q) { serve(q); }) {}

    ~Console() override {
        for (auto& [number, port] : ports_) port.stream->set_receiver({});
    }

    Result<void> add_port(Port port) override {
        if (port.name.size() > kMaxName) return invalid(fmt::format("{}: port name '{}' is too long", name(), port.name));
        if (port.number == 0 && !(port.console && !ports_.contains(0))) {
            port.number = 1;
            while (ports_.contains(port.number)) ++port.number;
        }
        if (port.number >= max_ports_) {
            return invalid(fmt::format("{}: port {} is beyond the last, {}", name(), port.number, max_ports_ - 1));
        }
        if (ports_.contains(port.number)) return Error{Errc::Busy, fmt::format("{}: port {} is taken", name(), port.number)};
        const u32 number = port.number;
        CharBackend& stream = *port.stream;
        ports_.emplace(number, std::move(port));
        stream.set_receiver([this, number](std::span<const u8> bytes) { return receive(number, bytes); });
        return {};
    }

    void drain() const override { pool_.wait_idle(); }

    u32 config_read(u32 offset, unsigned size) override {
        const u64 fields = max_ports_;
        if (offset < kConfigMaxPorts || offset >= kConfigEmergency) return 0;
        return static_cast<u32>(fields >> (8 * (offset - kConfigMaxPorts)) & (~u64{0} >> (64 - 8 * size)));
    }
    // Output without queues, for early boot and panics (5.3.6.1).
    void config_write(u32 offset, u32 value, unsigned) override {
        const auto port = ports_.find(0);
        if (offset != kConfigEmergency || port == ports_.end()) return;
        const auto byte = static_cast<u8>(value);
        port->second.stream->write(std::span(&byte, 1));
    }

protected:
    void queue_ready(u16 index) override {
        if (is_control(index) || index % 2 != 0) return pool_.ring(index);
        const auto port = ports_.find(port_of(index));
        if (port != ports_.end()) port->second.stream->resume_input();
    }
    void reset_config() override {
        std::lock_guard guard(state_lock_);
        open_ = 0;
        pending_.clear();
    }
    // Which ports the guest has open, then each pending message behind its size.
    [[nodiscard]] std::vector<u8> capture_config() const override {
        std::lock_guard guard(state_lock_);
        std::vector<u8> out(sizeof open_);
        std::memcpy(out.data(), &open_, sizeof open_);
        for (const auto& message : pending_) {
            out.push_back(static_cast<u8>(message.size()));
            out.insert(out.end(), message.begin(), message.end());
        }
        return out;
    }
    Result<void> apply_config(const std::vector<u8>& config) override {
        const auto corrupt = [&] { return Error{Errc::Corrupt, fmt::format("{}: saved messages are damaged", name())}; };
        u32 open = 0;
        if (config.size() < sizeof open) return corrupt();
        std::memcpy(&open, config.data(), sizeof open);
        std::deque<std::vector<u8>> pending;
        for (std::span<const u8> rest = std::span(config).subspan(sizeof open); !rest.empty();) {
            const std::size_t size = rest[0];
            if (size < sizeof(ControlMessage) || rest.size() < 1 + size || pending.size() == kMaxPending) return corrupt();
            pending.emplace_back(rest.begin() + 1, rest.begin() + 1 + static_cast<i64>(size));
            rest = rest.subspan(1 + size);
        }
        std::lock_guard guard(state_lock_);
        open_ = open;
        pending_ = std::move(pending);
        return {};
    }

private:
    void serve(u16 queue) {
        if (queue == kControlReceive) return send_pending();
        if (queue == kControlTransmit) return control();
        transmit(queue);
    }

    void transmit(u16 queue) {
        const auto port = ports_.find(port_of(queue));
        std::array<u8, kChunk> chunk{};
        Chain chain;
        while (take(queue, chain) == Queue::Pop::Chain) {
            Cursor in(chain.readable);
            for (u64 n = std::min<u64>(in.left(), chunk.size()); n > 0; n = std::min<u64>(in.left(), chunk.size())) {
                (void)in.copy_out(chunk.data(), n);
                if (port != ports_.end()) port->second.stream->write(std::span(chunk).first(n));
            }
            complete(queue, chain, 0);
        }
    }

    // Host input on a stream's thread; how much of it the guest took.
    std::size_t receive(u32 number, std::span<const u8> bytes) {
        if (negotiated(Multiport)) {
            std::lock_guard guard(state_lock_);
            if ((open_ & 1u << number) == 0) return 0;
        }
        std::size_t done = 0;
        Chain chain;
        while (done < bytes.size() && take(receive_queue(number), chain) == Queue::Pop::Chain) {
            const u64 n = Cursor(chain.writable).copy_in(dma(), bytes.subspan(done));
            if (n == 0) {
                fail(chain, "a receive buffer without room");
                break;
            }
            complete(receive_queue(number), chain, static_cast<u32>(n));
            done += n;
        }
        return done;
    }

    void control() {
        Chain chain;
        while (take(kControlTransmit, chain) == Queue::Pop::Chain) {
            ControlMessage message{};
            if (!Cursor(chain.readable).copy_out(&message, sizeof message)) return fail(chain, "a short control message");
            complete(kControlTransmit, chain, 0);
            answer(message);
        }
        send_pending();
    }

    void answer(const ControlMessage& message) {
        if (message.event == DeviceReady) {
            if (message.value != 1) return;
            for (const auto& [number, port] : ports_) post({number, DeviceAdd, 1});
            return;
        }
        const auto found = ports_.find(message.port);
        if (found == ports_.end()) return;
        const Port& port = found->second;
        if (message.event == PortReady && message.value == 1) {
            if (port.console) post({port.number, ConsolePort, 1});
            if (!port.name.empty()) post({port.number, PortName, 1}, port.name);
            post({port.number, PortOpen, 1});
        } else if (message.event == PortOpen) {
            {
                std::lock_guard guard(state_lock_);
                open_ = message.value != 0 ? open_ | 1u << port.number : open_ & ~(1u << port.number);
            }
            port.stream->resume_input();
        }
    }

    void post(const ControlMessage& message, std::string_view text = {}) {
        std::vector<u8> bytes(sizeof message + text.size());
        std::memcpy(bytes.data(), &message, sizeof message);
        std::ranges::copy(text, bytes.begin() + sizeof message);
        std::lock_guard guard(state_lock_);
        if (pending_.size() < kMaxPending) pending_.push_back(std::move(bytes));
    }

    void send_pending() {
        for (;;) {
            std::vector<u8> bytes;
            {
                std::lock_guard guard(state_lock_);
                if (pending_.empty()) return;
                bytes = pending_.front();
            }
            Chain chain;
            if (take(kControlReceive, chain) != Queue::Pop::Chain) return;
            {
                std::lock_guard guard(state_lock_);
                if (!pending_.empty()) pending_.pop_front();
            }
            complete(kControlReceive, chain, static_cast<u32>(Cursor(chain.writable).copy_in(dma(), bytes)));
        }
    }

    const u32 max_ports_;            // numbers 0 to max_ports_ - 1; the control queues are one pair more (5.3.2)
    std::map<u32, Port> ports_;      // fixed once the driver starts
    mutable std::mutex state_lock_;  // guards what follows; a leaf
    u32 open_ = 0;                   // by port: the guest has it open
    std::deque<std::vector<u8>> pending_;
    WorkerPool pool_;  // last: its thread stops before anything else goes away
};

}  // namespace

std::unique_ptr<SerialBus> create_serial_bus(GuestMemory& memory, std::string name, u32 ports) {
    return std::make_unique<Console>(memory, std::move(name), std::clamp(ports, 1u, kMaxConsolePorts));
}

}  // namespace tandem::devices::virtio
