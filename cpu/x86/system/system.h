// The system side of the processor: what IR calls for instructions that are too complicated for it, and what guest.cpp
// forwards to.
//
// Conventions of the helpers (all on the vCPU's own thread, TranslateState is the frame pointer):
//  - On entry s.rip is the pc of the current instruction and flags may be lazy. On return flags may be lazy too.
//  - None: the instruction is complete except for the register results named below; the caller stores them and goes on at
//  the next
//    instruction. "Ends the block" marks helpers after which translation inputs may have changed: the caller stores the next
//    pc and leaves with Lookup.
//  - Lookup: complete, s.rip is where execution goes on (far transfers). Halt: as Lookup, waits for an interrupt.
//  - Exception (or whatever jit::leave_status said): nothing has changed but the pending event.
//  - "-> scratch[i]": results are left in TranslateState::scratch.
//  - `opsize` is the operand size in bytes (2, 4, 8). `next` is the pc of the next instruction.
// All of them check privilege and mode themselves, so that a block needs no copy of those rules.
#pragma once

#include "cpu/x86/model.h"
#include "cpu/x86/platform.h"
#include "cpu/x86/system/registers.h"
#include "cpu/x86/translate_state.h"
#include "jit/guest/guest.h"
#include "jit/guest/hold.h"
#include "jit/ir/ir.h"

namespace tandem::cpu::x86 {

using jit::ir::LeaveReason;

// MMU indexes (jit::ir::MemFlags, jit/guest/memory.h).
enum Mmu : unsigned {
    kMmuSupervisor = 0,    // CPL 0..2 with EFLAGS.AC = 0, and implicit supervisor accesses at any CPL: SMAP applies
    kMmuSupervisorAc = 1,  // explicit accesses at CPL 0..2 with EFLAGS.AC = 1: SMAP does not apply
    kMmuUser = 2,          // CPL 3
};
// The index of the current code's explicit data accesses; fetches use kMmuUser or kMmuSupervisor.
inline unsigned data_mmu(const State& s) {
    return cpl(s) == 3 ? kMmuUser : (s.rflags & eflags::AC) != 0 ? kMmuSupervisorAc : kMmuSupervisor;
}
inline unsigned fetch_mmu(const State& s) { return cpl(s) == 3 ? kMmuUser : kMmuSupervisor; }

using jit::Hold;
// Whether the instruction is left for VcpuTranslator::step(), by LeaveReason::Interpret.
inline bool held_before(TranslateState* t, Hold::Reason reason) { return jit::held_before(jit::header_of(t), reason); }

enum Vector : u8 {
    kDE = 0,
    kDB = 1,
    kNMI = 2,
    kBP = 3,
    kOF = 4,
    kBR = 5,
    kUD = 6,
    kNM = 7,
    kDF = 8,
    kTS = 10,
    kNP = 11,
    kSS = 12,
    kGP = 13,
    kPF = 14,
    kMF = 16,
    kAC = 17,
    kMC = 18,
    kXM = 19,
    kSX = 30
};

// --- Exceptions and interrupts
// -------------------------------------------------------------------------------------------------

// Records an exception at s.rip. `error` is dropped for vectors that push none. payload: CR2 for #PF, DR6 bits for #DB.
LeaveReason raise(TranslateState& t, Vector vector, u32 error = 0, u64 payload = 0);
// The same for IR.
LeaveReason raise_exception(TranslateState* t, u32 vector, u32 error);

enum class SoftwareInterrupt : u32 { IntN, Int3, Into, Int1 };
// INT n, INT3, INTO (the caller has tested OF), INT1. Returns Lookup at the handler.
LeaveReason software_interrupt(TranslateState* t, u32 vector, u32 kind, u64 next);

// Guest::deliver_exception and Guest::poll_interrupts.
LeaveReason deliver_exception(TranslateState& t);
bool poll_interrupts(TranslateState& t);

// --- Paging
// --------------------------------------------------------------------------------------------------------------------

// Guest::translate. Raises #PF, or #GP(0) for a non-canonical address (the stack's #SS(0) is raised by whoever knows the
// segment).
bool translate(TranslateState& t, u64 va, jit::Access access, unsigned mmu, jit::Translation& out);
// Walk without side effects, for debuggers: false when nothing is mapped.
bool translate_debug(TranslateState& t, u64 va, u64& phys);

LeaveReason invlpg(TranslateState* t, u64 va);                        // ends the block
LeaveReason invpcid(TranslateState* t, u64 type, u64 descriptor_va);  // ends the block

// --- Segmentation
// --------------------------------------------------------------------------------------------------------------

// MOV/POP/LxS to ES, SS, DS, FS, GS. `shadow` non-zero: MOV SS or POP SS, which hold off interrupts. Ends the block.
LeaveReason load_segment(TranslateState* t, u32 seg, u32 selector, u32 shadow);
// Limit and rights of `size` bytes at `offset` in a segment (not for 64-bit mode's flat segments): #GP(0) or #SS(0).
LeaveReason check_segment(TranslateState* t, u32 seg, u64 offset, u32 size, u32 write);
// 64-bit mode, or any access whose linear address may be non-canonical: #GP(0), or #SS(0) when `stack`.
LeaveReason check_canonical(TranslateState* t, u64 va, u32 size, u32 stack);

// ZF is written; LAR/LSL -> scratch[0] the value, scratch[1] = ZF (the destination changes only when it is 1).
LeaveReason lar(TranslateState* t, u32 selector);
LeaveReason lsl(TranslateState* t, u32 selector);
LeaveReason verify_segment(TranslateState* t, u32 selector, u32 write);  // VERR, VERW
LeaveReason arpl(TranslateState* t, u32 dest, u32 src);                  // -> scratch[0], scratch[1] = ZF

// LGDT/LIDT/SGDT/SIDT; `va` is the checked linear address of the operand. which: 0 GDTR, 1 IDTR.
LeaveReason load_table(TranslateState* t, u32 which, u64 va, u32 opsize);
LeaveReason store_table(TranslateState* t, u32 which, u64 va, u32 opsize);
LeaveReason lldt(TranslateState* t, u32 selector);
LeaveReason ltr(TranslateState* t, u32 selector);
enum class SystemStore : u32 { Sldt, Str, Smsw };
LeaveReason store_system(TranslateState* t, u32 which);  // -> scratch[0]
LeaveReason lmsw(TranslateState* t, u32 value);          // ends the block
LeaveReason clts(TranslateState* t);                     // ends the block

// --- Far transfers
// -------------------------------------------------------------------------------------------------------------

LeaveReason far_jump(TranslateState* t, u32 selector, u64 offset, u32 opsize, u64 next);
LeaveReason far_call(TranslateState* t, u32 selector, u64 offset, u32 opsize, u64 next);
LeaveReason far_return(TranslateState* t, u32 opsize, u32 pop_bytes);
LeaveReason iret(TranslateState* t, u32 opsize, u64 next);
LeaveReason syscall(TranslateState* t, u64 next);
LeaveReason sysret(TranslateState* t, u32 opsize);
LeaveReason sysenter(TranslateState* t);
LeaveReason sysexit(TranslateState* t, u32 opsize);

// --- Control, debug and model-specific registers
// -------------------------------------------------------------------------------

LeaveReason mov_to_cr(TranslateState* t, u32 index, u64 value);  // ends the block
LeaveReason mov_from_cr(TranslateState* t, u32 index);           // -> scratch[0]
LeaveReason rdpkru(TranslateState* t);                           // EDX:EAX written
LeaveReason wrpkru(TranslateState* t);
// Every change of PKRU goes through here.
void set_pkru(TranslateState& t, u32 value);
LeaveReason mov_to_dr(TranslateState* t, u32 index, u64 value);  // ends the block
LeaveReason mov_from_dr(TranslateState* t, u32 index);           // -> scratch[0]
LeaveReason rdmsr(TranslateState* t);                            // EDX:EAX written
LeaveReason wrmsr(TranslateState* t);                            // ends the block
LeaveReason xgetbv(TranslateState* t);                           // EDX:EAX written
LeaveReason xsetbv(TranslateState* t);                           // ends the block
LeaveReason rdpmc(TranslateState* t);
LeaveReason rdtsc(TranslateState* t);                                   // EDX:EAX written
LeaveReason rdtscp(TranslateState* t);                                  // and ECX
LeaveReason swapgs(TranslateState* t);                                  // ends the block
LeaveReason read_segment_base(TranslateState* t, u32 seg);              // RDFSBASE/RDGSBASE -> scratch[0]
LeaveReason write_segment_base(TranslateState* t, u32 seg, u64 value);  // WRFSBASE/WRGSBASE
LeaveReason cpuid(TranslateState* t);                                   // EAX..EDX written

// --- Flags, ports and the rest
// -------------------------------------------------------------------------------------------------

LeaveReason pushf(TranslateState* t, u32 opsize);            // -> scratch[0] the image; the caller pushes it
LeaveReason popf(TranslateState* t, u64 image, u32 opsize);  // ends the block
LeaveReason cli(TranslateState* t);                          // ends the block
LeaveReason sti(TranslateState* t);                          // ends the block
LeaveReason clac(TranslateState* t);                         // ends the block
LeaveReason stac(TranslateState* t);                         // ends the block

LeaveReason check_io(TranslateState* t, u32 port, u32 size);  // privilege only, for INS and OUTS
// `spec`: the size, with kPortImmediate for IN and OUT with an immediate port.
constexpr u32 kPortImmediate = 1u << 8;
LeaveReason port_in(TranslateState* t, u32 port, u32 spec);  // -> scratch[0], zero-extended
LeaveReason port_out(TranslateState* t, u32 port, u32 spec, u32 value);
// Port access without checks, after check_io.
u32 port_read_unchecked(TranslateState* t, u32 port, u32 size, PortForm form);
void port_write_unchecked(TranslateState* t, u32 port, u32 size, u32 value, PortForm form);

// --- AMD's secure virtual machine (svm.h). #UD without EFER.SVME, and intercepts, are their own affair.
// -------------------------------------------------------------------------------------------------

LeaveReason vmrun(TranslateState* t, u64 next);   // Lookup in the guest, or Exception
LeaveReason vmload(TranslateState* t, u64 next);  // ends the block
LeaveReason vmsave(TranslateState* t, u64 next);
LeaveReason stgi(TranslateState* t, u64 next);     // ends the block
LeaveReason clgi(TranslateState* t, u64 next);     // ends the block
LeaveReason invlpga(TranslateState* t, u64 next);  // ends the block
LeaveReason skinit(TranslateState* t, u64 next);

// In guest mode (ModeBits::kSvmGuest), before an instruction: a #VMEXIT becomes pending where it is intercepted. `spec`: the
// exit code, or the low 16 bits of an I/O intercept's EXITINFO1, with the flags.
constexpr u32 kInterceptShadow = 1u << 16;  // the instruction stands in an interrupt shadow
constexpr u32 kInterceptWrite = 1u << 17;   // WRMSR
constexpr u32 kInterceptLmsw = 1u << 18;    // the value of CR0 has four bits
LeaveReason svm_intercept(TranslateState* t, u32 spec, u64 next);
LeaveReason svm_intercept_write(TranslateState* t, u32 spec, u64 value, u64 next);  // MOV to CR and DR, LMSW
LeaveReason svm_intercept_msr(TranslateState* t, u32 spec, u64 next);
LeaveReason svm_intercept_port(TranslateState* t, u32 spec, u32 port, u64 next);

LeaveReason hlt(TranslateState* t, u64 next);  // Halt
LeaveReason privileged(TranslateState* t);     // #GP(0) unless CPL 0: INVD, WBINVD
LeaveReason hypercall(TranslateState* t);      // VMCALL, VMMCALL: RAX written (contracts H1, H2)

// --- Debug exceptions
// ----------------------------------------------------------------------------------------------------------

// True when every instruction must be translated as a block of its own that begins with debug_begin() (TF, armed
// breakpoints, or a trap that waits). It must be part of BlockKey::mode.
bool debug_active(const TranslateState& t);
// At the start of an instruction: reports the trap of the instruction before it, then instruction breakpoints; notes TF.
LeaveReason debug_begin(TranslateState* t);
// Before a branch completes while debug_active(): notes the single step that DEBUGCTL.BTF asks for.
void debug_branch(TranslateState* t, u8 taken);
// With DEBUGCTL.LBR (ModeBits::kLastBranch; AMD APM volume 2, 13.1.1.6): the branch at `from` completes if it is taken, and
// its target begins, both offsets in the code segment.
void branch_noted(TranslateState* t, u64 from, u8 taken);
void branch_arrived(TranslateState* t, u64 at);
// Before an event, or when someone looks: the target of a branch that was noted is s.rip, unless the branch itself faults.
void settle_branch(TranslateState& t);
// Before a data access while debug_active(): notes data breakpoint hits for the trap after this instruction.
void debug_data(TranslateState* t, u64 va, u32 size, u32 write);

// While an interrupt shadow is on, the next instruction must be a block of its own, and clears s.sti_shadow and
// s.mov_ss_shadow (as SetState) after its debug_begin(), if any. It must be part of BlockKey::mode.
inline bool shadow_active(const State& s) { return s.sti_shadow || s.mov_ss_shadow; }

}  // namespace tandem::cpu::x86
