// The table of translations: what it says of pages, and that a page with very many blocks is no trap.
#include "jit/runtime/block_table.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <random>

using namespace tandem;
using namespace tandem::jit;

namespace {

constexpr u64 kFirst = 0x10000, kSecond = 0x20000;

std::unique_ptr<BlockNode> block_at(u64 offset, u32 bytes, u64 pc) {
    auto block = std::make_unique<BlockNode>();
    block->phys[0] = kFirst + offset;
    block->guest_bytes = bytes;
    block->key.pc = pc;
    if (offset + bytes > kPageSize) block->phys[1] = kSecond;
    return block;
}

u64 expected_granules(const CodePage& page) {
    u64 granules = 0;
    BlockTable::for_overlapping(page, 0, kPageSize, [&](const BlockNode& b) {
        const unsigned which = b.pages[0].page == &page ? 0 : 1;
        granules |= CodePage::granule_mask(b.offset_in(which), b.bytes_in(which));
    });
    return granules;
}

}  // namespace

TEST_CASE("the granules of a page are those of its blocks, whichever come and go") {
    BlockTable table;
    CodePage first, second;
    first.phys = kFirst, second.phys = kSecond;
    std::vector<BlockNode*> blocks;
    std::mt19937 random(1);
    for (u64 i = 0; i < 4000; ++i) {
        if (blocks.empty() || (blocks.size() < 40 && random() % 2 == 0)) {
            const u64 offset = random() % kPageSize;
            auto block = block_at(offset, static_cast<u32>(1 + random() % 200), i);
            CodePage* const beyond = block->spans_pages() ? &second : nullptr;
            blocks.push_back(&table.insert(std::move(block), first, beyond));
            continue;
        }
        const std::size_t which = random() % blocks.size();
        const bool spans = blocks[which]->spans_pages();
        (void)table.remove(*blocks[which]);
        blocks.erase(blocks.begin() + static_cast<std::ptrdiff_t>(which));
        REQUIRE(first.granules.load() == expected_granules(first));
        if (spans) REQUIRE(second.granules.load() == expected_granules(second));
    }
}

TEST_CASE("a page that is mapped at very many addresses is forgotten in reasonable time") {
    // A shared library under address space layout randomisation. A walk over the page's blocks for each of them that goes
    // would make 45 thousand million steps.
    BlockTable table;
    CodePage page;
    page.phys = kFirst;
    constexpr u64 kBlocks = 300'000;
    const auto start = std::chrono::steady_clock::now();
    for (u64 i = 0; i < kBlocks; ++i) table.insert(block_at(i % 4000, 16, i << 12), page, nullptr);
    while (BlockNode* block = table.oldest()) (void)table.remove(*block);
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
    CHECK(table.size() == 0);
    CHECK(page.granules.load() == 0);
}
