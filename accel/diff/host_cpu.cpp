#include "accel/diff/host_cpu.h"

#include <asm/prctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>
#include <csignal>
#include <cstring>

#include <algorithm>
#include <new>
#include <vector>

namespace tandem::accel::diff {

struct Shared {
    u32 count = 0;
    volatile u32 index = 0;
    std::array<u8, kDataSize + kReadOnlySize> memory{};
    std::array<TestCase, HostCpu::kBatch> cases{};
    std::array<Outcome, HostCpu::kBatch> outcomes{};
};

namespace {

// gregs indices in encoding order of the general registers.
constexpr int kGregs[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                            REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

// Linux's user segments.
constexpr u64 kCode32 = 0x23, kCode64 = 0x33;
constexpr u16 kUserData = 0x2b;

constexpr unsigned kAltStackSize = 128 * 1024;
constexpr suseconds_t kHangMicroseconds = 200000;

// State of the child; signal handlers can reach nothing else.
struct Child {
    Shared* shared = nullptr;
    u8* code = nullptr;   // writable alias of the code page
    u64 code_offset = 0;  // of the code that is in the page now
    u8 code_length = 0;
    bool running = false;
    u32 index_at_alarm = ~0u;
    gregset_t resume;  // of the batch's caller
    FxImage resume_fx;
    bool avx = false;  // the signal frame has YMM state
};
Child g_child;

FxImage& fx_of(ucontext_t& context) {
    auto* fx = reinterpret_cast<FxImage*>(context.uc_mcontext.fpregs);
    // The XSAVE header after the legacy area: x87 and SSE state are to be loaded.
    u64 present = 0;
    std::memcpy(&present, reinterpret_cast<u8*>(fx) + 512, sizeof present);
    present |= 3;
    std::memcpy(reinterpret_cast<u8*>(fx) + 512, &present, sizeof present);
    return *fx;
}

// The upper halves of the YMM registers: component 2 of the XSAVE area in the signal frame (SDM volume 1, 13.4 and 13.5).
constexpr unsigned kXstateBv = 512, kYmmHigh = 576;
constexpr u64 kYmmBit = 4;

void put_ymm(ucontext_t& context, const CpuImage& image) {
    if (!g_child.avx) return;
    auto* area = reinterpret_cast<u8*>(context.uc_mcontext.fpregs);
    u64 present = 0;
    std::memcpy(&present, area + kXstateBv, sizeof present);
    present |= kYmmBit;
    std::memcpy(area + kXstateBv, &present, sizeof present);
    std::memcpy(area + kYmmHigh, image.ymm_high.data(), sizeof image.ymm_high);
}

void get_ymm(const ucontext_t& context, CpuImage& image) {
    const auto* area = reinterpret_cast<const u8*>(context.uc_mcontext.fpregs);
    u64 present = 0;
    std::memcpy(&present, area + kXstateBv, sizeof present);
    image.ymm_high = {};
    if (g_child.avx && (present & kYmmBit) != 0) std::memcpy(image.ymm_high.data(), area + kYmmHigh, sizeof image.ymm_high);
}

// Bytes 464..511 of the image belong to the kernel (its magic numbers).
void copy_fx(FxImage& to, const FxImage& from) { std::memcpy(static_cast<void*>(&to), &from, 416); }

void enter(ucontext_t& context, const TestCase& test) {
    Child& child = g_child;
    std::memset(child.code + child.code_offset, kStop, child.code_length);
    child.code_offset = test.in.rip - kCodePage;
    child.code_length = test.length;
    std::memcpy(child.code + child.code_offset, test.code.data(), test.length);

    greg_t* gregs = context.uc_mcontext.gregs;
    for (unsigned i = 0; i < 16; ++i) gregs[kGregs[i]] = static_cast<greg_t>(test.in.gpr[i]);
    gregs[REG_RIP] = static_cast<greg_t>(test.in.rip);
    gregs[REG_EFL] = static_cast<greg_t>(test.in.rflags);
    gregs[REG_CSGSFS] = static_cast<greg_t>((static_cast<u64>(gregs[REG_CSGSFS]) & ~u64{0xffff}) |
                                            (world_of(test).is64() ? kCode64 : kCode32));
    copy_fx(fx_of(context), test.in.fx);
    put_ymm(context, test.in);
}

void leave(ucontext_t& context, u32 vector, Outcome& outcome) {
    const greg_t* gregs = context.uc_mcontext.gregs;
    for (unsigned i = 0; i < 16; ++i) outcome.out.gpr[i] = static_cast<u64>(gregs[kGregs[i]]);
    outcome.out.rip = static_cast<u64>(gregs[REG_RIP]);
    outcome.out.rflags = static_cast<u64>(gregs[REG_EFL]);
    copy_fx(outcome.out.fx, fx_of(context));
    get_ymm(context, outcome.out);
    outcome.vector = vector;
    outcome.skip = Skip::None;
    outcome.error = static_cast<u32>(gregs[REG_ERR]);
    outcome.cr2 = vector == 14 ? static_cast<u64>(gregs[REG_CR2]) : 0;
    auto* data = reinterpret_cast<u8*>(kData);
    outcome.memory = memory_change(g_child.shared->memory.data(), data);
    if (outcome.memory.hash != 0) std::memcpy(data, g_child.shared->memory.data(), kDataSize);
}

void next(ucontext_t& context) {
    Child& child = g_child;
    if (child.shared->index < child.shared->count) {
        enter(context, child.shared->cases[child.shared->index]);
        return;
    }
    child.running = false;
    std::memcpy(context.uc_mcontext.gregs, child.resume, sizeof child.resume);
    copy_fx(fx_of(context), child.resume_fx);
}

// A POPF may have left NT, AC and ID on: AC would fault the handler, and sigreturn keeps what the handler runs with.
void clear_sticky_flags() {
    constexpr u64 kSticky = 1u << 14 | 1u << 18 | 1u << 21;
    __builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() & ~kSticky);
}

void on_exception(int, siginfo_t*, void* raw) {
    clear_sticky_flags();
    auto& context = *static_cast<ucontext_t*>(raw);
    Child& child = g_child;
    if (!child.running) {
        // The INT3 of run_batch().
        std::memcpy(child.resume, context.uc_mcontext.gregs, sizeof child.resume);
        copy_fx(child.resume_fx, fx_of(context));
        child.running = true;
    } else {
        const u32 index = child.shared->index;
        leave(context, static_cast<u32>(context.uc_mcontext.gregs[REG_TRAPNO]), child.shared->outcomes[index]);
        if (!world_of(child.shared->cases[index]).is64()) truncate(child.shared->outcomes[index].out);
        child.shared->index = index + 1;
    }
    next(context);
}

void on_alarm(int, siginfo_t*, void* raw) {
    clear_sticky_flags();
    Child& child = g_child;
    const u32 index = child.shared->index;
    if (!child.running || child.index_at_alarm != index) {
        child.index_at_alarm = index;
        return;
    }
    auto& context = *static_cast<ucontext_t*>(raw);
    leave(context, Outcome::kHang, child.shared->outcomes[index]);
    child.shared->outcomes[index].skip = Skip::NoEnd;
    child.shared->index = index + 1;
    next(context);
}

bool map_pages() {
    const int file = memfd_create("tandem-code", 0);
    if (file < 0 || ftruncate(file, 0x1000) != 0) return false;
    void* writable = mmap(nullptr, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    void* code =
        mmap(reinterpret_cast<void*>(kCodePage), 0x1000, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED_NOREPLACE, file, 0);
    void* data = mmap(reinterpret_cast<void*>(kData), kDataSize + kReadOnlySize, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (writable == MAP_FAILED || code == MAP_FAILED || data == MAP_FAILED) return false;
    // Experiments use GS; the C library does not.
    if (syscall(SYS_arch_prctl, ARCH_SET_GS, kData) != 0) return false;
    // 32-bit code needs usable data segments; 64-bit processes start with none.
    asm volatile("movw %0, %%ds\n\tmovw %0, %%es" ::"r"(kUserData));
    g_child.code = static_cast<u8*>(writable);
    std::memset(writable, kStop, 0x1000);
    return true;
}

bool install_handlers() {
    stack_t stack{};
    stack.ss_sp = mmap(nullptr, kAltStackSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack.ss_size = kAltStackSize;
    if (stack.ss_sp == MAP_FAILED || sigaltstack(&stack, nullptr) != 0) return false;
    struct sigaction action{};
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigfillset(&action.sa_mask);
    action.sa_sigaction = on_exception;
    for (const int number : {SIGSEGV, SIGILL, SIGFPE, SIGBUS, SIGTRAP}) {
        if (sigaction(number, &action, nullptr) != 0) return false;
    }
    // Ctrl-C reaches all processes of the terminal; this one ends when its parent closes the pipe.
    for (const int ignored : {SIGINT, SIGTERM}) {
        if (signal(ignored, SIG_IGN) == SIG_ERR) return false;
    }
    action.sa_sigaction = on_alarm;
    const itimerval timer{{0, kHangMicroseconds}, {0, kHangMicroseconds}};
    return sigaction(SIGALRM, &action, nullptr) == 0 && setitimer(ITIMER_REAL, &timer, nullptr) == 0;
}

void run_batch() {
    void* read_only = reinterpret_cast<void*>(kReadOnly);
    mprotect(read_only, kReadOnlySize, PROT_READ | PROT_WRITE);
    std::memcpy(reinterpret_cast<void*>(kData), g_child.shared->memory.data(), kDataSize + kReadOnlySize);
    mprotect(read_only, kReadOnlySize, PROT_READ);
    asm volatile("int3" ::: "memory");
}

[[noreturn]] void child_main(Shared* shared, int command, int done) {
    g_child.shared = shared;
    g_child.avx = __builtin_cpu_supports("avx") != 0;
    if (!map_pages() || !install_handlers()) _exit(1);
    u8 byte = 0;
    for (;;) {
        const ssize_t n = read(command, &byte, 1);
        if (n < 0 && errno == EINTR) continue;
        if (n != 1) _exit(0);
        run_batch();
        if (write(done, &byte, 1) != 1) _exit(0);
    }
}

}  // namespace

Result<std::unique_ptr<HostCpu>> HostCpu::create() {
    void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return io_error("cannot map the experiments");
    std::unique_ptr<HostCpu> host(new HostCpu());
    host->shared_ = new (memory) Shared();
    int command[2] = {-1, -1};
    int done[2] = {-1, -1};
    if (pipe(command) != 0 || pipe(done) != 0) return io_error("cannot make a pipe");
    host->child_ = fork();
    if (host->child_ < 0) return io_error("cannot fork");
    if (host->child_ == 0) {
        close(command[1]);
        close(done[0]);
        child_main(host->shared_, command[0], done[1]);
    }
    close(command[0]);
    close(done[1]);
    host->command_ = command[1];
    host->done_ = done[0];
    host->compatibility_ = host->try_compatibility();
    return host;
}

std::string HostCpu::refusal(const World& world) const {
    if (!world.is_linux_process()) return "a process of the host has no such state";
    if (!world.is64() && !compatibility_) return "the host's kernel does not run 32-bit code";
    return {};
}

// A kernel without IA-32 emulation has no 32-bit code segment: returning to it faults with the selector as error code.
bool HostCpu::try_compatibility() {
    TestCase test;
    const auto world = world_by_name("user32-compatibility");
    if (!world) return false;
    test.world = static_cast<u8>(*world);
    test.in.gpr[4] = kData + 0x1000;
    const std::vector<u8> memory(kDataSize + kReadOnlySize);
    Outcome outcome;
    const auto ran = run({&test, 1}, memory, {&outcome, 1});
    return ran.ok() && outcome.vector == 13 && outcome.error == 0 && outcome.out.rip == kCodeStart;
}

HostCpu::~HostCpu() {
    if (command_ >= 0) close(command_);
    if (done_ >= 0) close(done_);
    if (child_ > 0) waitpid(child_, nullptr, 0);
    if (shared_ != nullptr) munmap(shared_, sizeof(Shared));
}

Result<void> HostCpu::run(std::span<const TestCase> cases, std::span<const u8> memory, std::span<Outcome> outcomes) {
    shared_->count = static_cast<u32>(std::min<size_t>(cases.size(), kBatch));
    shared_->index = 0;
    std::copy_n(cases.begin(), shared_->count, shared_->cases.begin());
    std::copy_n(memory.begin(), shared_->memory.size(), shared_->memory.begin());
    u8 byte = 0;
    if (write(command_, &byte, 1) != 1 || read(done_, &byte, 1) != 1) {
        int status = 0;
        waitpid(child_, &status, 0);
        child_ = -1;
        return Error{Errc::Io, "the host processor's child died in experiment #" + std::to_string(shared_->index) +
                                   " by signal " + std::to_string(WTERMSIG(status))};
    }
    std::copy_n(shared_->outcomes.begin(), shared_->count, outcomes.begin());
    return {};
}

}  // namespace tandem::accel::diff
