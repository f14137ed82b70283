// Functions that lifted floating-point and Advanced SIMD code calls. Conventions as in system/system.h.
#pragma once

#include "cpu/arm64/system/system.h"
