// Options from files, and those with rules of their own.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>

#include "frontend/config_file.h"
#include "frontend/lists.h"
#include "frontend/options.h"

using namespace tandem;
using namespace tandem::frontend;

namespace {

Result<Options> parse(std::vector<const char*> words) {
    words.insert(words.begin(), "tandem");
    return parse_command_line(static_cast<int>(words.size()), words.data());
}

std::string error_of(const std::vector<const char*>& words) {
    auto options = parse(words);
    return options.ok() ? "" : options.error().message;
}

class TextFile {
public:
    explicit TextFile(const std::string& text)
        : path_(std::filesystem::temp_directory_path() / ("tandem-options-" + std::to_string(getpid()))) {
        std::ofstream(path_) << text;
    }
    ~TextFile() { std::filesystem::remove(path_); }
    TextFile(const TextFile&) = delete;
    TextFile& operator=(const TextFile&) = delete;
    [[nodiscard]] std::string path() const { return path_.string(); }

private:
    std::filesystem::path path_;
};

}  // namespace

TEST_CASE("sizes: suffixes and decimals") {
    CHECK(parse({"-m", "96"})->ram_bytes == 96u << 20);
    CHECK(parse({"-m", "1.5G"})->ram_bytes == 1536u << 20);
    CHECK(parse({"-m", "size=0.5g"})->ram_bytes == 512u << 20);
    CHECK(parse({"-m", "64.5"})->ram_bytes == 129u << 19);
    CHECK(parse({"-m", "0x4000000"})->ram_bytes == 64u << 20);
    CHECK(parse_size("1.000001K").value() == 1024);
    for (const char* wrong : {"1.G", ".5G", "1.5", "1.5.5G", "1.1234567G", "1.-5G", "0x1.8G", "16777216.5T", "-1", ""}) {
        CAPTURE(wrong);
        CHECK_FALSE(parse_size(wrong).ok());
    }
}

TEST_CASE("options: words from a file") {
    const TextFile file("# a machine\n-m 64   -append 'console=ttyS0 \"quoted\"'\n-name \"two words\"  # end\n");
    const std::string at = "@" + file.path();
    auto options = parse({"-S", at.c_str(), "-smp", "2"});
    REQUIRE(options.ok());
    CHECK(options->start_paused);
    CHECK(options->ram_bytes == 64ull << 20);
    CHECK(options->append == "console=ttyS0 \"quoted\"");
    CHECK(options->name == "two words");
    CHECK(options->cpus == 2);
    CHECK(error_of({"@/nonexistent"}).find("/nonexistent") != std::string::npos);
    CHECK(!read_words("/").ok());
}

TEST_CASE("options: groups from a file") {
    const TextFile file("[drive \"d0\"]\n  file = \"a,b.img\"\n  if = \"none\"\n\n[machine]\n  type = \"q35\"\n");
    auto options = parse({"-readconfig", file.path().c_str()});
    REQUIRE(options.ok());
    REQUIRE(options->drives.size() == 1);
    CHECK(options->drives[0].options.file == "a,b.img");
    CHECK(options->drives[0].id == "d0");
    CHECK(options->machine == "q35");
    // QEMU's names of groups, and the key that stands for an option's first word.
    const TextFile all(
        "[memory]\nsize = \"64\"\n[smp-opts]\ncpus = \"3\"\n[boot-opts]\nmenu = \"on\"\n[name]\nguest = \"box\"\n"
        "[netdev \"n\"]\ntype = \"user\"\n[chardev \"c\"]\nbackend = \"null\"\n[accel]\naccel = \"tcg\"\n"
        "[device]\ndriver = \"virtio-net-pci\"\nnetdev = \"n\"\n");
    auto groups = parse({"-readconfig", all.path().c_str()});
    REQUIRE(groups.ok());
    CHECK(groups->ram_bytes == 64ull << 20);
    CHECK(groups->cpus == 3);
    CHECK(groups->boot.menu);
    CHECK(groups->name == "box");
    CHECK(groups->netdevs.at(0).head == "user");
    CHECK(groups->chardevs.at(0).head == "null");
    CHECK(groups->accel.at(0).head == "tcg");
    CHECK(groups->devices.at(0).head == "virtio-net-pci");
    const TextFile bad("file = x\n");
    CHECK(error_of({"-readconfig", bad.path().c_str()}).find("line 1") != std::string::npos);
    CHECK(!error_of({"-readconfig"}).empty());
}

TEST_CASE("options: a file that names itself is refused") {
    const TextFile file("");
    std::ofstream(file.path()) << "@" << file.path();
    CHECK(error_of({("@" + file.path()).c_str()}).find("deeply") != std::string::npos);
}

TEST_CASE("options: processors, globals, actions, identity") {
    CHECK(parse({"-smp", "cpus=4,sockets=1,cores=4,threads=1"})->cpus == 4);
    CHECK(parse({"-smp", "cores=2"})->cpus == 2);
    CHECK(!error_of({"-smp", "0"}).empty());
    const auto arranged = [](const char* words) {
        const auto o = parse({"-smp", words});
        REQUIRE(o.ok());
        return std::array{o->topology.sockets, o->topology.cores, o->topology.threads};
    };
    CHECK(arranged("16") == std::array{1u, 16u, 1u});
    CHECK(arranged("4,sockets=2") == std::array{2u, 2u, 1u});
    CHECK(arranged("8,threads=2") == std::array{1u, 4u, 2u});
    CHECK(arranged("8,cores=2") == std::array{4u, 2u, 1u});
    CHECK(arranged("sockets=2,cores=3,threads=2") == std::array{2u, 3u, 2u});
    CHECK(arranged("4,sockets=1,cores=2") == std::array{1u, 2u, 2u});
    CHECK(error_of({"-smp", "5,sockets=2"}).find("5 processors") != std::string::npos);
    CHECK(!error_of({"-smp", "2000"}).empty());
    CHECK(error_of({"-smp", "2,maxcpus=4"}).find("maxcpus") != std::string::npos);
    CHECK(parse({"-global", "virtio-blk-pci.serial=abc"})->globals.at(0).value == "abc");
    CHECK(!error_of({"-global", "nonsense"}).empty());
    auto merged = parse({"-machine", "q35", "-machine", "accel=kvm:tcg"});
    REQUIRE(merged.ok());
    CHECK(merged->machine == "q35");
    CHECK(merged->accel.size() == 2);
    CHECK(parse({"-action", "reboot=shutdown,shutdown=pause"})->no_reboot);
    CHECK(!error_of({"-action", "panic=dance"}).empty());
    CHECK(parse({"-device", "virtio-blk-pci,help"})->device_query == "virtio-blk-pci");
    CHECK(parse({"-M", "virt,help"})->action == Options::Action::ListProperties);
    CHECK(parse({"-M", "q35"})->machine == "q35");
    CHECK(parse({"-enable-kvm"})->accel.at(0).head == "kvm");
    CHECK(parse({"-name", "guest=box,debug-threads=on"})->name == "box");
    CHECK(parse({"-vga", "none", "-parallel", "none", "-display", "none", "-vnc", "none"}).ok());
    CHECK(error_of({"-vga", "std"}) == "-vga: 'std' is not supported (known: none)");
    // An option's name is said once.
    CHECK(error_of({"-smp", "2,colour=red"}).starts_with("-smp: unknown property 'colour'"));
    CHECK(error_of({"-drive", "file=x,colour=red"}).starts_with("-drive: unknown property 'colour'"));
    CHECK(error_of({"-rtc", "colour=red"}).starts_with("-rtc: unknown property 'colour'"));
    CHECK(error_of({"-global", "nonsense"}) == "-global: 'nonsense' is not DRIVER.PROPERTY=VALUE");
    CHECK(!error_of({"-uuid", "1234"}).empty());
    CHECK(parse({"-uuid", "12345678-1234-1234-1234-123456789abc"})->uuid.size() == 36);
}

TEST_CASE("options: a machine in the background has no terminal") {
    for (const std::vector<const char*>& words : std::vector<std::vector<const char*>>{{"-serial", "stdio"},
                                                                                       {"-serial", "mon:stdio"},
                                                                                       {"-monitor", "stdio"},
                                                                                       {"-chardev", "stdio,id=c"},
                                                                                       {"-debugcon", "stdio"}}) {
        auto all = words;
        all.push_back("-daemonize");
        CAPTURE(words[0], words[1]);
        CHECK(error_of(all).starts_with(std::string("-daemonize: ") + words[0]));
        CHECK(error_of(words).empty());
    }
    CHECK(error_of({"-daemonize", "-serial", "file:/x", "-monitor", "none"}).empty());
}

TEST_CASE("options: help as an argument lists what the option knows") {
    struct Row {
        const char *option, *listed;
    };
    for (const auto& [option, listed] :
         {Row{"-chardev", "socket"}, Row{"-netdev", "tap"}, Row{"-nic", "user"}, Row{"-accel", "lockstep"},
          Row{"-drive", "cache="}, Row{"-monitor", "unix:PATH"}, Row{"-serial", "mon:stdio"}, Row{"-debugcon", "file:PATH"},
          Row{"-smp", "threads"}, Row{"-rtc", "base="}, Row{"-boot", "order="}, Row{"-action", "panic="},
          Row{"-trace", "exits"}, Row{"-display", "none"}, Row{"-net", "none"}, Row{"-net", "nic"},
          Row{"-object", "rng-random"}, Row{"-drive", "media="}}) {
        INFO(option);
        const auto options = parse({option, "help"});
        REQUIRE(options.ok());
        CHECK(options->action == Options::Action::Explain);
        CHECK(list_of(options->explained).value().find(listed) != std::string::npos);
    }
    CHECK(parse({"-kernel", "help"})->kernel == "help");
}

TEST_CASE("options: what a drive's words mean") {
    const auto drive = [](const char* words) { return parse({"-drive", words})->drives.at(0).options; };
    CHECK(drive("file=x").discard);
    CHECK_FALSE(drive("file=x").direct);
    CHECK(drive("file=x,cache=none").direct);
    CHECK_FALSE(drive("file=x,cache=none").write_through);
    CHECK(drive("file=x,cache=directsync").direct);
    CHECK(drive("file=x,cache=directsync").write_through);
    CHECK(drive("file=x,cache=writethrough").write_through);
    CHECK(drive("file=x,cache=unsafe").no_flush);
    CHECK(drive("file=x,cache=none,cache.direct=off,cache.no-flush=on").no_flush);
    CHECK_FALSE(drive("file=x,cache=none,cache.direct=off").direct);
    CHECK(drive("file=x,aio=io_uring").io_uring);
    CHECK(drive("file=x,cache=none,aio=native").io_uring);
    CHECK_FALSE(drive("file=x,discard=ignore").discard);
    CHECK(drive("file=x,detect-zeroes=unmap").detect_zeroes == devices::DetectZeroes::Unmap);
    CHECK(drive("file=x,format=qcow2").format == "qcow2");
    CHECK(parse({"-hda", "a,b=c.img"})->drives.at(0).options.file == "a,b=c.img");
    CHECK(error_of({"-drive", "file=x,werror=stop"}).find("werror=stop") != std::string::npos);
    CHECK(error_of({"-drive", "file=x,media=tape"}).find("media=tape") != std::string::npos);
    CHECK(drive("file=x,media=cdrom").readonly);
    CHECK(parse({"-cdrom", "a,b.iso"})->drives.at(0).options.file == "a,b.iso");
    CHECK(parse({"-cdrom", "x"})->drives.at(0).options.readonly);
    CHECK(parse({"-cdrom", "x"})->drives.at(0).cdrom);
    CHECK(parse({"-pflash", "x"})->drives.at(0).interface == "pflash");
}

TEST_CASE("options: what QEMU has and this program has not names what serves instead") {
    CHECK(error_of({"-frobnicate"}) == "unknown option '-frobnicate' (--help lists the known ones)");
    CHECK(error_of({"-usb"}).starts_with("there is no option -usb: there is no USB"));
    CHECK(error_of({"--qmp", "unix:/x,server,nowait"}).find("-monitor unix:") != std::string::npos);
    CHECK(error_of({"-fda", "x"}).find("-drive file=") != std::string::npos);
    CHECK(parse({"-no-user-config", "-nodefaults"}).ok());
    CHECK(parse({"-no-hpet"})->machine_properties.at(0) == std::pair<std::string, std::string>("hpet", "off"));
}

TEST_CASE("options: a card and its network in two options are one") {
    auto o = parse({"-net", "nic,model=virtio,macaddr=52:54:00:00:00:01", "-net", "user,hostfwd=tcp::2222-:22"});
    REQUIRE(o.ok());
    REQUIRE(o->nics.size() == 1);
    PropertyList nic = o->nics[0];
    CHECK(nic.head == "user");
    CHECK(nic.take("model") == "virtio");
    CHECK(nic.take("mac") == "52:54:00:00:00:01");
    CHECK(nic.take("hostfwd") == "tcp::2222-:22");
    CHECK(nic.finish("").ok());
    auto named = parse({"-netdev", "user,id=n", "-net", "nic,netdev=n,model=virtio-net-pci"});
    REQUIRE(named.ok());
    CHECK(named->nics.empty());
    CHECK(named->devices.at(0).head == "virtio-net-pci");
    CHECK(named->devices.at(0).take("netdev") == "n");
    CHECK(parse({"-net", "none"})->nics.empty());
    CHECK(error_of({"-net", "user"}).find("'nic'") != std::string::npos);
    CHECK(error_of({"-net", "nic"}).find("'user'") != std::string::npos);
    CHECK(error_of({"-net", "nic", "-net", "nic", "-net", "user"}).find("-netdev") != std::string::npos);
    CHECK(error_of({"-net", "nic,netdev=n,colour=red"}).find("colour") != std::string::npos);
}

TEST_CASE("options: sources of random numbers") {
    auto o = parse({"-object", "rng-random,filename=/dev/urandom,id=r0", "-object", "rng-builtin,id=r1"});
    REQUIRE(o.ok());
    CHECK(o->objects.at(0).take("id") == "r0");
    CHECK(o->objects.at(1).head == "rng-builtin");
    CHECK(error_of({"-object", "rng-random,id=r,filename=/etc/passwd"}).find("/etc/passwd") != std::string::npos);
    CHECK(error_of({"-object", "rng-builtin"}).find("id=") != std::string::npos);
    CHECK(error_of({"-object", "rng-builtin,id=a", "-object", "rng-builtin,id=a"}).find("twice") != std::string::npos);
    CHECK(error_of({"-object", "iothread,id=i"}).find("threads of its own") != std::string::npos);
    CHECK(error_of({"-object", "dice,id=i"}).find("rng-random") != std::string::npos);
}

TEST_CASE("options: disks as nodes") {
    auto o = parse({"-blockdev", "driver=file,filename=a.qcow2,node-name=f,cache.direct=on", "-blockdev",
                    "driver=qcow2,file=f,node-name=d,read-only=on"});
    REQUIRE(o.ok());
    REQUIRE(o->drives.size() == 1);
    CHECK(o->drives[0].id == "d");
    CHECK(o->drives[0].interface == "none");
    CHECK(o->drives[0].options.file == "a.qcow2");
    CHECK(o->drives[0].options.format == "qcow2");
    CHECK(o->drives[0].options.direct);
    CHECK(o->drives[0].options.readonly);
    auto j = parse({"-blockdev",
                    R"({"driver":"raw","node-name":"n","file":{"driver":"nbd","server":{"type":"unix","path":"/s,x"},)"
                    R"("export":"e"},"cache":{"direct":false}})"});
    REQUIRE(j.ok());
    CHECK(j->drives.at(0).options.file.find("/s,x") != std::string::npos);
    CHECK(j->drives.at(0).options.file.starts_with("json:"));
    CHECK(error_of({"-blockdev", "driver=file,filename=a"}).find("node-name") != std::string::npos);
    CHECK(error_of({"-blockdev", "driver=file,node-name=a"}).find("filename") != std::string::npos);
    CHECK(error_of({"-blockdev", "driver=qcow2,file=nobody,node-name=a"}).find("nobody") != std::string::npos);
    CHECK(error_of({"-blockdev", "driver=file,filename=a,node-name=a,colour=red"}).find("colour") != std::string::npos);
    CHECK(error_of({"-blockdev", "{oops"}).find("JSON") != std::string::npos);
}

TEST_CASE("options: clock, firmware's order and names, what follows a panic") {
    CHECK(parse({"-rtc", "base=utc,clock=host"})->rtc.offset_s == 0);
    const i64 offset = parse({"-rtc", "base=2001-02-03T04:05:06,clock=vm,driftfix=none"})->rtc.offset_s;
    CHECK(std::abs(offset + static_cast<i64>(std::time(nullptr)) - 981173106) <= 1);
    CHECK_FALSE(parse({"-rtc", "clock=vm"})->rtc.follows_host);
    CHECK_FALSE(parse({"-rtc", "driftfix=none"})->rtc.makes_up_ticks);
    CHECK(parse({"-rtc", "base=localtime"}).ok());
    CHECK(error_of({"-rtc", "base=tomorrow"}).find("tomorrow") != std::string::npos);
    CHECK(error_of({"-rtc", "base=2001-02-03X"}).find("2001-02-03X") != std::string::npos);
    CHECK(error_of({"-rtc", "clock=sun"}).find("sun") != std::string::npos);
    auto boot = parse({"-boot", "order=nc,menu=on,strict=on"});
    REQUIRE(boot.ok());
    CHECK(boot->boot.order == "nc");
    CHECK(boot->boot.menu);
    CHECK(boot->boot.strict);
    CHECK(parse({"-boot", "d"})->boot.order == "d");
    CHECK(!error_of({"-boot", "order=cz"}).empty());
    CHECK(!error_of({"-boot", "order=cc"}).empty());
    auto names = parse({"-smbios", "type=1,serial=a,,b", "-smbios", "type=11,value=x,value=y"});
    REQUIRE(names.ok());
    REQUIRE(names->smbios.size() == 3);
    CHECK(names->smbios[0].value == "a,b");
    CHECK(names->smbios[2].type == 11);
    CHECK(error_of({"-smbios", "serial=a"}).find("type=") != std::string::npos);
    CHECK(!error_of({"-smbios", "type=300"}).empty());
    CHECK(parse({"-action", "panic=exit-failure"})->on_panic == machines::OnPanic::Fail);
}
