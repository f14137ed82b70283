// Programs for arm64 test guests, in one binary: `tasks NAME` runs one of them. Each prints what it found and, when all was
// right, ends with status 0.
#ifndef TANDEM_TASKS_H
#define TANDEM_TASKS_H

int run_threads(void);  // atomic operations of four threads: exclusives, LSE, ordering
int run_rewrite(void);  // code that is written over while it runs
int run_kvm(void);      // a guest of the guest's own /dev/kvm

#endif
