// One stream for two: a serial port and a monitor take turns at a terminal (Ctrl-A c).
#pragma once

#include <array>
#include <functional>
#include <memory>

#include "devices/fabric/backends.h"

namespace tandem::frontend {

class Mux {
public:
    static constexpr unsigned kSerial = 0, kMonitor = 1;

    explicit Mux(std::unique_ptr<devices::CharBackend> stream);
    // The stream as one of the two sees it. Once for each; may outlive this.
    std::unique_ptr<devices::CharBackend> port(unsigned which);
    // Gives what is typed from now on to the other; calls `on_monitor` when that is the monitor. Output of both is shown.
    // Any thread.
    void toggle();
    void set_on_monitor(std::function<void()> f);

private:
    class Core;
    class Port;
    std::shared_ptr<Core> core_;
};

}  // namespace tandem::frontend
