// Functions that lifted x87, MMX, SSE and XSAVE code calls. Conventions as in system/system.h.
#pragma once

#include "cpu/x86/system/system.h"
