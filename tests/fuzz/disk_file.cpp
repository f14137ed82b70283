// Disk images of any contents and size, shortened and lengthened under the back end's feet.
#include <stdlib.h>
#include <unistd.h>

#include <string>

#include "base/log.h"
#include "devices/fabric/backends.h"
#include "tests/fuzz/input.h"

using namespace tandem;
using namespace tandem::devices;
using tandem::fuzz::Input;

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
    log::set_level(log::Level::Error);
    Input in({data, size});
    std::string path = "/tmp/tandem-fuzz-XXXXXX";
    const int fd = mkstemp(path.data());
    if (fd < 0) return 0;
    const u8 shape = in.byte();
    const off_t length = in.byte() * 256 * ((shape & 8) != 0 ? 256 : 1);
    if (ftruncate(fd, length) != 0) return 0;
    DriveOptions options;
    options.file = path;
    options.readonly = (shape & 1) != 0;
    options.snapshot = (shape & 2) != 0;
    auto disk = open_drive(options);
    if (disk.ok() && (*disk)->size_bytes() != static_cast<u64>(length)) __builtin_trap();
    while (disk.ok() && !in.at_end()) {
        const u8 action = in.byte();
        const u64 offset = (action & 0x80) != 0 ? in.word() << 20 : in.byte() * 512u;
        std::vector<u8> buffer((in.byte() % 64) * 512u);
        switch (action % 8) {
            case 0: (void)(*disk)->read(offset, buffer); break;
            case 1: (void)(*disk)->write(offset, buffer); break;
            case 2: (void)(*disk)->write_zeroes(offset, buffer.size(), (action & 8) != 0); break;
            case 3: (void)(*disk)->discard(offset, buffer.size()); break;
            case 4: (void)(*disk)->flush(); break;
            case 5: (void)(*disk)->read(offset + 1, buffer); break;
            default: (void)!ftruncate(fd, in.byte() * 512);
        }
    }
    close(fd);
    unlink(path.c_str());
    return 0;
}
