#include "accel/diff/image.h"

#include <cstring>

namespace tandem::accel::diff {

using namespace cpu::x86;

void load_image(const CpuImage& image, State& s) {
    s.gpr = image.gpr;
    s.rip = image.rip;
    s.rflags = image.rflags;
    const FxImage& fx = image.fx;
    s.x87.fcw = fx.fcw;
    s.x87.fsw = fx.fsw;
    s.x87.valid = fx.ftw;
    s.x87.fop = 0;
    s.x87.fip = s.x87.fdp = 0;
    s.x87.fcs = s.x87.fds = 0;
    const unsigned top = fx.fsw >> 11 & 7;
    for (unsigned i = 0; i < 8; ++i) {
        X87Reg& reg = s.x87.reg[(top + i) & 7];
        std::memcpy(&reg.significand, fx.st[i].data(), 8);
        std::memcpy(&reg.sign_exponent, fx.st[i].data() + 8, 2);
    }
    for (unsigned i = 0; i < 16; ++i) {
        s.vec[i].lane = {fx.xmm[i][0], fx.xmm[i][1], image.ymm_high[i][0], image.ymm_high[i][1]};
    }
    s.mxcsr = fx.mxcsr;
}

void store_image(const State& s, CpuImage& image) {
    image.gpr = s.gpr;
    image.rip = s.rip;
    image.rflags = s.rflags;
    FxImage& fx = image.fx;
    fx.fcw = s.x87.fcw;
    fx.fsw = s.x87.fsw;
    fx.ftw = s.x87.valid;
    const unsigned top = fx.fsw >> 11 & 7;
    for (unsigned i = 0; i < 8; ++i) {
        const X87Reg& reg = s.x87.reg[(top + i) & 7];
        fx.st[i] = {};
        std::memcpy(fx.st[i].data(), &reg.significand, 8);
        std::memcpy(fx.st[i].data() + 8, &reg.sign_exponent, 2);
    }
    for (unsigned i = 0; i < 16; ++i) {
        fx.xmm[i] = {s.vec[i].lane[0], s.vec[i].lane[1]};
        image.ymm_high[i] = {s.vec[i].lane[2], s.vec[i].lane[3]};
    }
    fx.mxcsr = s.mxcsr;
}

}  // namespace tandem::accel::diff
