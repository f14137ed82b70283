// -drive and its short forms.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "frontend/host_backends.h"
#include "frontend/options.h"

namespace tandem::frontend {
namespace {

using devices::DetectZeroes;
using devices::DriveOptions;

// A word that stands for some members; the error lists the known ones.
template <class Row, std::size_t N>
Result<const Row*> find_word(const std::array<Row, N>& rows, std::string_view property, std::string_view word) {
    std::string known;
    for (const Row& row : rows) {
        if (row.name == word) return &row;
        known += (known.empty() ? "" : ", ") + std::string(row.name);
    }
    return invalid(fmt::format("{}={} is not supported (known: {})", property, word, known));
}

struct CacheRow {
    std::string_view name;
    bool direct, write_through, no_flush;
};
constexpr std::array<CacheRow, 5> kCaches{{
    {"writeback", false, false, false},
    {"none", true, false, false},
    {"writethrough", false, true, false},
    {"directsync", true, true, false},
    {"unsafe", false, false, true},
}};

struct FlagRow {
    std::string_view name;
    bool value;
};
constexpr std::array<FlagRow, 4> kDiscards{{{"unmap", true}, {"on", true}, {"ignore", false}, {"off", false}}};

struct AioRow {
    std::string_view name;
    bool io_uring, needs_direct;
};
constexpr std::array<AioRow, 3> kAios{{{"threads", false, false}, {"io_uring", true, false}, {"native", true, true}}};

struct ZeroesRow {
    std::string_view name;
    DetectZeroes value;
};
constexpr std::array<ZeroesRow, 3> kZeroes{
    {{"off", DetectZeroes::Off}, {"on", DetectZeroes::On}, {"unmap", DetectZeroes::Unmap}}};

// What the host does when it cannot write or read is always told to the guest.
struct ErrorRow {
    std::string_view name;
};
constexpr std::array<ErrorRow, 1> kErrors{{{"report"}}};

Result<void> take_cache(PropertyList& p, DriveOptions& o) {
    TANDEM_TRY_ASSIGN(const CacheRow* cache, find_word(kCaches, "cache", p.take("cache", "writeback")));
    TANDEM_TRY_ASSIGN(o.direct, p.take_bool("cache.direct", cache->direct));
    TANDEM_TRY_ASSIGN(o.no_flush, p.take_bool("cache.no-flush", cache->no_flush));
    TANDEM_TRY_ASSIGN(const bool writeback, p.take_bool("cache.writeback", !cache->write_through));
    o.write_through = !writeback;
    TANDEM_TRY_ASSIGN(const AioRow* aio, find_word(kAios, "aio", p.take("aio", "threads")));
    if (aio->needs_direct && !o.direct) {
        return invalid(fmt::format("aio={} needs cache=none or cache=directsync", aio->name));
    }
    o.io_uring = aio->io_uring;
    return {};
}

}  // namespace

Result<DriveSpec> parse_drive(PropertyList p) {
    DriveSpec d;
    DriveOptions& o = d.options;
    o.file = p.take("file");
    d.id = p.take("id");
    d.interface = p.take("if", "virtio");
    o.format = p.take("format", "raw");
    TANDEM_TRY_ASSIGN(o.readonly, p.take_bool("readonly", false));
    TANDEM_TRY_ASSIGN(o.readonly, p.take_bool("read-only", o.readonly));
    TANDEM_TRY_ASSIGN(o.snapshot, p.take_bool("snapshot", false));
    TANDEM_TRY(take_cache(p, o));
    TANDEM_TRY_ASSIGN(const FlagRow* discard, find_word(kDiscards, "discard", p.take("discard", "unmap")));
    o.discard = discard->value;
    TANDEM_TRY_ASSIGN(const ZeroesRow* zeroes, find_word(kZeroes, "detect-zeroes", p.take("detect-zeroes", "off")));
    o.detect_zeroes = zeroes->value;
    for (const char* property : {"werror", "rerror"}) {
        TANDEM_TRY_ASSIGN([[maybe_unused]] const ErrorRow* error, find_word(kErrors, property, p.take(property, "report")));
    }
    const std::string media = p.take("media", "disk");
    if (media != "disk" && media != "cdrom")
        return invalid(fmt::format("media={} is not supported (known: disk, cdrom)", media));
    d.cdrom = media == "cdrom";
    if (d.cdrom) o.readonly = true;
    if (o.file.empty()) return invalid("a drive needs file=PATH");
    if (d.interface != "virtio" && d.interface != "none" && d.interface != "pflash") {
        return invalid(fmt::format("if={} is not supported (known: virtio, none, pflash)", d.interface));
    }
    if (d.interface == "none" && d.id.empty())
        return invalid("a drive with if=none needs id=NAME for a -device to refer to");
    TANDEM_TRY(
        p.finish("file, id, if, format, readonly, snapshot, cache, cache.direct, cache.no-flush, cache.writeback, "
                 "aio, discard, detect-zeroes, werror, rerror, media"));
    return d;
}

namespace {

// The bootindex of the first CD where -boot asks for CDs before disks: behind those that devices have been given.
std::optional<u64> first_cd_index(const Options& options) {
    const std::string& order = options.boot.order;
    if (order.find('d') >= order.find('c')) return {};
    u64 index = 0;
    for (const auto& device : options.devices) {
        for (const auto& [key, value] : device.items) {
            const auto given = key == "bootindex" ? parse_size(value) : Result<u64>(u64{0});
            if (key == "bootindex" && given.ok()) index = std::max(index, *given + 1);
        }
    }
    return index;
}

}  // namespace

Result<void> open_drives(const Options& options, machines::MachineConfig& config) {
    unsigned next = 0;
    std::optional<u64> cd_index = first_cd_index(options);
    for (const auto& d : options.drives) {
        const std::string id = d.id.empty() ? fmt::format("drive{}", next) : d.id;
        ++next;
        for (const auto& [other, backend] : config.drives) {
            if (other == id) return invalid(fmt::format("-drive: the id '{}' is used twice", id));
        }
        DriveOptions with_snapshot = d.options;
        with_snapshot.snapshot = d.options.snapshot || options.snapshot;
        auto backend = devices::open_drive(with_snapshot);
        if (!backend) return std::move(backend).error().context("-drive");
        if (d.interface == "pflash") {
            config.pflash.push_back(std::move(backend).value());
            continue;
        }
        config.drives.emplace_back(id, std::move(backend).value());
        if (d.interface != "virtio") continue;
        config.devices.push_back({"virtio-blk-pci", {{"drive", id}}});
        if (d.cdrom && cd_index) config.devices.back().properties.emplace_back("bootindex", fmt::to_string((*cd_index)++));
    }
    return {};
}

}  // namespace tandem::frontend
