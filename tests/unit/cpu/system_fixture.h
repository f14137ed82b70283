// A processor with hand-built descriptor tables, for tests of cpu/x86/system. Register bits and layouts are spelled out here
// again on purpose: a test that shares the implementation's constants cannot find a wrong one.
#pragma once

#include <catch2/catch.hpp>

#include <cstring>
#include <map>
#include <vector>

#include "cpu/x86/system/system.h"
#include "flat_memory.h"

namespace tandem::test {

using namespace tandem::cpu::x86;

class FakePlatform final : public Platform {
public:
    u32 port_in(u16 port, unsigned, PortForm) override { return ports[port]; }
    void port_out(u16 port, u32 value, unsigned, PortForm) override { ports[port] = value; }
    bool msr_read(u32 index, u64& value) override {
        const auto found = msrs.find(index);
        if (found == msrs.end()) return false;
        value = found->second;
        return true;
    }
    bool msr_write(u32 index, u64 value) override {
        const auto found = msrs.find(index);
        if (found == msrs.end()) return false;
        found->second = value;
        return true;
    }
    bool apic_base_write(u64) override { return true; }
    u8 cr8_read() override { return tpr; }
    void cr8_write(u8 value) override { tpr = value; }
    bool interrupt_pending() override { return irq >= 0; }
    int acknowledge_interrupt() override {
        const int vector = irq;
        irq = -1;
        return vector;
    }
    bool take_nmi() override {
        const bool was = nmi;
        nmi = false;
        return was;
    }
    u64 tsc() override { return time; }
    void tsc_offset_changed(u64 offset) override { tsc_offset = offset; }
    u64 hypercall(u64 number, u64 a0, u64 a1, u64 a2, u64 a3) override {
        calls.push_back({number, a0, a1, a2, a3});
        return hypercall_result;
    }
    void shutdown(u64 rip) override { shutdowns.push_back(rip); }

    std::map<u16, u32> ports;
    std::map<u32, u64> msrs;
    u8 tpr = 0;
    int irq = -1;
    bool nmi = false;
    u64 time = 1000;
    u64 tsc_offset = 0;
    u64 hypercall_result = 0;
    std::vector<std::vector<u64>> calls;
    std::vector<u64> shutdowns;
};

// Memory map of the tests (linear = physical unless a test maps pages itself).
constexpr u64 kGdt = 0x1000, kIdt = 0x2000, kTss = 0x3000, kLdt = 0x4000, kTss2 = 0x5000, kIvtStack = 0x8000;
constexpr u64 kUserStack = 0x9000, kKernelStack = 0xa000, kIstStack = 0xb000, kTables = 0x10000;

// GDT selectors.
constexpr u16 kCode0 = 0x08, kData0 = 0x10, kCode3 = 0x18 | 3, kData3 = 0x20 | 3, kTssSel = 0x28, kLdtSel = 0x38,
              kFree = 0x48;
constexpr u16 kCode16 = 0x58, kData16 = 0x60, kTss2Sel = 0x68, kConforming = 0x70, kGate = 0x78, kCode1 = 0x88 | 1,
              kData1 = 0x90 | 1;

class SystemCpu {
public:
    enum class Mode { Real, Protected, Long };

    explicit SystemCpu(Mode mode, const char* model_name = "max") : model(*CpuModel::create(model_name)) {
        t().model = &model;
        t().platform = &platform;
        reset(s(), true);
        import_flags(t());
        s().rip = 0x100;
        if (mode == Mode::Real) {
            s().seg[CS] = {0, 0xffff, 0, 0x9b};
            s().idtr = {0, 0x3ff};
            s().gpr[RSP] = kIvtStack;
            return;
        }
        build_tables(mode == Mode::Long);
        if (mode == Mode::Long) {
            identity_map();
            s().cr4 = 0x20;
            s().cr3 = kTables;
            s().msr.efer = 0xd01;
            s().cr0 = 0x80010011;
        } else {
            s().cr0 = 0x11;
        }
        enter_ring(0);
        s().gpr[RSP] = kKernelStack;
    }

    TranslateState& t() { return vcpu.state(); }
    State& s() { return vcpu.state().s; }

    template <class T>
    void put(u64 address, T value) {
        std::memcpy(vcpu.memory.data() + address, &value, sizeof(T));
    }
    template <class T>
    T get(u64 address) const {
        T value;
        std::memcpy(&value, vcpu.memory.data() + address, sizeof(T));
        return value;
    }

    static u64 descriptor(u64 base, u32 limit, u64 access_and_flags) {
        return (limit & 0xffff) | (base & 0xffffff) << 16 | (access_and_flags & 0xff) << 40 | u64{limit >> 16 & 15} << 48 |
               (access_and_flags >> 8 & 15) << 52 | (base >> 24 & 0xff) << 56;
    }
    void set_gdt(u16 selector, u64 value) { put<u64>(kGdt + (selector & 0xfff8), value); }
    u64 gdt(u16 selector) const { return get<u64>(kGdt + (selector & 0xfff8)); }

    // type: 0xe interrupt, 0xf trap (6 and 7 for 16 bits), 5 task.
    void set_gate(unsigned vector, u16 selector, u64 offset, unsigned type, unsigned dpl = 0, unsigned ist = 0) {
        const u64 low = (offset & 0xffff) | u64{selector} << 16 | u64{ist} << 32 | u64{0x80u | dpl << 5 | type} << 40 |
                        (offset >> 16 & 0xffff) << 48;
        if (long_mode(s())) {
            put<u64>(kIdt + vector * 16, low);
            put<u64>(kIdt + vector * 16 + 8, offset >> 32);
        } else {
            put<u64>(kIdt + vector * 8, low);
        }
    }

    // Flat segments at that level, as after a return to it.
    void enter_ring(unsigned level) {
        const bool wide = long_mode(s());
        const auto bits = static_cast<u16>(level << 5);
        const u16 cs = level == 0 ? kCode0 : level == 3 ? kCode3 : kCode1;
        const u16 ss = level == 0 ? kData0 : level == 3 ? kData3 : kData1;
        s().seg[CS] = {0, 0xffffffff, cs, static_cast<u16>((wide ? 0xa09b : 0xc09b) | bits)};
        for (const SegReg r : {SS, DS, ES, FS, GS}) s().seg[r] = {0, 0xffffffff, ss, static_cast<u16>(0xc093 | bits)};
        if (level != 0) s().gpr[RSP] = kUserStack;
    }

    // The pending exception, taken; -1 for none. Error code in `error`.
    int take(u32* error = nullptr) {
        const PendingEvent e = s().pending;
        s().pending = {};
        if (!e.valid) return -1;
        if (error != nullptr) *error = e.error;
        payload = e.payload;
        return e.vector;
    }

    // One leaf mapping of 4 KiB in the identity tables' last page table.
    void map_page(u64 va, u64 entry) { put<u64>(kTables + 0x3000 + (va >> 12 & 0x1ff) * 8, entry); }

    FlatVcpu vcpu;
    CpuModel model;
    FakePlatform platform;
    u64 payload = 0;

private:
    void build_tables(bool wide) {
        set_gdt(kCode0, descriptor(0, 0xfffff, wide ? 0xa9b : 0xc9b));
        set_gdt(kData0, descriptor(0, 0xfffff, 0xc93));
        set_gdt(kCode3, descriptor(0, 0xfffff, wide ? 0xafb : 0xcfb));
        set_gdt(kData3, descriptor(0, 0xfffff, 0xcf3));
        set_gdt(kCode1, descriptor(0, 0xfffff, wide ? 0xabb : 0xcbb));
        set_gdt(kData1, descriptor(0, 0xfffff, 0xcb3));
        set_gdt(kTssSel, descriptor(kTss, 0x2067, 0x8b));
        set_gdt(kLdtSel, descriptor(kLdt, 0xff, 0x82));
        set_gdt(kCode16, descriptor(0, 0xffff, 0x09b));
        set_gdt(kData16, descriptor(0, 0xffff, 0x093));
        set_gdt(kConforming, descriptor(0, 0xfffff, wide ? 0xa9f : 0xc9f));
        s().gdtr = {kGdt, 0xff};
        s().idtr = {kIdt, static_cast<u16>(wide ? 0xfff : 0x7ff)};
        s().tr = {kTss, 0x2067, kTssSel, 0x8b};
        if (wide) {
            put<u64>(kTss + 4, kKernelStack);
            put<u64>(kTss + 0x24, kIstStack);
        } else {
            put<u32>(kTss + 4, kKernelStack);
            put<u16>(kTss + 8, kData0);
            put<u32>(kTss + 12, kKernelStack - 0x400);
            put<u16>(kTss + 16, kData1);
        }
        put<u16>(kTss + 0x66, 0x68);
    }

    // The first 2 MiB, one to one, user-accessible, in 4 KiB pages.
    void identity_map() {
        put<u64>(kTables, (kTables + 0x1000) | 7);
        put<u64>(kTables + 0x1000, (kTables + 0x2000) | 7);
        put<u64>(kTables + 0x2000, (kTables + 0x3000) | 7);
        for (u64 i = 0; i < 512; ++i) put<u64>(kTables + 0x3000 + i * 8, i << 12 | 7);
    }
};

}  // namespace tandem::test
