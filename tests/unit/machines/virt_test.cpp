// The virt machine around a processor that a test plays: kernel files, device tree, PSCI, addresses.
#include <unistd.h>
#include <zlib.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

extern "C" {
#include <libfdt.h>
}

#include "devices/fabric/system_register.h"
#include "machines/machine.h"
#include "machines/virt/device_tree.h"
#include "machines/virt/layout.h"
#include "machines/virt/linux_image.h"
#include "machines/virt/psci.h"

namespace tandem::machines::virt {
namespace {

using accel::Exit;
using accel::HypercallExit;
using accel::MmioExit;
using accel::SystemRegisterExit;

constexpr u64 kMiB = layout::kMiB;

std::vector<u8> image_file(u64 text_offset = 0, u64 image_size = 0x10000, u64 flags = 0xa, std::size_t bytes = 4096) {
    std::vector<u8> file(bytes);
    const auto put = [&](std::size_t at, u64 value) { std::memcpy(file.data() + at, &value, 8); };
    put(8, text_offset), put(16, image_size), put(24, flags);
    std::memcpy(file.data() + 56, "ARM\x64", 4);
    return file;
}

std::vector<u8> gzip(const std::vector<u8>& in) {
    z_stream z{};
    REQUIRE(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    std::vector<u8> out(in.size() + 1000);
    z.next_in = const_cast<u8*>(in.data()), z.avail_in = static_cast<uInt>(in.size());
    z.next_out = out.data(), z.avail_out = static_cast<uInt>(out.size());
    REQUIRE(deflate(&z, Z_FINISH) == Z_STREAM_END);
    out.resize(z.total_out);
    deflateEnd(&z);
    return out;
}

std::string refusal(std::vector<u8> file, u64 ram = 128 * kMiB) {
    const auto image = LinuxImage::parse(std::move(file), "K", layout::kRam, ram);
    REQUIRE_FALSE(image.ok());
    return image.error().message;
}
bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

// An engine whose processors only remember what they are told.
struct Script {
    struct Cpu {
        bool irq = false;
        u64 entry = 0, context = 0;
        cpu::arm64::State state;
    };
    std::vector<Cpu> cpus{16};
    devices::GuestMemory* memory = nullptr;
    accel::ExitHandler* handler = nullptr;
};

class ScriptVcpu final : public accel::Vcpu {
public:
    ScriptVcpu(unsigned index, Script& script) : index_(index), script_(script) {}
    unsigned index() const override { return index_; }
    Exit run() override { return accel::RequestedExit{}; }
    Exit step() override { return run(); }
    void request_exit() override {}
    void wait_for_event() override {}
    u64 exit_pc() const override { return 0; }
    Result<void> export_state(cpu::ArchState&) override { return {}; }
    Result<void> import_state(const cpu::ArchState& in) override {
        script_.cpus[index_].state = std::get<cpu::arm64::State>(in);
        return {};
    }
    void set_line(devices::CpuLine line, bool level) override {
        if (line == devices::CpuLine::Interrupt) script_.cpus[index_].irq = level;
    }
    void power_on(u64 entry, u64 context) override {
        script_.cpus[index_].entry = entry;
        script_.cpus[index_].context = context;
    }

private:
    unsigned index_;
    Script& script_;
};

class ScriptEngine final : public accel::Accelerator {
public:
    explicit ScriptEngine(Script& script) : script_(script) {}
    const accel::Capabilities& capabilities() const override { return capabilities_; }
    Result<void> map_memory(devices::GuestMemory& memory) override {
        script_.memory = &memory;
        return {};
    }
    Result<std::unique_ptr<accel::Vcpu>> create_vcpu(unsigned index, accel::ExitHandler& handler) override {
        script_.handler = &handler;
        return std::unique_ptr<accel::Vcpu>(std::make_unique<ScriptVcpu>(index, script_));
    }
    std::string statistics() const override { return {}; }

private:
    accel::Capabilities capabilities_{"script", false, false};
    Script& script_;
};

struct Rig {
    Rig() {
        path = std::filesystem::temp_directory_path() / ("tandem-virt-" + std::to_string(::getpid()));
        const auto file = image_file();
        std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(file.data()), 4096);
        config.type = "virt";
        config.kernel = path;
        config.append = "console=ttyAMA0";
    }
    ~Rig() { std::filesystem::remove(path); }
    Result<void> build() {
        TANDEM_TRY_ASSIGN(machine, create_machine(std::move(config), std::make_unique<ScriptEngine>(script)));
        return {};
    }
    template <class E>
    E access(E e, unsigned index = 0) {
        ScriptVcpu vcpu(index, script);
        Exit exit = e;
        script.handler->handle(vcpu, exit);
        return std::get<E>(exit);
    }
    u64 read(u64 address, unsigned index = 0, u8 size = 4) { return access(MmioExit{address, size, false, 0}, index).data; }
    void write(u64 address, u64 data, unsigned index = 0, u8 size = 4) {
        access(MmioExit{address, size, true, data}, index);
    }
    HypercallExit call(u64 number, u64 a = 0, u64 b = 0, u64 c = 0, unsigned index = 0,
                       HypercallExit::Conduit conduit = HypercallExit::Conduit::Hvc) {
        HypercallExit e;
        e.number = number;
        e.args[0] = a, e.args[1] = b, e.args[2] = c;
        e.conduit = conduit;
        return access(e, index);
    }
    std::filesystem::path path;
    MachineConfig config;
    Script script;
    std::unique_ptr<Machine> machine;
};

u32 cell(const void* tree, int node, const char* name, int index = 0) {
    int length = 0;
    const auto* p = static_cast<const fdt32_t*>(fdt_getprop(tree, node, name, &length));
    REQUIRE(p != nullptr);
    REQUIRE(length >= 4 * (index + 1));
    return fdt32_to_cpu(p[index]);
}

}  // namespace

TEST_CASE("arm64 Image: placement follows the header") {
    const auto image = LinuxImage::parse(image_file(0x80000, 0x300000), "K", layout::kRam, 128 * kMiB);
    REQUIRE(image.ok());
    CHECK(image->entry() == layout::kRam + 0x80000);
    CHECK(image->device_tree() == layout::kRam + 0x400000);  // behind all of the image, its BSS included
    CHECK(image->initrd_start() == layout::kRam + 0x600000);
    const auto old = LinuxImage::parse(image_file(0x1234, 0), "K", layout::kRam, 128 * kMiB);
    REQUIRE(old.ok());
    CHECK(old->entry() == layout::kRam + 0x80000);
    const auto compressed = LinuxImage::parse(gzip(image_file()), "K", layout::kRam, 128 * kMiB);
    REQUIRE(compressed.ok());
    CHECK(compressed->entry() == layout::kRam);
}

TEST_CASE("arm64 Image: what cannot boot is refused by name") {
    CHECK(contains(refusal({}), "kernel 'K' is not an arm64 Image"));
    CHECK(contains(refusal(std::vector<u8>(4096)), "no known kernel format"));
    std::vector<u8> bz(4096);
    std::memcpy(bz.data() + 0x202, "HdrS", 4);
    CHECK(contains(refusal(bz), "bzImage for x86"));
    CHECK(contains(refusal(image_file(0, 0x10000, 1)), "big endian"));
    CHECK(contains(refusal(image_file(0, ~u64{0})), "-m is too small"));
    CHECK(contains(refusal(image_file(0x200000)), "damaged"));
    CHECK(contains(refusal(image_file(0, 127 * kMiB)), "needs"));
    auto cut = gzip(image_file());
    cut.resize(cut.size() / 2);
    CHECK(contains(refusal(cut), "damaged or truncated gzip"));
    CHECK(contains(refusal(gzip(std::vector<u8>(64 * kMiB)), 16 * kMiB), "larger than"));
    auto image = LinuxImage::parse(image_file(), "K", layout::kRam, 8 * kMiB);
    REQUIRE(image.ok());
    CHECK_FALSE(image->add_initrd(std::vector<u8>(8 * kMiB), "I").ok());
}

TEST_CASE("arm64 programs without a header lie where kernels used to; text and truncated Images are refused") {
    std::vector<u8> program(4096);
    const u32 first = 0x90000004;  // adrp x4, .
    std::memcpy(program.data(), &first, sizeof first);
    const auto flat = LinuxImage::parse(program, "K", layout::kRam, 128 * kMiB);
    REQUIRE(flat.ok());
    CHECK(flat->entry() == layout::kRam + 0x80000);
    CHECK(flat->device_tree() == layout::kRam + 64 * kMiB);  // room behind it
    CHECK(contains(refusal(std::vector<u8>(4096, 'l')), "no known kernel format"));
    // An Image with an EFI stub says how long the file is: one section of 4096 bytes from 1000H on.
    auto image = image_file();
    image.resize(0x2000);
    const auto put = [&image](std::size_t at, u32 value) { std::memcpy(image.data() + at, &value, sizeof value); };
    image[0] = 'M', image[1] = 'Z';
    put(60, 0x80), put(0x80, 0x4550);
    put(0x86, 1), put(0x94, 0);
    put(0x98 + 16, 0x1000), put(0x98 + 20, 0x1000);
    CHECK(LinuxImage::parse(image, "K", layout::kRam, 128 * kMiB).ok());
    image.resize(0x1fff);
    CHECK(contains(refusal(image), "truncated: 8191 of 8192 bytes"));
}

TEST_CASE("arm64 Image: hostile bytes") {
    std::mt19937 random(7);
    for (unsigned round = 0; round < 3000; ++round) {
        auto file = image_file();
        for (unsigned i = 0; i < 8; ++i) file[random() % 64] = static_cast<u8>(random());
        if (round % 3 == 0) file = gzip(file);
        if (round % 3 == 1) file.resize(random() % 100);
        if (round % 3 == 0) file[random() % file.size()] ^= static_cast<u8>(random());
        const auto image = LinuxImage::parse(std::move(file), "K", layout::kRam, 64 * kMiB);
        if (!image.ok()) continue;
        CHECK(image->entry() >= layout::kRam);
        CHECK(image->initrd_start() <= layout::kRam + 64 * kMiB);
    }
}

TEST_CASE("virt: the device tree describes the board") {
    BoardFacts facts;
    facts.cpus = 2;
    facts.ram_bytes = 256 * kMiB;
    facts.virtio_mmio = 2;
    facts.command_line = "quiet";
    facts.initrd_start = 0x48000000, facts.initrd_end = 0x48001000;
    facts.seed.assign(64, 5);
    for (const unsigned version : {2u, 3u}) {
        facts.options.gic_version = version;
        facts.options.virtualization = version == 3;
        const auto built = build_device_tree(facts, LinuxImage::kDeviceTreeMax);
        REQUIRE(built.ok());
        const void* tree = built->data();
        REQUIRE(fdt_check_full(tree, built->size()) == 0);
        const auto node = [&](const char* path) {
            const int at = fdt_path_offset(tree, path);
            INFO(path);
            REQUIRE(at >= 0);
            return at;
        };
        CHECK(cell(tree, node("/memory@40000000"), "reg", 1) == 0x40000000);
        CHECK(cell(tree, node("/memory@40000000"), "reg", 3) == 256 * kMiB);
        CHECK(std::string(static_cast<const char*>(fdt_getprop(tree, node("/chosen"), "bootargs", nullptr))) == "quiet");
        CHECK(cell(tree, node("/chosen"), "linux,initrd-end", 1) == 0x48001000);
        CHECK(cell(tree, node("/cpus/cpu@1"), "reg") == 1);
        CHECK(std::string(static_cast<const char*>(fdt_getprop(tree, node("/psci"), "method", nullptr))) ==
              (version == 3 ? "smc" : "hvc"));
        CHECK(cell(tree, node("/timer"), "interrupts", 7) == 11);  // the virtual timer is the third
        CHECK(cell(tree, node("/timer"), "interrupts", 8) == (version == 2 ? 0x304u : 4u));
        CHECK(cell(tree, node("/pl011@9000000"), "interrupts", 1) == layout::kUartSpi[0]);
        CHECK(cell(tree, node("/virtio_mmio@a000200"), "interrupts", 1) == layout::kVirtioSpi + 1);
        CHECK(cell(tree, node("/gpio-keys/poweroff"), "linux,code") == 116);
        const int pcie = node("/pcie@10000000");
        CHECK(cell(tree, pcie, "reg", 0) == layout::kEcam.base >> 32);
        CHECK(cell(tree, pcie, "interrupt-map", 8) == layout::kPciSpi);               // slot 0, INTA
        CHECK(cell(tree, pcie, "interrupt-map", 10 * 4 + 8) == layout::kPciSpi + 1);  // slot 1, INTA
        const int gic = node("/intc@8000000");
        CHECK(cell(tree, gic, "phandle") == cell(tree, node("/"), "interrupt-parent"));
        if (version == 2) {
            CHECK(cell(tree, pcie, "msi-parent") == cell(tree, node("/intc@8000000/v2m@8020000"), "phandle"));
        } else {
            CHECK(cell(tree, pcie, "msi-map", 1) == cell(tree, node("/intc@8000000/its@8080000"), "phandle"));
            CHECK(cell(tree, gic, "interrupts", 1) == layout::kMaintenancePpi - 16);
        }
    }
    facts.options.gic_version = 3;
    facts.options.its = false;
    const auto without_its = build_device_tree(facts, LinuxImage::kDeviceTreeMax);
    REQUIRE(without_its.ok());
    const void* tree = without_its->data();
    CHECK(fdt_path_offset(tree, "/intc@8000000/its@8080000") < 0);
    CHECK(cell(tree, fdt_path_offset(tree, "/pcie@10000000"), "msi-parent") ==
          cell(tree, fdt_path_offset(tree, "/intc@8000000/v2m@8020000"), "phandle"));
    facts.command_line.assign(LinuxImage::kDeviceTreeMax, 'x');
    CHECK_FALSE(build_device_tree(facts, LinuxImage::kDeviceTreeMax).ok());
}

TEST_CASE("virt: configuration errors name what is wrong") {
    const auto message = [](auto change) {
        Rig rig;
        change(rig.config);
        const auto built = rig.build();
        REQUIRE_FALSE(built.ok());
        return built.error().message;
    };
    CHECK(contains(message([](auto& c) { c.properties = {{"gic-version", "4"}}; }), "gic-version=4"));
    CHECK(contains(message([](auto& c) { c.properties = {{"colour", "red"}}; }), "no property 'colour'"));
    CHECK(contains(message([](auto& c) { c.cpus = 9; }), "-smp 9"));
    CHECK(contains(message([](auto& c) { c.properties = {{"gic-version", "3"}}, c.cpus = 17; }), "1 to 16"));
    CHECK(contains(message([](auto& c) { c.ram_bytes = kMiB; }), "-m 1"));
    CHECK(contains(message([](auto& c) { c.kernel.clear(); }), "-kernel"));
    CHECK(contains(message([](auto& c) { c.kernel = "/nonexistent"; }), "/nonexistent"));
    CHECK(contains(message([](auto& c) { c.devices.push_back({"e1000", {}}); }), "'e1000'"));
}

TEST_CASE("virt: kernel, tree and processors are in place") {
    Rig rig;
    rig.config.cpus = 2;
    REQUIRE(rig.build().ok());
    const auto& boot = rig.script.cpus[0].state;
    CHECK(boot.pc == layout::kRam);
    CHECK(boot.el() == 1);
    fdt_header header{};
    REQUIRE(rig.script.memory->read(boot.x[0], &header, sizeof header));
    CHECK(fdt_magic(&header) == FDT_MAGIC);
    CHECK(rig.script.cpus[1].state.activity == cpu::arm64::Activity::PoweredOff);
    Rig el2;
    el2.config.properties = {{"virtualization", "on"}, {"gic-version", "3"}};
    REQUIRE(el2.build().ok());
    CHECK(el2.script.cpus[0].state.el() == 2);
}

TEST_CASE("virt: PSCI") {
    Rig rig;
    rig.config.cpus = 2;
    REQUIRE(rig.build().ok());
    const auto status = [&](u64 number, u64 a = 0, u64 b = 0, u64 c = 0) {
        return static_cast<i32>(rig.call(number, a, b, c).result);
    };
    CHECK(rig.call(0x84000000).result == 0x10001);
    CHECK(rig.call(0x80000000).result == 0x10001);
    CHECK(status(0x8400000a, 0xc4000003) == 0);
    CHECK(status(0x8400000a, 0x80000000) == 0);
    CHECK(status(0x8400000a, 0x84000005) == -1);
    CHECK(status(0x84000006) == 2);
    CHECK(rig.call(0x84001234).result == ~u64{0});
    CHECK(status(0xc4000004, 1) == 1);
    CHECK(status(0xc4000003, 7, 0x40080000) == -2);
    CHECK(status(0xc4000003, 1, 0x40080002) == -9);
    CHECK(status(0xc4000003, 0, 0x40080000) == -4);
    CHECK(status(0xc4000003, 1, 0x140080000, 99) == 0);
    CHECK(rig.script.cpus[1].entry == 0x140080000);
    CHECK(rig.script.cpus[1].context == 99);
    CHECK(status(0xc4000004, 1) == 0);
    CHECK(rig.call(0x84000002, 0, 0, 0, 1).then == HypercallExit::Then::PowerOff);
    CHECK(status(0xc4000004, 1) == 1);
    CHECK(status(0x84000003, 0xffffffff00000001, 0xffffffff40080000) == 0);  // 32-bit arguments
    CHECK(rig.script.cpus[1].entry == 0x40080000);
    CHECK(rig.call(0xc4000001).then == HypercallExit::Then::WaitForInterrupt);
    CHECK(rig.call(0x84000000, 0, 0, 0, 0, HypercallExit::Conduit::Smc).then == HypercallExit::Then::Undefined);
}

TEST_CASE("virt: accesses reach the devices at the board's addresses", "[I1]") {
    Rig rig;
    rig.config.cpus = 2;
    REQUIRE(rig.build().ok());
    CHECK(rig.read(layout::kGicd.base + 0x800, 1) == 0x02020202);  // each processor's own bank
    CHECK(rig.read(layout::kRtc.base + 0xfe0) == 0x31);
    CHECK(rig.read(layout::kGpio.base + 0xfe0) == 0x61);
    CHECK(rig.read(layout::kEcam.base) == 0x00081b36);
    CHECK(rig.read(layout::kEcam.base + (1 << 15)) == 0xffffffff);
    rig.write(layout::kFwCfg.base + 8, 0x0000, 0, 2);
    CHECK(rig.read(layout::kFwCfg.base) == 0x554d4551);  // "QEMU"
    CHECK(rig.read(0x1000) == 0xffffffff);
    // The virtual timer's interrupt.
    rig.write(layout::kGicd.base, 1);
    rig.write(layout::kGicd.base + 0x100, 1u << layout::kVirtualTimerPpi, 1);
    rig.write(layout::kGicc.base, 1, 1);
    rig.write(layout::kGicc.base + 4, 0xff, 1);
    rig.script.handler->timer_programmed(1, devices::ArmTimer::Virtual, {true, 0, 0});
    CHECK(rig.script.cpus[1].irq);
    CHECK_FALSE(rig.script.cpus[0].irq);
    rig.script.handler->timer_programmed(1, devices::ArmTimer::Virtual, {true, ~u64{0}, 0});
    CHECK_FALSE(rig.script.cpus[1].irq);
    Rig v3;
    v3.config.properties = {{"gic-version", "max"}};
    REQUIRE(v3.build().ok());
    SystemRegisterExit sre;
    sre.encoding = devices::system_register(3, 0, 12, 12, 5);
    sre.level = 1;
    const auto answer = v3.access(sre);
    CHECK(answer.answer == SystemRegisterExit::Answer::Done);
    CHECK(answer.data == 7);
}

}  // namespace tandem::machines::virt
