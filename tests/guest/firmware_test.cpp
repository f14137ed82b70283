// Debian's firmware on the machines: SeaBIOS through GRUB to a kernel; OVMF, and AAVMF on AArch64, to their shells and to a
// kernel.
#include <catch2/catch.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/guest/directory.h"
#include "tests/guest/session.h"

using namespace tandem::tests;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

const std::string kPrompt = "guest# ";

void write_at(const fs::path& file, std::streamoff at, const std::string& bytes) {
    std::fstream f(file, std::ios::in | std::ios::out | std::ios::binary);
    f.seekp(at);
    f.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

std::string slurp(const fs::path& file) {
    std::ifstream f(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(f), {}};
}

// A disk with GRUB in front of one ext2 partition that holds the kernel.
std::string grub_disk(const Directory& dir, const std::string& append) {
    const fs::path disk = dir.path() / "disk.img", root = dir.path() / "root";
    fs::create_directory(root);
    for (const char* name : {"vmlinuz", "initramfs"}) fs::copy_file(image(name), root / name);
    std::ofstream(dir.path() / "early.cfg") << "set root=(hd0,msdos1)\necho GRUB is here\nlinux /vmlinuz console=ttyS0 "
                                            << append << "\ninitrd /initramfs\nboot\n";
    std::ofstream(disk) << "";
    fs::resize_file(disk, 80 << 20);
    const auto run = [](const std::vector<std::string>& argv) {
        const Finished f = run_program(argv);
        CAPTURE(argv.front(), f.output);
        REQUIRE(f.status == 0);
    };
    run({"/sbin/mke2fs", "-q", "-t", "ext2", "-d", root.string(), "-E", "offset=1048576", disk.string(), "79M"});
    const std::string core = (dir.path() / "core.img").string();
    run({"/usr/bin/grub-mkimage", "-O", "i386-pc", "-o", core, "-c", (dir.path() / "early.cfg").string(), "-p",
         "(hd0,msdos1)", "biosdisk", "part_msdos", "ext2", "linux", "echo", "normal"});
    write_at(disk, 0, slurp("/usr/lib/grub/i386-pc/boot.img").substr(0, 446));
    write_at(disk, 512, slurp(core));
    // One active Linux partition from sector 2048 on.
    write_at(disk, 446, std::string("\x80\0\0\0\x83\0\0\0\0\x08\0\0\0\x78\x02\0", 16));
    write_at(disk, 510, "\x55\xaa");
    return disk.string();
}

// What an EFI system partition holds: GRUB for the processor, Debian's kernel, and a console for it.
struct EfiSystem {
    std::string target, modules;  // of grub-mkimage
    const char* loader;           // the name by which firmware finds what it does not know
    std::string images;           // directory of kernel and initramfs
    const char* console;
};
EfiSystem efi_x86() { return {"x86_64-efi", "/usr/lib/grub/x86_64-efi", "BOOTX64.EFI", "", "ttyS0"}; }
EfiSystem efi_arm64() {
    return {"arm64-efi", image("arm64/unpacked/grub-efi-arm64-bin/usr/lib/grub/arm64-efi"), "BOOTAA64.EFI", "arm64/",
            "ttyAMA0"};
}

// A disk with one EFI system partition.
std::string efi_disk(const Directory& dir, const EfiSystem& system) {
    const fs::path disk = dir.path() / "efi.img";
    std::ofstream(dir.path() / "early.cfg")
        << "echo GRUB is here\nlinux /vmlinuz console=" << system.console << "\ninitrd /initramfs\nboot\n";
    std::ofstream(disk) << "";
    fs::resize_file(disk, 80 << 20);
    const auto run = [](const std::vector<std::string>& argv) {
        const Finished f = run_program(argv);
        CAPTURE(argv.front(), f.output);
        REQUIRE(f.status == 0);
    };
    const std::string loader = (dir.path() / "loader.efi").string(), partition = disk.string() + "@@1M";
    run({"/usr/bin/grub-mkimage", "-d", system.modules, "-O", system.target, "-o", loader, "-c",
         (dir.path() / "early.cfg").string(), "-p", "/", "fat", "part_msdos", "linux", "echo", "normal"});
    run({"/sbin/mkfs.vfat", "-F", "32", "--offset", "2048", disk.string()});
    run({"/usr/bin/mmd", "-i", partition, "::EFI", "::EFI/BOOT"});
    run({"/usr/bin/mcopy", "-i", partition, loader, std::string("::EFI/BOOT/") + system.loader});
    for (const char* name : {"vmlinuz", "initramfs"})
        run({"/usr/bin/mcopy", "-i", partition, image(system.images + name), std::string("::") + name});
    write_at(disk, 446, std::string("\0\0\0\0\xef\0\0\0\0\x08\0\0\0\x78\x02\0", 16));
    write_at(disk, 510, "\x55\xaa");
    return disk.string();
}

bool have(std::initializer_list<const char*> files) {
    for (const char* f : files) {
        if (fs::exists(f)) continue;
        WARN("skipped: " << f << " is not installed");
        return false;
    }
    return true;
}

// The shell waits five seconds for somebody who does not want its script.
void reach_shell(Session& s) {
    REQUIRE(s.wait_for("any other key to continue", 120s));
    s.type("\r");
    REQUIRE(s.wait_for("Shell>"));
}

}  // namespace

TEST_CASE("SeaBIOS starts GRUB from a virtio disk, which starts Debian's kernel; again after a reset") {
    if (!have({"/usr/share/seabios/bios-256k.bin", "/usr/lib/grub/i386-pc/boot.img"})) return;
    const Directory dir;
    const std::string disk = grub_disk(dir, "");
    const std::string log = (dir.path() / "debug.log").string();
    Session s(
        {tandem_program(), "-nographic", "-m", "256", "-smp", "2", "-drive", "file=" + disk, "-debugcon", "file:" + log});
    REQUIRE(s.wait_for("SeaBIOS (version"));
    REQUIRE(s.wait_for("GRUB is here"));
    REQUIRE(s.wait_for(kPrompt, 120s));
    s.type("grep -c ^processor /proc/cpuinfo; dmesg | grep -E 'ACPI (Error|BIOS|Warning)|Firmware Bug'; reboot -f\n");
    REQUIRE(s.wait_for("GRUB is here"));
    CHECK(s.output().find("ACPI Error") == std::string::npos);
    CHECK(s.output().find("] [Firmware Bug") == std::string::npos);
    REQUIRE(s.wait_for(kPrompt, 120s));
    s.type("poweroff -f\n");
    CHECK(s.wait_exit() == 0);
    CHECK(slurp(log).find("Running on QEMU (q35)") != std::string::npos);
}

TEST_CASE("SeaBIOS starts a kernel given with -kernel, whatever disks there are, which finds where -fw_cfg leads") {
    if (!have({"/usr/share/seabios/bios-256k.bin"})) return;
    Session s({tandem_program(),
               "-nographic",
               "-m",
               "256",
               "-bios",
               "bios-256k.bin",
               "-kernel",
               image("vmlinuz"),
               "-initrd",
               image("initramfs"),
               "-append",
               "console=ttyS0 quiet",
               "-drive",
               "file=" + image("disk.img") + ",snapshot=on",
               "-fw_cfg",
               "name=opt/tandem/test,string=brought along",
               "-object",
               "rng-random,filename=/dev/urandom,id=r",
               "-device",
               "virtio-rng-pci,rng=r"});
    REQUIRE(s.wait_for("SeaBIOS (version"));
    REQUIRE(s.wait_for(kPrompt, 120s));
    s.type("ls -d /sys/bus/acpi/devices/QEMU0002:00; poweroff -f\n");
    CHECK(s.wait_for("QEMU0002:00\r"));
    CHECK(s.wait_exit() == 0);
}

TEST_CASE("SeaBIOS starts from the disk that bootindex and -boot name") {
    if (!have({"/usr/share/seabios/bios-256k.bin"})) return;
    const Directory dir;
    // A boot sector that ends the program: mov dx, 0x501; mov al, NUMBER; out dx, al; hlt. The status is 2 * NUMBER + 1.
    const auto disk = [&dir](const char* name, char number) {
        const fs::path path = dir.path() / name;
        std::string sector = std::string("\xba\x01\x05\xb0", 4) + number + "\xee\xf4";
        sector.resize(1 << 20);
        sector[510] = '\x55';
        sector[511] = static_cast<char>(0xaa);
        std::ofstream(path, std::ios::binary) << sector;
        return path.string();
    };
    const std::string a = "file=" + disk("a", 5) + ",if=none,id=a", b = "file=" + disk("b", 9) + ",if=none,id=b";
    const auto status = [&](const std::string& first, const std::string& second, const std::string& order) {
        return run_program({tandem_program(), "-nographic", "-no-reboot", "-device", "isa-debug-exit", "-drive", a, "-drive",
                            b, "-device", "virtio-blk-pci,drive=a" + first, "-device", "virtio-blk-pci,drive=b" + second,
                            "-boot", order})
            .status;
    };
    CHECK(status("", "", "order=c") == 11);
    CHECK(status(",bootindex=1", ",bootindex=0", "order=c") == 19);
    CHECK(status("", ",bootindex=3", "strict=on") == 19);
    CHECK(status(",bootindex=2", ",bootindex=2", "order=c") == 1);
    const auto cd_status = [&](const std::string& order) {
        return run_program({tandem_program(), "-nographic", "-no-reboot", "-device", "isa-debug-exit", "-hda", disk("a", 5),
                            "-cdrom", disk("b", 9), "-boot", order})
            .status;
    };
    CHECK(cd_status("c") == 11);
    CHECK(cd_status("d") == 19);
    CHECK(cd_status("dc") == 19);
}

TEST_CASE("OVMF reaches its shell, and starts a kernel given with -kernel") {
    if (!have({"/usr/share/ovmf/OVMF.fd"})) return;
    {
        Session s({tandem_program(), "-nographic", "-m", "256", "-bios", "OVMF.fd"});
        REQUIRE(s.wait_for("Shell>", 120s));
        s.type("\x01x");
        CHECK(s.wait_exit() == 0);
    }
    Session s({tandem_program(), "-nographic", "-m", "512", "-bios", "/usr/share/ovmf/OVMF.fd", "-kernel", image("vmlinuz"),
               "-initrd", image("initramfs"), "-append", "console=ttyS0 quiet"});
    REQUIRE(s.wait_for(kPrompt, 180s));
    s.type("poweroff -f\n");
    CHECK(s.wait_exit() == 0);
}

TEST_CASE("OVMF starts GRUB from an EFI system partition, which starts Debian's kernel") {
    if (!have(
            {"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/lib/grub/x86_64-efi/linux.mod", "/sbin/mkfs.vfat", "/usr/bin/mcopy"}))
        return;
    const Directory dir;
    const std::string disk = efi_disk(dir, efi_x86());
    fs::copy_file("/usr/share/OVMF/OVMF_VARS_4M.fd", dir.path() / "vars.fd");
    Session s({tandem_program(), "-nographic", "-m", "512", "-drive",
               "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd", "-drive",
               "if=pflash,format=raw,file=" + (dir.path() / "vars.fd").string(), "-drive", "file=" + disk});
    REQUIRE(s.wait_for("GRUB is here", 120s));
    REQUIRE(s.wait_for(kPrompt, 180s));
    s.type("ls -d /sys/firmware/efi; poweroff -f\n");
    CHECK(s.wait_for("/sys/firmware/efi\r"));
    CHECK(s.wait_exit() == 0);
}

TEST_CASE("OVMF keeps its variables in a flash chip, in both layouts that Debian has") {
    const auto [code, template_] =
        GENERATE(std::pair{"OVMF_CODE.fd", "OVMF_VARS.fd"}, std::pair{"OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"});
    const fs::path directory = "/usr/share/OVMF", firmware = directory / code;
    if (!have({firmware.c_str()})) return;
    const Directory dir;
    const fs::path variables = dir.path() / "vars.fd";
    fs::copy_file(directory / template_, variables);
    const std::string before = slurp(variables);
    // Little memory: page tables for all that the processor could address must fit too.
    Session s({tandem_program(), "-nographic", "-m", "256", "-drive",
               "if=pflash,format=raw,readonly=on,file=" + firmware.string(), "-drive",
               "if=pflash,format=raw,file=" + variables.string()});
    REQUIRE(s.wait_for("Shell>", 120s));
    s.type("setvar Tandem -guid 12345678-1234-1234-1234-123456789abc -bs -nv =0xcafe\r");
    REQUIRE(s.wait_for("Shell>"));
    s.type("\x01x");
    CHECK(s.wait_exit() == 0);
    const std::string after = slurp(variables);
    CHECK(after != before);
    CHECK(after.find(std::string("T\0a\0n\0d\0e\0m\0", 12)) != std::string::npos);
}

TEST_CASE("a machine that SeaBIOS and GRUB started is saved, and goes on in another process") {
    if (!have({"/usr/share/seabios/bios-256k.bin", "/usr/lib/grub/i386-pc/boot.img"})) return;
    const Directory dir;
    const std::vector<std::string> argv{
        tandem_program(), "-nographic",       "-m", "256", "-smp", "2", "-drive", "file=" + grub_disk(dir, "quiet"),
        "-snapshots",     dir.path().string()};
    {
        Session s(argv);
        REQUIRE(s.wait_for(kPrompt, 120s));
        s.type("kept=$((40 + 2))\n");
        REQUIRE(s.wait_for(kPrompt));
        REQUIRE(s.command("migrate file:" + (dir.path() / "moved").string()));
        s.type(
            "\x01"
            "x");
        CHECK(s.wait_exit() == 0);
    }
    auto again = argv;
    again.insert(again.end(), {"-loadvm", (dir.path() / "moved").string()});
    Session s(again);
    s.type("echo kept-$kept\n");
    CHECK(s.wait_for("kept-42"));
    s.type("reboot -f\n");
    const bool rebooted = s.wait_for("GRUB is here", 120s);
    INFO(s.output());
    REQUIRE(rebooted);
    CHECK(s.wait_for(kPrompt, 120s));
}

TEST_CASE("OVMF's variables are part of a saved machine") {
    if (!have({"/usr/share/OVMF/OVMF_CODE_4M.fd"})) return;
    const Directory dir;
    const fs::path variables = dir.path() / "vars.fd";
    fs::copy_file("/usr/share/OVMF/OVMF_VARS_4M.fd", variables);
    const std::vector<std::string> argv{tandem_program(),
                                        "-nographic",
                                        "-m",
                                        "256",
                                        "-snapshots",
                                        dir.path().string(),
                                        "-drive",
                                        "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd",
                                        "-drive",
                                        "if=pflash,format=raw,snapshot=on,file=" + variables.string()};
    const std::string guid = " -guid 12345678-1234-1234-1234-123456789abc";
    const auto set = [&](Session& s, const std::string& name) {
        s.type("setvar " + name + guid + " -bs -nv =0xcafe\r");
        REQUIRE(s.wait_for("Shell>"));
    };
    const auto check = [&](Session& s) {
        s.type("setvar Early" + guid + "\r");
        CHECK(s.wait_for("FE CA"));
        REQUIRE(s.wait_for("Shell>"));
        s.type("setvar Later" + guid + "\r");
        CHECK(s.wait_for("Unable to get"));
        REQUIRE(s.wait_for("Shell>"));
    };
    const std::string before = slurp(variables);
    {
        Session s(argv);
        REQUIRE(s.wait_for("Shell>", 120s));
        set(s, "Early");
        REQUIRE(s.command("savevm base"));
        set(s, "Later");
        REQUIRE(s.command("loadvm base"));
        CHECK(s.output().find("Error") == std::string::npos);
        check(s);
        s.type("\x01x");
        CHECK(s.wait_exit() == 0);
    }
    CHECK(slurp(variables) == before);
    auto again = argv;
    again.insert(again.end(), {"-loadvm", "base"});
    Session s(again);
    REQUIRE(s.wait_raw());
    check(s);
    s.type("reset\r");
    REQUIRE(s.wait_for("Shell>", 120s));
    check(s);
    s.type("\x01x");
    CHECK(s.wait_exit() == 0);
}

TEST_CASE("firmware that cannot be used is one line and status 1") {
    const Directory dir;
    const std::string odd = (dir.path() / "odd").string();
    std::ofstream(odd) << std::string(1000, 'x');
    for (const auto& [name, says] : {std::pair<std::string, std::string>{"/nonexistent/bios", "/nonexistent/bios"},
                                     {"no-such-bios", "no-such-bios"},
                                     {odd, "64 KiB"}}) {
        const Finished f = run_program({tandem_program(), "-nographic", "-bios", name});
        CAPTURE(f.output);
        CHECK(f.status == 1);
        CHECK(f.output.find(says) != std::string::npos);
        CHECK(std::count(f.output.begin(), f.output.end(), '\n') == 1);
    }
}

TEST_CASE("AAVMF reaches its shell at EL1 and EL2, and keeps its variables in a flash chip") {
    const fs::path firmware = "/usr/share/AAVMF/AAVMF_CODE.fd";
    if (!have({firmware.c_str(), "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"})) return;
    {
        // Debian's firmware is the default.
        Session s({tandem_program(), "-machine", "virt,gic-version=3,virtualization=on", "-nographic", "-m", "256"});
        reach_shell(s);
        s.type("reset\r");
        reach_shell(s);
        s.type("reset -s\r");
        CHECK(s.wait_exit() == 0);
    }
    const Directory dir;
    const fs::path variables = dir.path() / "vars.fd";
    fs::copy_file("/usr/share/AAVMF/AAVMF_VARS.fd", variables);
    const auto start = [&] {
        return std::vector<std::string>{tandem_program(),
                                        "-machine",
                                        "virt",
                                        "-nographic",
                                        "-m",
                                        "256",
                                        "-drive",
                                        "if=pflash,format=raw,readonly=on,file=" + firmware.string(),
                                        "-drive",
                                        "if=pflash,format=raw,file=" + variables.string()};
    };
    Session first(start());
    reach_shell(first);
    first.type("setvar Tandem -guid 12345678-1234-1234-1234-123456789abc -bs -nv =0xcafe\r");
    REQUIRE(first.wait_for("Shell>"));
    first.type("\x01x");
    CHECK(first.wait_exit() == 0);
    Session second(start());
    reach_shell(second);
    second.type("setvar Tandem -guid 12345678-1234-1234-1234-123456789abc\r");
    CHECK(second.wait_for("FE CA"));
    second.type("\x01x");
    CHECK(second.wait_exit() == 0);
}

TEST_CASE("AAVMF starts a kernel given with -kernel, and GRUB from an EFI system partition, which starts Debian's kernel") {
    const EfiSystem system = efi_arm64();
    const std::string modules = system.modules + "/linux.mod";
    if (!have({"/usr/share/AAVMF/AAVMF_CODE.fd", modules.c_str(), "/sbin/mkfs.vfat", "/usr/bin/mcopy"})) return;
    const auto work = [](Session& s) {
        REQUIRE(s.wait_for(kPrompt, 180s));
        s.type("ls -d /sys/firmware/efi; dmesg | grep 'Using DTB'; tasks threads; poweroff -f\n");
        CHECK(s.wait_for("/sys/firmware/efi\r"));
        CHECK(s.wait_for("threads: all right"));
        CHECK(s.wait_exit() == 0);
    };
    {
        Session s({tandem_program(), "-machine", "virt,gic-version=3", "-smp", "2", "-nographic", "-m", "512", "-bios",
                   "AAVMF_CODE.fd", "-kernel", image("arm64/vmlinuz"), "-initrd", image("arm64/initramfs"), "-append",
                   "console=ttyAMA0 quiet"});
        work(s);
    }
    const Directory dir;
    Session s({tandem_program(), "-machine", "virt", "-nographic", "-m", "512", "-bios", "AAVMF_CODE.fd", "-drive",
               "file=" + efi_disk(dir, system)});
    REQUIRE(s.wait_for("GRUB is here", 120s));
    work(s);
}
