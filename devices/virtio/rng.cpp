#include "devices/virtio/rng.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>

#include "devices/virtio/cursor.h"
#include "devices/virtio/worker_pool.h"

namespace tandem::devices::virtio {
namespace {

constexpr u16 kDeviceId = 4, kQueueSize = 64;
constexpr u64 kAtOnce = 4096;          // bytes that a bell may cost the processor that rings it
constexpr u64 kPerRequest = 1u << 20;  // of a larger buffer only so much is filled (5.4.6.1 asks for one byte)

class Rng final : public VirtioDevice {
public:
    Rng(GuestMemory& memory, std::string name)
        : VirtioDevice(memory, {std::move(name), kDeviceId, 0, {kQueueSize}}),
          pool_(1, 1, [this](u16) { (void)serve(~u64{0}); }) {}

    void drain() const override { pool_.wait_idle(); }
    u32 config_read(u32, unsigned) override { return 0; }
    void config_write(u32, u32, unsigned) override {}

protected:
    void queue_ready(u16) override {
        if (!serve(kAtOnce)) pool_.ring(0);
    }
    Result<void> apply_config(const std::vector<u8>& config) override {
        if (!config.empty()) return Error{Errc::Corrupt, fmt::format("{}: saved configuration has another size", name())};
        return {};
    }

private:
    // Answers requests of at most `budget` bytes together; false when some are left.
    bool serve(u64 budget) {
        Chain chain;
        while (take(0, chain) == Queue::Pop::Chain) {
            Cursor out(chain.writable);
            const u64 wanted = std::min(out.left(), kPerRequest);
            if (wanted == 0) {
                fail(chain, "no room for random bytes");
                return true;
            }
            if (wanted > budget) {
                give_back(0, 1);
                return false;
            }
            budget -= wanted;
            complete(0, chain, static_cast<u32>(fill(out, wanted)));
        }
        return true;
    }

    u64 fill(Cursor& out, u64 wanted) {
        u64 done = 0;
        while (done < wanted) {
            const Segment piece = out.take(wanted - done);
            const ssize_t n = getrandom(piece.host.data(), piece.host.size(), 0);
            if (n <= 0) break;
            dma().written(piece.gpa, static_cast<u64>(n));
            done += static_cast<u64>(n);
            if (static_cast<u64>(n) < piece.host.size()) break;  // a signal came; the driver asks again
        }
        return done;
    }

    WorkerPool pool_;  // last: its thread stops before anything else goes away
};

}  // namespace

std::unique_ptr<VirtioDevice> create_rng(GuestMemory& memory, std::string name) {
    return std::make_unique<Rng>(memory, std::move(name));
}

}  // namespace tandem::devices::virtio
