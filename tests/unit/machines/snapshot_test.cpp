// Saving a machine and restoring it: nothing is lost, and nothing damaged, foreign or unfitting is taken.
#include <catch2/catch.hpp>
#include <cstring>
#include <fstream>
#include <random>
#include <set>

#include "accel/jit/x86_jit.h"
#include "devices/char/backends.h"
#include "devices/fabric/state.h"
#include "machines/snapshot/header.h"
#include "machines/snapshot/snapshot.h"
#include "machines/snapshot/state_tree.h"
#include "tests/unit/machines/fake_kernel.h"

using namespace tandem;
using namespace tandem::machines;
namespace x86 = tandem::cpu::x86;

namespace {

struct Wish {
    u64 ram = 24ull << 20;
    unsigned cpus = 2;
    std::string cpu = "max";
    bool overlay = true;
    bool drive = true;
};

// A machine on the translator, not running.
class Fixture {
public:
    explicit Fixture(const tests::Kernel& files, const Wish& wish = {}) {
        MachineConfig config = files.config();
        config.ram_bytes = wish.ram;
        config.cpus = wish.cpus;
        auto model = x86::CpuModel::create(wish.cpu);
        REQUIRE(model.ok());
        config.cpu = *model;
        if (wish.drive) {
            auto disk = devices::open_drive({files.path("disk"), false, wish.overlay});
            REQUIRE(disk.ok());
            config.drives.emplace_back("d0", std::move(disk).value());
            config.devices.push_back({"virtio-blk-pci", {{"drive", "d0"}}});
        }
        auto null = devices::create_char_backend("null", {});
        REQUIRE(null.ok());
        config.serial.push_back(std::move(null).value());
        jit::Options options;
        options.tier = jit::Tier::Interp;
        auto engine = accel::create_jit_accelerator(*model, options);
        REQUIRE(engine.ok());
        auto created = create_machine(std::move(config), std::move(engine).value());
        if (!created.ok()) FAIL(created.error().message);
        machine = std::move(created).value();
    }
    MachineParts parts() { return machine->parts(); }
    nlohmann::json capture() {
        auto tree = snapshot::capture(machine->parts());
        REQUIRE(tree.ok());
        return *tree;
    }

    std::unique_ptr<Machine> machine;
};

// Brings every kind of device out of its initial state, and leaves marks in memory and on the disk.
void disturb(Fixture& f) {
    const MachineParts p = f.parts();
    std::mt19937_64 random(1);
    const auto out = [&](u16 port, u64 value) { p.io.write(port, value, 1); };
    for (const u64 v : {0x11u, 0x20u, 0x04u, 0x01u}) out(v == 0x11 ? 0x20 : 0x21, v);
    for (const u64 v : {0x11u, 0x28u, 0x02u, 0x01u}) out(v == 0x11 ? 0xa0 : 0xa1, v);
    out(0x21, 0xa5);
    out(0x43, 0x34), out(0x40, 0x12), out(0x40, 0x34);
    out(0x43, 0xb6), out(0x42, 0x99), out(0x42, 0x01);
    out(0x61, 0x03);
    out(0x70, 0x0b), out(0x71, 0x42);
    out(0x70, 0x40), out(0x71, 0x77);
    out(0x3f9, 0x0f), out(0x3fc, 0x0b), out(0x3ff, 0x5a), out(0x3fa, 0x07);
    p.io.write(0xcf8, 0x80000844, 4);
    const auto ioapic = [&](u32 reg, u32 value) {
        p.mmio.write(0xfec00000, reg, 4);
        p.mmio.write(0xfec00010, value, 4);
    };
    ioapic(0x14, 0x00010055), ioapic(0x15, 0x01000000);
    for (const auto& vcpu : p.vcpus) {
        cpu::ArchState state;
        REQUIRE(vcpu->export_state(state).ok());
        auto& s = std::get<x86::State>(state);
        for (auto& r : s.gpr) r = random();
        for (auto& v : s.vec) v.lane[0] = random(), v.lane[1] = random();
        s.x87.reg[3] = {random(), 0x3fff};
        s.msr.kernel_gs_base = random();
        s.activity = x86::Activity::Halted;
        s.nmi_pending = true;
        REQUIRE(vcpu->import_state(state).ok());
    }
    std::vector<u8> bytes(100'000);
    for (auto& b : bytes) b = static_cast<u8>(random());
    REQUIRE(p.memory.write(0x812345, bytes.data(), bytes.size()));
    if (!p.drives.empty() && p.drives[0].backend->holds_changes()) {
        REQUIRE(p.drives[0].backend->write(1024, std::span(bytes).first(1024)).ok());
    }
}

u64 memory_sum(Fixture& f) {
    u64 sum = 0;
    for (const auto& r : f.parts().memory.ranges()) {
        for (u64 at = 0; at < r.size; at += 8) {
            u64 word = 0;
            std::memcpy(&word, r.host + at, 8);
            sum = sum * 31 + word;
        }
    }
    return sum;
}

std::string file_bytes(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}
void write_bytes(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

std::string error_of(const Result<void>& result) { return result.ok() ? "" : result.error().message; }

}  // namespace

TEST_CASE("snapshot: every field of the processor's state is saved") {
    std::mt19937_64 random(7);
    x86::State state;
    static_assert(std::is_trivially_copyable_v<x86::State>);
    auto* bytes = reinterpret_cast<u8*>(&state);
    for (std::size_t i = 0; i < sizeof state; ++i) bytes[i] = static_cast<u8>(random());
    // Types that do not take every value.
    state.activity = x86::Activity::Shutdown;
    state.sti_shadow = state.mov_ss_shadow = state.nmi_blocked = state.nmi_pending = true;
    state.pending.valid = state.pending.has_error = state.pending.software = true;
    state.pending.kind = x86::PendingKind::Exit;
    state.svm.gif = state.svm.guest = state.svm.nested_paging = state.svm.exit.shadow = true;
    state.svm.init_pending = state.svm.branches = true;
    const auto saved = devices::to_device_state(state);
    const auto cbor = snapshot::to_cbor(saved.fields);
    const auto tree = snapshot::from_cbor(cbor);
    REQUIRE(tree.ok());
    const auto back = devices::from_device_state<x86::State>({saved.version, *tree}, "cpu");
    REQUIRE(back.ok());
    CHECK(*back == state);
}

TEST_CASE("snapshot: names of devices are unique") {
    const tests::Kernel files;
    Fixture f(files);
    std::set<std::string> names;
    for (const auto& d : f.parts().devices) {
        INFO(d.name);
        CHECK(names.insert(d.name).second);
    }
    CHECK(names.count("lapic1") == 1);
    CHECK(names.count("serial0") == 1);
}

TEST_CASE("snapshot: save, restore and save again are equal, for everything on the machine") {
    const tests::Kernel files;
    const std::string path = files.path("saved");
    Fixture first(files);
    disturb(first);
    const auto state = first.capture();
    const u64 sum = memory_sum(first);
    REQUIRE(error_of(snapshot::save(first.parts(), path, snapshot::Drives::Inside)).empty());

    SECTION("on another machine") {
        Fixture second(files);
        CHECK(second.capture() != state);
        REQUIRE(error_of(snapshot::restore(second.parts(), path)).empty());
        CHECK(second.capture() == state);
        CHECK(memory_sum(second) == sum);
        std::array<u8, 1024> a{}, b{};
        REQUIRE(first.parts().drives[0].backend->read(1024, a).ok());
        REQUIRE(second.parts().drives[0].backend->read(1024, b).ok());
        CHECK(a == b);
    }
    SECTION("on the same machine, after it has gone on") {
        for (int i = 0; i < 3; ++i) {
            REQUIRE(first.machine->parts().memory.write(0x900000, "changed", 7));
            first.parts().io.write(0x3ff, 0x11, 1);
            REQUIRE(first.parts().drives[0].backend->write(0, std::array<u8, 512>{1, 2, 3}).ok());
            REQUIRE(error_of(snapshot::restore(first.parts(), path)).empty());
            CHECK(first.capture() == state);
            CHECK(memory_sum(first) == sum);
        }
    }
    SECTION("guest time goes on where it stood", "[I10]") {
        Fixture second(files);
        REQUIRE(error_of(snapshot::restore(second.parts(), path)).empty());
        CHECK(second.parts().clock.tsc() == first.parts().clock.tsc());
        CHECK(second.parts().clock.now_ns() == first.parts().clock.now_ns());
    }
}

TEST_CASE("snapshot: damaged files are refused and change nothing") {
    const tests::Kernel files;
    const std::string path = files.path("saved");
    const std::string bad = files.path("bad");
    Fixture f(files);
    disturb(f);
    REQUIRE(error_of(snapshot::save(f.parts(), path, snapshot::Drives::Inside)).empty());
    const std::string good = file_bytes(path);
    f.parts().io.write(0x3ff, 0x99, 1);
    const auto before = f.capture();
    const u64 sum = memory_sum(f);
    const auto refused = [&](const std::string& bytes) {
        write_bytes(bad, bytes);
        const std::string error = error_of(snapshot::restore(f.parts(), bad));
        CHECK(!error.empty());
        CHECK(error.find('\n') == std::string::npos);
        return error;
    };
    std::mt19937 random(3);
    // Every byte of the starts, and a sample of the rest.
    for (std::size_t i = 0; i < 300; ++i) {
        std::string bytes = good;
        const std::size_t at = i < 100 ? i : random() % bytes.size();
        bytes[at] = static_cast<char>(bytes[at] ^ static_cast<char>(1u << (random() % 8)));
        INFO("byte " << at);
        (void)refused(bytes);
    }
    for (const std::size_t size :
         {std::size_t{0}, std::size_t{7}, std::size_t{16}, std::size_t{39}, good.size() / 2, good.size() - 1}) {
        INFO("size " << size);
        (void)refused(good.substr(0, size));
    }
    (void)refused(good + "x");
    CHECK(refused(std::string(5000, 'x')).find("is not a saved machine") != std::string::npos);
    CHECK(!error_of(snapshot::restore(f.parts(), files.path("missing"))).empty());
    CHECK(f.capture() == before);
    CHECK(memory_sum(f) == sum);
}

TEST_CASE("snapshot: every difference of another machine is listed by field", "[R4]") {
    const tests::Kernel files;
    const std::string path = files.path("saved");
    {
        Fixture f(files);
        REQUIRE(error_of(snapshot::save(f.parts(), path, snapshot::Drives::Inside)).empty());
    }
    Fixture other(files, {.ram = 48ull << 20, .cpus = 1, .cpu = "max,-popcnt", .overlay = true, .drive = false});
    const std::string error = error_of(snapshot::restore(other.parts(), path));
    INFO(error);
    for (const char* part : {"popcnt", "possible: -cpu max,+popcnt", "processors: 2", "RAM", "lapic1", "drive 'd0'"}) {
        CHECK(error.find(part) != std::string::npos);
    }
}

TEST_CASE("snapshot: a drive that is written directly is refused or watched") {
    const tests::Kernel files;
    const std::string path = files.path("saved");
    const Wish direct{.overlay = false};
    {
        Fixture f(files, direct);
        CHECK(error_of(snapshot::save(f.parts(), path, snapshot::Drives::Inside)).find("'d0'") != std::string::npos);
        REQUIRE(error_of(snapshot::save(f.parts(), path, snapshot::Drives::Outside)).empty());
    }
    {
        Fixture f(files, direct);
        CHECK(error_of(snapshot::restore(f.parts(), path)).empty());
        REQUIRE(f.parts().drives[0].backend->write(0, std::array<u8, 512>{9}).ok());
    }
    Fixture f(files, direct);
    CHECK(error_of(snapshot::restore(f.parts(), path)).find("has been written") != std::string::npos);
}

TEST_CASE("snapshot: a failed save leaves the file of that name as it was") {
    const tests::Kernel files;
    const std::string path = files.path("saved");
    write_bytes(path, "precious");
    Fixture f(files, {.overlay = false});
    CHECK(!error_of(snapshot::save(f.parts(), path, snapshot::Drives::Inside)).empty());
    CHECK(file_bytes(path) == "precious");
    CHECK(!error_of(snapshot::save(f.parts(), "/nonexistent/dir/file", snapshot::Drives::Outside)).empty());
    CHECK(!std::filesystem::exists(path + ".part"));
}

TEST_CASE("snapshot: CBOR that is nested without end is refused") {
    const std::vector<u8> deep(1 << 20, 0x81);
    CHECK(!snapshot::from_cbor(deep).ok());
    const std::vector<u8> huge{0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    CHECK(!snapshot::from_cbor(huge).ok());
}

TEST_CASE("differences between AArch64 processors name what -cpu can do about them", "[R3][R4]") {
    const auto describe = [](std::vector<std::string> features) {
        snapshot::Header h;
        h.cpu_vendor = "Arm";
        h.cpu_model = "cortex-a57";
        h.cpu_features = std::move(features);
        return h;
    };
    const auto lines = snapshot::differences(describe({"FEAT_SHA3", "EL2"}), describe({"FEAT_AES", "REVIDR_EL1=0x7"}));
    CHECK(lines == std::vector<std::string>{
                       "CPU feature 'FEAT_SHA3': on in the snapshot, off (possible: -cpu cortex-a57,+FEAT_SHA3) here",
                       "CPU feature 'EL2': on in the snapshot, off and not possible here",
                       "CPU feature 'FEAT_AES': off in the snapshot, on (to match: -cpu cortex-a57,-FEAT_AES) here",
                       "CPU feature 'REVIDR_EL1=0x7': off in the snapshot, on here",
                   });
}
