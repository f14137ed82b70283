#include "cpu/x86/fpu/xsave.h"

#include <cstring>
#include <utility>

#include "cpu/x86/fpu/fxsave_image.h"
#include "cpu/x86/fpu/mxcsr.h"
#include "jit/guest/memory.h"

namespace tandem::cpu::x86 {

namespace {

constexpr u64 kX87 = 1u << 0, kSse = 1u << 1, kAvx = 1u << 2;
constexpr u64 kCompacted = u64{1} << 63;
constexpr unsigned kHeader = 512;
constexpr unsigned kExtended = 576;  // end of legacy region and header
constexpr u32 kAreaAlignment = 64;

// What a component holds: a slice of the vector registers, the opmask registers, or PKRU.
enum class Content : u8 { Vectors, Opmasks, Pkru };
struct Component {
    u8 number;  // bit of XCR0
    Feature feature;
    XsavePlace place;  // in the standard format (SDM volume 1, 13.5); none of them asks for 64-byte alignment when compacted
    Content content;
    u8 first_register = 0;
    u8 first_lane = 0;
    u8 lanes = 0;  // of 64 bits, per register
};
constexpr std::array<Component, 5> kComponents = {{
    {2, Feature::AVX, {576, 256}, Content::Vectors, 0, 2, 2},
    {5, Feature::AVX512F, {1088, 64}, Content::Opmasks},
    {6, Feature::AVX512F, {1152, 512}, Content::Vectors, 0, 4, 4},
    {7, Feature::AVX512F, {1664, 1024}, Content::Vectors, 16, 0, 8},
    {9, Feature::PKU, {2688, 8}, Content::Pkru},
}};

const Component* find(unsigned number) {
    for (const Component& c : kComponents) {
        if (c.number == number) return &c;
    }
    return nullptr;
}

// Registers of a slice that exist in the current mode.
unsigned registers(const Component& c, bool mode64) {
    if (mode64) return 16;
    return c.first_register == 0 ? 8 : 0;
}

void save(const Component& c, const State& s, u8* image, bool mode64) {
    switch (c.content) {
        case Content::Vectors:
            for (unsigned i = 0; i < registers(c, mode64); ++i) {
                std::memcpy(image + i * c.lanes * 8, &s.vec[c.first_register + i].lane[c.first_lane], c.lanes * 8u);
            }
            break;
        case Content::Opmasks: std::memcpy(image, s.opmask.data(), sizeof s.opmask); break;
        case Content::Pkru: std::memcpy(image, &s.pkru, sizeof s.pkru); break;
    }
}

void restore(const Component& c, State& s, const u8* image, bool mode64) {
    switch (c.content) {
        case Content::Vectors:
            for (unsigned i = 0; i < registers(c, mode64); ++i) {
                std::memcpy(&s.vec[c.first_register + i].lane[c.first_lane], image + i * c.lanes * 8, c.lanes * 8u);
            }
            break;
        case Content::Opmasks: std::memcpy(s.opmask.data(), image, sizeof s.opmask); break;
        case Content::Pkru: std::memcpy(&s.pkru, image, sizeof s.pkru); break;
    }
}

// Every component's initial state is all zeroes.
constexpr std::array<u8, 1024> kZeroes{};

bool in_use(const Component& c, const State& s) {
    std::array<u8, 1024> image{};
    save(c, s, image.data(), true);
    return std::memcmp(image.data(), kZeroes.data(), c.place.size) != 0;
}

bool sse_in_use(const State& s) {
    for (unsigned i = 0; i < 16; ++i) {
        if ((s.vec[i].lane[0] | s.vec[i].lane[1]) != 0) return true;
    }
    return false;
}

// Offset of a component in an area whose format is `layout` (XCOMP_BV; 0: standard).
u32 offset_of(const Component& c, u64 layout) {
    if ((layout & kCompacted) == 0) return c.place.offset;
    u32 offset = kExtended;
    for (const Component& before : kComponents) {
        if (before.number < c.number && bit(layout, before.number)) offset += before.place.size;
    }
    return offset;
}

u64 instruction_mask(const State& s) { return (s.gpr[RDX] << 32) | static_cast<u32>(s.gpr[RAX]); }

struct Header {
    u64 xstate_bv = 0;
    u64 xcomp_bv = 0;
    std::array<u64, 6> reserved{};
};
static_assert(sizeof(Header) == 64);

// The access of one instruction to its area.
class Area {
public:
    Area(TranslateState& t, u64 va, unsigned mmu) : t_(t), va_(va), mmu_(mmu) {}
    bool load(unsigned offset, void* out, unsigned size) { return jit::load_bytes(&t_, va_ + offset, mmu_, out, size); }
    bool store(unsigned offset, const void* in, unsigned size) {
        return jit::store_bytes(&t_, va_ + offset, mmu_, in, size);
    }

private:
    TranslateState& t_;
    u64 va_;
    unsigned mmu_;
};

// x87, MXCSR and XMM parts of the legacy region, as `write` asks.
bool save_legacy(TranslateState& t, Area& area, u64 write, bool with_mxcsr, bool wide) {
    LegacyRegion image;
    const unsigned xmm = code64(t.s) ? 16 : 8;
    image.put_x87(t.s.x87, wide);
    image.put_mxcsr(read_mxcsr(t));
    image.put_xmm(t.s, xmm);
    const auto part = [&](unsigned from, unsigned to) { return area.store(from, &image.byte[from], to - from); };
    if ((write & kX87) != 0 && !(part(0, LegacyRegion::kMxcsr) && part(LegacyRegion::kSt, LegacyRegion::kXmm))) return false;
    if (with_mxcsr && !part(LegacyRegion::kMxcsr, LegacyRegion::kSt)) return false;
    return (write & kSse) == 0 || part(LegacyRegion::kXmm, LegacyRegion::kXmm + 16 * xmm);
}

bool save_extended(TranslateState& t, Area& area, u64 write, u64 layout) {
    const bool mode64 = code64(t.s);
    for (const Component& c : kComponents) {
        if (!bit(write, c.number)) continue;
        std::array<u8, 1024> image{};
        save(c, t.s, image.data(), mode64);
        const unsigned bytes = c.content == Content::Vectors ? registers(c, mode64) * c.lanes * 8u : c.place.size;
        if (bytes != 0 && !area.store(offset_of(c, layout), image.data(), bytes)) return false;
    }
    return true;
}

// True when the header allows XRSTOR (SDM volume 1, 13.8.1 and 13.8.2) or XRSTORS (13.12).
bool header_valid(const Header& h, u64 enabled, bool supervisor, bool compaction) {
    if ((h.xcomp_bv & kCompacted) == 0) {
        return !supervisor && (h.xstate_bv & ~enabled) == 0 && h.xcomp_bv == 0 && h.reserved[0] == 0;
    }
    if (!compaction) return false;
    const u64 layout = h.xcomp_bv & ~kCompacted;
    if ((layout & ~enabled) != 0 || (h.xstate_bv & ~layout) != 0) return false;
    for (const u64 r : h.reserved) {
        if (r != 0) return false;
    }
    return true;
}

// Images of everything that an XRSTOR loads, read before any state changes.
struct Incoming {
    LegacyRegion legacy;
    std::array<std::array<u8, 1024>, kComponents.size()> extended{};
};

bool load_all(Area& area, const Header& header, u64 load, bool load_mxcsr, Incoming& in) {
    if (((load & (kX87 | kSse)) != 0 || load_mxcsr) && !area.load(0, in.legacy.byte.data(), kHeader)) return false;
    for (unsigned i = 0; i < kComponents.size(); ++i) {
        const Component& c = kComponents[i];
        if (!bit(load, c.number)) continue;
        if (!area.load(offset_of(c, header.xcomp_bv), in.extended[i].data(), c.place.size)) return false;
    }
    return true;
}

void commit(TranslateState& t, const Incoming& in, u64 requested, u64 load, bool wide) {
    State& s = t.s;
    const bool mode64 = code64(s);
    const u32 old_pkru = s.pkru;
    if ((load & kX87) != 0) {
        in.legacy.get_x87(s.x87, wide);
    } else if ((requested & kX87) != 0) {
        s.x87 = X87{};
    }
    if ((requested & kSse) != 0) {
        static constexpr LegacyRegion kInitial{};
        ((load & kSse) != 0 ? in.legacy : kInitial).get_xmm(s, mode64 ? 16 : 8);
    }
    for (unsigned i = 0; i < kComponents.size(); ++i) {
        const Component& c = kComponents[i];
        if (!bit(requested, c.number)) continue;
        restore(c, s, bit(load, c.number) ? in.extended[i].data() : kZeroes.data(), mode64);
    }
    const u32 pkru = std::exchange(s.pkru, old_pkru);
    set_pkru(t, pkru);
}

}  // namespace

LeaveReason xsave(TranslateState* t, u32 spec, u64 va) {
    const XsaveSpec how{spec};
    if (!is_aligned(va, kAreaAlignment)) return raise(*t, kGP);
    State& s = t->s;
    const bool compacts = how.form() == XsaveForm::Xsavec || how.form() == XsaveForm::Xsaves;
    const u64 enabled = s.xcr0 | (how.form() == XsaveForm::Xsaves ? s.msr.xss : 0);
    const u64 requested = enabled & instruction_mask(s);
    u64 used = xsave_in_use(s) & requested;
    if (compacts && (requested & kSse) != 0 && read_mxcsr(*t) != mxcsr::Default) used |= kSse;

    Area area(*t, va, how.mmu());
    Header header;
    if (!compacts && !area.load(kHeader, &header.xstate_bv, sizeof header.xstate_bv)) return jit::leave_status(t);
    header.xstate_bv = compacts ? used : (header.xstate_bv & ~requested) | used;
    header.xcomp_bv = compacts ? requested | kCompacted : 0;

    // XSAVE writes what is asked for; the others leave out what is in its initial state.
    const u64 write = how.form() == XsaveForm::Xsave ? requested : used;
    const bool with_mxcsr = compacts ? (write & kSse) != 0 : (requested & (kSse | kAvx)) != 0;
    if (!save_legacy(*t, area, write, with_mxcsr, how.wide())) return jit::leave_status(t);
    if (!save_extended(*t, area, write, header.xcomp_bv)) return jit::leave_status(t);
    const unsigned header_bytes = compacts ? 16 : 8;
    return area.store(kHeader, &header, header_bytes) ? LeaveReason::None : jit::leave_status(t);
}

LeaveReason xrstor(TranslateState* t, u32 spec, u64 va) {
    const XsaveSpec how{spec};
    if (!is_aligned(va, kAreaAlignment)) return raise(*t, kGP);
    State& s = t->s;
    const bool supervisor = how.form() == XsaveForm::Xsaves;
    const u64 enabled = s.xcr0 | (supervisor ? s.msr.xss : 0);
    const u64 requested = enabled & instruction_mask(s);

    Area area(*t, va, how.mmu());
    Header header;
    if (!area.load(kHeader, &header, sizeof header)) return jit::leave_status(t);
    if (!header_valid(header, enabled, supervisor, t->model->has(Feature::XSAVEC))) return raise(*t, kGP);

    const u64 load = requested & header.xstate_bv;
    const bool compacted = (header.xcomp_bv & kCompacted) != 0;
    // In the standard format MXCSR comes from memory whatever XSTATE_BV says (SDM volume 1, 13.8.1).
    const bool load_mxcsr = compacted ? (load & kSse) != 0 : (requested & (kSse | kAvx)) != 0;
    Incoming in;
    if (!load_all(area, header, load, load_mxcsr, in)) return jit::leave_status(t);
    if (load_mxcsr && (in.legacy.mxcsr() & ~mxcsr::Defined) != 0) return raise(*t, kGP);

    commit(*t, in, requested, load, how.wide());
    if (load_mxcsr) {
        write_mxcsr(*t, in.legacy.mxcsr());
    } else if ((requested & kSse) != 0) {
        write_mxcsr(*t, mxcsr::Default);
    }
    return LeaveReason::None;
}

u64 xsave_in_use(const State& s) {
    u64 used = (s.x87 == X87{} ? 0 : kX87) | (sse_in_use(s) ? kSse : 0);
    for (const Component& c : kComponents) used |= in_use(c, s) ? u64{1} << c.number : 0;
    return used;
}

u64 xsave_components(const CpuModel& model) {
    u64 components = kX87 | kSse;
    for (const Component& c : kComponents) components |= model.has(c.feature) ? u64{1} << c.number : 0;
    return components;
}

XsavePlace xsave_place(unsigned component) {
    const Component* c = find(component);
    return c != nullptr ? c->place : XsavePlace{};
}

u32 xsave_area_size(u64 components, bool compacted) {
    u32 size = kExtended;
    for (const Component& c : kComponents) {
        if (!bit(components, c.number)) continue;
        const u32 offset = offset_of(c, compacted ? components | kCompacted : 0);
        if (offset + c.place.size > size) size = offset + c.place.size;
    }
    return size;
}

void write_xsave_area(const State& s, u64 components, std::span<u8> area) {
    LegacyRegion legacy;
    legacy.put_x87(s.x87, true);
    legacy.put_mxcsr(s.mxcsr);
    legacy.put_xmm(s, 16);
    Header header;
    header.xstate_bv = kX87 | kSse;
    std::memset(area.data(), 0, area.size());
    std::memcpy(area.data(), legacy.byte.data(), kHeader);
    for (const Component& c : kComponents) {
        if (c.place.offset + c.place.size > area.size()) continue;
        header.xstate_bv |= u64{1} << c.number;
        save(c, s, area.data() + c.place.offset, true);
    }
    header.xstate_bv &= components;
    std::memcpy(area.data() + kHeader, &header, sizeof header);
}

void read_xsave_area(std::span<const u8> area, State& s) {
    static constexpr LegacyRegion kInitial{};
    LegacyRegion legacy;
    Header header;
    std::memcpy(legacy.byte.data(), area.data(), kHeader);
    std::memcpy(&header, area.data() + kHeader, sizeof header);
    if ((header.xstate_bv & kX87) != 0) {
        legacy.get_x87(s.x87, true);
    } else {
        s.x87 = X87{};
    }
    s.mxcsr = legacy.mxcsr();  // valid whatever XSTATE_BV says (SDM volume 1, 13.5.2)
    ((header.xstate_bv & kSse) != 0 ? legacy : kInitial).get_xmm(s, 16);
    for (const Component& c : kComponents) {
        const bool there = bit(header.xstate_bv, c.number) && c.place.offset + c.place.size <= area.size();
        restore(c, s, there ? area.data() + c.place.offset : kZeroes.data(), true);
    }
}

}  // namespace tandem::cpu::x86
