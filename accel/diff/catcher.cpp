#include "accel/diff/catcher.h"

#include <cstring>

namespace tandem::accel::diff {

using namespace cpu::x86;

namespace {

// A page that catches exceptions: interrupt descriptors, one HLT for each vector, segment descriptors, task state, and from
// the end downwards a stack. One for long mode, one for the rest; of the third, in the first megabyte, real mode has the
// HLTs.
constexpr u64 kPage = kHandlerPagesSize / 2;
constexpr u64 kHandlers = 0x200, kDescriptors = 0x300, kTask = 0x400;
constexpr u64 kRealPage = kTablesSize - kPage;
constexpr u16 kTaskLimit = 0x67;
constexpr u16 kCodeSelector = 8, kStackSelector = 0x10, kTaskSelector = 0x18, kInLocalTable = 4;
constexpr u8 kInterruptGate = 0x8e, kUserGate = 0xee;

// Experiments may use INT3, INTO and INT1 in user mode, as under every system.
u8 gate_type(u64 vector) { return vector == 1 || vector == 3 || vector == 4 ? kUserGate : kInterruptGate; }

void put(u8* to, u64 value, unsigned size) { std::memcpy(to, &value, size); }

u16 table_bit(Descriptors descriptors) { return descriptors == Descriptors::Local ? kInLocalTable : u16{0}; }

// SDM volume 3, figures 6-2 and 6-8 (gates), 8-2 and 8-11 (task state).
void write_catcher(u8* page, u64 at, bool wide, Descriptors descriptors) {
    constexpr u64 kFirstOfIst = 1;
    const u64 table = table_bit(descriptors);
    for (u64 vector = 0; vector < kCaughtVectors; ++vector) {
        const u64 handler = at + kHandlers + vector;
        page[kHandlers + vector] = kStop;
        const u64 gate = (handler & 0xffff) | (kCodeSelector | table) << 16 | (wide ? kFirstOfIst : 0) << 32 |
                         u64{gate_type(vector)} << 40 | (handler >> 16 & 0xffff) << 48;
        put(page + vector * (wide ? 16 : 8), gate, 8);
        if (wide) put(page + vector * 16 + 8, handler >> 32, 8);
    }
    put(page + kDescriptors + kCodeSelector, wide ? 0x00af9b000000ffff : 0x00cf9b000000ffff, 8);
    put(page + kDescriptors + kStackSelector, 0x00cf93000000ffff, 8);
    constexpr u64 kRing0Stack = 4, kRing0Selector = 8, kIst1 = 0x24, kIoMapBase = 0x66;
    put(page + kTask + kIoMapBase, kTaskLimit + 1, 2);  // user mode may use no port
    put(page + kTask + kRing0Stack, at + kPage, wide ? 8 : 4);
    if (wide) put(page + kTask + kIst1, at + kPage, 8);
    if (!wide) put(page + kTask + kRing0Selector, kStackSelector | table, 4);
}

// The interrupt vectors of real mode (SDM volume 3, 21.1.4); without it what the translators' memory has there, where other
// experiments without paging may look.
void write_vectors(u8* low, bool real_mode) {
    std::memset(low, kStop, kCaughtVectors * 4);
    for (u64 vector = 0; real_mode && vector < kCaughtVectors; ++vector)
        put(low + vector * 4, vector | kRealPage >> 4 << 16, 4);
}

}  // namespace

u64 catcher_of(const World& world) {
    if (world.real_mode) return kRealPage;
    return kHandlerPages + (world.paging == Paging::FourLevel ? 0 : kPage);
}

u64 handlers_of(const World& world) { return catcher_of(world) + (world.real_mode ? 0 : kHandlers); }

void point_at(const World& world, Descriptors descriptors, State& s) {
    const u64 at = catcher_of(world);
    constexpr u16 kBusyTask = 0x8b, kLocalTable = 0x82;
    if (world.real_mode) {
        s.idtr = {0, kCaughtVectors * 4 - 1};
        return;
    }
    if (descriptors == Descriptors::Local) {
        s.ldtr = {at + kDescriptors, kTaskSelector - 1, kCodeSelector, kLocalTable};
    } else {
        s.gdtr = {at + kDescriptors, kTaskSelector - 1};
    }
    s.idtr = {at, static_cast<u16>(kCaughtVectors * (world.paging == Paging::FourLevel ? 16 : 8) - 1)};
    s.tr = {at + kTask, kTaskLimit, kTaskSelector, kBusyTask};
}

Result<void> ExperimentMemory::create(Descriptors descriptors) {
    TANDEM_TRY(guest.add("tables", 0, kTablesSize));
    TANDEM_TRY(guest.add("code", kCodePage, kPage));
    TANDEM_TRY(guest.add("catchers", kHandlerPages, kHandlerPagesSize));
    TANDEM_TRY(guest.add("data", kData, kDataSize + kReadOnlySize));
    const auto& ranges = guest.ranges();
    tables = ranges[0].host;
    code = ranges[1].host;
    catchers = ranges[2].host;
    data = ranges[3].host;
    write_page_tables(tables, true);
    write_catcher(catchers, kHandlerPages, true, descriptors);
    write_catcher(catchers + kPage, kHandlerPages + kPage, false, descriptors);
    return {};
}

void ExperimentMemory::place_code(const TestCase& test) const {
    std::memset(code, kStop, kPage);
    std::memcpy(code + (code_address(test) - kCodePage), test.code.data(), test.length);
    write_vectors(tables, world_of(test).real_mode);
}

}  // namespace tandem::accel::diff
