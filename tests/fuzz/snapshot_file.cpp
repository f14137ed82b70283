// Saved machines. The first byte chooses: the rest is the file, or records with right checksums, or changes to a saved
// machine's state whose container is right. A machine that takes such a file must bear being used and saved again.
#include <unistd.h>

#include <filesystem>
#include <string>

#include "accel/jit/x86_jit.h"
#include "base/log.h"
#include "devices/char/backends.h"
#include "machines/snapshot/records.h"
#include "machines/snapshot/snapshot.h"
#include "machines/snapshot/state_tree.h"
#include "tests/fuzz/input.h"

using namespace tandem;
using namespace tandem::machines;
using nlohmann::json;
using tandem::fuzz::Input;

namespace {

// A machine with one of each device, a file to restore it from, and how it was at first.
class Fixture {
public:
    Fixture() {
        char name[] = "/dev/shm/tandem-fuzz-XXXXXX";
        if (mkdtemp(name) == nullptr) __builtin_trap();
        directory_ = name;
        MachineConfig config;
        config.ram_bytes = 16 << 20;
        config.cpus = 2;
        config.firmware = path("firmware");
        std::vector<u8> firmware(64 << 10, 0xf4);
        write_file(config.firmware, firmware);
        auto model = cpu::x86::CpuModel::create("max");
        config.cpu = *model;
        config.serial.push_back(devices::create_char_backend("null", {}).value());
        for (const char* driver : {"virtio-rng-pci", "virtio-balloon-pci", "virtio-rng-device", "virtio-serial-pci"}) {
            config.devices.push_back({driver, {}});
        }
        jit::Options options;
        options.tier = jit::Tier::Interp;
        auto engine = accel::create_jit_accelerator(*model, options);
        if (!engine.ok()) __builtin_trap();
        auto made = create_machine(std::move(config), std::move(engine).value());
        if (!made.ok()) __builtin_trap();
        machine_ = std::move(made).value();
        if (!snapshot::save(parts(), path("first"), snapshot::Drives::Inside).ok()) __builtin_trap();
        auto reader = snapshot::RecordReader::open(path("first"));
        header = std::move(reader->next()).value();
        auto tree = snapshot::capture(parts());
        state = *std::move(tree);
    }
    ~Fixture() { std::filesystem::remove_all(directory_); }
    Fixture(const Fixture&) = delete;
    Fixture& operator=(const Fixture&) = delete;

    MachineParts parts() { return machine_->parts(); }
    [[nodiscard]] std::string path(const char* name) const { return directory_ + "/" + name; }
    static void write_file(const std::string& path, std::span<const u8> bytes) {
        std::FILE* f = std::fopen(path.c_str(), "wb");
        if (f == nullptr || std::fwrite(bytes.data(), 1, bytes.size(), f) != bytes.size()) __builtin_trap();
        std::fclose(f);
    }

    snapshot::Record header;
    json state;

private:
    std::string directory_;
    std::unique_ptr<Machine> machine_;
};

json odd_value(Input& in) {
    switch (in.byte() % 8) {
        case 0: return in.byte();
        case 1: return in.word();
        case 2: return in.word() << 32 | in.word();
        case 3: return -static_cast<i64>(in.byte());
        case 4: return in.byte() % 2 == 0;
        case 5: return "text";
        case 6: return json::array();
        default: return json::object();
    }
}

// Walks down to a value, turning at each level where the input says, and replaces it.
void change(json& tree, Input& in) {
    json* at = &tree;
    while ((at->is_object() || at->is_array()) && !at->empty()) {
        auto next = at->begin();
        std::advance(next, (in.byte() * 256u + in.byte()) % at->size());
        at = &*next;
        if (in.byte() % 32 == 0) break;
    }
    const u8 how = in.byte();
    if (at->is_number_unsigned() && how % 4 != 0) {
        const u64 value = at->get<u64>();
        *at = how % 4 == 1 ? value ^ u64 { 1 } << (how >> 2) : how % 4 == 2 ? in.byte() : in.word();
    } else if (at->is_boolean() && how % 4 != 0) {
        *at = !at->get<bool>();
    } else if (at->is_array() && how % 2 != 0) {
        at->push_back(odd_value(in));
    } else {
        *at = odd_value(in);
    }
}

void write_records(Fixture& f, Input& in, u8 mode) {
    auto writer = snapshot::RecordWriter::create(f.path("fuzzed"));
    if (!writer.ok()) __builtin_trap();
    const auto put = [&](snapshot::Kind kind, u64 where, std::span<const u8> bytes) {
        if (!writer->write(kind, where, bytes).ok()) __builtin_trap();
    };
    if (mode % 4 != 1) put(f.header.kind, f.header.where, f.header.bytes);
    if (mode % 4 == 2) {
        json state = f.state;
        for (unsigned changes = 1 + mode / 64; changes > 0; --changes) change(state, in);
        put(snapshot::Kind::State, 0, snapshot::to_cbor(state));
    }
    while (!in.at_end()) {
        const auto kind = static_cast<snapshot::Kind>(in.byte() % 7);
        const u64 where = in.byte() % 2 == 0 ? in.byte() * u64{4096} : in.word() << 12;
        put(kind, where, in.bytes(in.byte()));
    }
    if (!writer->finish().ok()) __builtin_trap();
}

// Reads and writes what lies behind the state.
void use(const MachineParts& p) {
    for (const auto& region : p.io.regions()) {
        for (u64 i = 0; i < std::min<u64>(region.size, 16); ++i) {
            (void)p.io.read(region.base + i, 1);
            if (region.base + i != 0xcf9 && region.base + i != 0x92) p.io.write(region.base + i, 0x11, 1);
        }
    }
    for (const auto& region : p.mmio.regions()) {
        for (u64 i = 0; i < std::min<u64>(region.size, 256); i += 4) {
            (void)p.mmio.read(region.base + i, 4);
            p.mmio.write(region.base + i, 1, 4);
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
    log::set_level(log::Level::Error);
    static Fixture f;
    Input in({data, size});
    const u8 mode = in.byte();
    if (mode % 4 == 0) {
        Fixture::write_file(f.path("fuzzed"), in.bytes(size));
    } else {
        write_records(f, in, mode);
    }
    const auto restored = snapshot::restore(f.parts(), f.path("fuzzed"));
    if (!restored.ok()) {
        if (restored.error().message.find('\n') != std::string::npos) __builtin_trap();
        return 0;
    }
    use(f.parts());
    for (const auto& d : f.parts().devices) d.device->reset();
    if (!snapshot::restore(f.parts(), f.path("first")).ok()) __builtin_trap();
    return 0;
}
