// A pc board without processors, for programs that feed its chips.
#pragma once

#include <memory>

#include "devices/char/backends.h"
#include "machines/pc/board.h"

namespace tandem::fuzz {

// One for the process: putting it back to its start is much cheaper than building it. What chips would ask of the machine is
// swallowed.
class FuzzedBoard {
public:
    FuzzedBoard() {
        machines::MachineConfig config;
        config.ram_bytes = 16 << 20;
        config.cpus = 2;
        for (int i = 0; i < 2; ++i) config.serial.push_back(devices::create_char_backend("null", {}).value());
        config.debug_console = devices::create_char_backend("null", {}).value();
        for (const char* driver : {"virtio-rng-pci", "virtio-balloon-pci", "virtio-rng-device", "virtio-serial-pci"}) {
            config.devices.push_back({driver, {}});
        }
        auto made = machines::pc::Board::create(config, memory_, {[] {}, [] {}, [](u32) {}, [] {}});
        if (!made.ok()) __builtin_trap();
        board_ = std::move(made).value();
        board_->fw_cfg->set_number(devices::FwCfg::kRamSize, config.ram_bytes, 8);
        if (!board_->fw_cfg->set_file("etc/file", std::vector<u8>(777, 0x5a)).ok()) __builtin_trap();
    }
    // In the state in which a kernel finds it.
    machines::pc::Board& fresh() {
        board_->reset();
        if (!board_->set_up_without_firmware().ok()) __builtin_trap();
        return *board_;
    }
    [[nodiscard]] devices::GuestMemory& memory() { return memory_; }

private:
    devices::GuestMemory memory_;
    std::unique_ptr<machines::pc::Board> board_;
};

}  // namespace tandem::fuzz
