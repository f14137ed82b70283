#include "machines/snapshot/snapshot.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include "machines/snapshot/pages.h"
#include "machines/snapshot/records.h"
#include "machines/snapshot/state_tree.h"

namespace tandem::machines::snapshot {
namespace {

using nlohmann::json;

Result<void> check_drives_inside(const Header& header) {
    for (const auto& d : header.drives) {
        if (d.contents != DriveFact::Contents::Outside) continue;
        return Error{
            Errc::Unsupported,
            fmt::format("the contents of drive '{}' cannot be kept in a snapshot: the guest writes its image directly "
                        "(use snapshot=on, or 'migrate file:PATH' to save a machine that goes on elsewhere)",
                        d.name)};
    }
    return {};
}

Result<Header> decode_header(const RecordReader& file, const Record& record) {
    if (record.kind != Kind::Header) return file.corrupt("does not begin with its header");
    auto tree = from_cbor(record.bytes);
    if (!tree.ok()) return file.corrupt("its header is " + tree.error().message);
    const bool good = tree->is_object() && tree->contains("version") && (*tree)["version"].is_number_unsigned();
    if (!good || !tree->contains("fields")) return file.corrupt("its header is malformed");
    auto header = devices::from_device_state<Header>({(*tree)["version"].get<u32>(), (*tree)["fields"]}, "header");
    if (!header.ok()) return file.corrupt(header.error().message);
    return header;
}

Result<Header> check_header(const RecordReader& file, const Record& record, const MachineParts& parts) {
    TANDEM_TRY_ASSIGN(Header saved, decode_header(file, record));
    TANDEM_TRY_ASSIGN(const Header here, describe(parts));
    const auto found = differences(saved, here);
    if (found.empty()) return saved;
    return Error{Errc::Invariant,
                 fmt::format("{}: {}", file.corrupt("was saved on another machine").message, fmt::join(found, "; "))};
}

// The first reading: every check there is, nothing changed. The state's tree.
Result<json> check_file(RecordReader& file, const MachineParts& parts) {
    TANDEM_TRY_ASSIGN(const Record header, file.next());
    TANDEM_TRY(check_header(file, header, parts));
    TANDEM_TRY_ASSIGN(const Record state, file.next());
    if (state.kind != Kind::State) return file.corrupt("has no state after its header");
    auto tree = from_cbor(state.bytes);
    if (!tree.ok()) return file.corrupt("its state is " + tree.error().message);
    PageCoder coder;
    for (;;) {
        TANDEM_TRY_ASSIGN(const Record record, file.next());
        if (record.kind == Kind::End) return tree;
        Place place;
        if (!locate(record, parts, coder, place))
            return file.corrupt(fmt::format("contents at {:#x} do not fit", record.where));
    }
}

// Pages that the file does not have read as zeros; the host gets their storage back.
Result<void> clear_memory(devices::GuestMemory& memory) {
    for (const auto& r : memory.ranges()) {
        if (::madvise(r.host, r.size, MADV_DONTNEED) != 0) return io_error("cannot clear guest memory");
    }
    return {};
}

// The second reading: memory and drives.
Result<void> load_contents(RecordReader& file, const MachineParts& parts) {
    TANDEM_TRY(clear_memory(parts.memory));
    for (const auto& d : parts.drives) TANDEM_TRY(d.backend->drop_changes());
    PageCoder coder;
    for (;;) {
        TANDEM_TRY_ASSIGN(const Record record, file.next());
        if (record.kind == Kind::End) break;
        if (record.kind == Kind::Header || record.kind == Kind::State) continue;
        Place place;
        if (!locate(record, parts, coder, place)) return file.corrupt("changed while it was read");
        if (place.drive != nullptr) {
            TANDEM_TRY(place.drive->write(place.at, place.bytes));
        } else {
            std::ranges::copy(place.bytes, parts.memory.span(place.at, place.bytes.size()).begin());
        }
    }
    for (const auto& r : parts.memory.ranges()) parts.memory.commit(r.gpa, r.size);
    return {};
}

}  // namespace

Result<void> save(const MachineParts& parts, const std::string& path, Drives drives) {
    // The state first: taking it waits for what is in flight.
    TANDEM_TRY_ASSIGN(const json state, capture_tree(parts));
    TANDEM_TRY_ASSIGN(Header header, describe(parts));
    if (drives == Drives::Inside) TANDEM_TRY(check_drives_inside(header));
    const auto saved = devices::to_device_state(std::move(header));
    TANDEM_TRY_ASSIGN(auto file, RecordWriter::create(path));
    TANDEM_TRY(file.write(Kind::Header, 0, to_cbor({{"version", saved.version}, {"fields", saved.fields}})));
    TANDEM_TRY(file.write(Kind::State, 0, to_cbor(state)));
    TANDEM_TRY(write_memory(file, parts.memory));
    TANDEM_TRY(write_drives(file, parts.drives));
    return file.finish();
}

Result<void> restore(const MachineParts& parts, const std::string& path) {
    TANDEM_TRY_ASSIGN(auto file, RecordReader::open(path));
    TANDEM_TRY_ASSIGN(const json state, check_file(file, parts));
    auto applied = apply_tree(parts, state);
    if (!applied.ok()) return std::move(applied).error().context(fmt::format("snapshot '{}'", path));
    auto loaded = file.rewind();
    if (loaded.ok()) loaded = load_contents(file, parts);
    // Again, over the restored memory: devices that publish something there do it now.
    if (loaded.ok()) loaded = apply_tree(parts, state);
    if (loaded.ok()) return {};
    return Error{Errc::Internal, "the machine was restored only in part: " + loaded.error().message};
}

Result<Header> read_header(const std::string& path) {
    TANDEM_TRY_ASSIGN(auto file, RecordReader::open(path));
    TANDEM_TRY_ASSIGN(const Record record, file.next());
    return decode_header(file, record);
}

Result<json> capture(const MachineParts& parts) { return capture_tree(parts); }

Result<void> restore_running(Machine& machine, const std::string& path) {
    auto result = machine.while_stopped([&] { return restore(machine.parts(), path); });
    if (!result.ok() && result.error().code == Errc::Internal) machine.fail(result.error().message);
    return result;
}

}  // namespace tandem::machines::snapshot
