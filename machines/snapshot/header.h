// What a saved machine says of the machine it came from, and how that compares with another (contract R4).
#pragma once

#include <string>
#include <vector>

#include "devices/fabric/state.h"
#include "machines/machine.h"

namespace tandem::machines::snapshot {

struct MemoryFact {
    std::string name;
    u64 gpa = 0;
    u64 size = 0;
    bool readonly = false;
    void visit(auto& v) {
        v("name", name);
        v("gpa", gpa);
        v("size", size);
        v("readonly", readonly);
    }
};

struct DriveFact {
    enum class Contents : u8 {
        ReadOnly,  // the image, which nobody writes
        Overlay,   // the image, and changes that are part of the snapshot
        Outside,   // the image alone: it must not have been written since
    };
    std::string name;
    u64 size = 0;
    Contents contents = Contents::ReadOnly;
    i64 modified_ns = 0;  // of the image; 0: unknown
    void visit(auto& v) {
        v("name", name);
        v("size", size);
        v("contents", contents);
        v("modified_ns", modified_ns);
    }
};

struct Header {
    static constexpr u32 kVersion = 1;
    i64 saved_at = 0;  // seconds since 1970
    u64 guest_ns = 0;  // the machine's clock
    std::string machine;
    std::string cpu_model, cpu_vendor;
    u32 cpu_signature = 0;
    u32 physical_bits = 0;
    std::vector<std::string> cpu_features;
    u32 cpus = 0;
    std::vector<MemoryFact> memory;
    std::vector<std::string> devices;
    std::vector<DriveFact> drives;
    void visit(auto& v) {
        v("saved_at", saved_at);
        v("guest_ns", guest_ns);
        v("machine", machine);
        v("cpu_model", cpu_model);
        v("cpu_vendor", cpu_vendor);
        v("cpu_signature", cpu_signature);
        v("physical_bits", physical_bits);
        v("cpu_features", cpu_features);
        v("cpus", cpus);
        v("memory", memory);
        v("devices", devices);
        v("drives", drives);
    }
};

// Unsupported: the machine does not know its CPU model; Io: a drive's image cannot be examined.
Result<Header> describe(const MachineParts& parts);

// Every field in which a machine that is to be restored onto differs from the saved one; empty when it fits. Where the
// difference is a CPU feature that the engine could offer, the text says so. The times of saving are not compared.
std::vector<std::string> differences(const Header& saved, const Header& here);

}  // namespace tandem::machines::snapshot
