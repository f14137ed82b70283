// A search for the instruction that made two engines differ, on a thread of its own, so that the vCPU's goes on answering
// requests.
#pragma once

#include <chrono>
#include <future>
#include <stop_token>

#include "accel/lockstep/investigation.h"

namespace tandem::accel::lockstep {

class Search {
public:
    // Begins. The engines and `agreed`, memory as the stretch begins, must outlive it; nobody changes `agreed` meanwhile.
    Search(const EngineSpec& first, const EngineSpec& second, const devices::GuestMemory& agreed, const Stretch& stretch);
    // Breaks it off where it has not ended: some milliseconds, or as long as copying the machine's memory takes.
    ~Search();
    Search(const Search&) = delete;
    Search& operator=(const Search&) = delete;

    // Waits for its end, no longer than `time`; whether it has ended.
    bool wait(std::chrono::milliseconds time) { return result_.wait_for(time) == std::future_status::ready; }
    // Once, after the end. Errors as Investigation::run().
    Result<Finding> take() { return result_.get(); }
    // As the finding's stretch begins; after the end.
    [[nodiscard]] const devices::GuestMemory& memory() { return investigation_.memory(); }

private:
    std::stop_source stop_;
    Investigation investigation_;
    std::future<Result<Finding>> result_;
};

}  // namespace tandem::accel::lockstep
