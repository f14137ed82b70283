// The test guests' initramfs with more in it.
#pragma once

#include <string>
#include <vector>

namespace tandem::tests {

// A file beside the one that the images have, with these programs in /bin; removed at the end.
class InitramfsWith {
public:
    explicit InitramfsWith(const std::vector<std::string>& programs);
    ~InitramfsWith();
    InitramfsWith(const InitramfsWith&) = delete;
    InitramfsWith& operator=(const InitramfsWith&) = delete;
    [[nodiscard]] const std::string& path() const { return path_; }

private:
    std::string path_;
};

// Where the programs for the guest are built.
std::string guest_program(const std::string& name);

}  // namespace tandem::tests
