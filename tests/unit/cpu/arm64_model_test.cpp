// AArch64 processor models and what -cpu changes of them (contract R3; DDI 0487, D19.2).
#include <catch2/catch.hpp>

#include "base/bits.h"
#include "cpu/arm64/model.h"
#include "cpu/arm64/models/id_fields.h"
#include "cpu/arm64/models/list.h"

using namespace tandem;
using namespace tandem::cpu::arm64;

namespace {

CpuModel make(std::string_view spec) {
    auto model = CpuModel::create(spec);
    INFO(spec << ": " << (model.ok() ? "" : model.error().message));
    REQUIRE(model.ok());
    return *std::move(model);
}

Error refused(std::string_view spec) {
    auto model = CpuModel::create(spec);
    INFO(spec);
    REQUIRE(!model.ok());
    return model.error();
}

u64 field(const CpuModel& model, u64 IdRegisters::* reg, unsigned shift) { return bits(model.id().*reg, shift + 3, shift); }

bool same(const IdRegisters& a, const IdRegisters& b) {
    for (const IdFieldName& n : id_field_names()) {
        if (a.*n.member != b.*n.member) return false;
    }
    return a.midr_el1 == b.midr_el1 && a.ctr_el0 == b.ctr_el0 && a.revidr_el1 == b.revidr_el1;
}

using R = IdRegisters;

}  // namespace

TEST_CASE("a model without properties is the model", "[R3][model]") {
    for (const char* name : {"cortex-a57", "cortex-a72", "neoverse-n1", "max"}) {
        const auto plain = CpuModel::named(name);
        REQUIRE(plain.ok());
        const CpuModel made = make(name);
        CHECK(made.name() == name);
        CHECK_FALSE(made.changed());
        CHECK(same(made.id(), plain->id()));
        CHECK(same(make(std::string(name) + ",").id(), plain->id()));
    }
    CHECK(refused("cortex-x9").code == Errc::NotFound);
    CHECK(refused("cortex-x9,+aes").code == Errc::NotFound);
}

TEST_CASE("a feature and its field are one", "[R3][model]") {
    const CpuModel without = make("max,-aes");
    CHECK_FALSE(without.has(Feature::AES));
    CHECK_FALSE(without.has(Feature::PMULL));  // 2 implies what 1 says
    CHECK(field(without, &R::id_aa64isar0_el1, 4) == 0);
    CHECK(without.changed());

    const CpuModel half = make("max,id_aa64isar0_el1.aes=1");
    CHECK(half.has(Feature::AES));
    CHECK_FALSE(half.has(Feature::PMULL));
    CHECK(field(half, &R::id_aa64isar0_el1, 4) == 1);
    CHECK(same(make("max,-pmull").id(), half.id()));
    CHECK(same(make("max,FEAT_PMULL=off").id(), half.id()));
    CHECK(same(make("max,ID_AA64ISAR0_EL1.AES=0x1").id(), half.id()));

    CHECK(make("cortex-a57,lse=on").has(Feature::LSE));
    CHECK_FALSE(make("max,-sha512").has(Feature::SHA3));  // goes with what it needs
    const CpuModel all = make("cortex-a57,+sha3");
    CHECK(all.has(Feature::SHA3));
    CHECK(field(all, &R::id_aa64isar0_el1, 12) == 2);
    CHECK(field(all, &R::id_aa64isar0_el1, 32) == 1);

    // Two fields that tell of one feature.
    const CpuModel no_half = make("max,id_aa64pfr0_el1.fp=0");
    CHECK_FALSE(no_half.has(Feature::FP16));
    CHECK(field(no_half, &R::id_aa64pfr0_el1, 20) == 0);
    const CpuModel no_vhe = make("max,-vhe");
    CHECK(field(no_vhe, &R::id_aa64mmfr1_el1, 8) == 0);
    CHECK(field(no_vhe, &R::id_aa64dfr0_el1, 0) == 6);
    CHECK(field(make("max,-pmuv3"), &R::id_aa64dfr0_el1, 8) == 0);
    CHECK(field(make("max"), &R::id_aa64dfr0_el1, 8) == 1);
}

TEST_CASE("what asks for a feature without the one it needs is told", "[R3][model]") {
    CHECK(refused("cortex-a57,+sha3,-sha512").message == "'sha3' needs 'sha512'");
    CHECK(refused("max,-sha512,id_aa64isar0_el1.sha3=1").message == "'sha3' needs 'sha512'");
}

TEST_CASE("nothing is more than is implemented", "[R3][model]") {
    const Error aes = refused("max,id_aa64isar0_el1.aes=3");
    CHECK(aes.code == Errc::Unsupported);
    CHECK(aes.message == "id_aa64isar0_el1.aes=3: the most that is implemented is 2");
    CHECK(refused("max,id_aa64pfr0_el1.sve=1").message == "id_aa64pfr0_el1.sve=1: the most that is implemented is 0");
    CHECK(refused("max,id_aa64mmfr0_el1.parange=6").message ==
          "id_aa64mmfr0_el1.parange=6: the most that is implemented is 5");
    CHECK(refused("max,id_aa64isar0_el1.atomic=1").message == "id_aa64isar0_el1.atomic=1: 0 or 2 expected");
    CHECK(refused("max,id_aa64pfr0_el1.el2=1").code == Errc::Unsupported);  // -machine's choice
    CHECK(refused("max,id_aa64mmfr0_el1.tgran4=15").code == Errc::Unsupported);
    CHECK(refused("max,id_aa64dfr0_el1.debugver=6").code == Errc::Unsupported);
    CHECK(make("max,id_aa64dfr0_el1.debugver=7").has(Feature::VHE));
    // Every field that a feature has can be 0, and no field can be 15.
    for (const IdFieldName& n : id_field_names()) {
        const std::string spec = std::string("max,") + std::string(n.reg) + "." + std::string(n.name) + "=15";
        INFO(spec);
        CHECK(refused(spec).code == Errc::Unsupported);
    }
}

TEST_CASE("the address size goes with its field", "[R3][model]") {
    const CpuModel small = make("max,id_aa64mmfr0_el1.parange=2");
    CHECK(small.physical_bits() == 40);
    CHECK(field(small, &R::id_aa64mmfr0_el1, 0) == 2);
    CHECK(make("cortex-a57,id_aa64mmfr0_el1.parange=5").physical_bits() == 48);
}

TEST_CASE("whose processor it is changes only where that is asked for", "[R3][model]") {
    const CpuModel other = make("max,midr_el1=0x411fd070,revidr_el1=7,aidr_el1=0x12");
    CHECK(other.id().midr_el1 == 0x411fd070);
    CHECK(other.id().revidr_el1 == 7);
    CHECK(other.id().aidr_el1 == 0x12);
    CHECK(refused("max,midr_el1=0x1ffffffff").code == Errc::InvalidArgument);
    CHECK(refused("max,ctr_el0=0").code == Errc::NotFound);
    CHECK(refused("max,id_aa64isar0_el1=0").code == Errc::NotFound);
}

TEST_CASE("what -cpu does not know is named", "[R3][model]") {
    CHECK(refused("max,+mmx").message.find("unknown CPU feature 'mmx'; known are") == 0);
    CHECK(refused("max,-advsimd").code == Errc::NotFound);  // every model has it
    CHECK(refused("max,id_aa64isar9_el1.aes=1").message == "there is no identification register 'id_aa64isar9_el1'");
    CHECK(refused("max,id_aa64pfr1_el1.x=1").message.find("id_aa64pfr1_el1 has no field 'x' (there are bt, ssbs") == 0);
    CHECK(refused("max,midr_el1=many").code == Errc::InvalidArgument);
    CHECK(refused("max,midr_el1=").code == Errc::InvalidArgument);
    CHECK(model_list().find("pmull") != std::string::npos);
}
