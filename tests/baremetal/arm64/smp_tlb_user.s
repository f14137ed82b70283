// smp_tlb.s with a reader at EL0, whose translations are kept by address space.
.equ USER_READER, 1
.include "smp_tlb.s"
