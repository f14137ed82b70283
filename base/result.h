// Result<T>: a value or an Error. The only way a failure crosses a module border; exceptions never do.
#pragma once

#include <cassert>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace tandem {

// What kind of failure, for callers that branch on it; people read `message`.
enum class Errc {
    InvalidArgument,  // the caller's input is malformed or out of range
    NotFound,         // a named thing (file, device, feature, register) does not exist
    Unsupported,      // well-formed, but this build, host or engine cannot do it
    Busy,             // already in use, already created, already locked
    Io,               // the host's file, socket or terminal failed
    Corrupt,          // file bytes contradict their format
    Invariant,        // a write would change something that may not change (contract R2)
    Internal,         // a defect in Tandem
};

struct Error {
    Errc code = Errc::Internal;
    std::string message;

    // Prefixes what was being done: "drive 'a.img': " + "cannot open: no such file".
    [[nodiscard]] Error context(std::string_view what) && {
        message = std::string(what) + ": " + message;
        return std::move(*this);
    }
};

// Error from errno, e.g. io_error("cannot open 'a.img'") -> "cannot open 'a.img': No such file or directory".
Error io_error(std::string_view what);

template <class T = void>
class [[nodiscard]] Result {
public:
    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

    [[nodiscard]] bool ok() const { return state_.index() == 0; }
    explicit operator bool() const { return ok(); }

    T& value() & { return std::get<0>(state_); }
    const T& value() const& { return std::get<0>(state_); }
    T&& value() && { return std::get<0>(std::move(state_)); }
    T& operator*() & { return value(); }
    const T& operator*() const& { return value(); }
    T* operator->() { return &value(); }
    const T* operator->() const { return &value(); }

    const Error& error() const& { return std::get<1>(state_); }
    Error&& error() && { return std::get<1>(std::move(state_)); }

private:
    std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
public:
    Result() = default;
    Result(Error error) : error_(std::move(error)) {}

    [[nodiscard]] bool ok() const { return !error_.has_value(); }
    explicit operator bool() const { return ok(); }

    const Error& error() const& { return *error_; }
    Error&& error() && { return *std::move(error_); }

private:
    std::optional<Error> error_;
};

inline Error invalid(std::string message) { return {Errc::InvalidArgument, std::move(message)}; }

}  // namespace tandem

#define TANDEM_CONCAT_(a, b) a##b
#define TANDEM_CONCAT(a, b) TANDEM_CONCAT_(a, b)

// Returns the error of a Result<void> expression to the caller.
#define TANDEM_TRY(expr)                                \
    do {                                                \
        if (auto tandem_r_ = (expr); !tandem_r_.ok()) { \
            return std::move(tandem_r_).error();        \
        }                                               \
    } while (false)

// Declares `var` from a Result<T>, or returns its error: TANDEM_TRY_ASSIGN(auto file, open(path));
#define TANDEM_TRY_ASSIGN(var, expr) TANDEM_TRY_ASSIGN_(TANDEM_CONCAT(tandem_r_, __LINE__), var, expr)
#define TANDEM_TRY_ASSIGN_(tmp, var, expr)        \
    auto tmp = (expr);                            \
    if (!tmp.ok()) return std::move(tmp).error(); \
    var = std::move(tmp).value()
