// Ports through which firmware and test programs talk to whoever runs them.
#pragma once

#include <atomic>
#include <functional>

#include "devices/fabric/address_space.h"
#include "devices/fabric/backends.h"
#include "devices/fabric/state.h"

namespace tandem::devices {

struct PostPortState {
    static constexpr u32 kVersion = 1;
    u8 code = 0;
    void visit(auto& v) { v("code", code); }
};

// Port 80H: the last power-on self test code; also what kernels write to for a short delay.
class PostPort final : public StatefulDevice<PostPortState>, public IoHandler {
public:
    [[nodiscard]] u8 code() const { return code_; }
    u64 io_read(u64, unsigned) override { return code_; }
    void io_write(u64, u64 value, unsigned) override { code_ = static_cast<u8>(value); }
    [[nodiscard]] std::string_view name() const override { return "post-port"; }
    void reset() override { code_ = 0; }

private:
    PostPortState capture() const override { return {code_}; }
    Result<void> apply(const PostPortState& state) override {
        code_ = state.code;
        return {};
    }
    std::atomic<u8> code_{0};
};

// Debug console at port 402H: every byte written goes to the back end; reads as E9H, which is how firmware finds it.
class DebugConsole final : public IoHandler {
public:
    // `backend` may be null and outlives the device otherwise.
    explicit DebugConsole(CharBackend* backend) : backend_(backend) {}
    u64 io_read(u64, unsigned) override { return 0xe9; }
    void io_write(u64, u64 value, unsigned size) override;

private:
    CharBackend* backend_;
};

// isa-debug-exit: writing `value` ends the run with exit status (value << 1) | 1.
class DebugExit final : public IoHandler {
public:
    // Called on the vCPU's thread with the exit status (8 bits reach the shell).
    explicit DebugExit(std::function<void(u32 status)> exit) : exit_(std::move(exit)) {}
    u64 io_read(u64, unsigned) override { return 0; }
    void io_write(u64, u64 value, unsigned) override {
        if (exit_) exit_(static_cast<u32>(value) << 1 | 1);
    }

private:
    std::function<void(u32)> exit_;
};

}  // namespace tandem::devices
