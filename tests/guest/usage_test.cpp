// Wrong input: one clear line and status 1, without a guest.
#include <catch2/catch.hpp>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "tests/guest/session.h"

using namespace tandem::tests;

namespace {

struct Case {
    std::vector<std::string> arguments;
    std::string says;  // must appear in the one line
};

// A file with the given contents, in a directory of the test's own.
class Scratch {
public:
    Scratch() : directory_(std::filesystem::temp_directory_path() / ("tandem-usage-" + std::to_string(getpid()))) {
        std::filesystem::create_directories(directory_);
    }
    ~Scratch() { std::filesystem::remove_all(directory_); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    std::string file(const std::string& name, const std::string& contents) const {
        const auto path = directory_ / name;
        std::ofstream(path, std::ios::binary) << contents;
        return path.string();
    }
    std::string truncated_copy(const std::string& of, std::uintmax_t size) const {
        const auto path = directory_ / "truncated";
        std::filesystem::copy_file(of, path, std::filesystem::copy_options::overwrite_existing);
        std::filesystem::resize_file(path, size);
        return path.string();
    }

private:
    std::filesystem::path directory_;
};

void check_refused(const Case& c) {
    std::vector<std::string> argv{tandem_program(), "-nographic"};
    argv.insert(argv.end(), c.arguments.begin(), c.arguments.end());
    std::string line;
    for (const auto& a : c.arguments) line += a + " ";
    const Finished f = run_program(argv);
    INFO(line << "\n" << f.output);
    CHECK(f.status == 1);
    CHECK(f.output.find(c.says) != std::string::npos);
    CHECK(std::count(f.output.begin(), f.output.end(), '\n') == 1);
}

}  // namespace

TEST_CASE("wrong options are refused with one line that names them") {
    const std::string kernel = image("vmlinuz");
    for (const Case& c : std::vector<Case>{
             {{"-frobnicate"}, "-frobnicate"},
             {{"-usb"}, "there is no option -usb: there is no USB"},
             {{"-kernel", kernel, "-device", "e1000"}, "there is no device 'e1000': virtio-net-pci"},
             {{"-kernel", kernel, "-device", "virtio-rng-pci,rng=dice"}, "there is no -object 'dice'"},
             {{"-fw_cfg", "name=etc/x,string=y"}, "-fw_cfg: the name 'etc/x' must begin with opt/"},
             {{"-fw_cfg", "name=opt/x,file=/nonexistent/x"}, "/nonexistent/x"},
             {{"-fw_cfg", "name=opt/x"}, "string=TEXT"},
             {{"disk.img"}, "disk.img"},
             {{"-m"}, "-m"},
             {{"-m", "lots"}, "lots"},
             {{"-kernel", kernel, "-m", "1"}, "-m"},
             {{"-kernel", kernel, "-m", "1000000T"}, "-m"},
             {{"-machine", "toaster"}, "toaster"},
             {{"-machine", "pc,colour=red"}, "-machine pc has no property 'colour'"},
             {{"-M", "q35", "-machine", "hpet=maybe"}, "-machine q35: property 'hpet' is 'maybe'"},
             {{"-machine", "virt,its=maybe"}, "-machine virt: property 'its'"},
             {{"-machine", "pc,id=x"}, "'id'"},
             {{"-machine", "toaster,help"}, "toaster"},
             {{"-kernel", kernel, "-machine", "rt-prio=1,rt-prio-number=10", "-cpu", "max,+kvm-pv-ipi"},
              "rt-prio-number=10"},
             {{"-cpu", "max,+monitor"}, "monitor"},
             {{"-daemonize", "-monitor", "stdio"}, "-daemonize"},
             {{"-accel", "warp"}, "warp"},
             {{"-accel", "jit,tier=ludicrous"}, "ludicrous"},
             {{"-accel", "jit,speed=high"}, "speed"},
             {{"-kernel", kernel, "-accel", "jit,tier=llvm,llvm-threshold=0"}, "llvm-threshold"},
             {{"-cpu", "z80"}, "z80"},
             {{"-cpu", "max,+frob"}, "frob"},
             {{"-smp", "0"}, "-smp"},
             {{"-kernel", kernel, "-device", "flux-capacitor"}, "flux-capacitor"},
             {{"-kernel", kernel, "-device", "virtio-blk-pci,wheels=4"}, "wheels"},
             {{"-kernel", kernel, "-device", "virtio-blk-pci,drive=nope"}, "nope"},
             {{"-d", "everything"}, "everything"},
             {{"-trace", "dreams"}, "dreams"},
             {{"-display", "hologram"}, "hologram"},
             {{"-serial", "telepathy"}, "telepathy"},
             {{"-serial", "chardev:nobody"}, "nobody"},
             {{"-chardev", "drum,id=a"}, "drum"},
             {{"-netdev", "pigeon,id=a"}, "pigeon"},
             {{"-netdev", "user"}, "id="},
             {{"-netdev", "user,id=a,colour=red"}, "colour"},
             {{"-netdev", "user,id=a,net=banana"}, "banana"},
             {{"-netdev", "user,id=a,hostfwd=tcp:80"}, "tcp:80"},
             {{"-netdev", "tap,id=a"}, "ifname="},
             {{"-nic", "user,model=ne2000"}, "ne2000"},
             {{"-kernel", kernel, "-nic", "user,mac=01:02:03:04:05:06"}, "01:02:03:04:05:06"},
             {{"-kernel", kernel, "-device", "virtio-net-pci,netdev=nobody"}, "nobody"},
             {{"-kernel", kernel, "-device", "virtserialport,chardev=a"}, "virtio-serial"},
             {{"-kernel", kernel, "-device", "virtio-rng-device,addr=3"}, "addr"},
             {{"-chardev", "null"}, "id="},
             {{"-chardev", "null,id=a", "-chardev", "null,id=a"}, "'a'"},
             {{"-chardev", "null,id=a,mux=maybe"}, "mux"},
             {{"-kernel", kernel, "-serial", "mon:telegraph"}, "telegraph"},
             {{"-m", "1.5.5G"}, "1.5.5G"},
             {{"-cpu", "max,vendor=me"}, "vendor 'me'"},
             {{"-chardev", "file,id=a"}, "path="},
             {{"-chardev", "socket,id=a"}, "path="},
             {{"-chardev", "socket,id=a,path=/x,colour=red"}, "colour"},
             {{"-chardev", "socket,id=a,path=/nonexistent/socket"}, "/nonexistent/socket"},
             {{"-drive", "format=raw"}, "file="},
             {{"-drive", "file=x,format=tape"}, "tape"},
             {{"-drive", "file=x,cache=maybe"}, "maybe"},
             {{"-drive", "file=x,aio=telegraph"}, "telegraph"},
             {{"-drive", "file=x,aio=native"}, "cache=none"},
             {{"-drive", "file=x,discard=ignore,detect-zeroes=unmap"}, "discard=unmap"},
             {{"-drive", "file=nbd:nowhere"}, "nbd:nowhere"},
             {{"-drive", "file=nbd:unix:/nonexistent/socket"}, "/nonexistent/socket"},
             {{"-drive", "file=json:{\"driver\":\"ssh\"}"}, "ssh"},
             {{"-D", "/nonexistent/log"}, "/nonexistent/log"},
         }) {
        check_refused(c);
    }
}

TEST_CASE("unusable files are refused with one line that names them") {
    const Scratch scratch;
    const std::string kernel = image("vmlinuz");
    const std::string text = scratch.file("text", std::string(8192, 'x'));
    const std::string odd = scratch.file("odd.img", std::string(1000, 'x'));
    const std::string disk = scratch.file("disk.img", std::string(1 << 20, '\0'));
    for (const Case& c : std::vector<Case>{
             {{"-kernel", "/nonexistent/vmlinuz"}, "/nonexistent/vmlinuz"},
             {{"-kernel", scratch.file("empty", "")}, "empty"},
             {{"-kernel", text}, "text"},
             {{"-kernel", "/bin/sh"}, "ELF"},
             {{"-kernel", scratch.truncated_copy(kernel, 600)}, "truncated"},
             {{"-kernel", scratch.truncated_copy(kernel, 100000)}, "truncated"},
             {{"-kernel", kernel, "-initrd", "/nonexistent/initrd"}, "/nonexistent/initrd"},
             {{"-kernel", kernel, "-drive", "file=/nonexistent/disk"}, "/nonexistent/disk"},
             {{"-kernel", kernel, "-drive", "file=" + odd}, "odd.img"},
             {{"-kernel", kernel, "-drive", "file=" + disk, "-drive", "file=" + disk}, "disk.img"},
             {{"-kernel", "/tmp"}, "/tmp"},
         }) {
        check_refused(c);
    }
}

TEST_CASE("an output that is full is one line and status 1") {
    const Finished f = run_program({"/bin/sh", "-c", tandem_program() + " --help >/dev/full"});
    CHECK(f.status == 1);
    CHECK(f.output.find("No space left on device") != std::string::npos);
    CHECK(std::ranges::count(f.output, '\n') == 1);
}

TEST_CASE("--help has a sentence for every option, --version a version; lists are real") {
    const auto output = [](std::vector<std::string> arguments) {
        arguments.insert(arguments.begin(), tandem_program());
        const Finished f = run_program(arguments);
        CHECK(f.status == 0);
        return f.output;
    };
    CHECK(output({"--version"}).find("tandem ") == 0);
    const std::string help = output({"--help"});
    for (const char* option :
         {"-machine", "-accel", "-cpu", "-m ", "-kernel", "-drive", "-device", "-serial", "-no-reboot", "-d "}) {
        CHECK(help.find(option) != std::string::npos);
    }
    CHECK(output({"-machine", "help"}).find("pc") != std::string::npos);
    CHECK(output({"-machine", "pc,help"}).find("    hpet ") == 0);
    CHECK(output({"-M", "virt,help"}).find("    gic-version ") == 0);
    CHECK(output({"-machine", "virt", "-cpu", "help"}).find("cortex-a57") == 0);
    CHECK(output({"-cpu", "help"}).find(" avx2") != std::string::npos);
    CHECK(output({"-cpu", "help"}).find(" monitor ") == std::string::npos);
    CHECK(output({"-device", "help"}).find("virtio-blk-pci") != std::string::npos);
    CHECK(output({"-cpu", "help"}).find("max") != std::string::npos);
    for (const char* driver : {"virtio-blk-pci", "virtio-net", "virtio-rng-device", "virtio-serial-pci", "virtio-vsock-pci",
                               "isa-debug-exit", "virtconsole", "pvpanic"}) {
        INFO(driver);
        const std::string listed = output({"-device", std::string(driver) + ",help"});
        CHECK(listed.substr(0, listed.find("  ")).find(driver) != std::string::npos);
        CHECK((listed.find("    addr ") != std::string::npos) ==
              (std::string_view(driver).find("virtio-") == 0 && !std::string_view(driver).ends_with("-device")));
    }
    CHECK(output({"-d", "help"}).find("in_asm") != std::string::npos);
}
