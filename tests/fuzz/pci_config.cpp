// Configuration space, capabilities, BAR windows and MSI-X of a virtio function behind the root complex, by ports and
// memory.
#include <memory>

#include "base/log.h"
#include "devices/pci/root.h"
#include "devices/virtio/pci_transport.h"
#include "devices/virtio/rng.h"
#include "tests/fuzz/input.h"

using namespace tandem;
using namespace tandem::devices;
using tandem::fuzz::Input;

namespace {

class NoInterrupts final : public MsiSink {
public:
    void send_msi(u64, u32, u16) override {}
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
    log::set_level(log::Level::Error);
    Input in({data, size});
    GuestMemory memory;
    if (!memory.add("ram", 0, 64 << 10).ok()) return 0;
    AddressSpace mmio{"memory"}, io{"io"};
    NoInterrupts msi;
    virtio::VirtioPci function(virtio::create_rng(memory, "rng"), virtio::kRngClass);
    pci::PcieRoot root({&mmio, &io, &msi, {}});
    if (!root.map_ports(0xcf8, nullptr).ok() || !root.set_ecam(0xb0000000, 1 << 20).ok()) return 0;
    if (!root.attach(1, 0, function).ok()) return 0;
    constexpr u64 kFunction = 0xb0000000 + (1 << 15);
    bool saves = in.byte() % 16 == 0;  // which takes as long as a thousand accesses
    while (!in.at_end()) {
        const u8 action = in.byte();
        const unsigned width = 1u << (action >> 4) % 4;
        switch (action % 8) {
            case 0: (void)mmio.read(kFunction + in.byte() * 16u + in.byte() % 16, std::min(width, 4u)); break;
            case 1: mmio.write(kFunction + in.byte(), in.word(), std::min(width, 4u)); break;
            case 2: io.write(0xcf8, in.word(), 4); break;
            case 3: io.write(0xcfc + in.byte() % 4u, in.word(), std::min(width, 4u)); break;
            case 4: (void)io.read(0xcf8 + in.byte() % 8u, std::min(width, 4u)); break;
            case 5: {
                // Where a BAR is now.
                const auto at = function.bar_address(in.byte() % 6);
                if (at) mmio.write(*at + in.word() % 0x4000, in.word(), width);
                break;
            }
            case 6: {
                const auto at = function.bar_address(in.byte() % 6);
                if (at) (void)mmio.read(*at + in.word() % 0x4000, width);
                break;
            }
            default: {
                if (!saves) break;
                saves = false;
                const auto state = function.save();
                (void)function.restore(state);
                if (in.byte() == 0) function.reset();
            }
        }
    }
    return 0;
}
