#include "accel/lockstep/search.h"

#include "accel/lockstep/lockstep_vcpu.h"

namespace tandem::accel::lockstep {

Search::Search(const EngineSpec& first, const EngineSpec& second, const devices::GuestMemory& agreed, const Stretch& stretch)
    : investigation_(first, second, agreed) {
    result_ = std::async(std::launch::async, [this, stretch] {
        const NoTrace quiet;
        return investigation_.run(stretch, stop_.get_token());
    });
}

Search::~Search() {
    stop_.request_stop();
    if (result_.valid()) result_.wait();
}

}  // namespace tandem::accel::lockstep
