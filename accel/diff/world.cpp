#include "accel/diff/world.h"

#include <fmt/format.h>

#include <cstring>

#include "base/bits.h"
#include "base/result.h"
#include "cpu/x86/system/registers.h"

namespace tandem::accel::diff {

using namespace cpu::x86;

namespace {

constexpr World kWorlds[] = {
    {"user64", Mode::Bits64, 3, Paging::FourLevel},
    {"user32-compatibility", Mode::Bits32, 3, Paging::FourLevel},
    {"kernel64", Mode::Bits64, 0, Paging::FourLevel},
    {"kernel32-pae", Mode::Bits32, 0, Paging::Pae},
    {"user32-pae", Mode::Bits32, 3, Paging::Pae},
    {"kernel32-paging32", Mode::Bits32, 0, Paging::Bits32},
    {"user32-paging32", Mode::Bits32, 3, Paging::Bits32},
    {"kernel32", Mode::Bits32, 0, Paging::None},
    {"user32", Mode::Bits32, 3, Paging::None},
    {"user16-compatibility", Mode::Bits16, 3, Paging::FourLevel},
    {"user16-paging32", Mode::Bits16, 3, Paging::Bits32},
    {"kernel16", Mode::Bits16, 0, Paging::None},
    {"real16", Mode::Bits16, 0, Paging::None, true},
    {"virtual8086", Mode::Bits16, 3, Paging::Bits32, false, true},
};

// Page-table entry bits (SDM volume 3, 4.5).
constexpr u64 kPresent = 1, kWritable = 2, kUser = 4, kNoExecute = u64{1} << 63;

// How a kind of paging finds an entry (SDM volume 3, 4.3 to 4.5).
struct PagingForm {
    TableArea area;
    unsigned entry_size;
    unsigned index_bits;
    std::initializer_list<unsigned> shifts;
};
const PagingForm& form_of(Paging paging) {
    static const PagingForm kForms[] = {
        {{}, 0, 0, {}},
        {{0x10000, 0x4000}, 4, 10, {22, 12}},
        {{0x8000, 0x5000}, 8, 9, {30, 21, 12}},
        {{0x1000, 0x6000}, 8, 9, {39, 30, 21, 12}},
    };
    return kForms[static_cast<unsigned>(paging)];
}

class TableWriter {
public:
    TableWriter(u8* memory, Paging paging)
        : memory_(memory), paging_(paging), form_(form_of(paging)), next_(form_.area.at + 0x1000) {}

    void map(u64 linear, u64 physical, u64 bits) {
        u64 table = form_.area.at;
        for (const unsigned shift : form_.shifts) {
            u8* const at = memory_ + table + (linear >> shift & mask(form_.index_bits)) * form_.entry_size;
            u64 entry = 0;
            std::memcpy(&entry, at, form_.entry_size);
            if (shift == 12) {
                entry = physical | (form_.entry_size == 8 ? bits : bits & ~kNoExecute);
            } else if ((entry & kPresent) == 0) {
                // In a page-directory-pointer entry of PAE paging the other bits are reserved (4.4.1).
                const bool pointer = paging_ == Paging::Pae && shift == 30;
                entry = next_ | kPresent | (pointer ? 0 : kWritable | kUser);
                next_ += 0x1000;
            }
            std::memcpy(at, &entry, form_.entry_size);
            table = entry & mask(52) & ~u64{0xfff};
        }
    }

private:
    u8* memory_;
    Paging paging_;
    const PagingForm& form_;
    u64 next_;
};

// As the processor leaves segment registers in virtual-8086 mode (SDM volume 3, 21.2.1).
void set_v86_segments(State& s) {
    constexpr u16 kAccess = access::P | 3 << 5 | access::S | access::Writable | access::Accessed;
    for (Segment& seg : s.seg) seg = {kV86Data, 0xffff, kV86Data >> 4, kAccess};
    s.seg[CS] = {kV86Code, 0xffff, kV86Code >> 4, kAccess};
}

void set_segments(const World& w, State& s) {
    const bool wide = w.mode != Mode::Bits16;
    const u16 ring = static_cast<u16>(w.cpl << 5 | access::P | access::S);
    const u16 size = wide ? static_cast<u16>(access::DB | access::G) : u16{0};
    const u32 data_limit = wide ? ~u32{0} : static_cast<u32>(kDataSize + kReadOnlySize - 1);
    const u16 data = static_cast<u16>(ring | size | access::Writable | access::Accessed);
    const u16 rpl = w.cpl;
    for (const SegReg seg : {SS, DS, ES}) {
        s.seg[seg] = {w.data_base(), data_limit, static_cast<u16>(0x28 | rpl), data};
    }
    for (const SegReg seg : {FS, GS}) s.seg[seg] = Segment{};
    if (!wide) s.seg[FS] = s.seg[GS] = s.seg[DS];
    if (w.paging == Paging::None && wide) {
        // Without paging the limit is what an address comes near.
        for (const SegReg seg : {SS, DS, ES}) s.seg[seg].limit = static_cast<u32>(kReadOnly + kReadOnlySize - 1);
    }
    u16 code = static_cast<u16>(ring | access::Code | access::Readable | access::Accessed);
    code = static_cast<u16>(code | (w.is64() ? access::L | access::G : size));
    s.seg[CS] = {w.code_base(), wide ? ~u32{0} : 0xffffu, static_cast<u16>((w.is64() ? 0x30 : 0x20) | rpl), code};
    if (w.is64()) s.seg[GS].base = kData;
}

}  // namespace

std::span<const World> worlds() { return kWorlds; }

Result<unsigned> world_by_name(std::string_view name) {
    std::string known;
    for (unsigned i = 0; i < std::size(kWorlds); ++i) {
        if (kWorlds[i].name == name) return i;
        known += (i == 0 ? "" : ", ") + std::string(kWorlds[i].name);
    }
    return Error{Errc::NotFound, fmt::format("unknown machine state '{}' (known: {})", name, known)};
}

void enter_world(const World& w, State& s) {
    s = State();
    s.cr0 = cr0::MP | cr0::ET | cr0::NE | cr0::WP | cr0::AM;
    if (!w.real_mode) s.cr0 |= cr0::PE;
    s.cr4 = cr4::OSFXSR | cr4::OSXMMEXCPT | cr4::UMIP | cr4::FSGSBASE | cr4::OSXSAVE;
    s.xcr0 = 7;
    s.msr.efer = efer::SCE | efer::NXE;
    s.cr3 = form_of(w.paging).area.at;
    switch (w.paging) {
        case Paging::None: break;
        case Paging::Bits32: s.cr0 |= cr0::PG; break;
        case Paging::Pae:
            s.cr0 |= cr0::PG;
            s.cr4 |= cr4::PAE;
            s.pdpte[0] = (s.cr3 + 0x1000) | kPresent;
            break;
        case Paging::FourLevel:
            s.cr0 |= cr0::PG;
            s.cr4 |= cr4::PAE | cr4::PGE;
            s.msr.efer |= efer::LME | efer::LMA;
            break;
    }
    w.v86 ? set_v86_segments(s) : set_segments(w, s);
    s.rflags |= w.mode_flags();
    // What a load of a segment register finds there is random data.
    s.gdtr = {kData + 0x1000, 0x1ff};
    s.idtr = {0, 0};
    s.rip = w.start();
}

void write_page_tables(u8* memory, bool handlers) {
    std::memset(memory, kStop, kTablesSize);
    for (const Paging paging : {Paging::Bits32, Paging::Pae, Paging::FourLevel}) {
        TableWriter writer(memory, paging);
        constexpr u64 kCodeBits = kPresent | kUser;
        const auto data_bits = [](u64 offset) {
            return kPresent | kUser | kNoExecute | (offset < kDataSize ? kWritable : 0);
        };
        writer.map(kCodePage, kCodePage, kCodeBits);
        for (u64 offset = 0; handlers && offset < kHandlerPagesSize; offset += 0x1000) {
            writer.map(kHandlerPages + offset, kHandlerPages + offset, kPresent | kWritable);
        }
        for (u64 offset = 0; offset < kDataSize + kReadOnlySize; offset += 0x1000) {
            writer.map(kData + offset, kData + offset, data_bits(offset));
        }
        if (paging != Paging::Bits32) continue;
        writer.map(kV86Code, kCodePage, kCodeBits);
        for (u64 offset = 0; offset < kDataSize + kReadOnlySize; offset += 0x1000) {
            writer.map(kV86Data + offset, kData + offset, data_bits(offset));
        }
    }
}

TableArea table_area(Paging paging) { return form_of(paging).area; }

}  // namespace tandem::accel::diff
