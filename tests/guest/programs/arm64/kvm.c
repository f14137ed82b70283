// A guest of the guest's own: /dev/kvm with an in-kernel interrupt controller of either generation. It computes, writes to
// addresses where there is no memory, takes its virtual timer's interrupt and one that is injected, and powers itself off.
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tasks.h"

// Addresses of the inner guest, which its code names too.
enum {
    DISTRIBUTOR = 0x08000000,
    CPU_INTERFACE = 0x08010000,
    REDISTRIBUTORS = 0x080a0000,
    REPORT = 0x0a000000,  // nothing there: +0 the sum, +4 interrupts, +8 a request for one, +12 an unexpected exception
    RAM = 0x40000000,
    RAM_SIZE = 0x10000,
    TIMER_PPI = 27,
    FIRST_SPI = 32,
    ROUNDS = 20,  // of both interrupts
};

// Entered with x0: generation of the interrupt controller, x1: rounds.
__asm__(
    ".pushsection .rodata\n"
    ".globl inner, inner_end\n"
    ".balign 2048\n"
    "inner: b 2f\n"
    ".org inner + 0x200\n"  // vectors of EL1 with SP_EL1: synchronous exceptions, IRQ
    "mrs x0, esr_el1\n"
    "mov x20, #0x0a000000\n"
    "str w0, [x20, #12]\n"
    ".org inner + 0x280\n"
    "b 5f\n"
    ".org inner + 0x800\n"
    "2: mov x19, x0\n"
    "mov x24, x1\n"
    "mov x20, #0x0a000000\n"
    "mov x21, #0x08000000\n"
    "mov x0, #0\n"
    "mov x1, #10\n"
    "1: add x0, x0, x1\n"
    "subs x1, x1, #1\n"
    "b.ne 1b\n"
    "str w0, [x20]\n"
    "adr x1, inner\n"
    "msr vbar_el1, x1\n"
    "mov w3, #1 << 27\n"
    "mov w4, #1\n"
    "cmp x19, #3\n"
    "b.eq 3f\n"
    // GICv2: group 0 of both
    "str w4, [x21]\n"
    "str w3, [x21, #0x100]\n"
    "str w4, [x21, #0x104]\n"
    "strb w4, [x21, #0x820]\n"
    "add x22, x21, #0x10, lsl #12\n"
    "mov w5, #0xf0\n"
    "str w5, [x22, #4]\n"
    "str w4, [x22]\n"
    "b 4f\n"
    // GICv3: group 1
    "3: mov w5, #0x12\n"
    "str w5, [x21]\n"
    "mov w6, #-1\n"
    "str w6, [x21, #0x84]\n"
    "str w4, [x21, #0x104]\n"
    "mov x22, #0x080b0000\n"
    "str w6, [x22, #0x80]\n"
    "str w3, [x22, #0x100]\n"
    "mov x5, #0xf0\n"
    "msr s3_0_c4_c6_0, x5\n"    // ICC_PMR_EL1
    "msr s3_0_c12_c12_7, x4\n"  // ICC_IGRPEN1_EL1
    "isb\n"
    // Main: the timer, then the injected one, so often.
    "4: msr daifclr, #2\n"
    "8: mov x25, #0\n"
    "mov x0, #2000\n"
    "msr cntv_tval_el0, x0\n"
    "mov x0, #1\n"
    "msr cntv_ctl_el0, x0\n"
    "6: msr daifset, #2\n"  // not taken between the look and the wait
    "cbnz x25, 13f\n"
    "wfi\n"
    "13: msr daifclr, #2\n"
    "cbz x25, 6b\n"
    "str w25, [x20, #8]\n"
    "7: cmp x25, #2\n"
    "b.ne 7b\n"
    "subs x24, x24, #1\n"
    "b.ne 8b\n"
    "mov w0, #8\n"
    "movk w0, #0x8400, lsl #16\n"  // PSCI SYSTEM_OFF
    "hvc #0\n"
    "b .\n"
    // IRQ
    "5: cmp x19, #3\n"
    "b.eq 9f\n"
    "ldr w10, [x22, #12]\n"
    "b 10f\n"
    "9: mrs x10, s3_0_c12_c12_0\n"  // ICC_IAR1_EL1
    "10: cmp w10, #27\n"
    "b.ne 11f\n"
    "msr cntv_ctl_el0, xzr\n"
    "isb\n"
    "11: str w10, [x20, #4]\n"
    "add x25, x25, #1\n"
    "cmp x19, #3\n"
    "b.eq 12f\n"
    "str w10, [x22, #16]\n"
    "eret\n"
    "12: msr s3_0_c12_c12_1, x10\n"  // ICC_EOIR1_EL1
    "eret\n"
    "inner_end:\n"
    ".popsection\n");
extern const char inner[], inner_end[];

struct machine {
    int vm, vcpu, controller;
    struct kvm_run* run;
};

static int failed(const char* what) {
    printf("kvm: %s: %s\n", what, strerror(errno));
    return -1;
}

static int set_attribute(int fd, uint32_t group, uint64_t attribute, const void* value) {
    struct kvm_device_attr a = {.group = group, .attr = attribute, .addr = (uint64_t)(uintptr_t)value};
    return ioctl(fd, KVM_SET_DEVICE_ATTR, &a);
}

static int set_register(const struct machine* m, size_t offset, uint64_t value) {
    struct kvm_one_reg r = {KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | offset / 4, (uint64_t)(uintptr_t)&value};
    return ioctl(m->vcpu, KVM_SET_ONE_REG, &r);
}

static int create(struct machine* m, int kvm, int generation) {
    uint8_t* ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (ram == MAP_FAILED) return failed("memory");
    memcpy(ram, inner, (size_t)(inner_end - inner));
    __builtin___clear_cache((char*)ram, (char*)ram + RAM_SIZE);
    m->vm = ioctl(kvm, KVM_CREATE_VM, 0);
    if (m->vm < 0) return failed("KVM_CREATE_VM");
    struct kvm_userspace_memory_region slot = {0, 0, RAM, RAM_SIZE, (uint64_t)(uintptr_t)ram};
    if (ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &slot) != 0) return failed("KVM_SET_USER_MEMORY_REGION");

    struct kvm_create_device device = {generation == 2 ? KVM_DEV_TYPE_ARM_VGIC_V2 : KVM_DEV_TYPE_ARM_VGIC_V3, 0, 0};
    if (ioctl(m->vm, KVM_CREATE_DEVICE, &device) != 0) return failed("KVM_CREATE_DEVICE");
    m->controller = (int)device.fd;
    const uint64_t distributor = DISTRIBUTOR, other = generation == 2 ? CPU_INTERFACE : REDISTRIBUTORS;
    if (set_attribute(m->controller, KVM_DEV_ARM_VGIC_GRP_ADDR,
                      generation == 2 ? KVM_VGIC_V2_ADDR_TYPE_DIST : KVM_VGIC_V3_ADDR_TYPE_DIST, &distributor) != 0 ||
        set_attribute(m->controller, KVM_DEV_ARM_VGIC_GRP_ADDR,
                      generation == 2 ? KVM_VGIC_V2_ADDR_TYPE_CPU : KVM_VGIC_V3_ADDR_TYPE_REDIST, &other) != 0)
        return failed("addresses of the interrupt controller");

    m->vcpu = ioctl(m->vm, KVM_CREATE_VCPU, 0);
    if (m->vcpu < 0) return failed("KVM_CREATE_VCPU");
    const int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    m->run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, m->vcpu, 0);
    if (m->run == MAP_FAILED) return failed("kvm_run");
    struct kvm_vcpu_init init = {0};
    if (ioctl(m->vm, KVM_ARM_PREFERRED_TARGET, &init) != 0) return failed("KVM_ARM_PREFERRED_TARGET");
    init.features[0] |= 1u << KVM_ARM_VCPU_PSCI_0_2;
    if (ioctl(m->vcpu, KVM_ARM_VCPU_INIT, &init) != 0) return failed("KVM_ARM_VCPU_INIT");
    if (set_attribute(m->controller, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, NULL) != 0)
        return failed("KVM_DEV_ARM_VGIC_CTRL_INIT");
    if (set_register(m, offsetof(struct kvm_regs, regs.pc), RAM) != 0 ||
        set_register(m, offsetof(struct kvm_regs, regs.regs[0]), (uint64_t)generation) != 0 ||
        set_register(m, offsetof(struct kvm_regs, regs.regs[1]), ROUNDS) != 0)
        return failed("KVM_SET_ONE_REG");
    return 0;
}

static int set_spi(const struct machine* m, uint32_t level) {
    struct kvm_irq_level line = {.irq = KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT | FIRST_SPI, .level = level};
    return ioctl(m->vm, KVM_IRQ_LINE, &line);
}

// Runs it to its end.
static int run(const struct machine* m) {
    uint32_t sum = 0, timers = 0, injected = 0;
    for (;;) {
        if (ioctl(m->vcpu, KVM_RUN, 0) != 0) return failed("KVM_RUN");
        if (m->run->exit_reason == KVM_EXIT_SYSTEM_EVENT) break;
        if (m->run->exit_reason != KVM_EXIT_MMIO || !m->run->mmio.is_write) {
            printf("kvm: exit %u\n", m->run->exit_reason);
            return -1;
        }
        uint32_t value;
        memcpy(&value, m->run->mmio.data, sizeof value);
        switch (m->run->mmio.phys_addr - REPORT) {
            case 0: sum = value; break;
            case 4:
                timers += value == TIMER_PPI;
                injected += value == FIRST_SPI;
                if (value == FIRST_SPI && set_spi(m, 0) != 0) return failed("KVM_IRQ_LINE");
                break;
            case 8:
                if (set_spi(m, 1) != 0) return failed("KVM_IRQ_LINE");
                break;
            default: printf("kvm: write of %#x to %#llx\n", value, (unsigned long long)m->run->mmio.phys_addr); return -1;
        }
    }
    printf("kvm: sum %u, %u timer interrupts, %u injected, system event %u\n", sum, timers, injected,
           m->run->system_event.type);
    return sum == 55 && timers == ROUNDS && injected == ROUNDS ? 0 : -1;
}

int run_kvm(void) {
    const int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0) return failed("/dev/kvm"), 1;
    int generation = 0;
    // What the host's controller can carry decides.
    for (int g = 3; g >= 2 && generation == 0; --g) {
        const int vm = ioctl(kvm, KVM_CREATE_VM, 0);
        struct kvm_create_device probe = {g == 2 ? KVM_DEV_TYPE_ARM_VGIC_V2 : KVM_DEV_TYPE_ARM_VGIC_V3, 0,
                                          KVM_CREATE_DEVICE_TEST};
        if (ioctl(vm, KVM_CREATE_DEVICE, &probe) == 0) generation = g;
        close(vm);
    }
    struct machine m;
    if (generation == 0 || create(&m, kvm, generation) != 0 || run(&m) != 0) {
        printf("kvm: WRONG (GICv%d)\n", generation);
        return 1;
    }
    printf("kvm: the inner guest ran to its end on GICv%d\n", generation);
    return 0;
}
