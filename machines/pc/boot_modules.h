// What multiboot and PVH have in common: a kernel of segments, modules beside it, and a block of boot information.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "devices/fabric/guest_memory.h"
#include "machines/pc/boot_image.h"
#include "machines/pc/elf.h"

namespace tandem::machines::pc {

struct BootModule {
    std::string text;  // as given: path and arguments
    std::string arguments;
    std::vector<u8> bytes;
    u64 address = 0;  // page aligned
};

// "PATH ARGUMENTS,PATH ARGUMENTS": a module each; ",," is a comma. An empty list is no module.
Result<std::vector<BootModule>> read_modules(const std::string& list, u64 limit);

// Bytes under construction for a known address: numbers and strings are appended, fields patched.
class InfoBlock {
public:
    explicit InfoBlock(u64 base) : base_(base) {}
    [[nodiscard]] u64 here() const { return base_ + bytes_.size(); }
    u64 append(std::span<const u8> bytes);
    u64 append_text(std::string_view text);  // with its terminating zero
    template <class T>
    u64 append_value(const T& value) {
        return append({reinterpret_cast<const u8*>(&value), sizeof value});
    }
    void align(u64 to);
    [[nodiscard]] const std::vector<u8>& bytes() const { return bytes_; }

private:
    u64 base_;
    std::vector<u8> bytes_;
};

// A kernel's place in memory. Checked against RAM once, then written at each reset.
class LoadedKernel {
public:
    enum class ModulePlace : u8 { AfterKernel, TopOfRam };

    // Errors name the option: RAM that is missing or too small for segments or modules.
    static Result<LoadedKernel> create(std::vector<u8> file, std::vector<LoadSegment> segments, const BootSources& sources,
                                       u64 ram_bytes, ModulePlace where);
    [[nodiscard]] const std::vector<BootModule>& modules() const { return modules_; }
    // Where `size` bytes of boot information disturb nothing: in conventional memory, else behind everything. NotFound when
    // there is no room.
    [[nodiscard]] Result<u64> place_for_info(u64 size) const;
    Result<void> place(devices::GuestMemory& memory) const;

private:
    Result<void> place_modules(ModulePlace where);
    [[nodiscard]] bool free(u64 address, u64 size) const;
    [[nodiscard]] u64 end() const;

    std::vector<u8> file_;
    std::vector<LoadSegment> segments_;
    std::vector<BootModule> modules_;
    std::string name_;
    u64 ram_bytes_ = 0;
};

// A kernel that is entered in flat protected mode and finds a block of information about itself.
class InformedKernel : public BootImage {
public:
    InformedKernel(LoadedKernel kernel, u32 entry, std::string command_line, u64 ram_bytes)
        : kernel_(std::move(kernel)), entry_(entry), command_line_(std::move(command_line)), ram_bytes_(ram_bytes) {}

    // Chooses the block's place. To be called once; NotFound when there is no room.
    Result<void> prepare();
    Result<void> place(devices::GuestMemory& memory, u64 rsdp) const final;

protected:
    // The block, at `base`: a structure, a GDT, and what the structure points to. Its size depends on neither argument.
    [[nodiscard]] virtual InfoBlock information(u64 base, u64 rsdp) const = 0;

    LoadedKernel kernel_;
    u32 entry_;
    std::string command_line_;
    u64 ram_bytes_;
    u64 info_address_ = 0;
};

// `head` in front of what `block` has behind its first version, which had the same size.
template <class Head>
InfoBlock with_head(const Head& head, u64 base, const InfoBlock& block) {
    InfoBlock complete(base);
    complete.append_value(head);
    complete.append(std::span(block.bytes()).subspan(sizeof(Head)));
    return complete;
}

}  // namespace tandem::machines::pc
