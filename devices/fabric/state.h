// Typed, versioned device state. A device names the fields of its state once:
//
//     struct FooState {
//         static constexpr u32 kVersion = 1;
//         u8 mode = 0;
//         std::array<u16, 3> count{};
//         void visit(auto& v) { v("mode", mode); v("count", count); }
//     };
//     class Foo : public StatefulDevice<FooState> { ... };
//
// and implements capture() and apply(); conversion to DeviceState and back follows. Fields may be integers, bool, enums,
// std::string, std::array, std::vector and nested structs with a visit() of their own.
#pragma once

#include <fmt/format.h>

#include <array>
#include <concepts>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "devices/fabric/device.h"

namespace tandem::devices {

namespace state_detail {

struct AnyVisitor {
    template <class T>
    void operator()(const char*, T&) {}
};

template <class T>
concept Visitable = requires(T t, AnyVisitor v) { t.visit(v); };

template <class T>
struct IsArray : std::false_type {};
template <class T, std::size_t N>
struct IsArray<std::array<T, N>> : std::true_type {};
template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};

template <class T>
nlohmann::json encode(T& value);

struct Encoder {
    nlohmann::json out = nlohmann::json::object();
    template <class T>
    void operator()(const char* name, T& value) {
        out[name] = encode(value);
    }
};

template <class T>
nlohmann::json encode(T& value) {
    if constexpr (Visitable<T>) {
        Encoder e;
        value.visit(e);
        return std::move(e.out);
    } else if constexpr (std::is_enum_v<T>) {
        return static_cast<u64>(value);
    } else if constexpr (IsArray<T>::value || IsVector<T>::value) {
        auto list = nlohmann::json::array();
        for (auto&& item : value) list.push_back(encode(item));
        return list;
    } else {
        return value;
    }
}

// The first error wins; what follows it is left alone.
struct Decoder {
    const nlohmann::json& in;
    std::string path;
    std::string error;
    std::size_t seen = 0;

    template <class T>
    void operator()(const char* name, T& value) {
        if (!error.empty()) return;
        const auto at = in.find(name);
        if (at == in.end()) {
            error = fmt::format("field '{}{}' is missing", path, name);
            return;
        }
        ++seen;
        decode(*at, path + name, value);
    }

    template <class T>
    void decode(const nlohmann::json& j, const std::string& where, T& value) {
        if constexpr (Visitable<T>) {
            decode_struct(j, where, value);
        } else if constexpr (std::is_same_v<T, bool>) {
            if (!j.is_boolean()) return fail(where, "is not true or false");
            value = j.get<bool>();
        } else if constexpr (std::is_same_v<T, std::string>) {
            if (!j.is_string()) return fail(where, "is not a string");
            value = j.get<std::string>();
        } else if constexpr (std::is_enum_v<T>) {
            std::underlying_type_t<T> raw{};
            decode(j, where, raw);
            value = static_cast<T>(raw);
        } else if constexpr (std::is_integral_v<T>) {
            decode_integer(j, where, value);
        } else if constexpr (IsArray<T>::value) {
            if (!j.is_array() || j.size() != value.size()) {
                return fail(where, fmt::format("is not a list of {} values", value.size()).c_str());
            }
            for (std::size_t i = 0; i < value.size(); ++i) decode(j[i], fmt::format("{}[{}]", where, i), value[i]);
        } else {
            static_assert(IsVector<T>::value, "no rule to restore this field");
            if (!j.is_array()) return fail(where, "is not a list");
            value.assign(j.size(), {});
            for (std::size_t i = 0; i < value.size(); ++i) decode(j[i], fmt::format("{}[{}]", where, i), value[i]);
        }
    }

    template <class T>
    void decode_struct(const nlohmann::json& j, const std::string& where, T& value) {
        if (!j.is_object()) return fail(where, "is not a group of fields");
        Decoder nested{j, where.empty() ? "" : where + ".", {}, 0};
        value.visit(nested);
        if (nested.error.empty() && nested.seen != j.size()) nested.find_leftover(value);
        if (error.empty()) error = std::move(nested.error);
    }

    template <class T>
    void find_leftover(T& value) {
        Encoder known;
        value.visit(known);
        for (const auto& item : in.items()) {
            if (!known.out.contains(item.key())) {
                error = fmt::format("field '{}{}' is unknown", path, item.key());
                return;
            }
        }
    }

    template <std::integral T>
    void decode_integer(const nlohmann::json& j, const std::string& where, T& value) {
        if (!j.is_number_integer()) return fail(where, "is not an integer");
        bool fits = false;
        if (j.is_number_unsigned()) {
            fits = std::in_range<T>(j.get<u64>());
            value = static_cast<T>(j.get<u64>());
        } else {
            fits = std::in_range<T>(j.get<i64>());
            value = static_cast<T>(j.get<i64>());
        }
        if (!fits) fail(where, "is out of range");
    }

    void fail(const std::string& where, const char* what) {
        if (error.empty()) error = fmt::format("field '{}' {}", where, what);
    }
};

}  // namespace state_detail

template <class S>
concept VersionedState = state_detail::Visitable<S> && std::default_initializable<S> && requires {
    { S::kVersion } -> std::convertible_to<u32>;
};

template <VersionedState S>
DeviceState to_device_state(S state) {
    return {S::kVersion, state_detail::encode(state)};
}

// Corrupt: unknown version; missing, unknown, mistyped or out-of-range field, by name.
template <VersionedState S>
Result<S> from_device_state(const DeviceState& saved, std::string_view device) {
    if (saved.version != S::kVersion) {
        return Error{Errc::Corrupt, fmt::format("{}: state version {} is not {}", device, saved.version, u32{S::kVersion})};
    }
    S state;
    state_detail::Decoder decoder{saved.fields, "", {}, 0};
    decoder.decode_struct(saved.fields, "", state);
    if (!decoder.error.empty()) return Error{Errc::Corrupt, fmt::format("{}: {}", device, decoder.error)};
    return state;
}

// Base of every device with state. apply() checks whatever the field types do not (indexes, counts) and returns Corrupt
// before it changes anything.
template <VersionedState S>
class StatefulDevice : public Device {
public:
    [[nodiscard]] DeviceState save() const final { return to_device_state(capture()); }
    Result<void> restore(const DeviceState& saved) final {
        TANDEM_TRY_ASSIGN(const S state, from_device_state<S>(saved, name()));
        return apply(state);
    }

protected:
    [[nodiscard]] virtual S capture() const = 0;
    virtual Result<void> apply(const S& state) = 0;
    [[nodiscard]] Error corrupt(std::string_view what) const { return {Errc::Corrupt, fmt::format("{}: {}", name(), what)}; }
};

}  // namespace tandem::devices
