#include "machines/snapshot/header.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "cpu/x86/models/feature_table.h"

namespace tandem::machines::snapshot {
namespace {

Result<DriveFact> describe_drive(const NamedDrive& drive) {
    using Contents = DriveFact::Contents;
    DriveFact fact;
    fact.name = drive.name;
    fact.size = drive.backend->size_bytes();
    fact.contents = drive.backend->holds_changes() ? Contents::Overlay
                    : drive.backend->readonly()    ? Contents::ReadOnly
                                                   : Contents::Outside;
    auto modified = drive.backend->modified_ns();
    if (!modified.ok()) return std::move(modified).error().context(fmt::format("drive '{}'", drive.name));
    fact.modified_ns = *modified;
    return fact;
}

std::string vendor_of(const cpu::x86::CpuModel& model) {
    const auto leaf = model.cpuid(0, 0, {});
    std::string vendor;
    for (const u32 word : {leaf.ebx, leaf.edx, leaf.ecx}) {
        for (unsigned i = 0; i < 4; ++i) vendor += static_cast<char>(word >> (8 * i));
    }
    return vendor;
}

void describe_cpu(Header& h, const cpu::x86::CpuModel& model) {
    h.cpu_model = model.name();
    h.cpu_vendor = vendor_of(model);
    h.cpu_signature = model.cpuid(1, 0, {}).eax;
    h.physical_bits = model.physical_bits();
    for (const auto& row : cpu::x86::feature_table()) {
        if (model.has(row.id)) h.cpu_features.emplace_back(row.name);
    }
}

void describe_cpu(Header& h, const cpu::arm64::CpuModel& model) {
    using cpu::arm64::Feature;
    h.cpu_model = model.name();
    h.cpu_vendor = "Arm";
    h.cpu_signature = static_cast<u32>(model.id().midr_el1);
    h.physical_bits = model.physical_bits();
    for (unsigned i = 0; i < static_cast<unsigned>(Feature::Count_); ++i) {
        const auto feature = static_cast<Feature>(i);
        if (model.has(feature)) h.cpu_features.emplace_back(cpu::arm64::to_string(feature));
    }
    if (model.has_el2()) h.cpu_features.emplace_back("EL2");
    // Mostly 0.
    if (model.id().revidr_el1 != 0) h.cpu_features.push_back(fmt::format("REVIDR_EL1={:#x}", model.id().revidr_el1));
    if (model.id().aidr_el1 != 0) h.cpu_features.push_back(fmt::format("AIDR_EL1={:#x}", model.id().aidr_el1));
}

class Comparison {
public:
    template <class T>
    void field(std::string_view name, const T& saved, const T& here) {
        if (saved != here) add(name, fmt::format("{}", saved), fmt::format("{}", here));
    }
    void add(std::string_view name, std::string_view saved, std::string_view here) {
        lines.push_back(fmt::format("{}: {} in the snapshot, {} here", name, saved, here));
    }
    // Two lists of things with names: what one lacks, and `compare` for those in both.
    template <class T, class Name, class Compare>
    void list(std::string_view what, const std::vector<T>& saved, const std::vector<T>& here, Name name, Compare compare) {
        const auto find = [&](const std::vector<T>& in, const T& item) {
            return std::ranges::find_if(in, [&](const T& other) { return name(other) == name(item); });
        };
        for (const T& s : saved) {
            const auto h = find(here, s);
            if (h == here.end()) {
                add(fmt::format("{} '{}'", what, name(s)), "present", "absent");
            } else {
                compare(s, *h);
            }
        }
        for (const T& h : here) {
            if (find(saved, h) == saved.end()) add(fmt::format("{} '{}'", what, name(h)), "absent", "present");
        }
    }

    std::vector<std::string> lines;
};

// Whether -cpu has a name for the feature: of Arm's the list has some that are -machine's choice.
bool named(const Header& here, const std::string& feature) {
    const std::string without = fmt::format("{},-{}", here.cpu_model, feature);
    return here.cpu_vendor != "Arm" || cpu::arm64::CpuModel::create(without).ok();
}

void compare_features(Comparison& c, const Header& saved, const Header& here) {
    const auto has = [](const Header& h, std::string_view f) {
        return std::ranges::find(h.cpu_features, f) != h.cpu_features.end();
    };
    for (const auto& f : saved.cpu_features) {
        if (has(here, f)) continue;
        const std::string wish = fmt::format("{},+{}", here.cpu_model, f);
        const bool possible =
            here.cpu_vendor == "Arm" ? cpu::arm64::CpuModel::create(wish).ok() : cpu::x86::CpuModel::create(wish).ok();
        c.add(fmt::format("CPU feature '{}'", f), "on",
              possible ? fmt::format("off (possible: -cpu {},+{})", here.cpu_model, f) : "off and not possible");
    }
    for (const auto& f : here.cpu_features) {
        if (!has(saved, f)) {
            c.add(fmt::format("CPU feature '{}'", f), "off",
                  named(here, f) ? fmt::format("on (to match: -cpu {},-{})", here.cpu_model, f) : "on");
        }
    }
}

const char* contents_name(DriveFact::Contents contents) {
    constexpr const char* kNames[] = {"read-only", "with snapshot=on", "writable"};
    return static_cast<unsigned>(contents) < std::size(kNames) ? kNames[static_cast<unsigned>(contents)] : "unknown";
}

}  // namespace

Result<Header> describe(const MachineParts& parts) {
    if (!parts.cpu) return Error{Errc::Unsupported, "the machine does not know its CPU model"};
    Header h;
    h.saved_at = static_cast<i64>(std::time(nullptr));
    h.guest_ns = parts.clock.now_ns();
    h.machine = parts.type == "q35" ? "pc" : parts.type;
    std::visit([&h](const auto& model) { describe_cpu(h, model); }, *parts.cpu);
    h.cpus = static_cast<u32>(parts.vcpus.size());
    for (const auto& r : parts.memory.ranges()) h.memory.push_back({r.name, r.gpa, r.size, r.readonly});
    for (const auto& d : parts.devices) h.devices.push_back(d.name);
    for (const auto& d : parts.drives) {
        TANDEM_TRY_ASSIGN(auto fact, describe_drive(d));
        h.drives.push_back(std::move(fact));
    }
    return h;
}

std::vector<std::string> differences(const Header& saved, const Header& here) {
    Comparison c;
    c.field("machine type", saved.machine, here.machine);
    c.field("CPU model", saved.cpu_model, here.cpu_model);
    c.field("CPU vendor", saved.cpu_vendor, here.cpu_vendor);
    c.field("CPU signature", saved.cpu_signature, here.cpu_signature);
    c.field("physical address bits", saved.physical_bits, here.physical_bits);
    compare_features(c, saved, here);
    c.field("processors", saved.cpus, here.cpus);
    c.list(
        "memory", saved.memory, here.memory, [](const MemoryFact& m) { return fmt::format("{} at {:#x}", m.name, m.gpa); },
        [&](const MemoryFact& s, const MemoryFact& h) {
            c.field(fmt::format("size of memory '{}'", s.name), s.size, h.size);
        });
    c.list(
        "device", saved.devices, here.devices, [](const std::string& d) { return d; },
        [](const std::string&, const std::string&) {});
    c.list(
        "drive", saved.drives, here.drives, [](const DriveFact& d) { return d.name; },
        [&](const DriveFact& s, const DriveFact& h) {
            c.field(fmt::format("size of drive '{}'", s.name), s.size, h.size);
            if (s.contents != h.contents) {
                c.add(fmt::format("drive '{}'", s.name), contents_name(s.contents), contents_name(h.contents));
            } else if (s.modified_ns != h.modified_ns && s.modified_ns != 0) {
                c.lines.push_back(
                    fmt::format("the image of drive '{}' has been written since the machine was saved", s.name));
            }
        });
    return std::move(c.lines);
}

}  // namespace tandem::machines::snapshot
