// Files that are booted: reading them whole, fields at offsets, and a name for what a file is.
#pragma once

#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace tandem::machines {

// The field at `offset`, which the caller has checked to lie within `bytes`. Little endian, as everything here.
template <class T>
T field(std::span<const u8> bytes, std::size_t offset) {
    T value{};
    std::memcpy(&value, bytes.data() + offset, sizeof(T));
    return value;
}
template <class T>
void set_field(std::span<u8> bytes, std::size_t offset, T value) {
    std::memcpy(bytes.data() + offset, &value, sizeof(T));
}

// The whole file. `what` names its role in errors ("kernel"); InvalidArgument when it has more than `limit` bytes.
Result<std::vector<u8>> read_file(std::string_view what, const std::string& path, u64 limit);

// The parts of a list between commas; two commas are one that belongs to a part.
std::vector<std::string> split_list(std::string_view list);

// Linux's initial RAM disk: a file or, where no file has this name, a list of them, one behind the other, each at a multiple
// of 4 bytes, as the kernel's unpacker takes archives (Documentation/driver-api/early-userspace/buffer-format.rst).
Result<std::vector<u8>> read_initrd(const std::string& list, u64 limit);

// What a file that cannot be booted is, for the error message: "a gzip file", "no known kernel format".
std::string_view foreign_format(std::span<const u8> bytes);

}  // namespace tandem::machines
