// Opening a drive: where it is kept, and what its options add.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "base/log.h"
#include "devices/block/image_server.h"
#include "devices/block/nbd.h"
#include "devices/block/overlay.h"
#include "devices/block/policy.h"
#include "devices/block/raw_backend.h"
#include "devices/fabric/backends.h"

namespace tandem::devices {
namespace {

// A qcow2 image shown as raw is a disk of nonsense, which is hardly ever meant.
void warn_of_format(const std::string& path) {
    constexpr std::array<char, 4> kQcow{'Q', 'F', 'I', '\xfb'};
    std::array<char, 4> magic{};
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return;
    const bool same = ::pread(fd, magic.data(), magic.size(), 0) == static_cast<ssize_t>(magic.size()) && magic == kQcow;
    ::close(fd);
    if (same) log::warn("drive file '{}' looks like a qcow2 image and is shown as it is (format=qcow2 opens it)", path);
}

Result<std::unique_ptr<BlockBackend>> open_base(const DriveOptions& options) {
    TANDEM_TRY_ASSIGN(const auto server, block::parse_nbd_address(options.file));
    if (server && options.format != "raw") {
        return invalid(fmt::format("'{}': a disk of an NBD server has format=raw, not {}", options.file, options.format));
    }
    if (server) return block::open_nbd(*server, options.file, options.readonly);
    if (options.format != "raw") return block::open_image(options);
    warn_of_format(options.file);
    return block::open_raw(options);
}

}  // namespace

std::string drive_formats() { return "raw, " + block::image_formats(); }

Result<std::unique_ptr<BlockBackend>> open_drive(const DriveOptions& options) {
    if (options.format != "raw" && !block::known_image_format(options.format)) {
        return invalid(fmt::format("format '{}' is not supported (known: {})", options.format, drive_formats()));
    }
    if (options.detect_zeroes == DetectZeroes::Unmap && !options.discard) {
        return invalid("detect-zeroes=unmap needs discard=unmap");
    }
    const bool overlay = options.snapshot && !options.readonly;
    DriveOptions base = options;
    base.readonly = options.readonly || overlay;
    TANDEM_TRY_ASSIGN(auto disk, open_base(base));
    if (overlay) {
        TANDEM_TRY_ASSIGN(disk, block::create_overlay(std::move(disk)));
    }
    return block::apply_policy(std::move(disk), options);
}

}  // namespace tandem::devices
