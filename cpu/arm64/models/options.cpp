// What -cpu says of AArch64 processors: a model, and how this one differs from it (contract R3).
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <vector>

#include "base/bits.h"
#include "cpu/arm64/models/id_fields.h"
#include "cpu/arm64/models/list.h"

namespace tandem::cpu::arm64 {
namespace {

using F = Feature;

// Features of different fields that mean nothing without another (DDI 0487, A2).
struct Dependency {
    Feature feature, needs;
};
constexpr Dependency kDependencies[] = {{F::FHM, F::FP16}, {F::SHA3, F::SHA512}, {F::E0PD, F::CSV3}};

bool fixed(Feature f) { return f == F::Base || f == F::AdvSimd; }

bool same_name(std::string_view a, std::string_view b) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
    return std::ranges::equal(a, b, {}, lower, lower);
}

constexpr std::string_view kPrefix = "FEAT_";

std::optional<Feature> find_feature(std::string_view name) {
    for (unsigned i = 0; i < static_cast<unsigned>(F::Count_); ++i) {
        const auto f = static_cast<Feature>(i);
        const std::string_view text = to_string(f);
        if (!fixed(f) && (same_name(text, name) || same_name(text.substr(kPrefix.size()), name))) return f;
    }
    return std::nullopt;
}

std::string short_name(Feature f) {
    std::string name;
    for (const char c : to_string(f).substr(kPrefix.size())) name += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    return name;
}

std::optional<u64> parse_number(std::string_view text) {
    const bool hex = text.starts_with("0x") || text.starts_with("0X");
    if (hex) text.remove_prefix(2);
    u64 value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, hex ? 16 : 10);
    if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

// Registers that say whose processor it is, which are taken as they are given.
struct Implementation {
    std::string_view name;
    u64 IdRegisters::* reg;
    unsigned bits;
};
constexpr Implementation kImplementation[] = {{"midr_el1", &IdRegisters::midr_el1, 32},
                                              {"revidr_el1", &IdRegisters::revidr_el1, 64},
                                              {"aidr_el1", &IdRegisters::aidr_el1, 64}};

}  // namespace

class CpuModelBuilder {
public:
    static Result<CpuModelBuilder> start(std::string_view name) {
        TANDEM_TRY_ASSIGN(CpuModel model, CpuModel::named(name));
        auto ceiling = CpuModel::named("max");
#if defined(__aarch64__)
        if (name == "host") ceiling = model;
#endif
        if (!ceiling) return std::move(ceiling).error();
        return CpuModelBuilder(std::move(model), std::move(ceiling).value());
    }

    Result<void> apply(std::string_view property) {
        model_.changed_ = true;
        if (property.front() == '+' || property.front() == '-') {
            return choose(property.substr(1), property.front() == '+');
        }
        const std::size_t equals = property.find('=');
        if (equals == std::string_view::npos) return choose(property, true);
        const std::string_view name = property.substr(0, equals), value = property.substr(equals + 1);
        if (value == "on" || value == "off") return choose(name, value == "on");
        const auto number = parse_number(value);
        if (!number) return invalid(fmt::format("'{}': a number, on or off expected", property));
        if (const std::size_t point = name.find('.'); point != std::string_view::npos) {
            return set_field(name.substr(0, point), name.substr(point + 1), *number);
        }
        return set_register(name, *number);
    }

    Result<CpuModel> finish() {
        // A host's processor may have more in its fields than is known here.
        if (!model_.changed_) return model_;
        for (const Dependency& d : kDependencies) {
            if (!model_.has(d.feature) || model_.has(d.needs)) continue;
            if (std::ranges::find(asked_for_, d.feature) != asked_for_.end()) {
                return invalid(fmt::format("'{}' needs '{}'", short_name(d.feature), short_name(d.needs)));
            }
            put(d.feature, false);
        }
        for (const IdField& f : id_fields()) {
            u64& reg = model_.id_.*f.reg;
            const auto same = [&](const IdField& other) { return other.reg == f.reg && other.shift == f.shift; };
            // Where none of a field's features is left, it is what it was without them.
            if (std::ranges::none_of(id_fields(), [&](const IdField& o) { return same(o) && model_.has(o.feature); })) {
                reg = with_bits(reg, f.shift + kIdFieldBits - 1, f.shift, bits(bare_.*f.reg, f.shift + 3u, f.shift));
            } else if (model_.has(f.feature)) {
                reg = with_bits(reg, f.shift + kIdFieldBits - 1, f.shift, f.value);
            }
        }
        return model_;
    }

private:
    CpuModelBuilder(CpuModel model, CpuModel ceiling) : model_(std::move(model)), ceiling_(std::move(ceiling)) {
        constexpr u64 kWithoutVhe = 6;  // DebugVer
        bare_.id_aa64dfr0_el1 = kWithoutVhe;
    }

    void put(Feature f, bool on) { model_.features_[static_cast<std::size_t>(f)] = on; }

    // A feature; switched on with those that it needs, off with those of higher values in its field.
    Result<void> choose(std::string_view name, bool on) {
        const auto wanted = find_feature(name);
        if (!wanted) {
            return Error{Errc::NotFound,
                         fmt::format("unknown CPU feature '{}'; known are {}", name, fmt::join(feature_names(), ", "))};
        }
        if (on && !ceiling_.has(*wanted)) {
            return Error{Errc::Unsupported, fmt::format("'{}' is more than '{}' has", name, ceiling_.name())};
        }
        put(*wanted, on);
        if (on) asked_for_.push_back(*wanted);
        for (const IdField& f : id_fields()) {
            if (f.feature != *wanted) continue;
            for (const IdField& other : id_fields()) {
                const bool same = other.reg == f.reg && other.shift == f.shift;
                if (same && (on ? other.value < f.value : other.value > f.value)) put(other.feature, on);
            }
        }
        for (const Dependency& d : kDependencies) {
            if (on && d.feature == *wanted) TANDEM_TRY(choose(to_string(d.needs), true));
        }
        return {};
    }

    Result<void> set_field(std::string_view reg, std::string_view field, u64 value) {
        const auto names = id_field_names();
        const auto found = std::ranges::find_if(
            names, [&](const IdFieldName& n) { return same_name(n.reg, reg) && same_name(n.name, field); });
        if (found == names.end()) {
            std::string known;
            for (const IdFieldName& n : names) {
                if (same_name(n.reg, reg)) known += fmt::format("{}{}", known.empty() ? "" : ", ", n.name);
            }
            if (known.empty()) return Error{Errc::NotFound, fmt::format("there is no identification register '{}'", reg)};
            return Error{Errc::NotFound, fmt::format("{} has no field '{}' (there are {})", reg, field, known)};
        }
        if (found->member == &IdRegisters::id_aa64mmfr0_el1 && found->shift == kPaRangeShift) return set_parange(value);
        return set_known_field(*found, value);
    }

    static std::string title(const IdFieldName& field) { return fmt::format("{}.{}", field.reg, field.name); }
    static Error too_much(std::string_view field, u64 wanted, u64 most) {
        return {Errc::Unsupported, fmt::format("{}={}: the most that is implemented is {}", field, wanted, most)};
    }

    Result<void> set_known_field(const IdFieldName& field, u64 value) {
        u64 most = 0;
        std::string choices = "0";
        bool chosen = value == 0;
        bool any = false;
        for (const IdField& f : id_fields()) {
            if (f.reg != field.member || f.shift != field.shift || !ceiling_.has(f.feature)) continue;
            any = true;
            most = f.value;
            choices += fmt::format(" or {}", f.value);
            chosen = chosen || f.value == value;
        }
        const u64 now = bits(model_.id_.*field.member, field.shift + kIdFieldBits - 1, field.shift);
        const bool debug_version = field.member == &IdRegisters::id_aa64dfr0_el1 && field.shift == 0;
        if (!any || debug_version) {
            if (value == now) return {};
            if (!any && now == 0) return too_much(title(field), value, 0);
            return Error{Errc::Unsupported, fmt::format("{}={}: it is {} and cannot be chosen", title(field), value, now)};
        }
        if (value > most) return too_much(title(field), value, most);
        if (!chosen) return invalid(fmt::format("{}={}: {} expected", title(field), value, choices));
        for (const IdField& f : id_fields()) {
            if (f.reg != field.member || f.shift != field.shift) continue;
            put(f.feature, f.value <= value);
            if (f.value <= value) asked_for_.push_back(f.feature);
        }
        return {};
    }

    Result<void> set_parange(u64 value) {
        const u64 most = bits(ceiling_.id_.id_aa64mmfr0_el1, kPaRangeShift + kIdFieldBits - 1, kPaRangeShift);
        if (value > most) return too_much("id_aa64mmfr0_el1.parange", value, most);
        u64& reg = model_.id_.id_aa64mmfr0_el1;
        reg = with_bits(reg, kPaRangeShift + kIdFieldBits - 1, kPaRangeShift, value);
        model_.physical_bits_ = physical_bits_of(value);
        return {};
    }

    Result<void> set_register(std::string_view name, u64 value) {
        const auto* row = std::ranges::find_if(kImplementation, [&](const auto& r) { return same_name(r.name, name); });
        if (row == std::end(kImplementation)) {
            std::string known;
            for (const auto& r : kImplementation) known += fmt::format(" {}", r.name);
            return Error{
                Errc::NotFound,
                fmt::format("'{}' cannot be chosen as a whole (those that can:{}; of others REGISTER.FIELD)", name, known)};
        }
        if (row->bits < 64 && value >> row->bits != 0) {
            return invalid(fmt::format("{}={:#x}: it has {} bits", row->name, value, row->bits));
        }
        model_.id_.*row->reg = value;
        return {};
    }

    static std::vector<std::string> feature_names() {
        std::vector<std::string> names;
        for (unsigned i = 0; i < static_cast<unsigned>(F::Count_); ++i) {
            if (const auto f = static_cast<Feature>(i); !fixed(f)) names.push_back(short_name(f));
        }
        return names;
    }
    friend std::string property_help();

    CpuModel model_, ceiling_;
    IdRegisters bare_;  // fields without a feature
    std::vector<Feature> asked_for_;
};

Result<CpuModel> CpuModel::create(std::string_view spec) {
    const auto part = [&] {
        const std::size_t end = std::min(spec.find(','), spec.size());
        const std::string_view first = spec.substr(0, end);
        spec.remove_prefix(std::min(end + 1, spec.size()));
        return first;
    };
    TANDEM_TRY_ASSIGN(CpuModelBuilder builder, CpuModelBuilder::start(part()));
    while (!spec.empty()) {
        const std::string_view property = part();
        if (!property.empty()) TANDEM_TRY(builder.apply(property));
    }
    return builder.finish();
}

std::string property_help() {
    std::string text = "\nfeatures (+NAME, -NAME, NAME=on|off):";
    constexpr std::size_t kWidth = 100;
    std::size_t column = kWidth;
    for (const std::string& name : CpuModelBuilder::feature_names()) {
        if (column + name.size() >= kWidth) {
            text += "\n ";
            column = 1;
        }
        text += fmt::format(" {}", name);
        column += name.size() + 1;
    }
    text +=
        "\n\nfields of identification registers (REGISTER.FIELD=NUMBER), no more than is implemented: e.g. "
        "id_aa64isar0_el1.aes=1\nwhose processor it is (REGISTER=NUMBER):";
    for (const auto& r : kImplementation) text += fmt::format(" {}", r.name);
    return text + "\n";
}

}  // namespace tandem::cpu::arm64
