#include "machines/firmware_file.h"

#include <fmt/format.h>

#include <filesystem>

namespace tandem::machines {

Result<std::string> find_firmware(const std::string& name, const std::vector<std::string>& directories,
                                  const FirmwareDefault& fallback) {
    const std::string wanted = name.empty() ? fallback.name : name;
    std::error_code ignored;
    if (wanted.find('/') != std::string::npos || std::filesystem::is_regular_file(wanted, ignored)) return wanted;
    std::vector<std::string> all = directories;
    all.insert(all.end(), fallback.directories.begin(), fallback.directories.end());
    std::string tried;
    for (const auto& directory : all) {
        const std::string path = directory + "/" + wanted;
        if (std::filesystem::is_regular_file(path, ignored)) return path;
        tried += (tried.empty() ? "" : ", ") + directory;
    }
    return Error{Errc::NotFound, fmt::format("firmware '{}' is not in {} (give a kernel with -kernel, a path with -bios, or "
                                             "install Debian's package {})",
                                             wanted, tried, fallback.package)};
}

}  // namespace tandem::machines
