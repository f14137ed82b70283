// Architectural state of one x86 logical processor: plain, engine-neutral, complete. Engines import and export it whole.
// Names are the manuals' (Intel SDM volume 1 chapter 3, volume 3 chapter 2). Every struct names its fields once more in
// visit(), by which a saved machine stores them.
#pragma once

#include <array>

#include "base/types.h"

namespace tandem::cpu::x86 {

enum Gpr : u8 { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };
enum SegReg : u8 { ES, CS, SS, DS, FS, GS };

// Segment register with its hidden part. `access` holds descriptor bits 55:40 as they stand in bits 15:0
// (type 3:0, S 4, DPL 6:5, P 7, AVL 12, L 13, D/B 14, G 15; bits 11:8 zero). `limit` is in bytes, already scaled by G.
struct Segment {
    u64 base = 0;
    u32 limit = 0;
    u16 selector = 0;
    u16 access = 0;
    void visit(auto& v) {
        v("base", base);
        v("limit", limit);
        v("selector", selector);
        v("access", access);
    }
    bool operator==(const Segment&) const = default;
};

struct DescriptorTable {
    u64 base = 0;
    u16 limit = 0;
    void visit(auto& v) {
        v("base", base);
        v("limit", limit);
    }
    bool operator==(const DescriptorTable&) const = default;
};

struct alignas(16) Vector512 {
    std::array<u64, 8> lane{};
    void visit(auto& v) { v("lane", lane); }
    bool operator==(const Vector512&) const = default;
};

// One x87 register: 64-bit significand, then sign and exponent (SDM volume 1, 8.2).
struct alignas(16) X87Reg {
    u64 significand = 0;
    u16 sign_exponent = 0;
    void visit(auto& v) {
        v("significand", significand);
        v("sign_exponent", sign_exponent);
    }
    bool operator==(const X87Reg&) const = default;
};

struct X87 {
    std::array<X87Reg, 8> reg{};  // physical R0..R7; ST(i) is reg[(TOP + i) & 7]; MMX register i is reg[i].significand
    u16 fcw = 0x37f;
    u16 fsw = 0;   // TOP included
    u8 valid = 0;  // bit i: physical register i is not empty (FXSAVE's abridged tag word)
    u16 fop = 0;
    u64 fip = 0;  // last instruction and operand pointers; selectors as saved by FXSAVE
    u64 fdp = 0;
    u16 fcs = 0;
    u16 fds = 0;
    void visit(auto& v) {
        v("reg", reg);
        v("fcw", fcw);
        v("fsw", fsw);
        v("valid", valid);
        v("fop", fop);
        v("fip", fip);
        v("fdp", fdp);
        v("fcs", fcs);
        v("fds", fds);
    }
    bool operator==(const X87&) const = default;
};

// MSRs that are state of the CPU itself. APIC base lives here; the APIC's registers are the device's.
struct Msrs {
    u64 efer = 0;
    u64 star = 0, lstar = 0, cstar = 0, fmask = 0;
    u64 kernel_gs_base = 0;
    u64 sysenter_cs = 0, sysenter_esp = 0, sysenter_eip = 0;
    u64 pat = 0x0007040600070406;
    u64 apic_base = 0;
    u64 tsc_aux = 0;
    u64 tsc_offset = 0;  // guest TSC = clock's TSC + tsc_offset
    u64 tsc_adjust = 0;
    u64 misc_enable = 1;
    u64 spec_ctrl = 0;
    u64 xss = 0;
    u64 mtrr_def_type = 0;
    std::array<u64, 11> mtrr_fixed{};
    std::array<u64, 16> mtrr_variable{};  // base, mask pairs
    u64 mcg_status = 0, mcg_ctl = 0;
    u64 debugctl = 0;
    // Last-branch recording (AMD APM volume 2, 13.1.1): offsets in the code segment.
    u64 last_branch_from = 0, last_branch_to = 0;
    u64 last_exception_from = 0, last_exception_to = 0;
    u64 tsc_ratio = kTscRatioOne;  // MSR C000_0104: of SVM guests, 8.32 fixed point (AMD APM volume 2, 15.30.5)
    static constexpr u64 kTscRatioOne = u64{1} << 32;
    void visit(auto& v) {
        v("efer", efer);
        v("star", star);
        v("lstar", lstar);
        v("cstar", cstar);
        v("fmask", fmask);
        v("kernel_gs_base", kernel_gs_base);
        v("sysenter_cs", sysenter_cs);
        v("sysenter_esp", sysenter_esp);
        v("sysenter_eip", sysenter_eip);
        v("pat", pat);
        v("apic_base", apic_base);
        v("tsc_aux", tsc_aux);
        v("tsc_offset", tsc_offset);
        v("tsc_adjust", tsc_adjust);
        v("misc_enable", misc_enable);
        v("spec_ctrl", spec_ctrl);
        v("xss", xss);
        v("mtrr_def_type", mtrr_def_type);
        v("mtrr_fixed", mtrr_fixed);
        v("mtrr_variable", mtrr_variable);
        v("mcg_status", mcg_status);
        v("mcg_ctl", mcg_ctl);
        v("debugctl", debugctl);
        v("last_branch_from", last_branch_from);
        v("last_branch_to", last_branch_to);
        v("last_exception_from", last_exception_from);
        v("last_exception_to", last_exception_to);
        v("tsc_ratio", tsc_ratio);
    }
    bool operator==(const Msrs&) const = default;
};

enum class Activity : u8 { Running, Halted, WaitForSipi, Shutdown };

// What is pending: an exception or software interrupt of the code that runs, or what SVM does between two instructions.
enum class PendingKind : u8 {
    Exception,
    Exit,       // #VMEXIT as Svm::exit says
    Injection,  // Svm::injected, VMRUN's EVENTINJ
};

// An exception or software interrupt recorded but not yet delivered.
struct PendingEvent {
    bool valid = false;
    PendingKind kind = PendingKind::Exception;  // the fields below: Exception only
    u8 vector = 0;
    bool has_error = false;
    bool software = false;  // INT n, INT3, INTO: DPL is checked, and the saved rip is that of the next instruction
    u32 error = 0;
    u64 payload = 0;  // CR2 for #PF, DR6 bits for #DB
    void visit(auto& v) {
        v("valid", valid);
        v("kind", kind);
        v("vector", vector);
        v("has_error", has_error);
        v("software", software);
        v("error", error);
        v("payload", payload);
    }
    bool operator==(const PendingEvent&) const = default;
};

// --- AMD's secure virtual machine (APM volume 2, chapter 15; VMCB offsets: appendix B)

// What a #VMEXIT reports.
struct SvmExit {
    u64 code = 0;  // EXITCODE (APM volume 2, appendix C)
    u64 info1 = 0;
    u64 info2 = 0;
    u64 next_rip = 0;     // of the instruction behind the intercepted one; 0 where the exit is not an instruction's
    bool shadow = false;  // the intercepted instruction stood in an interrupt shadow
    void visit(auto& v) {
        v("code", code);
        v("info1", info1);
        v("info2", info2);
        v("next_rip", next_rip);
        v("shadow", shadow);
    }
    bool operator==(const SvmExit&) const = default;
};

// What VMRUN keeps of the host for #VMEXIT (15.5.1). A processor puts it into the page at VM_HSAVE_PA, in a form of its own.
struct SvmHost {
    std::array<Segment, 4> seg{};  // ES, CS, SS, DS
    DescriptorTable gdtr, idtr;
    u64 efer = 0, cr0 = 0, cr3 = 0, cr4 = 0, rflags = 2, rip = 0, rsp = 0, rax = 0, pat = 0;
    std::array<u64, 5> branches{};  // DEBUGCTL and the last-branch MSRs, while Svm::branches
    void visit(auto& v) {
        v("seg", seg);
        v("gdtr", gdtr);
        v("idtr", idtr);
        v("efer", efer);
        v("cr0", cr0);
        v("cr3", cr3);
        v("cr4", cr4);
        v("rflags", rflags);
        v("rip", rip);
        v("rsp", rsp);
        v("rax", rax);
        v("pat", pat);
        v("branches", branches);
    }
    bool operator==(const SvmHost&) const = default;
};

struct Svm {
    u64 vm_cr = 0;     // MSR C001_0114
    u64 hsave_pa = 0;  // MSR C001_0117
    u64 key = 0;       // MSR C001_0118: what opens VM_CR.LOCK again
    bool gif = true;
    bool init_pending = false;  // an INIT that waits for GIF, or for its intercept (15.13.3, 15.17)
    bool guest = false;         // between VMRUN and #VMEXIT; what follows is of the guest that runs
    bool nested_paging = false;
    bool branches = false;            // DEBUGCTL and the last-branch MSRs are the guest's own (15.23)
    u64 vmcb = 0;                     // physical address
    std::array<u32, 6> intercepts{};  // bit n of the whole: exit code n
    u64 iopm = 0, msrpm = 0;          // physical addresses
    u64 tsc_offset = 0;
    u32 asid = 0;
    u64 v_intr = 0;        // VMCB offset 060h: V_TPR, V_IRQ ...
    u64 nested_cr3 = 0;    // N_CR3
    u64 injected = 0;      // EVENTINJ, while PendingKind::Injection
    u64 injected_rip = 0;  // what an injected software interrupt returns to
    // PAUSE's filter (15.14.4): its count and threshold as VMRUN found them, what is left of the count, and of the window
    // after a PAUSE in which the next one counts, in instructions.
    u16 pause_count = 0, pause_threshold = 0, pause_left = 0, pause_window = 0;
    SvmExit exit;  // while PendingKind::Exit
    SvmHost host;
    void visit(auto& v) {
        v("vm_cr", vm_cr);
        v("hsave_pa", hsave_pa);
        v("key", key);
        v("gif", gif);
        v("init_pending", init_pending);
        v("guest", guest);
        v("nested_paging", nested_paging);
        v("branches", branches);
        v("vmcb", vmcb);
        v("intercepts", intercepts);
        v("iopm", iopm);
        v("msrpm", msrpm);
        v("tsc_offset", tsc_offset);
        v("asid", asid);
        v("v_intr", v_intr);
        v("nested_cr3", nested_cr3);
        v("injected", injected);
        v("injected_rip", injected_rip);
        v("pause_count", pause_count);
        v("pause_threshold", pause_threshold);
        v("pause_left", pause_left);
        v("pause_window", pause_window);
        v("exit", exit);
        v("host", host);
    }
    bool operator==(const Svm&) const = default;
};

struct State {
    static constexpr u32 kVersion = 3;  // of the saved form; one more with every change to what visit() names
    std::array<u64, 16> gpr{};          // first: their offsets fit into a signed byte from the frame pointer
    u64 rip = 0xfff0;
    u64 rflags = 2;  // canonical after an export; see translate_state.h for the translator's lazy form
    std::array<Segment, 6> seg{};
    Segment ldtr, tr;
    DescriptorTable gdtr, idtr;
    u64 cr0 = 0x60000010, cr2 = 0, cr3 = 0, cr4 = 0;
    u64 xcr0 = 1;
    std::array<u64, 4> dr{};
    u64 dr6 = 0xffff0ff0, dr7 = 0x400;
    u32 mxcsr = 0x1f80;
    u32 pkru = 0;
    X87 x87;
    std::array<Vector512, 32> vec{};
    std::array<u64, 8> opmask{};
    Msrs msr;
    std::array<u64, 4> pdpte{};  // PAE page-directory pointers, loaded with CR3 (SDM volume 3, 4.4.1)
    Activity activity = Activity::Running;
    u64 debug_trap = 0;       // DR6 bits of a #DB trap to report at the next instruction boundary
    bool sti_shadow = false;  // interrupts held off until the next instruction has completed (SDM volume 3, 6.8.3)
    bool mov_ss_shadow = false;
    bool nmi_blocked = false;  // until IRET
    bool nmi_pending = false;
    PendingEvent pending;
    Svm svm;
    void visit(auto& v) {
        v("gpr", gpr);
        v("rip", rip);
        v("rflags", rflags);
        v("seg", seg);
        v("ldtr", ldtr);
        v("tr", tr);
        v("gdtr", gdtr);
        v("idtr", idtr);
        v("cr0", cr0);
        v("cr2", cr2);
        v("cr3", cr3);
        v("cr4", cr4);
        v("xcr0", xcr0);
        v("dr", dr);
        v("dr6", dr6);
        v("dr7", dr7);
        v("mxcsr", mxcsr);
        v("pkru", pkru);
        v("x87", x87);
        v("vec", vec);
        v("opmask", opmask);
        v("msr", msr);
        v("pdpte", pdpte);
        v("activity", activity);
        v("sti_shadow", sti_shadow);
        v("mov_ss_shadow", mov_ss_shadow);
        v("nmi_blocked", nmi_blocked);
        v("nmi_pending", nmi_pending);
        v("pending", pending);
        v("debug_trap", debug_trap);
        v("svm", svm);
    }
    bool operator==(const State&) const = default;
};

// Power-up state (SDM volume 3, table 9-1). `bsp`: bootstrap processor, runs; others wait for SIPI. `signature`: family,
// model and stepping, which EDX holds afterwards (CpuModel::signature()).
constexpr u32 kPProSignature = 0x600;
void reset(State& state, bool bsp, u32 signature = kPProSignature);
// INIT keeps x87, SSE and MTRR state and most MSRs (same table).
void init(State& state, bool bsp, u32 signature = kPProSignature);
// SIPI: a processor that waits for it starts in real mode at vector * 4 KiB (SDM volume 3, 8.4.4); any other ignores it.
void start_up(State& state, u8 vector);

}  // namespace tandem::cpu::x86
