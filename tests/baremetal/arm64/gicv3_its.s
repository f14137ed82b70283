// LPIs through the Interrupt Translation Service (IHI 0069H, 5 and 12.19).
.include "common.inc"
.include "gic.inc"
    b main

.equ QUEUE, 0x41000000
.equ DEVICES, 0x41010000
.equ COLLECTIONS, 0x41020000
.equ TRANSLATIONS, 0x41030000
.equ PROPERTIES, 0x41040000
.equ PENDING0, 0x41060000
.equ PENDING1, 0x41070000
.equ MANY_TRANSLATIONS, 0x41080000
.equ VALID, 1 << 63
.equ DEVICE, 5
.set tail, 0
.macro COMMAND code, device=0, word1=0, word2=0, word3=0
    PUT64 QUEUE + tail, (\code) + ((\device) << 32)
    PUT64 QUEUE + tail + 8, \word1
    PUT64 QUEUE + tail + 16, \word2
    PUT64 QUEUE + tail + 24, \word3
    .set tail, (tail + 32) & 0xfff
    dsb sy
    PUT64 ITS + 0x88, tail
    EXPECT "consumed", ITS + 0x90, tail
.endm
.macro INT event, device=DEVICE
    COMMAND 0x03, \device, \event
.endm
.macro CONFIGURE lpi, value
    SET x9, PROPERTIES + (\lpi) - 8192
    mov w10, #\value
    strb w10, [x9]
.endm
.macro TAKE what, id
    READS "\what: acknowledged", icc_iar1_el1, \id
    WRITE icc_eoir1_el1, \id
.endm

main:
    NAME "identification"
    EXPECT "LPIs", GICR0 + 8, 1, 1
    EXPECT "physical LPIs", ITS + 8, 1, 1
    EXPECT "device table", ITS + 0x104, 0x01000000, 0x07000000
    EXPECT "collection table", ITS + 0x10c, 0x04000000, 0x07000000
    EXPECT "no third table", ITS + 0x114, 0, 0x07000000
    EXPECT "PIDR2", ITS + 0xffe8, 0x30, 0xf0
    EXPECT "quiescent", ITS, 0x80000000
    PUT GICD, 3
    WRITE icc_igrpen1_el1, 1
    WRITE icc_pmr_el1, 0xff
    PUT64 GICR0 + 0x70, PROPERTIES + 15
    PUT64 GICR0 + 0x78, PENDING0 + (1 << 62)
    PUT GICR0, 1
    EXPECT "LPIs on", GICR0, 1, 1
    PUT64 GICR1 + 0x70, PROPERTIES + 15
    PUT64 GICR1 + 0x78, PENDING1 + (1 << 62)
    PUT GICR1, 1
    CONFIGURE 8192, 0x81
    CONFIGURE 8193, 0x41
    PUT64 ITS + 0x100, VALID + DEVICES
    PUT64 ITS + 0x108, VALID + COLLECTIONS
    PUT64 ITS + 0x80, VALID + QUEUE
    PUT ITS, 1

    NAME "an event becomes an LPI"
    COMMAND 0x08, DEVICE, 4, VALID + TRANSLATIONS
    COMMAND 0x09, 0, 0, VALID + 1                         // collection 1: processor 0
    COMMAND 0x09, 0, 0, VALID + (1 << 16) + 2             // collection 2: processor 1
    COMMAND 0x0a, DEVICE, 3 + (8192 << 32), 1
    COMMAND 0x0a, DEVICE, 4 + (8193 << 32), 1
    INT 3
    LINES "signalled", IRQ
    READS "highest", icc_hppir1_el1, 8192
    READS "acknowledged", icc_iar1_el1, 8192
    READS "running", icc_rpr_el1, 0x80
    INT 3
    LINES "its priority does not preempt itself", 0
    WRITE icc_eoir1_el1, 8192
    LINES "no active state holds it back", IRQ
    TAKE "again", 8192
    LINES "taken", 0

    NAME "priorities"
    INT 3
    INT 4
    TAKE "the higher one", 8193
    READS "the lower one", icc_iar1_el1, 8192
    INT 4
    LINES "preempts", IRQ
    TAKE "preempting", 8193
    WRITE icc_eoir1_el1, 8192
    READS "idle", icc_rpr_el1, 0xff

    NAME "configuration"
    CONFIGURE 8192, 0x80
    COMMAND 0x0c, DEVICE, 3
    INT 3
    LINES "disabled", 0
    CONFIGURE 8192, 0x81
    COMMAND 0x0c, DEVICE, 3
    LINES "enabled by INV", IRQ
    CONFIGURE 8192, 0x80
    COMMAND 0x0d, 0, 0, 1
    LINES "disabled by INVALL", 0
    CONFIGURE 8192, 0x81
    COMMAND 0x0d, 0, 0, 1
    LINES "enabled by INVALL", IRQ
    COMMAND 0x04, DEVICE, 3
    LINES "CLEAR", 0

    NAME "moving"
    INT 3
    COMMAND 0x01, DEVICE, 3, 2
    LINES "MOVI takes it away", 0
    COMMAND 0x0e, 0, 0, 1 << 16, 0
    LINES "MOVALL brings it", IRQ
    TAKE "moved", 8192
    INT 3
    LINES "events go to the other processor", 0
    COMMAND 0x0e, 0, 0, 1 << 16, 0
    TAKE "from there", 8192
    COMMAND 0x01, DEVICE, 3, 1
    INT 3
    TAKE "and back", 8192

    NAME "commands without an object"
    INT 9
    INT 3, 77
    COMMAND 0x0a, DEVICE, 40 + (8193 << 32), 1            // behind the device's events
    INT 40
    COMMAND 0x0a, DEVICE, 5 + (8193 << 32), 9             // collection that does not exist
    INT 5
    COMMAND 0x0a, DEVICE, 6 + (100 << 32), 1              // not an LPI
    INT 6
    COMMAND 0x77
    LINES "nothing", 0
    COMMAND 0x05, 0, 0, 0

    NAME "unmapping"
    INT 3
    COMMAND 0x0f, DEVICE, 3
    LINES "DISCARD", 0
    INT 3
    LINES "no longer mapped", 0
    INT 4
    TAKE "the other event", 8193
    COMMAND 0x08, DEVICE + 1, 13, VALID + MANY_TRANSLATIONS
    COMMAND 0x0b, DEVICE + 1, 8193, 1                     // MAPI: the event's number is the LPI's
    INT 8193, DEVICE + 1
    TAKE "MAPI", 8193
    COMMAND 0x08, DEVICE, 4, TRANSLATIONS
    INT 4
    LINES "MAPD without V", 0

    NAME "pending table"
    COMMAND 0x08, DEVICE, 4, VALID + TRANSLATIONS
    COMMAND 0x0a, DEVICE, 3 + (8192 << 32), 1
    INT 3
    PUT GICR0, 0
    LINES "LPIs off", 0
    EXPECT "written", PENDING0 + 1024, 1
    PUT64 GICR0 + 0x78, PENDING0
    PUT GICR0, 1
    LINES "read", IRQ
    TAKE "read", 8192
    FINISH
