// The translation caches of one vCPU: a soft TLB and a jump cache for each of the last few worlds that it changes between
// (jit::tlb_enter_world()). One is current: the frame header leads generated code to it. The first one is always there.
#pragma once

#include <array>
#include <memory>

#include "jit/guest/worlds.h"
#include "jit/runtime/jump_cache.h"
#include "jit/runtime/soft_tlb.h"

namespace tandem::jit {

class Worlds {
public:
    // `header` must outlive it. `private_mmus`: as SoftTlb's.
    Worlds(FrameHeader& header, u32 private_mmus);

    // Own thread.
    [[nodiscard]] SoftTlb& tlb() { return current_->tlb; }
    [[nodiscard]] JumpCache& jump_cache() { return current_->jump_cache; }
    // Whether change() to it has to make a world first, under the translator's lock.
    [[nodiscard]] bool makes(u64 id) const;
    // Makes `id` current, in the place of the world that was left least recently when it is new and there are too many.
    // See jit::tlb_enter_world().
    const WorldStamp* change(u64 id, const WorldStamp& left);
    // Drops everything of every world.
    void flush();
    void flush_page(u64 va) { current_->flush_page(va); }
    void flush_page(u64 id, u64 va);

    // Any thread, under the translator's lock: SoftTlb's and JumpCache's.
    void protect(const u8* host_page);
    void purge(const BlockNode& block);

private:
    static constexpr unsigned kMost = 8;
    struct World {
        World(FrameHeader& header, u32 private_mmus) : tlb(header, private_mmus), jump_cache(header) {}
        void flush();
        void flush_page(u64 va);
        SoftTlb tlb;
        JumpCache jump_cache;
        u64 id = 0;
        u64 last_left = 0;
        WorldStamp stamp{};
    };
    [[nodiscard]] World* find(u64 id) const;
    World& take(u64 id);
    void publish();

    FrameHeader& header_;
    const u32 private_mmus_;
    std::array<std::unique_ptr<World>, kMost> worlds_;
    World* current_ = nullptr;
    u64 changes_ = 0;
};

}  // namespace tandem::jit
