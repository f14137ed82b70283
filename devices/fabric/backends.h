// Host back ends: what a device model talks to on the host's side.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"
#include "base/types.h"

namespace tandem::devices {

// A disk. Calls are synchronous and may come from any thread, concurrently; the device model owns the worker threads.
class BlockBackend {
public:
    virtual ~BlockBackend() = default;
    [[nodiscard]] virtual u64 size_bytes() const = 0;
    [[nodiscard]] virtual bool readonly() const = 0;
    // Whole transfers at byte offsets, multiples of 512; past the end or failed: Io, with the path and the host's reason.
    virtual Result<void> read(u64 offset, std::span<u8> out) = 0;
    virtual Result<void> write(u64 offset, std::span<const u8> in) = 0;
    // Everything written so far is on stable storage when it returns (fdatasync).
    virtual Result<void> flush() = 0;
    // The range reads as zeros afterwards. `may_unmap` allows giving its storage back. Same rules as write().
    virtual Result<void> write_zeroes(u64 offset, u64 size, bool may_unmap) = 0;
    // The range's contents are no longer needed and become undefined; storage is given back where the host can. Same rules
    // as write().
    virtual Result<void> discard(u64 offset, u64 size) = 0;
};

struct DriveOptions {
    std::string file;
    bool readonly = false;
    bool snapshot = false;  // writes go to a temporary overlay that is gone at exit
};
// Opens a raw image. Errors name the file: missing, not readable, not a multiple of 512, locked by another user (also by a
// second drive of the same machine).
Result<std::unique_ptr<BlockBackend>> open_raw(const DriveOptions& options);

// A character stream: serial ports, consoles.
class CharBackend {
public:
    virtual ~CharBackend() = default;
    // Guest output. Never blocks for long; may drop when the other side is gone. Any thread.
    virtual void write(std::span<const u8> bytes) = 0;
    // Installs the receiver of host input; called on the back end's thread. The receiver returns how many bytes it took; the
    // rest is offered again after resume_input(). An empty function removes it, after a running call has ended.
    virtual void set_receiver(std::function<std::size_t(std::span<const u8>)> receiver) = 0;
    virtual void resume_input() = 0;
};

}  // namespace tandem::devices
