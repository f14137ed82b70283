#include "jit/runtime/worlds.h"

#include <algorithm>

namespace tandem::jit {

void Worlds::World::flush() {
    tlb.flush(false);
    tlb.unbind();
    jump_cache.flush(false);
}

void Worlds::World::flush_page(u64 va) {
    if (tlb.flush_page(va)) {
        jump_cache.flush(false);
    } else {
        jump_cache.flush_page(va);
    }
}

Worlds::Worlds(FrameHeader& header, u32 private_mmus) : header_(header), private_mmus_(private_mmus) {
    worlds_[0] = std::make_unique<World>(header, private_mmus);
    current_ = worlds_[0].get();
}

Worlds::World* Worlds::find(u64 id) const {
    const auto known = std::ranges::find_if(worlds_, [&](const auto& w) { return w != nullptr && w->id == id; });
    return known == worlds_.end() ? nullptr : known->get();
}

bool Worlds::makes(u64 id) const { return find(id) == nullptr && worlds_.back() == nullptr; }

Worlds::World& Worlds::take(u64 id) {
    const auto free = std::ranges::find_if(worlds_, [](const auto& w) { return w == nullptr; });
    if (free != worlds_.end()) {
        *free = std::make_unique<World>(header_, private_mmus_);
        (*free)->id = id;
        return **free;
    }
    const auto oldest =
        std::ranges::min_element(worlds_.begin() + 1, worlds_.end(), {}, [](const auto& w) { return w->last_left; });
    World& w = **oldest;
    w.flush();
    w.id = id;
    return w;
}

// Caches that work on what generated code does not see lead it there all the same.
void Worlds::publish() {
    current_->tlb.publish();
    current_->jump_cache.select(JumpCache::kShared);
}

const WorldStamp* Worlds::change(u64 id, const WorldStamp& left) {
    current_->stamp = left;
    current_->last_left = ++changes_;
    World* const known = find(id);
    current_ = known != nullptr ? known : &take(id);
    publish();
    return known != nullptr ? &known->stamp : nullptr;
}

void Worlds::flush() {
    for (const auto& w : worlds_) {
        if (w != nullptr) w->flush();
    }
    publish();
}

void Worlds::flush_page(u64 id, u64 va) {
    if (World* const w = find(id)) w->flush_page(va);
}

void Worlds::protect(const u8* host_page) {
    for (const auto& w : worlds_) {
        if (w != nullptr) w->tlb.protect(host_page);
    }
}

void Worlds::purge(const BlockNode& block) {
    for (const auto& w : worlds_) {
        if (w != nullptr) w->jump_cache.purge(block);
    }
}

}  // namespace tandem::jit
