// Threads rewrite functions that other threads call: what a compiler inside the guest does, with the serialisation that the
// manual asks for (Intel SDM volume 3, 8.1.3, "Handling Self- and Cross-Modifying Code"). Every result is compared with what
// the same steps give in C++. Usage: rewrite THREADS ROUNDS
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

using Function = std::uint32_t (*)(std::uint32_t);
constexpr std::size_t kPage = 4096, kSlot = 256;

std::atomic<unsigned> failures{0};

void check(bool good, const char* what, unsigned round, std::uint32_t got, std::uint32_t wanted) {
    if (good) return;
    if (failures++ < 10) std::printf("rewrite: %s, round %u: got %#x, expected %#x\n", what, round, got, wanted);
}

struct Random {
    std::uint64_t state;
    std::uint32_t next() {
        state = state * 6364136223846793005u + 1442695040888963407u;
        return static_cast<std::uint32_t>(state >> 33);
    }
};

// A function of random steps, as machine code and as what it computes.
struct Program {
    std::vector<std::uint8_t> code;
    std::vector<std::pair<unsigned, std::uint32_t>> steps;

    explicit Program(std::uint64_t seed) {
        Random random{seed};
        emit({0x89, 0xf8});  // mov eax, edi
        const unsigned count = 1 + random.next() % 20;
        for (unsigned i = 0; i < count; ++i) step(random.next() % 4, random.next());
        emit({0xc3});
    }
    [[nodiscard]] std::uint32_t value(std::uint32_t x) const {
        for (const auto& [kind, operand] : steps) {
            switch (kind) {
                case 0: x += operand; break;
                case 1: x ^= operand; break;
                case 2: x = x << (operand % 31 + 1) | x >> (31 - operand % 31); break;
                default: x *= operand; break;
            }
        }
        return x;
    }

private:
    void emit(std::initializer_list<std::uint8_t> bytes) { code.insert(code.end(), bytes); }
    void immediate(std::uint32_t v) {
        for (unsigned i = 0; i < 4; ++i) code.push_back(static_cast<std::uint8_t>(v >> (8 * i)));
    }
    void step(unsigned kind, std::uint32_t operand) {
        steps.emplace_back(kind, operand);
        switch (kind) {
            case 0: emit({0x05}), immediate(operand); break;                                 // add eax, imm
            case 1: emit({0x35}), immediate(operand); break;                                 // xor eax, imm
            case 2: emit({0xc1, 0xc0, static_cast<std::uint8_t>(operand % 31 + 1)}); break;  // rol eax, imm
            default: emit({0x69, 0xc0}), immediate(operand); break;                          // imul eax, eax, imm
        }
    }
};

// Code memory, as a writer and as a caller see it.
struct CodeMemory {
    std::uint8_t* writable;
    std::uint8_t* executable;
    bool flips;  // one mapping, never writable and executable at a time
};

CodeMemory one_mapping() {
    auto* p = static_cast<std::uint8_t*>(
        mmap(nullptr, kPage, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    return {p, p, false};
}
CodeMemory two_mappings() {
    const int fd = memfd_create("code", 0);
    if (fd < 0 || ftruncate(fd, kPage) != 0) std::abort();
    auto* w = static_cast<std::uint8_t*>(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    auto* x = static_cast<std::uint8_t*>(mmap(nullptr, kPage, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0));
    close(fd);
    return {w, x, false};
}
CodeMemory flipping_mapping() {
    CodeMemory m = one_mapping();
    m.flips = true;
    if (mprotect(m.writable, kPage, PROT_READ | PROT_EXEC) != 0) std::abort();
    return m;
}

void write_code(const CodeMemory& m, std::size_t at, const std::vector<std::uint8_t>& code) {
    if (m.flips && mprotect(m.writable, kPage, PROT_READ | PROT_WRITE) != 0) std::abort();
    std::memcpy(m.writable + at, code.data(), code.size());
    if (m.flips && mprotect(m.writable, kPage, PROT_READ | PROT_EXEC) != 0) std::abort();
}

void serialise() {
    std::uint32_t a = 0, b, c = 0, d;
    asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d) : : "memory");
}

// The writer publishes version after version; everyone else has called one when it is replaced.
struct Exchange {
    std::atomic<unsigned> version{0};
    std::atomic<Function> function{nullptr};
    std::atomic<unsigned> called{0};
};

struct Test {
    const char* name;
    CodeMemory memory;
    bool barrier;  // membarrier() on the writer's side instead of CPUID on the callers'
    unsigned threads, rounds;
    Exchange exchange;
};

std::uint64_t seed_of(unsigned round) { return round * 977u + 5; }

void* call(void* argument) {
    Test& t = *static_cast<Test*>(argument);
    for (unsigned round = 1; round <= t.rounds; ++round) {
        while (t.exchange.version.load(std::memory_order_acquire) < round) sched_yield();
        if (!t.barrier) serialise();
        const Function f = t.exchange.function.load(std::memory_order_relaxed);
        const Program wanted(seed_of(round));
        for (std::uint32_t x = 0; x < 30; ++x)
            check(f(x * 77) == wanted.value(x * 77), t.name, round, f(x * 77), wanted.value(x * 77));
        t.exchange.called.fetch_add(1, std::memory_order_release);
    }
    return nullptr;
}

void run(Test& t) {
    std::vector<pthread_t> callers(t.threads);
    for (auto& c : callers) {
        if (pthread_create(&c, nullptr, call, &t) != 0) std::abort();
    }
    for (unsigned round = 1; round <= t.rounds; ++round) {
        while (t.exchange.called.load(std::memory_order_acquire) < (round - 1) * t.threads) sched_yield();
        // The same place, or one of a few in the same page.
        const std::size_t at = round % 3 == 0 ? 0 : round % 16 * kSlot;
        const Program p(seed_of(round));
        write_code(t.memory, at, p.code);
        if (t.barrier && syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0) != 0) std::abort();
        t.exchange.function.store(reinterpret_cast<Function>(t.memory.executable + at), std::memory_order_relaxed);
        t.exchange.version.store(round, std::memory_order_release);
        // The writer calls it too: its own stores are seen at once behind a jump.
        const Function own = reinterpret_cast<Function>(t.memory.executable + at);
        if (t.memory.writable != t.memory.executable) serialise();
        check(own(round) == p.value(round), t.name, round, own(round), p.value(round));
    }
    for (const auto& c : callers) pthread_join(c, nullptr);
    std::printf("rewrite: %s done\n", t.name);
}

// A constant is replaced by one aligned store while the function is being called: a caller sees the old or the new one, and
// never an older one than before.
struct Counter {
    std::atomic<std::uint64_t>* word;
    Function function;
    std::atomic<bool> stop{false};
};

// mov eax, value; ret
std::uint64_t returns(std::uint32_t value) { return std::uint64_t{0xc3} << 40 | std::uint64_t{value} << 8 | 0xb8; }

void* watch(void* argument) {
    Counter& c = *static_cast<Counter*>(argument);
    std::uint32_t last = 0;
    while (!c.stop) {
        const std::uint32_t now = c.function(0);
        check(now >= last, "constant", last, now, last);
        last = now;
    }
    serialise();
    return reinterpret_cast<void*>(static_cast<std::uintptr_t>(c.function(0)));
}

void run_constant(unsigned threads, unsigned rounds) {
    const CodeMemory m = one_mapping();
    Counter c{reinterpret_cast<std::atomic<std::uint64_t>*>(m.writable), reinterpret_cast<Function>(m.executable), {}};
    *c.word = returns(0);
    std::vector<pthread_t> watchers(threads);
    for (auto& w : watchers) {
        if (pthread_create(&w, nullptr, watch, &c) != 0) std::abort();
    }
    for (std::uint32_t i = 1; i <= rounds; ++i) {
        *c.word = returns(i);
        if (i % 8 == 0) sched_yield();
    }
    c.stop = true;
    for (const auto& w : watchers) {
        void* last = nullptr;
        pthread_join(w, &last);
        const auto seen = static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(last));
        check(seen == rounds, "constant at the end", rounds, seen, rounds);
    }
    std::printf("rewrite: constant done\n");
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    const auto threads = static_cast<unsigned>(std::atoi(argv[1]));
    const auto rounds = static_cast<unsigned>(std::atoi(argv[2]));
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0) != 0) {
        std::puts("rewrite: no membarrier");
        return 1;
    }
    Test tests[] = {{"one mapping", one_mapping(), false, threads, rounds, {}},
                    {"two mappings", two_mappings(), false, threads, rounds, {}},
                    {"changing protection", flipping_mapping(), false, threads, rounds, {}},
                    {"one mapping, membarrier", one_mapping(), true, threads, rounds, {}},
                    {"two mappings, membarrier", two_mappings(), true, threads, rounds, {}}};
    for (Test& t : tests) run(t);
    run_constant(threads, rounds);
    std::printf("rewrite: %u failures\n", failures.load());
    return failures == 0 ? 0 : 1;
}
