// Short forms of options about disks and networks, and the host's side of devices.
#pragma once

#include <string_view>

#include "frontend/options.h"

namespace tandem::frontend {

// -hda and the like, -cdrom and -pflash: a path, in which nothing is special.
Result<void> add_disk(Options& o, std::string_view value);
Result<void> add_cdrom(Options& o, std::string_view value);
Result<void> add_flash(Options& o, std::string_view value);

// -object. Errors name the kind or the property.
Result<void> add_object(Options& o, std::string_view value);

// -net, and what its two halves make, once all options have been seen: one of Options::nics.
Result<void> add_net(Options& o, std::string_view value);
Result<void> join_nets(Options& o);

}  // namespace tandem::frontend
