#include "devices/misc/pci_testdev.h"

#include <cstring>

#include "base/bits.h"

namespace tandem::devices {
namespace {

constexpr pci::Identity kIdentity{
    .vendor = 0x1b36, .device = 0x0005, .class_code = 0x00ff00, .subsystem_vendor = 0x1af4, .subsystem = 0x1100};

// The tests differ in how the host may take the write; here every write arrives the same way.
constexpr std::array<std::array<const char*, 3>, 2> kNames{{
    {"mmio-no-eventfd", "mmio-wildcard-eventfd", "mmio-datamatch-eventfd"},
    {"portio-no-eventfd", "portio-wildcard-eventfd", "portio-datamatch-eventfd"},
}};
constexpr u64 kMemorySize = 4096, kIoSize = 256;
constexpr std::array<u32, 2> kTarget{2048, 128};  // where a test's writes go, in each BAR
constexpr u32 kData = 0xfa;
constexpr u8 kWidth = 1;

// The header at the start of a BAR.
constexpr std::size_t kTest = 0, kWidthType = 1, kOffset = 4, kDataField = 8, kCount = 12, kName = 16;

}  // namespace

PciTestDev::PciTestDev() : PciFunction("pci-testdev", kIdentity) {
    add_bar(0, pci::BarKind::Memory32, kMemorySize, windows_[0]);
    add_bar(1, pci::BarKind::Io, kIoSize, windows_[1]);
}

void PciTestDev::reset() {
    reset_function();
    std::lock_guard guard(lock_);
    test_ = {};
    count_ = {};
}

std::array<u8, 64> PciTestDev::header(unsigned window) const {
    std::array<u8, 64> h{};
    const u8 test = test_[window];
    h[kTest] = test;
    if (test >= kNames[window].size()) return h;  // width 0: no such test
    h[kWidthType] = kWidth;
    std::memcpy(&h[kOffset], &kTarget[window], 4);
    std::memcpy(&h[kDataField], &kData, 4);
    std::memcpy(&h[kCount], &count_[window], 4);
    std::strncpy(reinterpret_cast<char*>(&h[kName]), kNames[window][test], h.size() - kName - 1);
    return h;
}

u64 PciTestDev::Window::io_read(u64 offset, unsigned size) {
    std::lock_guard guard(owner.lock_);
    const auto h = owner.header(index);
    u64 value = 0;
    for (unsigned i = 0; i < size && offset + i < h.size(); ++i) value |= u64{h[offset + i]} << (8 * i);
    return value;
}

void PciTestDev::Window::io_write(u64 offset, u64 value, unsigned size) {
    std::lock_guard guard(owner.lock_);
    if (offset == kTest) {
        owner.test_[index] = static_cast<u8>(value);
        owner.count_[index] = 0;
    } else if (offset == kTarget[index] && size == kWidth && owner.test_[index] < kNames[index].size()) {
        // Only the data-match test looks at the value.
        if (owner.test_[index] != 2 || value == kData) ++owner.count_[index];
    }
}

PciTestDevState PciTestDev::capture() const {
    std::lock_guard guard(lock_);
    return {capture_function(), test_, count_};
}

Result<void> PciTestDev::apply(const PciTestDevState& state) {
    TANDEM_TRY(check_function(state.function));
    apply_function(state.function);
    std::lock_guard guard(lock_);
    test_ = state.test;
    count_ = state.count;
    return {};
}

}  // namespace tandem::devices
