// All floating-point and vector helpers that IR calls (rows: fpu/helpers.inc).
#pragma once

#include "cpu/x86/fpu/gather.h"
#include "cpu/x86/fpu/mxcsr.h"
#include "cpu/x86/fpu/strings.h"
#include "cpu/x86/fpu/x87.h"
#include "cpu/x86/fpu/xsave.h"
