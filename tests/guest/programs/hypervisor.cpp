// A hypervisor of a few lines on /dev/kvm: its guest counts in memory, asks for a port, a device's memory and CPUID,
// switches paging on and halts. Prints what it saw, for tests of the processor that KVM runs on.
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

constexpr std::uint64_t kMemory = 4 << 20, kCode = 0x1000, kTables = 0x10000;

// 32-bit protected mode without paging at first. `rounds` times: count in memory, OUT the count's low byte to port 0x77.
constexpr unsigned char kProgram[] = {
    0xb9, 0x01, 0x00, 0x00, 0x00,              // mov ecx, ROUNDS
    0x83, 0x05, 0x08, 0x00, 0x20, 0x00, 0x01,  // round: add dword [0x200008], 1
    0xe2, 0xf7,                                // loop round
    0xb9, 0x64, 0x00, 0x00, 0x00,              // mov ecx, 100
    0xff, 0x05, 0x00, 0x00, 0x20, 0x00,        // again: inc dword [0x200000]
    0xa1, 0x00, 0x00, 0x20, 0x00,              // mov eax, [0x200000]
    0xe6, 0x77,                                // out 0x77, al
    0xe2, 0xf1,                                // loop again
    0xb8, 0x00, 0x00, 0x00, 0x40,              // mov eax, 0x40000000: no memory
    0x8b, 0x58, 0x10,                          // mov ebx, [eax + 16]
    0x89, 0x58, 0x14,                          // mov [eax + 20], ebx
    0x31, 0xc0,                                // xor eax, eax
    0x0f, 0xa2,                                // cpuid
    0x89, 0x1d, 0x04, 0x00, 0x20, 0x00,        // mov [0x200004], ebx
    0xb8, 0x00, 0x00, 0x01, 0x00,              // mov eax, kTables
    0x0f, 0x22, 0xd8,                          // mov cr3, eax
    0x0f, 0x20, 0xe0,                          // mov eax, cr4
    0x83, 0xc8, 0x10,                          // or eax, PSE
    0x0f, 0x22, 0xe0,                          // mov cr4, eax
    0x0f, 0x20, 0xc0,                          // mov eax, cr0
    0x0d, 0x00, 0x00, 0x00, 0x80,              // or eax, PG
    0x0f, 0x22, 0xc0,                          // mov cr0, eax
    0xa1, 0x00, 0x00, 0x60, 0x00,              // mov eax, [0x600000], which is 0x200000
    0xe6, 0x78,                                // out 0x78, al
    0xf4,                                      // hlt
};

[[noreturn]] void fail(const char* what) {
    std::perror(what);
    std::exit(1);
}

long call(int fd, unsigned long request, auto argument, const char* what) {
    const long result = ioctl(fd, request, argument);
    if (result < 0) fail(what);
    return result;
}

void enter_protected_mode(int vcpu) {
    kvm_sregs s{};
    call(vcpu, KVM_GET_SREGS, &s, "KVM_GET_SREGS");
    kvm_segment flat{};
    flat.limit = 0xffffffff;
    flat.present = flat.s = flat.db = flat.g = 1;
    flat.type = 3;
    flat.selector = 0x10;
    s.ds = s.es = s.ss = s.fs = s.gs = flat;
    flat.type = 11;
    flat.selector = 8;
    s.cs = flat;
    s.cr0 |= 1;
    call(vcpu, KVM_SET_SREGS, &s, "KVM_SET_SREGS");
    kvm_regs r{};
    r.rip = kCode;
    r.rsp = 0x8000;
    r.rflags = 2;
    call(vcpu, KVM_SET_REGS, &r, "KVM_SET_REGS");
}

// The kernel's header makes kvm_cpuid2 larger in C++ than it is in C, and so the numbers of these calls.
struct Cpuid {
    std::uint32_t count = 128, padding = 0;
    kvm_cpuid_entry2 entries[128]{};
};
constexpr unsigned long kGetSupportedCpuid = _IOWR(KVMIO, 0x05, std::uint64_t);
constexpr unsigned long kSetCpuid2 = _IOW(KVMIO, 0x90, std::uint64_t);

void give_cpuid(int kvm, int vcpu) {
    Cpuid cpuid;
    call(kvm, kGetSupportedCpuid, &cpuid, "KVM_GET_SUPPORTED_CPUID");
    call(vcpu, kSetCpuid2, &cpuid, "KVM_SET_CPUID2");
}

struct Seen {
    unsigned ports = 0, sum = 0, last = 0, device = 0;
};

// False: the guest has halted.
bool handle(kvm_run& run, Seen& seen) {
    switch (run.exit_reason) {
        case KVM_EXIT_IO: {
            const auto* data = reinterpret_cast<unsigned char*>(&run) + run.io.data_offset;
            if (run.io.port == 0x77) ++seen.ports, seen.sum += *data;
            if (run.io.port == 0x78) seen.last = *data;
            return true;
        }
        case KVM_EXIT_MMIO:
            if (run.mmio.is_write == 0) {
                const unsigned value = 0x1234;
                std::memcpy(run.mmio.data, &value, sizeof value);
            } else {
                std::memcpy(&seen.device, run.mmio.data, sizeof seen.device);
            }
            return true;
        case KVM_EXIT_HLT: return false;
        default: std::printf("hypervisor: exit reason %u\n", run.exit_reason); std::exit(1);
    }
}

}  // namespace

// With a number: the guest first goes that many times round a loop.
int main(int argc, char** argv) {
    const int kvm = open("/dev/kvm", O_RDWR);
    if (kvm < 0) fail("/dev/kvm");
    const int vm = static_cast<int>(call(kvm, KVM_CREATE_VM, 0ul, "KVM_CREATE_VM"));
    void* memory = mmap(nullptr, kMemory, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) fail("mmap");
    auto* bytes = static_cast<unsigned char*>(memory);
    std::memcpy(bytes + kCode, kProgram, sizeof kProgram);
    const auto rounds = static_cast<std::uint32_t>(argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 1);
    std::memcpy(bytes + kCode + 1, &rounds, sizeof rounds);
    const std::uint32_t tables[] = {0x83, 0x00000083};  // both 4 MiB regions: the first
    std::memcpy(bytes + kTables, tables, sizeof tables);
    kvm_userspace_memory_region region{};
    region.memory_size = kMemory;
    region.userspace_addr = reinterpret_cast<std::uint64_t>(memory);
    call(vm, KVM_SET_USER_MEMORY_REGION, &region, "KVM_SET_USER_MEMORY_REGION");
    const int vcpu = static_cast<int>(call(vm, KVM_CREATE_VCPU, 0ul, "KVM_CREATE_VCPU"));
    const auto size = static_cast<std::size_t>(call(kvm, KVM_GET_VCPU_MMAP_SIZE, 0ul, "KVM_GET_VCPU_MMAP_SIZE"));
    void* shared = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    if (shared == MAP_FAILED) fail("mmap of the vCPU");
    auto& run = *static_cast<kvm_run*>(shared);
    give_cpuid(kvm, vcpu);
    enter_protected_mode(vcpu);
    Seen seen;
    do {
        call(vcpu, KVM_RUN, 0ul, "KVM_RUN");
    } while (handle(run, seen));
    std::uint32_t counted = 0, vendor = 0;
    std::memcpy(&counted, bytes + 0x200000, sizeof counted);
    std::memcpy(&vendor, bytes + 0x200004, sizeof vendor);
    std::printf("hypervisor: %u ports, sum %u, counted %u, device %#x, vendor %#x, by paging %u\n", seen.ports, seen.sum,
                counted, seen.device, vendor, seen.last);
    return 0;
}
