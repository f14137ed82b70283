// Host back ends: what a device model talks to on the host's side.
#pragma once

#include <poll.h>
#include <sys/uio.h>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace tandem::devices {

// A transfer that goes on by itself. Offset and size are whole sectors; the parts may be of any size and stay valid until
// `done` has been called.
struct BlockTransfer {
    bool write = false;
    u64 offset = 0;
    std::vector<iovec> parts;
    std::function<void(const Result<void>&)> done;
};

// A disk. Calls may come from any thread, concurrently; but for start() they return when the work is done, and the device
// model owns the threads that wait.
class BlockBackend {
public:
    virtual ~BlockBackend() = default;
    [[nodiscard]] virtual u64 size_bytes() const = 0;
    [[nodiscard]] virtual bool readonly() const = 0;
    // What the guest is to be told of the cache at first: whether a write that has ended is stable without a flush.
    [[nodiscard]] virtual bool writes_through() const { return false; }
    // Whole transfers at byte offsets, multiples of 512; past the end or failed: Io, with the path and the host's reason.
    virtual Result<void> read(u64 offset, std::span<u8> out) = 0;
    virtual Result<void> write(u64 offset, std::span<const u8> in) = 0;
    // The same over pieces of any size whose sum is a multiple of 512.
    virtual Result<void> read_parts(u64 offset, std::span<const iovec> parts);
    virtual Result<void> write_parts(u64 offset, std::span<const iovec> parts);
    // read_parts() for a thread that must not wait for the host: false, with the pieces in any state, when that would be
    // needed or went wrong.
    virtual bool read_at_hand(u64, std::span<const iovec>) { return false; }
    // Begins a transfer and answers true; `done` is then called once, on a thread of the back end's, maybe before this
    // returns. False: the transfer is for read_parts() or write_parts(). The destructor waits for what has begun.
    virtual bool start(BlockTransfer&) { return false; }
    // Everything written so far is on stable storage when it returns (fdatasync).
    virtual Result<void> flush() = 0;
    // The range reads as zeros afterwards. `may_unmap` allows giving its storage back. Same rules as write().
    virtual Result<void> write_zeroes(u64 offset, u64 size, bool may_unmap) = 0;
    // The range's contents are no longer needed and become undefined; storage is given back where the host can. Same rules
    // as write().
    virtual Result<void> discard(u64 offset, u64 size) = 0;

    // What a saved machine needs to know; the machine is stopped and nothing is in flight.
    // Whether writes are held apart from the image (snapshot=on). They are part of a saved machine then; all other contents
    // stay where they are.
    [[nodiscard]] virtual bool holds_changes() const { return false; }
    // Calls `take` with every changed piece in ascending order, until it answers an error.
    virtual Result<void> read_changes(const std::function<Result<void>(u64 offset, std::span<const u8> bytes)>&) {
        return {};
    }
    // The contents are those of the image again.
    virtual Result<void> drop_changes() { return {}; }
    // When the image was last written, in nanoseconds since 1970; 0 when that is not known. What was written before is on
    // stable storage.
    virtual Result<i64> modified_ns() { return 0; }
};

enum class DetectZeroes : u8 { Off, On, Unmap };
struct DriveOptions {
    // A path; or where an NBD server is: nbd:unix:PATH, nbd:HOST:PORT (each with :exportname=NAME), a URI (nbd://,
    // nbd+unix://), or json:{...}.
    std::string file;
    bool readonly = false;
    bool snapshot = false;  // writes go to a temporary overlay that is gone at exit
    std::string format = "raw";
    bool direct = false;         // bypasses the host's page cache (O_DIRECT)
    bool write_through = false;  // see BlockBackend::writes_through()
    bool no_flush = false;       // flushes do nothing: for data that may be lost with the host
    bool io_uring = false;       // start() works; otherwise the device's threads wait for each transfer
    bool discard = true;         // storage is given back; otherwise discard does nothing and zeroes are written
    DetectZeroes detect_zeroes = DetectZeroes::Off;  // writes of zeros become write_zeroes(), with Unmap ones that may unmap
};
// Opens a disk. Errors name the file: missing, not readable, not a multiple of 512, locked by another user (also by a second
// drive of the same machine), of a format that nothing here reads, or with options that the host cannot give.
Result<std::unique_ptr<BlockBackend>> open_drive(const DriveOptions& options);
// Known values of `format`, for messages.
std::string drive_formats();

// A character stream: serial ports, consoles.
class CharBackend {
public:
    virtual ~CharBackend() = default;
    // Guest output. Never blocks for long; may drop when the other side is gone. Any thread.
    virtual void write(std::span<const u8> bytes) = 0;
    // Installs the receiver of host input; called on the back end's thread. The receiver returns how many bytes it took; the
    // rest is offered again after resume_input(), then maybe nothing. An empty function removes it, after a running call has
    // ended.
    using Receiver = std::function<std::size_t(std::span<const u8>)>;
    virtual void set_receiver(Receiver receiver) = 0;
    virtual void resume_input() = 0;
    // Installs what a break condition on the line calls, on the back end's thread; an empty function removes it.
    virtual void set_break(std::function<void()>&&) {}

    // A stream that several may use (mux=on): an end of its own for one more user, null when there are too many. Streams
    // with one user answer null; that user takes the stream itself.
    virtual std::unique_ptr<CharBackend> share() { return nullptr; }
    [[nodiscard]] virtual bool shared() const { return false; }
    // `f` is called whenever somebody turns to this user: a client that connects, or what is typed on a shared stream. Once
    // soon if somebody is there already. Called under the stream's lock and before what they type is received; it must
    // neither block nor call back. An empty function removes it, after a running call has ended.
    virtual void on_focus(std::function<void()>&& f) {
        if (f) f();  // a stream without clients: whoever reads it does so from the start
    }
};

// What is still to be done to a frame: struct virtio_net_hdr of virtio 1.2, 5.1.6, without num_buffers, which is also what a
// TAP device of the host reads and writes. All zero: the frame is complete.
struct FrameHeader {
    static constexpr u8 kNeedsChecksum = 1, kChecksumValid = 2;  // flags
    static constexpr u8 kGsoNone = 0, kGsoTcp4 = 1, kGsoUdp = 3, kGsoTcp6 = 4, kGsoEcn = 0x80;
    u8 flags = 0;
    u8 gso_type = kGsoNone;
    u16 header_length = 0;
    u16 gso_size = 0;
    u16 checksum_start = 0;
    u16 checksum_offset = 0;
};
static_assert(sizeof(FrameHeader) == 10);

// A network, as one Ethernet port of it. Everything is called by one thread, the loop of the device that the port belongs
// to:
//
//     port.watch(fds, timeout); poll(fds, timeout); port.serve(fds);
class NetBackend {
public:
    // Frame and header are valid during the call.
    using Receiver = std::function<void(const FrameHeader& header, std::span<const u8> frame)>;

    virtual ~NetBackend() = default;
    // Whether send() takes frames with checksums to be filled in and segments to be cut, and whether it may deliver such.
    [[nodiscard]] virtual bool takes_unfinished() const = 0;
    [[nodiscard]] virtual bool gives_unfinished() const = 0;
    // What the guest understands of frames it receives, from the next one on.
    struct Offloads {
        bool checksum = false, tcp4 = false, tcp6 = false, ecn = false;
    };
    virtual void set_offloads(const Offloads& offloads) = 0;
    // From the guest to the network; a frame that does not get through is dropped, as networks do.
    virtual void send(const FrameHeader& header, std::span<const u8> frame) = 0;
    // Appends the descriptors to wait for and lowers `timeout_ms` to the next timer (-1: none). Frames for the guest wait in
    // the network while `want_frames` is false.
    virtual void watch(std::vector<pollfd>& fds, int& timeout_ms, bool want_frames) = 0;
    // After poll(): `fds` are those that watch() appended, with their answers.
    virtual void serve(std::span<const pollfd> fds, const Receiver& receiver) = 0;
};

}  // namespace tandem::devices
