#include "frontend/config_file.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <string_view>
#include <utility>

#include "frontend/text.h"

namespace tandem::frontend {
namespace {

constexpr unsigned kMaxDepth = 8;
constexpr std::size_t kMaxBytes = 1 << 20;

Result<std::vector<std::string>> read_lines(const std::string& path) {
    struct stat st{};
    if (::stat(path.c_str(), &st) != 0) return io_error(fmt::format("cannot open '{}'", path));
    if (!S_ISREG(st.st_mode)) return invalid(fmt::format("'{}' is not a file", path));
    if (static_cast<std::size_t>(st.st_size) > kMaxBytes) return invalid(fmt::format("'{}' is too large", path));
    std::ifstream in(path);
    if (!in) return io_error(fmt::format("cannot open '{}'", path));
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) lines.push_back(std::move(line));
    return lines;
}

Error at(const std::string& path, std::size_t line, std::string_view what) {
    return invalid(fmt::format("'{}' line {}: {}", path, line + 1, what));
}

// A comma inside a property's value is written twice.
std::string escaped(std::string_view value) {
    std::string text;
    for (const char c : value) text += c == ',' ? ",," : std::string(1, c);
    return text;
}

// Groups whose name is not their option's.
std::string option_of(const std::string& group) {
    static constexpr std::pair<std::string_view, std::string_view> kNames[] = {
        {"memory", "m"}, {"smp-opts", "smp"}, {"boot-opts", "boot"}};
    for (const auto& [name, option] : kNames) {
        if (group == name) return std::string(option);
    }
    return group;
}

// The words of one line; false: a quote is not closed.
bool split_line(std::string_view line, std::vector<std::string>& words) {
    std::string word;
    bool open = false;
    char quote = 0;
    for (const char c : line) {
        if (quote != 0) {
            if (c == quote)
                quote = 0;
            else
                word += c;
            continue;
        }
        if (c == '#' && !open) break;
        if (c == '\'' || c == '"') {
            quote = c;
            open = true;
        } else if (c == ' ' || c == '\t' || c == '\r') {
            if (open) words.push_back(std::move(word));
            word.clear();
            open = false;
        } else {
            word += c;
            open = true;
        }
    }
    if (open) words.push_back(std::move(word));
    return quote == 0;
}

}  // namespace

Result<std::vector<std::string>> read_words(const std::string& path) {
    TANDEM_TRY_ASSIGN(const auto lines, read_lines(path));
    std::vector<std::string> words;
    for (std::size_t i = 0; i < lines.size(); ++i) {
        if (!split_line(lines[i], words)) return at(path, i, "a quote is not closed");
    }
    return words;
}

Result<std::vector<std::string>> read_groups(const std::string& path) {
    TANDEM_TRY_ASSIGN(const auto lines, read_lines(path));
    std::vector<std::string> words;
    for (std::size_t i = 0; i < lines.size(); ++i) {
        const auto line = trimmed(lines[i]);
        if (line.empty() || line.front() == '#') continue;
        if (line.front() == '[') {
            std::vector<std::string> group;
            if (line.back() != ']' || !split_line(line.substr(1, line.size() - 2), group) || group.empty() ||
                group.size() > 2) {
                return at(path, i, "expected [GROUP] or [GROUP \"ID\"]");
            }
            words.push_back("-" + option_of(group[0]));
            words.push_back(group.size() == 2 ? "id=" + escaped(group[1]) : "");
            continue;
        }
        const auto equals = line.find('=');
        if (words.empty() || equals == std::string_view::npos) return at(path, i, "expected NAME = \"VALUE\" in a group");
        std::string_view value = trimmed(line.substr(equals + 1));
        if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
        std::string& properties = words.back();
        if (!properties.empty()) properties += ',';
        properties += fmt::format("{}={}", trimmed(line.substr(0, equals)), escaped(value));
    }
    return words;
}

Result<std::vector<std::string>> expand_files(const std::vector<std::string>& words, unsigned depth) {
    if (depth > kMaxDepth) return invalid("files of options name each other too deeply");
    std::vector<std::string> out;
    for (std::size_t i = 0; i < words.size(); ++i) {
        const std::string& word = words[i];
        std::vector<std::string> more;
        if (word.size() > 1 && word[0] == '@') {
            TANDEM_TRY_ASSIGN(more, read_words(word.substr(1)));
        } else if ((word == "-readconfig" || word == "--readconfig") && i + 1 < words.size()) {
            auto groups = read_groups(words[++i]);
            if (!groups) return std::move(groups).error().context("-readconfig");
            more = std::move(groups).value();
        } else {
            out.push_back(word);
            continue;
        }
        TANDEM_TRY_ASSIGN(auto expanded, expand_files(more, depth + 1));
        out.insert(out.end(), expanded.begin(), expanded.end());
    }
    return out;
}

}  // namespace tandem::frontend
