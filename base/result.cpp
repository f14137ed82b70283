#include "base/result.h"

#include <cerrno>
#include <cstring>

namespace tandem {

Error io_error(std::string_view what) {
    const int saved = errno;
    return {Errc::Io, std::string(what) + ": " + std::strerror(saved)};
}

}  // namespace tandem
