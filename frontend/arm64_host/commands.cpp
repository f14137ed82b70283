// What needs the translator, on a host that it does not generate code for.
#include <cstdio>

#include "frontend/diff_command.h"
#include "frontend/replay_command.h"

namespace tandem::frontend {
namespace {

int lacks_translator(const char* command) {
    std::fprintf(stderr, "tandem %s: the translator needs an x86-64 host\n", command);
    return 1;
}

}  // namespace

int replay_command(std::span<const char* const>) { return lacks_translator("replay"); }
int diff_command(std::span<const char* const>) { return lacks_translator("diff"); }

}  // namespace tandem::frontend
