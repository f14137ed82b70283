#include "devices/block/nbd.h"

#include <fmt/format.h>
#include <libnbd.h>

#include <algorithm>
#include <atomic>
#include <nlohmann/json.hpp>
#include <vector>

#include "devices/block/raw_file.h"

namespace tandem::devices::block {
namespace {

constexpr unsigned kConnections = 4;
constexpr const char* kDefaultPort = "10809";
constexpr u64 kPiece = 1 << 20;         // a server may refuse more than 32 MiB, and small pieces share connections better
constexpr u64 kZeroPiece = 1ull << 30;  // of requests without data, whose length has 32 bits

struct Close {
    void operator()(nbd_handle* h) const {
        (void)::nbd_shutdown(h, 0);  // the server may drop what a client that vanishes has written
        ::nbd_close(h);
    }
};
using Handle = std::unique_ptr<nbd_handle, Close>;

Error nbd_error(const std::string& what) {
    const char* why = ::nbd_get_error();
    return {Errc::Io, fmt::format("{}: {}", what, why != nullptr ? why : "unknown error")};
}

class Nbd final : public BlockBackend {
public:
    Nbd(std::vector<Handle> connections, std::string label, u64 size, bool readonly, std::shared_ptr<void> keep)
        : keep_(std::move(keep)),
          connections_(std::move(connections)),
          label_(std::move(label)),
          size_(size),
          readonly_(readonly),
          can_flush_(::nbd_can_flush(connections_[0].get()) == 1),
          can_zero_(::nbd_can_zero(connections_[0].get()) == 1),
          can_trim_(::nbd_can_trim(connections_[0].get()) == 1) {}

    [[nodiscard]] u64 size_bytes() const override { return size_; }
    [[nodiscard]] bool readonly() const override { return readonly_; }

    Result<void> read(u64 offset, std::span<u8> out) override {
        return pieces("read", offset, out.size(), kPiece, [&](nbd_handle* h, u64 at, u64 size) {
            return ::nbd_pread(h, out.data() + (at - offset), size, at, 0);
        });
    }
    Result<void> write(u64 offset, std::span<const u8> in) override {
        return pieces("write", offset, in.size(), kPiece, [&](nbd_handle* h, u64 at, u64 size) {
            return ::nbd_pwrite(h, in.data() + (at - offset), size, at, 0);
        });
    }
    // A flush on one connection covers what others have ended: what NBD_FLAG_CAN_MULTI_CONN promises.
    Result<void> flush() override {
        if (readonly_ || !can_flush_) return {};
        return pieces("flush", 0, 1, 1, [](nbd_handle* h, u64, u64) { return ::nbd_flush(h, 0); });
    }
    Result<void> write_zeroes(u64 offset, u64 size, bool may_unmap) override {
        if (!can_zero_) return write_zero_bytes(offset, size);
        const u32 flags = may_unmap ? 0 : LIBNBD_CMD_FLAG_NO_HOLE;
        return pieces("write zeroes", offset, size, kZeroPiece,
                      [&](nbd_handle* h, u64 at, u64 n) { return ::nbd_zero(h, n, at, flags); });
    }
    Result<void> discard(u64 offset, u64 size) override {
        if (!can_trim_) return check_range("discard", offset, size);
        return pieces("discard", offset, size, kZeroPiece,
                      [](nbd_handle* h, u64 at, u64 n) { return ::nbd_trim(h, n, at, 0); });
    }

private:
    using Call = std::function<int(nbd_handle*, u64 offset, u64 size)>;

    // libnbd lets one thread at a time use a connection.
    Result<void> pieces(const char* verb, u64 offset, u64 size, u64 largest, const Call& call) {
        if (largest != 1) TANDEM_TRY(check_range(verb, offset, size));
        nbd_handle* connection = connections_[next_++ % connections_.size()].get();
        while (size > 0) {
            const u64 n = std::min(size, largest);
            if (call(connection, offset, n) != 0) return nbd_error(fmt::format("'{}': cannot {}", label_, verb));
            offset += n;
            size -= n;
        }
        return {};
    }

    [[nodiscard]] Result<void> check_range(const char* verb, u64 offset, u64 size) const {
        if ((offset | size) % kSectorSize != 0 || offset > size_ || size > size_ - offset) {
            return Error{Errc::Io, fmt::format("'{}': {} of {} bytes at {} is not in whole sectors of its {} bytes", label_,
                                               verb, size, offset, size_)};
        }
        return {};
    }

    Result<void> write_zero_bytes(u64 offset, u64 size) {
        TANDEM_TRY(check_range("write zeroes", offset, size));
        const std::vector<u8> zeros(std::min(size, kPiece));
        for (u64 n = 0; size > 0; offset += n, size -= n) {
            n = std::min<u64>(size, zeros.size());
            TANDEM_TRY(write(offset, std::span(zeros).first(n)));
        }
        return {};
    }

    std::shared_ptr<void> keep_;  // first: ends after the connections
    std::vector<Handle> connections_;
    std::string label_;
    u64 size_;
    bool readonly_;
    bool can_flush_, can_zero_, can_trim_;
    std::atomic<unsigned> next_{0};
};

Result<Handle> connect(const NbdAddress& a, const std::string& label) {
    Handle h(::nbd_create());
    if (!h) return nbd_error("cannot use libnbd");
    int rc = ::nbd_set_export_name(h.get(), a.export_name.c_str());
    if (rc == 0 && !a.uri.empty()) {
        rc = ::nbd_connect_uri(h.get(), a.uri.c_str());
    } else if (rc == 0 && !a.unix_path.empty()) {
        rc = ::nbd_connect_unix(h.get(), a.unix_path.c_str());
    } else if (rc == 0) {
        rc = ::nbd_connect_tcp(h.get(), a.host.c_str(), a.port.c_str());
    }
    if (rc != 0) return nbd_error(fmt::format("cannot connect to '{}'", label));
    return h;
}

// "A:B" at the last colon; everything in `text` when there is none.
std::pair<std::string_view, std::string_view> split_last(std::string_view text) {
    const auto colon = text.rfind(':');
    if (colon == std::string_view::npos) return {text, {}};
    return {text.substr(0, colon), text.substr(colon + 1)};
}

// unix:PATH or HOST:PORT, then [:exportname=NAME].
Result<std::optional<NbdAddress>> parse_words(std::string_view rest, std::string_view whole) {
    constexpr std::string_view kExport = ":exportname=", kUnix = "unix:";
    NbdAddress a;
    if (const auto at = rest.find(kExport); at != std::string_view::npos) {
        a.export_name = rest.substr(at + kExport.size());
        rest = rest.substr(0, at);
    }
    if (rest.starts_with(kUnix)) {
        a.unix_path = rest.substr(kUnix.size());
    } else {
        const auto [host, port] = split_last(rest);
        a.host = host.starts_with('[') && host.ends_with(']') ? host.substr(1, host.size() - 2) : host;
        a.port = port;
    }
    if (a.unix_path.empty() && (a.host.empty() || a.port.empty())) {
        return invalid(fmt::format("'{}' is neither nbd:unix:PATH nor nbd:HOST:PORT", whole));
    }
    return std::optional(a);
}

// {"driver": "nbd", "server": {"type": "unix", "path": P} or {"type": "inet", "host": H, "port": N}, "export": NAME}, maybe
// as the "file" of a "raw" driver.
Result<std::optional<NbdAddress>> parse_json(std::string_view text, std::string_view whole) {
    using nlohmann::json;
    const auto wrong = [&](std::string_view what) { return invalid(fmt::format("'{}': {}", whole, what)); };
    json tree = json::parse(text, nullptr, false);
    if (!tree.is_object()) return wrong("is not a JSON object");
    const auto word = [](const json& j, const char* key) -> std::string {
        const auto at = j.find(key);
        if (at == j.end()) return {};
        return at->is_string() ? at->get<std::string>() : at->is_number_unsigned() ? std::to_string(at->get<u64>()) : "";
    };
    if (word(tree, "driver") == "raw" && tree.contains("file") && tree["file"].is_object()) {
        json inner = tree["file"];
        tree = std::move(inner);
    }
    if (word(tree, "driver") != "nbd") return wrong("only the driver 'nbd' is known");
    if (!tree.contains("server") || !tree["server"].is_object()) return wrong("has no 'server'");
    const json& server = tree["server"];
    NbdAddress a;
    a.export_name = word(tree, "export");
    a.unix_path = word(server, "path");
    a.host = word(server, "host");
    a.port = word(server, "port");
    if (a.port.empty()) a.port = kDefaultPort;
    if (a.unix_path.empty() && a.host.empty()) return wrong("the server has neither 'path' nor 'host'");
    return std::optional(a);
}

}  // namespace

Result<std::optional<NbdAddress>> parse_nbd_address(std::string_view file) {
    for (const std::string_view scheme : {"nbd://", "nbd+unix://", "nbds://", "nbds+unix://"}) {
        if (!file.starts_with(scheme)) continue;
        NbdAddress a;
        a.uri = file;
        return std::optional(a);
    }
    if (file.starts_with("nbd:")) return parse_words(file.substr(4), file);
    if (file.starts_with("json:")) return parse_json(file.substr(5), file);
    return std::optional<NbdAddress>{};
}

Result<std::unique_ptr<BlockBackend>> open_nbd(const NbdAddress& address, const std::string& label, bool readonly,
                                               std::shared_ptr<void> keep) {
    std::vector<Handle> connections;
    TANDEM_TRY_ASSIGN(Handle first, connect(address, label));
    connections.push_back(std::move(first));
    nbd_handle* h = connections[0].get();
    const i64 size = ::nbd_get_size(h);
    if (size < 0) return nbd_error(fmt::format("'{}': no size", label));
    if (size == 0 || static_cast<u64>(size) % kSectorSize != 0) {
        return invalid(fmt::format("'{}': size {} is not a multiple of {}", label, size, kSectorSize));
    }
    if (!readonly && ::nbd_is_read_only(h) == 1) {
        return Error{Errc::Unsupported, fmt::format("'{}' is read-only at its server (readonly=on or snapshot=on)", label)};
    }
    if (::nbd_can_multi_conn(h) == 1) {
        while (connections.size() < kConnections) {
            TANDEM_TRY_ASSIGN(Handle more, connect(address, label));
            connections.push_back(std::move(more));
        }
    }
    return std::unique_ptr<BlockBackend>(
        std::make_unique<Nbd>(std::move(connections), label, static_cast<u64>(size), readonly, std::move(keep)));
}

}  // namespace tandem::devices::block
