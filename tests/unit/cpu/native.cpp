#include "native.h"

#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cstddef>
#include <cstring>
#include <initializer_list>
#include <stdexcept>

namespace tandem::test {

namespace {

constexpr std::size_t kPage = 4096;

// What the #XM handler needs to know of the run in progress.
struct Run {
    NativeState* state = nullptr;
    u64 resume = 0;  // where the state is saved
};
Run current;

void on_sigfpe(int, siginfo_t*, void* context) {
    auto* uc = static_cast<ucontext_t*>(context);
    current.state->trapped = 1;
    uc->uc_mcontext.gregs[REG_RIP] = static_cast<greg_t>(current.resume);
    uc->uc_mcontext.fpregs->mxcsr |= 0x1f80;  // or it would trap again; the saved image gets the guest's masks back
}

class Assembler {
public:
    explicit Assembler(u8* at) : p_(at) {}
    void emit(std::initializer_list<unsigned> bytes) {
        for (const unsigned b : bytes) *p_++ = static_cast<u8>(b);
    }
    void raw(std::span<const u8> bytes) {
        std::memcpy(p_, bytes.data(), bytes.size());
        p_ += bytes.size();
    }
    void disp32(std::size_t value) {
        const auto v = static_cast<u32>(value);
        std::memcpy(p_, &v, 4);
        p_ += 4;
    }
    // MOV between a register and [R15 + offset].
    void move(unsigned opcode, unsigned reg, std::size_t offset) {
        emit({reg < 8 ? 0x49u : 0x4du, opcode, 0x80 | (reg & 7) << 3 | 7});
        disp32(offset);
    }
    [[nodiscard]] u64 here() const { return reinterpret_cast<u64>(p_); }

private:
    u8* p_;
};

constexpr std::array<unsigned, 14> kRegisters = {0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};

}  // namespace

Native::Native() {
    void* p = mmap(nullptr, kPage, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) throw std::runtime_error("cannot map a page for native code");
    page_ = static_cast<u8*>(p);
    struct sigaction action{};
    action.sa_sigaction = on_sigfpe;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGFPE, &action, nullptr);
}

Native::~Native() { munmap(page_, kPage); }

void Native::run(std::span<const u8> instruction, NativeState& state) {
    Assembler a(page_);
    a.emit({0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57});  // PUSH RBX RBP R12..R15
    a.emit({0x49, 0x89, 0xff});                                            // MOV R15, RDI
    a.emit({0x49, 0x0f, 0xae, 0x0f});                                      // FXRSTOR64 [R15]
    for (const unsigned reg : kRegisters) a.move(0x8b, reg, offsetof(NativeState, gpr) + 8 * reg);
    a.emit({0x41, 0xff, 0xb7});  // PUSH [R15 + flags]; POPFQ
    a.disp32(offsetof(NativeState, flags));
    a.emit({0x9d});
    a.raw(instruction);
    current = {&state, a.here()};
    a.emit({0x9c, 0x41, 0x8f, 0x87});  // PUSHFQ; POP [R15 + flags]
    a.disp32(offsetof(NativeState, flags));
    for (const unsigned reg : kRegisters) a.move(0x89, reg, offsetof(NativeState, gpr) + 8 * reg);
    a.emit({0x49, 0x0f, 0xae, 0x07});  // FXSAVE64 [R15]
    a.emit({0xdb, 0xe3});              // FNINIT
    a.emit({0x41, 0x0f, 0xae, 0x97});  // LDMXCSR [R15 + default_mxcsr]
    a.disp32(offsetof(NativeState, default_mxcsr));
    a.emit({0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3});

    u32 before = 0;
    std::memcpy(&before, &state.fx[24], 4);
    using Function = void (*)(NativeState*);
    reinterpret_cast<Function>(reinterpret_cast<std::uintptr_t>(page_))(&state);
    if (state.trapped != 0) {
        u32 after = 0;
        std::memcpy(&after, &state.fx[24], 4);
        after = (after & ~0x1f80u) | (before & 0x1f80u);
        std::memcpy(&state.fx[24], &after, 4);
    }
}

}  // namespace tandem::test
