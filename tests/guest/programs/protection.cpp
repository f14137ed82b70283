// Protection of user programs as the processor enforces it: protection keys, UMIP, addresses above 47 bits where paging has
// five levels. Prints one line for each; status 1 when something is not as it must be.
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <thread>

namespace {

unsigned failures = 0;

void check(bool good, const char* what) {
    if (good) return;
    ++failures;
    std::printf("protection: wrong: %s\n", what);
}

thread_local sigjmp_buf retreat;
thread_local volatile int fault_code;

// This thread's rights to the pages with `key`. A handler runs with rights of the kernel's choosing, which a jump out of it
// keeps.
int key = -1;
thread_local unsigned rights;
void set_rights(unsigned wanted) {
    rights = wanted;
    if (key >= 0) pkey_set(key, rights);
}

void on_fault(int, siginfo_t* info, void*) {
    fault_code = info->si_code;
    siglongjmp(retreat, 1);
}

// si_code of the SIGSEGV that an access raises; 0: none.
template <class F>
int fault_of(F access) {
    fault_code = 0;
    if (sigsetjmp(retreat, 1) == 0) {
        access();
    } else {
        set_rights(rights);
    }
    return fault_code;
}

void test_keys() {
    key = pkey_alloc(0, 0);
    if (key < 0) {
        std::puts("protection: no keys");
        return;
    }
    auto* p = static_cast<volatile int*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    *p = 1;
    check(pkey_mprotect(const_cast<int*>(p), 8192, PROT_READ | PROT_WRITE, key) == 0, "pkey_mprotect");
    check(fault_of([p] { *p = 2; }) == 0 && *p == 2, "a key that permits everything");
    set_rights(PKEY_DISABLE_WRITE);
    check(fault_of([p] { *p = 3; }) == SEGV_PKUERR, "a store where the key forbids it");
    check(*p == 2, "a load where the key permits it");
    set_rights(PKEY_DISABLE_ACCESS);
    check(fault_of([p] { (void)*p; }) == SEGV_PKUERR, "a load where the key forbids it");
    // The kernel obeys the key too.
    int fds[2];
    check(pipe(fds) == 0 && write(fds[1], const_cast<int*>(p), 4) < 0, "a system call on forbidden memory");
    // The rights are each thread's own.
    set_rights(0);
    int seen = 0;
    std::thread([&] {
        set_rights(PKEY_DISABLE_ACCESS);
        seen = fault_of([p] { (void)*p; });
    }).join();
    check(seen == SEGV_PKUERR, "another thread's rights");
    check(fault_of([p] { *p = 4; }) == 0 && *p == 4, "this thread's rights");
    // Rights come back with the registers after a signal and a context switch.
    for (int i = 0; i < 50; ++i) {
        set_rights(i % 2 == 0 ? PKEY_DISABLE_WRITE : 0);
        usleep(1000);
        check((fault_of([p] { *p = 5; }) != 0) == (i % 2 == 0), "rights after a context switch");
    }
    std::puts("protection: keys done");
}

void test_umip() {
    struct {
        std::uint16_t limit;
        std::uint64_t base;
    } __attribute__((packed)) gdt{};
    asm volatile("sgdt %0" : "=m"(gdt));
    // The kernel answers in the processor's place, with an address of its own choosing.
    std::printf("protection: sgdt base %#llx\n", static_cast<unsigned long long>(gdt.base));
    std::uint64_t status = 0;
    asm volatile("smsw %0" : "=r"(status));
    std::printf("protection: smsw %#llx\n", static_cast<unsigned long long>(status & 0xffff));
}

void test_addresses() {
    constexpr std::uintptr_t kHigh = std::uintptr_t{1} << 52;
    auto* p = static_cast<std::uint64_t*>(
        mmap(reinterpret_cast<void*>(kHigh), 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    const auto at = reinterpret_cast<std::uintptr_t>(p);
    if (at >> 47 == 0) {
        std::puts("protection: addresses of 47 bits");
        return;
    }
    check(at == kHigh, "the address that was asked for");
    for (unsigned i = 0; i < (1 << 20) / 8; ++i) p[i] = at + i;
    const pid_t child = fork();
    if (child == 0) {
        bool same = true;
        for (unsigned i = 0; i < (1 << 20) / 8; ++i) same = same && p[i] == at + i;
        p[0] = 0;
        _exit(same ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    check(status == 0, "what a child sees above 47 bits");
    check(p[0] == at, "what a child wrote above 47 bits");
    check(fault_of([p] { *reinterpret_cast<volatile std::uint64_t*>(p + (2 << 20)) = 0; }) == SEGV_MAPERR, "nothing there");
    munmap(p, 1 << 20);
    std::puts("protection: addresses above 47 bits done");
}

void print_flags() {
    std::FILE* file = std::fopen("/proc/cpuinfo", "r");
    char line[4096];
    while (file != nullptr && std::fgets(line, sizeof line, file) != nullptr) {
        if (std::strncmp(line, "flags", 5) != 0) continue;
        for (const char* flag = std::strtok(line, " \n"); flag != nullptr; flag = std::strtok(nullptr, " \n")) {
            for (const char* ours : {"umip", "pku", "ospke", "la57"}) {
                if (std::strcmp(flag, ours) == 0) std::printf("protection: flag %s\n", flag);
            }
        }
        break;
    }
    if (file != nullptr) std::fclose(file);
}

}  // namespace

int main() {
    struct sigaction action{};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &action, nullptr);
    print_flags();
    test_keys();
    test_umip();
    test_addresses();
    std::printf("protection: %u failures\n", failures);
    return failures == 0 ? 0 : 1;
}
