#include "accel/diff/processor.h"

#include <fmt/format.h>

#include "accel/diff/host_cpu.h"
#include "accel/diff/kvm_cpu.h"
#include "accel/diff/translator_cpu.h"

namespace tandem::accel::diff {
namespace {

template <class T>
Result<std::unique_ptr<Processor>> upcast(Result<std::unique_ptr<T>> made) {
    if (!made) return std::move(made).error();
    return std::unique_ptr<Processor>(std::move(made).value());
}

struct Row {
    std::string_view name;
    Result<std::unique_ptr<Processor>> (*create)();
};
constexpr Row kRows[] = {
    {"interp", [] { return upcast(TranslatorCpu::create(jit::Tier::Interp)); }},
    {"baseline", [] { return upcast(TranslatorCpu::create(jit::Tier::Baseline)); }},
    {"llvm", [] { return upcast(TranslatorCpu::create(jit::Tier::Llvm, 1, 3)); }},
    {"kvm", [] { return upcast(KvmCpu::create()); }},
    {"host", [] { return upcast(HostCpu::create()); }},
};

}  // namespace

Result<std::unique_ptr<Processor>> create_processor(std::string_view name) {
    std::string known;
    for (const Row& row : kRows) {
        if (row.name == name) return row.create();
        known += (known.empty() ? "" : ", ") + std::string(row.name);
    }
    return Error{Errc::NotFound, fmt::format("unknown engine '{}' (known: {})", name, known)};
}

}  // namespace tandem::accel::diff
