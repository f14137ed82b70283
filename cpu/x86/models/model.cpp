// CPU models from rows: models.inc, features.inc, implemented.inc.
#include "cpu/x86/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <span>

#include "base/bits.h"
#include "cpu/x86/models/feature_table.h"

namespace tandem::cpu::x86 {

namespace {

#define X86_64_BASE \
    "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ht syscall nx lm"
#define X86_64_V2 " pni ssse3 cx16 sse4.1 sse4.2 popcnt lahf-lm"
#define X86_64_V3 " xsave avx avx2 bmi1 bmi2 f16c fma abm movbe"
#define KVM " kvmclock-old kvm-nopiodelay kvmclock kvmclock-stable-bit"
constexpr std::string_view kImplemented = "*";

struct ModelRow {
    std::string_view name, what, vendor, brand;
    u32 signature;
    u8 physical_bits;
    std::string_view features;
};
constexpr ModelRow kModels[] = {
#define TANDEM_X86_MODEL(name, what, vendor, brand, signature, physical_bits, features) \
    {name, what, vendor, brand, signature, physical_bits, features},
#include "cpu/x86/models/models.inc"
#undef TANDEM_X86_MODEL
};

constexpr Feature kImplementedFeatures[] = {
#define TANDEM_X86_IMPLEMENTED(id) Feature::id,
#include "cpu/x86/models/implemented.inc"
#undef TANDEM_X86_IMPLEMENTED
};

// Features that mean nothing without another (SDM volume 1, chapters 13 and 14).
struct Dependency {
    Feature feature, needs;
};
constexpr Dependency kDependencies[] = {
    {Feature::XSAVEOPT, Feature::XSAVE},
    {Feature::XSAVEC, Feature::XSAVE},
    {Feature::XGETBV1, Feature::XSAVE},
    {Feature::XSAVES, Feature::XSAVEC},
    {Feature::AVX, Feature::XSAVE},
    {Feature::AVX2, Feature::AVX},
    {Feature::FMA, Feature::AVX},
    {Feature::F16C, Feature::AVX},
    {Feature::VAES, Feature::AVX},
    {Feature::VAES, Feature::AES},
    {Feature::VPCLMULQDQ, Feature::AVX},
    {Feature::VPCLMULQDQ, Feature::PCLMULQDQ},
    {Feature::BHI_CTRL, Feature::SPEC_CTRL},
    {Feature::SVM_NPT, Feature::SVM},
    {Feature::SVM_LBRV, Feature::SVM},
    {Feature::SVM_LOCK, Feature::SVM},
    {Feature::SVM_NRIP_SAVE, Feature::SVM},
    {Feature::SVM_TSC_SCALE, Feature::SVM},
    {Feature::SVM_FLUSH_BY_ASID, Feature::SVM},
    {Feature::SVM_DECODE_ASSISTS, Feature::SVM},
    {Feature::SVM_PAUSE_FILTER, Feature::SVM},
    {Feature::SVM_PF_THRESHOLD, Feature::SVM_PAUSE_FILTER},
    {Feature::SVM_V_VMSAVE_VMLOAD, Feature::SVM_NPT},
    {Feature::SVM_VGIF, Feature::SVM},
    {Feature::SVME_ADDR_CHK, Feature::SVM},
};

constexpr Feature kSvmFeatures[] = {Feature::SVM_NPT,
                                    Feature::SVM_LBRV,
                                    Feature::SVM_LOCK,
                                    Feature::SVM_NRIP_SAVE,
                                    Feature::SVM_TSC_SCALE,
                                    Feature::SVM_FLUSH_BY_ASID,
                                    Feature::SVM_DECODE_ASSISTS,
                                    Feature::SVM_PAUSE_FILTER,
                                    Feature::SVM_PF_THRESHOLD,
                                    Feature::SVM_VGIF,
                                    Feature::SVM_V_VMSAVE_VMLOAD,
                                    Feature::SVME_ADDR_CHK};

bool implemented(Feature f) {
    return std::find(std::begin(kImplementedFeatures), std::end(kImplementedFeatures), f) != std::end(kImplementedFeatures);
}

// Not part of "max" and "host".
bool opt_in(Feature f) {
    const bool svm = f == Feature::SVM || std::ranges::find(kSvmFeatures, f) != std::end(kSvmFeatures);
    return svm || f == Feature::KVM_PV_UNHALT || f == Feature::KVM_PV_IPI || f == Feature::KVM_PV_SCHED_YIELD;
}

// QEMU spells one name as sse4.1, sse4-1 and sse4_1.
bool same_name(std::string_view a, std::string_view b) {
    const auto fold = [](char c) {
        return c == '_' || c == '.' ? '-' : c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    };
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](char x, char y) { return fold(x) == fold(y); });
}

std::optional<Feature> find_feature(std::string_view name) {
    const auto table = feature_table();
    const auto found =
        std::find_if(table.begin(), table.end(), [&](const FeatureRow& r) { return same_name(r.name, name); });
    if (found == table.end()) return std::nullopt;
    return found->id;
}

// Calls f with every part of `list` between separators, empty parts left out.
template <class F>
void split(std::string_view list, char separator, F f) {
    while (!list.empty()) {
        const std::size_t end = std::min(list.find(separator), list.size());
        if (end != 0) f(list.substr(0, end));
        list.remove_prefix(std::min(end + 1, list.size()));
    }
}

std::string known_models() {
    std::string names;
    for (const ModelRow& row : kModels) names += fmt::format("{}{}", names.empty() ? "" : ", ", row.name);
    return names + ", host";
}

std::string known_features() {
    std::string names;
    for (const Feature f : kImplementedFeatures)
        names += fmt::format("{}{}", names.empty() ? "" : ", ", feature_row(f).name);
    return names;
}

}  // namespace

class CpuModelBuilder {
public:
    CpuModelBuilder() = default;
    explicit CpuModelBuilder(const CpuModel& model) : model_(model) {}

    Result<void> start(std::string_view name) {
        if (name == "host") return start_host();
        const auto* row =
            std::find_if(std::begin(kModels), std::end(kModels), [&](const ModelRow& r) { return same_name(r.name, name); });
        if (row == std::end(kModels)) {
            return Error{Errc::NotFound, fmt::format("unknown CPU model '{}'; known are {}", name, known_models())};
        }
        identify(row->name, row->vendor, row->brand, row->signature, row->physical_bits);
        if (row->features == kImplemented) {
            for (const Feature f : kImplementedFeatures) {
                if (!opt_in(f)) set(f, true);
            }
        } else {
            split(row->features, ' ', [&](std::string_view feature) {
                if (const auto f = find_feature(feature)) set(*f, true);
            });
        }
        return {};
    }

    Result<void> apply(std::string_view property) {
        bool on = true;
        std::string_view name = property;
        if (property.front() == '+' || property.front() == '-') {
            on = property.front() == '+';
            name.remove_prefix(1);
        } else if (const std::size_t equals = property.find('='); equals != std::string_view::npos) {
            name = property.substr(0, equals);
            const std::string_view value = property.substr(equals + 1);
            const auto* row = std::ranges::find(kSettings, name, &Setting::name);
            if (row != std::end(kSettings)) return (this->*row->set)(*row, value);
            if (value != "on" && value != "off")
                return invalid(fmt::format("CPU property '{}': on or off expected", property));
            on = value == "on";
        }
        const auto f = find_feature(name);
        if (!f)
            return Error{Errc::NotFound, fmt::format("unknown CPU feature '{}'; known are {}; properties with a value:{}",
                                                     name, known_features(), settings())};
        set(*f, on);
        if (on) asked_for_.push_back(*f);
        return {};
    }

    // Names of properties that have a value, for messages.
    static std::string settings() {
        std::string names;
        for (const Setting& row : kSettings) names += fmt::format(" {}", row.name);
        return names;
    }

    // Takes away what lacks a feature that it needs, or refuses when it was asked for; and refuses what nothing implements.
    Result<CpuModel> finish() {
        TANDEM_TRY(settle_dependencies());
        std::string lacking;
        for (const FeatureRow& row : feature_table()) {
            if (model_.has(row.id) && !implemented(row.id))
                lacking += fmt::format("{}{}", lacking.empty() ? "" : ", ", row.name);
        }
        if (lacking.empty()) return model_;
        return Error{Errc::Unsupported,
                     fmt::format("CPU model '{}' needs features that are not implemented: {}", model_.name_, lacking)};
    }

    CpuModel without(std::span<const Feature> features, unsigned physical_bits) {
        for (const Feature f : features) set(f, false);
        model_.phys_bits_ = std::min(model_.phys_bits_, physical_bits);
        // Nothing was asked for, so nothing is refused.
        (void)settle_dependencies();
        return model_;
    }

private:
    // A property with a value, of which `low` to `high` are its numbers or numbers of characters.
    struct Setting {
        std::string_view name;
        unsigned low, high;
        Result<void> (CpuModelBuilder::*set)(const Setting& row, std::string_view value);
    };
    static const Setting kSettings[6];

    void identify(std::string_view name, std::string_view vendor, std::string_view brand, u32 signature,
                  unsigned physical_bits) {
        model_.name_ = name;
        model_.vendor_ = vendor;
        model_.brand_ = brand;
        model_.signature_ = signature;
        model_.phys_bits_ = physical_bits;
    }

    void set(Feature f, bool on) {
        const auto index = static_cast<unsigned>(f);
        u64& word = model_.bits_[index / 64];
        word = with_bits(word, index % 64, index % 64, on ? 1 : 0);
        // It comes with SPEC_CTRL: without it kernels empty the branch history by hand on every system call.
        if (f == Feature::SPEC_CTRL) set(Feature::BHI_CTRL, on);
        if (f == Feature::SVM) {
            for (const Feature part : kSvmFeatures) set(part, on);
        }
    }

    // Rows stand after those that their needs depend on.
    Result<void> settle_dependencies() {
        for (const Dependency& d : kDependencies) {
            if (!model_.has(d.feature) || model_.has(d.needs)) continue;
            if (std::find(asked_for_.begin(), asked_for_.end(), d.feature) != asked_for_.end()) {
                return invalid(
                    fmt::format("CPU feature '{}' needs '{}'", feature_row(d.feature).name, feature_row(d.needs).name));
            }
            set(d.feature, false);
        }
        return {};
    }

    static Result<unsigned> number(const Setting& row, std::string_view value) {
        unsigned n = 0;
        const bool hex = value.starts_with("0x") || value.starts_with("0X");
        const char* const first = value.data() + (hex ? 2 : 0);
        const auto [end, error] = std::from_chars(first, value.data() + value.size(), n, hex ? 16 : 10);
        if (error != std::errc{} || end != value.data() + value.size() || n < row.low || n > row.high) {
            return invalid(fmt::format("{} '{}': a number from {} to {} expected", row.name, value, row.low, row.high));
        }
        return n;
    }
    static Result<void> check_text(const Setting& row, std::string_view value) {
        const auto odd = [](char c) { return c < ' ' || c > '~'; };
        if (value.size() >= row.low && value.size() <= row.high && std::ranges::none_of(value, odd)) return {};
        const auto size = row.low == row.high ? fmt::format("{}", row.low) : fmt::format("up to {}", row.high);
        return invalid(fmt::format("{} '{}': {} ASCII characters expected", row.name, value, size));
    }

    Result<void> set_physical_bits(const Setting& row, std::string_view value) {
        TANDEM_TRY_ASSIGN(model_.phys_bits_, number(row, value));
        return {};
    }
    // The fields of leaf 1 EAX (SDM volume 2, CPUID, figure 3-6): families from 15 on are a sum with an extension, and
    // models have four bits more.
    Result<void> set_family(const Setting& row, std::string_view value) {
        TANDEM_TRY_ASSIGN(const unsigned n, number(row, value));
        const u32 base = std::min(n, 15u);
        model_.signature_ = static_cast<u32>(with_bits(with_bits(model_.signature_, 11, 8, base), 27, 20, n - base));
        return {};
    }
    Result<void> set_model(const Setting& row, std::string_view value) {
        TANDEM_TRY_ASSIGN(const unsigned n, number(row, value));
        model_.signature_ = static_cast<u32>(with_bits(with_bits(model_.signature_, 7, 4, n & 15), 19, 16, n >> 4));
        return {};
    }
    Result<void> set_stepping(const Setting& row, std::string_view value) {
        TANDEM_TRY_ASSIGN(const unsigned n, number(row, value));
        model_.signature_ = static_cast<u32>(with_bits(model_.signature_, 3, 0, n));
        return {};
    }
    Result<void> set_vendor(const Setting& row, std::string_view value) {
        TANDEM_TRY(check_text(row, value));
        model_.vendor_ = value;
        return {};
    }
    Result<void> set_brand(const Setting& row, std::string_view value) {
        TANDEM_TRY(check_text(row, value));
        model_.brand_ = value;
        return {};
    }

    Result<void> start_host() {
        const HostCpuid host;
        if (!host.available()) return Error{Errc::Unsupported, "CPU model 'host' needs an x86 host"};
        identify("host", host.vendor(), host.brand(), host.signature(), std::min(host.physical_bits(), 52u));
        for (const Feature f : kImplementedFeatures) {
            const FeatureRow& row = feature_row(f);
            // What the machine around the processor provides does not depend on the host.
            const bool ours =
                (row.leaf >> 28) == 4 || f == Feature::HYPERVISOR || f == Feature::X2APIC || f == Feature::APIC;
            set(f, !opt_in(f) && (ours || host.has(row)));
        }
        return {};
    }

    CpuModel model_;
    std::vector<Feature> asked_for_;
};

constexpr CpuModelBuilder::Setting CpuModelBuilder::kSettings[6] = {
    {"vendor", 12, 12, &CpuModelBuilder::set_vendor},      {"model-id", 0, 48, &CpuModelBuilder::set_brand},
    {"family", 0, 15 + 255, &CpuModelBuilder::set_family}, {"model", 0, 255, &CpuModelBuilder::set_model},
    {"stepping", 0, 15, &CpuModelBuilder::set_stepping},   {"phys-bits", 32, 52, &CpuModelBuilder::set_physical_bits},
};

Result<CpuModel> CpuModel::create(std::string_view spec) {
    CpuModelBuilder builder;
    const std::size_t comma = std::min(spec.find(','), spec.size());
    TANDEM_TRY(builder.start(spec.substr(0, comma)));
    Result<void> result;
    split(spec.substr(std::min(comma + 1, spec.size())), ',', [&](std::string_view property) {
        if (result.ok()) result = builder.apply(property);
    });
    TANDEM_TRY(std::move(result));
    return builder.finish();
}

CpuModel CpuModel::without(std::span<const Feature> features, unsigned physical_bits) const {
    return CpuModelBuilder(*this).without(features, physical_bits);
}

std::vector<std::string> CpuModel::beyond(const CpuModel& other) const {
    std::vector<std::string> names;
    for (const FeatureRow& row : feature_table()) {
        if (has(row.id) && !other.has(row.id)) names.emplace_back(row.name);
    }
    if (phys_bits_ > other.phys_bits_) names.emplace_back("phys-bits");
    return names;
}

std::string CpuModel::help() {
    std::string text;
    for (const ModelRow& row : kModels) text += fmt::format("{:<16} {}\n", row.name, row.what);
    text += "host             what the host's processor and the engine both have\n\nfeatures (+NAME, -NAME, NAME=on|off):";
    constexpr std::size_t kWidth = 100;
    std::size_t column = kWidth;
    for (const Feature f : kImplementedFeatures) {
        const std::string_view name = feature_row(f).name;
        if (column + name.size() >= kWidth) {
            text += "\n ";
            column = 1;
        }
        text += fmt::format(" {}", name);
        column += name.size() + 1;
    }
    return text + "\n\nproperties (NAME=VALUE):\n " + CpuModelBuilder::settings() + "\n";
}

}  // namespace tandem::cpu::x86
