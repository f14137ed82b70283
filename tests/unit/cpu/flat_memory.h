// A processor state in a translator's frame, and memory for it without a translator: physical address = offset in `memory`.
// Linear addresses go through the processor's own page walk on every access, so nothing is ever stale; flushes are counted.
// Stands in for jit/runtime's side of jit/guest/memory.h, so that helpers can be tested alone.
#pragma once

#include <memory>
#include <vector>

#include "cpu/x86/translate_state.h"
#include "jit/guest/frame.h"

namespace tandem::test {

class FlatVcpu {
public:
    static constexpr u64 kSize = 1 << 20;

    FlatVcpu() : frame_(std::make_unique<Frame>()), memory(kSize) { frame_->header.owner = this; }

    cpu::x86::TranslateState& state() { return frame_->state; }
    jit::FrameHeader& header() { return frame_->header; }

private:
    struct Frame {
        jit::FrameHeader header;
        cpu::x86::TranslateState state;
    };
    std::unique_ptr<Frame> frame_;

public:
    std::vector<u8> memory;
    unsigned full_flushes = 0;
    unsigned partial_flushes = 0;  // all but global pages
    unsigned page_flushes = 0;
    unsigned switches = 0;
    std::vector<u64> spaces_flushed;
};

}  // namespace tandem::test
