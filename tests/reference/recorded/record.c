/* Records what single A64 instructions do, for recorded.txt: executes each line of its input from the state of the line's
   seed and prints the line with what has changed. Runs on any AArch64 Linux, hardware or `qemu-aarch64-static`:
     aarch64-linux-gnu-gcc -static -no-pie -O1 -o record record.c
     tandem-tests-reference "[.words]" > words.txt; ./record < words.txt > recorded.txt
   A line: instruction, prefix (0: none), seed, base register, whether offsets are small, register with the address of the
   place to branch to, and what results are relative to (0: nothing, 1: the instruction, 2: its page); -1: no register. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "state.h"

#define DATA UINT64_C(0x20000000)
#define AREA UINT64_C(0x30000000)
#define NOP 0xd503201fu

struct area {
    struct recorded_state in, out;
    uint64_t host_sp, taken, host[32];
};
#define area ((struct area*)AREA)
uint32_t code_page[1024] __attribute__((aligned(4096)));
static sigjmp_buf escape;
static char signal_stack[65536];

static void on_signal(int number) { siglongjmp(escape, number); }

/* Loads area->in, goes to code_page, and comes back by one of the two landings, which store area->out. x9 and x0 hold the
   area's address meanwhile, TPIDR_EL0 the value of x0. */
void run(void);
void landing_next(void);
void landing_taken(void);
_Static_assert(sizeof(struct recorded_state) == 792, "as the offsets below");
__asm__(
    ".globl run, landing_next, landing_taken\n"
    "run:\n"
    "  mov x9, #0x30000000\n"
    "  add x10, x9, #1600\n"
    "  stp x19, x20, [x10, #16]\n  stp x21, x22, [x10, #32]\n  stp x23, x24, [x10, #48]\n"
    "  stp x25, x26, [x10, #64]\n  stp x27, x28, [x10, #80]\n  stp x29, x30, [x10, #96]\n"
    "  stp d8, d9, [x10, #112]\n  stp d10, d11, [x10, #128]\n  stp d12, d13, [x10, #144]\n  stp d14, d15, [x10, #160]\n"
    "  mov x11, sp\n  str x11, [x9, #1584]\n"
    "  mrs x11, tpidr_el0\n  str x11, [x10]\n"
    "  add x11, x9, #256\n"
    "  ld1 {v0.16b-v3.16b}, [x11], #64\n  ld1 {v4.16b-v7.16b}, [x11], #64\n"
    "  ld1 {v8.16b-v11.16b}, [x11], #64\n  ld1 {v12.16b-v15.16b}, [x11], #64\n"
    "  ld1 {v16.16b-v19.16b}, [x11], #64\n  ld1 {v20.16b-v23.16b}, [x11], #64\n"
    "  ld1 {v24.16b-v27.16b}, [x11], #64\n  ld1 {v28.16b-v31.16b}, [x11], #64\n"
    "  ldr x11, [x9, #768]\n  msr nzcv, x11\n"
    "  ldr x11, [x9, #776]\n  msr fpcr, x11\n"
    "  ldr x11, [x9, #784]\n  msr fpsr, x11\n"
    "  ldr x11, [x9, #248]\n  mov sp, x11\n"
    "  ldp x0, x1, [x9]\n  ldp x2, x3, [x9, #16]\n  ldp x4, x5, [x9, #32]\n  ldp x6, x7, [x9, #48]\n"
    "  ldr x8, [x9, #64]\n  ldp x10, x11, [x9, #80]\n  ldp x12, x13, [x9, #96]\n  ldp x14, x15, [x9, #112]\n"
    "  ldp x16, x17, [x9, #128]\n  ldp x18, x19, [x9, #144]\n  ldp x20, x21, [x9, #160]\n  ldp x22, x23, [x9, #176]\n"
    "  ldp x24, x25, [x9, #192]\n  ldp x26, x27, [x9, #208]\n  ldp x28, x29, [x9, #224]\n  ldr x30, [x9, #240]\n"
    "  ldr x9, [x9, #72]\n"
    "  b code_page\n"
    "landing_next:\n"
    "  msr tpidr_el0, x0\n  mov x0, #0x30000000\n  add x0, x0, #792\n  str x1, [x0, #8]\n  mov x1, #0\n  b 1f\n"
    "landing_taken:\n"
    "  msr tpidr_el0, x0\n  mov x0, #0x30000000\n  add x0, x0, #792\n  str x1, [x0, #8]\n  mov x1, #1\n"
    "1:\n"
    "  str x1, [x0, #800]\n"
    "  stp x2, x3, [x0, #16]\n  stp x4, x5, [x0, #32]\n  stp x6, x7, [x0, #48]\n  stp x8, x9, [x0, #64]\n"
    "  stp x10, x11, [x0, #80]\n  stp x12, x13, [x0, #96]\n  stp x14, x15, [x0, #112]\n  stp x16, x17, [x0, #128]\n"
    "  stp x18, x19, [x0, #144]\n  stp x20, x21, [x0, #160]\n  stp x22, x23, [x0, #176]\n  stp x24, x25, [x0, #192]\n"
    "  stp x26, x27, [x0, #208]\n  stp x28, x29, [x0, #224]\n  str x30, [x0, #240]\n"
    "  mov x1, sp\n  str x1, [x0, #248]\n"
    "  mrs x1, tpidr_el0\n  str x1, [x0]\n"
    "  mrs x1, nzcv\n  str x1, [x0, #768]\n"
    "  mrs x1, fpcr\n  str x1, [x0, #776]\n"
    "  mrs x1, fpsr\n  str x1, [x0, #784]\n"
    "  add x11, x0, #256\n"
    "  st1 {v0.16b-v3.16b}, [x11], #64\n  st1 {v4.16b-v7.16b}, [x11], #64\n"
    "  st1 {v8.16b-v11.16b}, [x11], #64\n  st1 {v12.16b-v15.16b}, [x11], #64\n"
    "  st1 {v16.16b-v19.16b}, [x11], #64\n  st1 {v20.16b-v23.16b}, [x11], #64\n"
    "  st1 {v24.16b-v27.16b}, [x11], #64\n  st1 {v28.16b-v31.16b}, [x11], #64\n"
    "  msr fpcr, xzr\n"
    "  add x10, x0, #808\n"
    "  ldr x11, [x10]\n  msr tpidr_el0, x11\n"
    "  ldr x11, [x0, #792]\n  mov sp, x11\n"
    "  ldp x19, x20, [x10, #16]\n  ldp x21, x22, [x10, #32]\n  ldp x23, x24, [x10, #48]\n"
    "  ldp x25, x26, [x10, #64]\n  ldp x27, x28, [x10, #80]\n  ldp x29, x30, [x10, #96]\n"
    "  ldp d8, d9, [x10, #112]\n  ldp d10, d11, [x10, #128]\n  ldp d12, d13, [x10, #144]\n  ldp d14, d15, [x10, #160]\n"
    "  ret\n");

static uint32_t branch(uint64_t from, void (*to)(void)) { return 0x14000000u | (((uint64_t)to - from) >> 2 & 0x3ffffff); }

static void print(int base, int relative, uint64_t instruction, const unsigned char* before) {
    const struct recorded_state *in = &area->in, *out = &area->out;
    const uint64_t origin = relative == 2 ? instruction & ~UINT64_C(0xfff) : instruction;
    for (int i = 0; i < 31; ++i) {
        if (in->x[i] == out->x[i]) continue;
        if (i == base) {
            printf(" x%d=+%" PRIx64, i, out->x[i] - in->x[i]);
        } else if (relative) {
            printf(" x%d=@%" PRIx64, i, out->x[i] - origin);
        } else {
            printf(" x%d=%" PRIx64, i, out->x[i]);
        }
    }
    if (in->sp != out->sp) printf(" sp=+%" PRIx64, out->sp - in->sp);
    for (int i = 0; i < 32; ++i) {
        if (memcmp(in->v[i], out->v[i], 16) == 0) continue;
        printf(" v%d=%" PRIx64 ":%" PRIx64, i, out->v[i][1], out->v[i][0]);
    }
    if (in->nzcv != out->nzcv) printf(" nzcv=%" PRIx64, out->nzcv);
    if (in->fpsr != out->fpsr) printf(" fpsr=%" PRIx64, out->fpsr);
    if (area->taken) printf(" taken=1");
    const unsigned char* data = (const unsigned char*)DATA;
    for (int i = 0; i < kRecordedDataBytes; ++i) {
        if (before[i] == data[i]) continue;
        printf(" m%x=", (unsigned)i);
        for (int skipped = 0; i < kRecordedDataBytes && skipped == 0; ++i) {
            skipped = before[i] == data[i];
            if (!skipped) printf("%02x", data[i]);
        }
        --i;
    }
    printf("\n");
}

int main(void) {
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    uint32_t* const code = code_page;
    unsigned char* data = mmap((void*)DATA, kRecordedDataBytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (mprotect(code, sizeof code_page, PROT_READ | PROT_WRITE | PROT_EXEC) != 0 || data != (void*)DATA ||
        mmap(area, 8192, PROT_READ | PROT_WRITE, flags, -1, 0) != (void*)area) {
        perror("mmap");
        return 1;
    }
    const stack_t stack = {.ss_sp = signal_stack, .ss_size = sizeof signal_stack};
    sigaltstack(&stack, NULL);
    const struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK | SA_NODEFER};
    const int signals[] = {SIGILL, SIGSEGV, SIGBUS, SIGTRAP, SIGFPE};
    for (unsigned i = 0; i < sizeof signals / sizeof *signals; ++i) sigaction(signals[i], &action, NULL);
    unsigned instruction, prefix, seed;
    int base, small, indirect, relative;
    while (scanf("%x %x %x %d %d %d %d", &instruction, &prefix, &seed, &base, &small, &indirect, &relative) == 7) {
        unsigned char before[kRecordedDataBytes];
        recorded_start(seed, DATA + kRecordedMiddle, base, small, &area->in, data);
        memcpy(before, data, sizeof before);
        const uint64_t at = (uint64_t)(code + kRecordedInstruction);
        if (indirect >= 0) area->in.x[indirect] = at + 8;
        code[0] = prefix != 0 ? prefix : NOP;
        code[kRecordedInstruction] = instruction;
        code[kRecordedInstruction + 1] = branch(at + 4, landing_next);
        code[kRecordedInstruction + 2] = branch(at + 8, landing_taken);
        for (unsigned i = kRecordedLiteral; i < kRecordedWords; ++i) code[i] = 0x12345678u * (i + 1);
        __builtin___clear_cache((char*)code, (char*)(code + kRecordedWords));
        const int number = sigsetjmp(escape, 1);
        if (number != 0) {
            fprintf(stderr, "%08x: signal %d\n", instruction, number);
            continue;
        }
        run();
        printf("%08x %08x %x %d %d %d %d", instruction, prefix, seed, base, small, indirect, relative);
        print(base, relative, at, before);
    }
    return 0;
}
