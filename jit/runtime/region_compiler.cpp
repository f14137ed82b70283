#include "jit/runtime/region_compiler.h"

#include <dlfcn.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <cstdlib>

namespace tandem::jit {
namespace {

// The module sits beside the program.
std::string module_path() {
    if (const char* path = std::getenv("TANDEM_LLVM_MODULE")) return path;
    std::array<char, PATH_MAX> self{};
    const ssize_t n = readlink("/proc/self/exe", self.data(), self.size() - 1);
    std::string path = n > 0 ? std::string(self.data(), static_cast<std::size_t>(n)) : std::string();
    return path.substr(0, path.rfind('/') + 1) + "tandem-llvm.so";
}

}  // namespace

Result<std::unique_ptr<RegionCompiler>> load_region_compiler(const RegionCompilerOptions& options) {
    const std::string path = module_path();
    // Never closed: LLVM's static state does not survive it.
    void* module = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (module == nullptr) return Error{Errc::Unsupported, std::string("the LLVM tier cannot be loaded: ") + dlerror()};
    using Create = decltype(&tandem_create_region_compiler);
    auto create = reinterpret_cast<Create>(dlsym(module, "tandem_create_region_compiler"));
    if (create == nullptr) return Error{Errc::Unsupported, path + " is not Tandem's LLVM module"};
    std::string error;
    std::unique_ptr<RegionCompiler> compiler(create(&options, &error));
    if (!compiler) return Error{Errc::Unsupported, "the LLVM tier cannot start: " + error};
    return compiler;
}

}  // namespace tandem::jit
