// Any file as a kernel: Linux, multiboot, PVH. Whatever passes the checks is placed twice, as a reset does.
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "base/log.h"
#include "machines/pc/boot_image.h"
#include "machines/pc/elf.h"
#include "machines/pc/multiboot.h"
#include "tests/fuzz/input.h"

using namespace tandem;
using namespace tandem::machines::pc;
using tandem::fuzz::Input;

namespace {

// A file that has a path and no place on a disk.
class MemoryFile {
public:
    explicit MemoryFile(const char* name) : fd_(memfd_create(name, 0)) {}
    ~MemoryFile() { close(fd_); }
    MemoryFile(const MemoryFile&) = delete;
    MemoryFile& operator=(const MemoryFile&) = delete;
    void fill(std::span<const u8> bytes) {
        if (ftruncate(fd_, 0) != 0 || pwrite(fd_, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
            __builtin_trap();
        }
    }
    [[nodiscard]] std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

private:
    int fd_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
    log::set_level(log::Level::Error);
    static MemoryFile kernel("kernel"), module("module");
    static devices::GuestMemory memory;
    constexpr u64 kRam = 32 << 20;
    if (memory.ranges().empty() && !memory.add("ram", 0, kRam).ok()) __builtin_trap();
    Input in({data, size});
    const u8 shape = in.byte();
    const std::vector<u8> file = in.bytes(size);
    kernel.fill(file);
    module.fill(std::vector<u8>((shape >> 4) * 1000u, 0x42));
    BootSources sources{.kernel = kernel.path(), .initrd = {}, .append = {}};
    if ((shape & 1) != 0) sources.initrd = module.path();
    if ((shape & 2) != 0) sources.initrd += (shape & 1) != 0 ? "," + module.path() + " with words" : "";
    if ((shape & 4) != 0) sources.append = std::string((shape >> 4) * 300u, 'a');
    const auto image = load_boot_image(sources, kRam);
    if (image.ok()) {
        cpu::x86::State state{};
        for (int i = 0; i < 2; ++i) (void)(*image)->place(memory, 0xe0000);
        (*image)->set_entry_state(state);
    } else if (image.error().message.find('\n') != std::string::npos) {
        __builtin_trap();
    }
    if (is_elf(file)) (void)parse_elf(file);
    return 0;
}
