// Options about what firmware and the machine's clock show, and what becomes of the machine.
#pragma once

#include <string_view>

#include "frontend/options.h"

namespace tandem::frontend {

// Arguments of -blockdev, -rtc, -boot, -smbios and -action; errors name the property.
Result<void> set_rtc(Options& o, std::string_view value);
Result<void> set_boot(Options& o, std::string_view value);
Result<void> add_smbios(Options& o, std::string_view value);
Result<void> add_blockdev(Options& o, std::string_view value);
Result<void> set_run_action(Options& o, std::string_view value);

}  // namespace tandem::frontend
