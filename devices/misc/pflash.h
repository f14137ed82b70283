// Parallel NOR flash with the Intel command set and Common Flash Interface query (Intel 28F640J3 data sheet; JEDEC
// JESD68.01): where UEFI firmware keeps its variables. One chip of 8 bits, or two of 16 bits side by side.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "devices/fabric/address_space.h"
#include "devices/fabric/backends.h"
#include "devices/fabric/state.h"

namespace tandem::devices {

struct PflashState {
    static constexpr u32 kVersion = 1;
    u8 mode = 0xff;       // the command in effect; FFH: reads see the array
    u8 status = 0x80;     // bit 7 ready, 5 erase error, 4 program error
    bool armed = false;   // the command waits for its second write
    u32 buffer_left = 0;  // bus cycles that a buffered write still takes; 0: none
    void visit(auto& v) {
        v("mode", mode);
        v("status", status);
        v("armed", armed);
        v("buffer_left", buffer_left);
    }
};

struct PflashShape {
    u64 block = 4096;    // that is erased at once, in all chips together; a power of two
    unsigned width = 1;  // bytes of a bus cycle: 1, or 4 of two chips that take every command together
};

// The contents are the back end's. What is programmed reaches it when the guest returns to reading the array, after each
// erased block, when the machine stops, and at the end. A saved state has the command in effect; what the array holds is
// read again from the back end with it.
class Pflash final : public StatefulDevice<PflashState>, public IoHandler {
public:
    // Reads all of `backend`, whose size is a multiple of a block. Errors are the back end's. `name` is the device's.
    static Result<std::unique_ptr<Pflash>> create(std::string name, std::unique_ptr<BlockBackend> backend,
                                                  const PflashShape& shape = {});
    ~Pflash() override;

    [[nodiscard]] u64 size() const { return array_.size(); }
    u64 io_read(u64 offset, unsigned size) override;
    void io_write(u64 offset, u64 value, unsigned size) override;

    [[nodiscard]] std::string_view name() const override { return name_; }
    void reset() override;
    void machine_stopped() override;

private:
    Pflash(std::string name, std::unique_ptr<BlockBackend> backend, const PflashShape& shape)
        : name_(std::move(name)), backend_(std::move(backend)), shape_(shape) {}
    PflashState capture() const override;
    Result<void> apply(const PflashState& state) override;

    // What one bus cycle reads while the array is not seen: the same from every chip.
    [[nodiscard]] u8 chip_answer(u64 address) const;
    void first_cycle(u8 command);
    // A whole cycle: `size` bytes of data, or a command in the low byte.
    void second_cycle(u64 offset, u64 value, unsigned size);
    void program(u64 offset, u64 value, unsigned size);
    void erase(u64 offset);
    void flush();

    std::string name_;
    std::unique_ptr<BlockBackend> backend_;
    const PflashShape shape_;
    mutable std::mutex lock_;  // guards what follows
    std::vector<u8> array_;
    u64 dirty_from_ = ~u64{0}, dirty_to_ = 0;
    PflashState s_;
};

}  // namespace tandem::devices
