#include "frontend/monitor/expression.h"

#include <fmt/format.h>

#include <cctype>
#include <charconv>
#include <string>

namespace tandem::frontend {
namespace {

constexpr unsigned kMaxDepth = 64;

bool is_operator(char c) { return std::string_view("+-*/%&|^~(").find(c) != std::string_view::npos; }

int precedence(char c) {
    switch (c) {
        case '|':
        case '^':
        case '&': return 1;
        case '+':
        case '-': return 2;
        case '*':
        case '/':
        case '%': return 3;
        default: return 0;
    }
}

class Parser {
public:
    Parser(std::string_view text, const RegisterLookup& registers) : text_(text), registers_(registers) {}

    Result<u64> all() {
        TANDEM_TRY_ASSIGN(const u64 value, binary(1, 0));
        skip_space();
        if (at_ != text_.size()) return wrong("unexpected text");
        return value;
    }

private:
    Error wrong(std::string_view what) const {
        return invalid(fmt::format("{} at '{}' in expression '{}'", what, text_.substr(at_), text_));
    }
    void skip_space() {
        while (at_ < text_.size() && text_[at_] == ' ') ++at_;
    }
    [[nodiscard]] char peek() {
        skip_space();
        return at_ < text_.size() ? text_[at_] : '\0';
    }

    Result<u64> binary(int level, unsigned depth) {
        TANDEM_TRY_ASSIGN(u64 left, unary(depth));
        for (char op = peek(); precedence(op) >= level; op = peek()) {
            ++at_;
            TANDEM_TRY_ASSIGN(const u64 right, binary(precedence(op) + 1, depth));
            if ((op == '/' || op == '%') && right == 0) return invalid(fmt::format("division by zero in '{}'", text_));
            switch (op) {
                case '|': left |= right; break;
                case '^': left ^= right; break;
                case '&': left &= right; break;
                case '+': left += right; break;
                case '-': left -= right; break;
                case '*': left *= right; break;
                case '/': left /= right; break;
                default: left %= right; break;
            }
        }
        return left;
    }

    Result<u64> unary(unsigned depth) {
        if (depth > kMaxDepth) return wrong("nested too deeply");
        const char c = peek();
        if (c == '+' || c == '-' || c == '~') {
            ++at_;
            TANDEM_TRY_ASSIGN(const u64 value, unary(depth + 1));
            return c == '+' ? value : c == '-' ? u64{0} - value : ~value;
        }
        if (c == '(') {
            ++at_;
            TANDEM_TRY_ASSIGN(const u64 value, binary(1, depth + 1));
            if (peek() != ')') return wrong("')' expected");
            ++at_;
            return value;
        }
        if (c == '$') return register_value();
        if (c == '\'') return character();
        return number();
    }

    Result<u64> register_value() {
        std::size_t end = ++at_;
        const auto in_name = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; };
        while (end < text_.size() && in_name(text_[end])) ++end;
        const auto name = text_.substr(at_, end - at_);
        const auto value = registers_(name);
        if (!value) return invalid(fmt::format("unknown register '${}'", name));
        at_ = end;
        return *value;
    }

    Result<u64> character() {
        if (at_ + 2 >= text_.size() || text_[at_ + 2] != '\'') return wrong("a character in quotes expected");
        const auto value = static_cast<u64>(static_cast<unsigned char>(text_[at_ + 1]));
        at_ += 3;
        return value;
    }

    Result<u64> number() {
        std::string_view digits = text_.substr(at_);
        int base = 10;
        if (digits.starts_with("0x") || digits.starts_with("0X")) {
            base = 16;
            digits.remove_prefix(2);
        } else if (digits.size() > 1 && digits[0] == '0' && std::isdigit(static_cast<unsigned char>(digits[1])) != 0) {
            base = 8;
        }
        u64 value = 0;
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
        if (error == std::errc::result_out_of_range) return wrong("a number beyond 64 bits");
        if (error != std::errc{}) return wrong("a number expected");
        at_ = static_cast<std::size_t>(end - text_.data());
        if (at_ < text_.size() && std::isalnum(static_cast<unsigned char>(text_[at_])) != 0)
            return wrong("a number expected");
        return value;
    }

    std::string_view text_;
    const RegisterLookup& registers_;
    std::size_t at_ = 0;
};

}  // namespace

Result<u64> evaluate(std::string_view text, const RegisterLookup& registers) { return Parser(text, registers).all(); }

std::size_t expression_length(std::string_view text) {
    int depth = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '(') ++depth;
        if (text[i] == ')') --depth;
        if (text[i] != ' ' || depth > 0) continue;
        const std::size_t next = text.find_first_not_of(' ', i);
        if (next == std::string_view::npos) return i;
        const bool after = i > 0 && is_operator(text[i - 1]);
        // "A + B" goes on; in "A -B" the minus begins another word.
        const bool before = precedence(text[next]) != 0 && next + 1 < text.size() && text[next + 1] == ' ';
        if (!after && !before) return i;
        i = next;
        if (text[i] == '(') ++depth;
    }
    return text.size();
}

}  // namespace tandem::frontend
