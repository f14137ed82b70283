// Where the exceptions of experiments end on processors that deliver them: each in a handler that halts, whose frame tells
// what happened.
#pragma once

#include "accel/diff/test_case.h"
#include "base/result.h"
#include "devices/fabric/guest_memory.h"

namespace tandem::accel::diff {

constexpr u64 kCaughtVectors = 32;

// Which table has the handlers' segments. Local leaves an experiment the GDT that its state has.
enum class Descriptors : u8 { Global, Local };

// Page with the world's descriptor table, task state and stack, and where its handlers begin, one byte each by vector.
u64 catcher_of(const World& world);
u64 handlers_of(const World& world);

// Makes exceptions in the world go to its handlers.
void point_at(const World& world, Descriptors descriptors, cpu::x86::State& state);

// Guest memory with page tables, code page, handlers and data.
struct ExperimentMemory {
    // Once. Errors as GuestMemory::add().
    Result<void> create(Descriptors descriptors);
    // The whole code page, and the interrupt vectors of its world where they are in memory.
    void place_code(const TestCase& test) const;

    devices::GuestMemory guest;
    // In `guest`: kTablesSize bytes, a page, kHandlerPagesSize, kDataSize + kReadOnlySize.
    u8 *tables = nullptr, *code = nullptr, *catchers = nullptr, *data = nullptr;
};

}  // namespace tandem::accel::diff
