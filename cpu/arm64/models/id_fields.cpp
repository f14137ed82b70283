#include "cpu/arm64/models/id_fields.h"

#include <algorithm>
#include <array>

namespace tandem::cpu::arm64 {
namespace {

using F = Feature;
using R = IdRegisters;

constexpr IdField kFields[] = {
    {&R::id_aa64isar0_el1, 4, F::AES, 1},        {&R::id_aa64isar0_el1, 4, F::PMULL, 2},
    {&R::id_aa64isar0_el1, 8, F::SHA1, 1},       {&R::id_aa64isar0_el1, 12, F::SHA256, 1},
    {&R::id_aa64isar0_el1, 12, F::SHA512, 2},    {&R::id_aa64isar0_el1, 16, F::CRC32, 1},
    {&R::id_aa64isar0_el1, 20, F::LSE, 2},       {&R::id_aa64isar0_el1, 28, F::RDM, 1},
    {&R::id_aa64isar0_el1, 32, F::SHA3, 1},      {&R::id_aa64isar0_el1, 44, F::DotProd, 1},
    {&R::id_aa64isar0_el1, 48, F::FHM, 1},       {&R::id_aa64isar0_el1, 52, F::FlagM, 1},
    {&R::id_aa64isar0_el1, 52, F::FlagM2, 2},    {&R::id_aa64isar0_el1, 56, F::TLBIOS, 1},
    {&R::id_aa64isar0_el1, 56, F::TLBIRANGE, 2}, {&R::id_aa64isar1_el1, 0, F::DPB, 1},
    {&R::id_aa64isar1_el1, 8, F::PAuth, 1},      {&R::id_aa64isar1_el1, 12, F::JSCVT, 1},
    {&R::id_aa64isar1_el1, 16, F::FCMA, 1},      {&R::id_aa64isar1_el1, 20, F::LRCPC, 1},
    {&R::id_aa64isar1_el1, 20, F::LRCPC2, 2},    {&R::id_aa64isar1_el1, 28, F::PAuth, 1},
    {&R::id_aa64isar1_el1, 32, F::FRINTTS, 1},   {&R::id_aa64isar1_el1, 36, F::SB, 1},
    {&R::id_aa64isar1_el1, 40, F::SPECRES, 1},   {&R::id_aa64pfr0_el1, 16, F::FP16, 1},
    {&R::id_aa64pfr0_el1, 20, F::FP16, 1},       {&R::id_aa64pfr0_el1, 28, F::RAS, 1},
    {&R::id_aa64pfr0_el1, 48, F::DIT, 1},        {&R::id_aa64pfr0_el1, 60, F::CSV3, 1},
    {&R::id_aa64pfr1_el1, 0, F::BTI, 1},         {&R::id_aa64pfr1_el1, 4, F::SSBS2, 2},
    {&R::id_aa64mmfr1_el1, 0, F::HAFDBS, 2},     {&R::id_aa64mmfr1_el1, 4, F::VMID16, 2},
    {&R::id_aa64mmfr1_el1, 8, F::VHE, 1},        {&R::id_aa64mmfr1_el1, 12, F::HPDS, 1},
    {&R::id_aa64mmfr1_el1, 16, F::LOR, 1},       {&R::id_aa64mmfr1_el1, 20, F::PAN, 1},
    {&R::id_aa64mmfr1_el1, 20, F::PAN2, 2},      {&R::id_aa64mmfr1_el1, 28, F::XNX, 1},
    {&R::id_aa64mmfr2_el1, 0, F::TTCNP, 1},      {&R::id_aa64mmfr2_el1, 4, F::UAO, 1},
    {&R::id_aa64mmfr2_el1, 32, F::LSE2, 1},      {&R::id_aa64mmfr2_el1, 60, F::E0PD, 1},
    {&R::id_aa64dfr0_el1, 0, F::VHE, 7},  // DebugVer: breakpoints compare CONTEXTIDR_EL2
    {&R::id_aa64dfr0_el1, 8, F::PMUv3, 1},
};

#define ISAR0 "id_aa64isar0_el1", &R::id_aa64isar0_el1
#define ISAR1 "id_aa64isar1_el1", &R::id_aa64isar1_el1
#define ISAR2 "id_aa64isar2_el1", &R::id_aa64isar2_el1
#define PFR0 "id_aa64pfr0_el1", &R::id_aa64pfr0_el1
#define PFR1 "id_aa64pfr1_el1", &R::id_aa64pfr1_el1
#define DFR0 "id_aa64dfr0_el1", &R::id_aa64dfr0_el1
#define MMFR0 "id_aa64mmfr0_el1", &R::id_aa64mmfr0_el1
#define MMFR1 "id_aa64mmfr1_el1", &R::id_aa64mmfr1_el1
#define MMFR2 "id_aa64mmfr2_el1", &R::id_aa64mmfr2_el1
constexpr IdFieldName kNames[] = {
    {ISAR0, "aes", 4},         {ISAR0, "sha1", 8},      {ISAR0, "sha2", 12},      {ISAR0, "crc32", 16},
    {ISAR0, "atomic", 20},     {ISAR0, "tme", 24},      {ISAR0, "rdm", 28},       {ISAR0, "sha3", 32},
    {ISAR0, "sm3", 36},        {ISAR0, "sm4", 40},      {ISAR0, "dp", 44},        {ISAR0, "fhm", 48},
    {ISAR0, "ts", 52},         {ISAR0, "tlb", 56},      {ISAR0, "rndr", 60},      {ISAR1, "dpb", 0},
    {ISAR1, "apa", 4},         {ISAR1, "api", 8},       {ISAR1, "jscvt", 12},     {ISAR1, "fcma", 16},
    {ISAR1, "lrcpc", 20},      {ISAR1, "gpa", 24},      {ISAR1, "gpi", 28},       {ISAR1, "frintts", 32},
    {ISAR1, "sb", 36},         {ISAR1, "specres", 40},  {ISAR1, "bf16", 44},      {ISAR1, "dgh", 48},
    {ISAR1, "i8mm", 52},       {ISAR1, "xs", 56},       {ISAR1, "ls64", 60},      {ISAR2, "wfxt", 0},
    {ISAR2, "rpres", 4},       {ISAR2, "gpa3", 8},      {ISAR2, "apa3", 12},      {ISAR2, "mops", 16},
    {ISAR2, "bc", 20},         {ISAR2, "pac_frac", 24}, {PFR0, "el0", 0},         {PFR0, "el1", 4},
    {PFR0, "el2", 8},          {PFR0, "el3", 12},       {PFR0, "fp", 16},         {PFR0, "advsimd", 20},
    {PFR0, "gic", 24},         {PFR0, "ras", 28},       {PFR0, "sve", 32},        {PFR0, "sel2", 36},
    {PFR0, "mpam", 40},        {PFR0, "amu", 44},       {PFR0, "dit", 48},        {PFR0, "rme", 52},
    {PFR0, "csv2", 56},        {PFR0, "csv3", 60},      {PFR1, "bt", 0},          {PFR1, "ssbs", 4},
    {PFR1, "mte", 8},          {PFR1, "ras_frac", 12},  {PFR1, "mpam_frac", 16},  {PFR1, "sme", 24},
    {PFR1, "rndr_trap", 28},   {PFR1, "csv2_frac", 32}, {PFR1, "nmi", 36},        {DFR0, "debugver", 0},
    {DFR0, "tracever", 4},     {DFR0, "pmuver", 8},     {DFR0, "brps", 12},       {DFR0, "wrps", 20},
    {DFR0, "ctx_cmps", 28},    {DFR0, "pmsver", 32},    {DFR0, "doublelock", 36}, {DFR0, "tracefilt", 40},
    {DFR0, "tracebuffer", 44}, {DFR0, "mtpmu", 48},     {DFR0, "brbe", 52},       {MMFR0, "parange", kPaRangeShift},
    {MMFR0, "asidbits", 4},    {MMFR0, "bigend", 8},    {MMFR0, "snsmem", 12},    {MMFR0, "bigendel0", 16},
    {MMFR0, "tgran16", 20},    {MMFR0, "tgran64", 24},  {MMFR0, "tgran4", 28},    {MMFR0, "tgran16_2", 32},
    {MMFR0, "tgran64_2", 36},  {MMFR0, "tgran4_2", 40}, {MMFR0, "exs", 44},       {MMFR0, "fgt", 56},
    {MMFR0, "ecv", 60},        {MMFR1, "hafdbs", 0},    {MMFR1, "vmidbits", 4},   {MMFR1, "vh", 8},
    {MMFR1, "hpds", 12},       {MMFR1, "lo", 16},       {MMFR1, "pan", 20},       {MMFR1, "specsei", 24},
    {MMFR1, "xnx", 28},        {MMFR1, "twed", 32},     {MMFR1, "ets", 36},       {MMFR1, "hcx", 40},
    {MMFR1, "afp", 44},        {MMFR1, "ntlbpa", 48},   {MMFR1, "tidcp1", 52},    {MMFR1, "cmow", 56},
    {MMFR2, "cnp", 0},         {MMFR2, "uao", 4},       {MMFR2, "lsm", 8},        {MMFR2, "iesb", 12},
    {MMFR2, "varange", 16},    {MMFR2, "ccidx", 20},    {MMFR2, "nv", 24},        {MMFR2, "st", 28},
    {MMFR2, "at", 32},         {MMFR2, "ids", 36},      {MMFR2, "fwb", 40},       {MMFR2, "ttl", 48},
    {MMFR2, "bbm", 52},        {MMFR2, "evt", 56},      {MMFR2, "e0pd", 60},
};
#undef ISAR0
#undef ISAR1
#undef ISAR2
#undef PFR0
#undef PFR1
#undef DFR0
#undef MMFR0
#undef MMFR1
#undef MMFR2

// By PARange.
constexpr std::array<unsigned, 6> kPhysicalBits{32, 36, 40, 42, 44, 48};

}  // namespace

std::span<const IdField> id_fields() { return kFields; }
std::span<const IdFieldName> id_field_names() { return kNames; }

unsigned parange(unsigned physical_bits) {
    const auto above = std::ranges::upper_bound(kPhysicalBits, physical_bits);
    return above == kPhysicalBits.begin() ? 0 : static_cast<unsigned>(above - kPhysicalBits.begin() - 1);
}

unsigned physical_bits_of(u64 parange) { return parange < kPhysicalBits.size() ? kPhysicalBits[parange] : 0; }

}  // namespace tandem::cpu::arm64
