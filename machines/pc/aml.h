// ACPI Machine Language, as much as this board's tables need (ACPI 6.5, chapter 20). Terms are byte strings that nest by
// value.
#pragma once

#include <initializer_list>
#include <span>
#include <string_view>
#include <vector>

#include "base/types.h"

namespace tandem::machines::pc::aml {

using Term = std::vector<u8>;

Term concat(std::span<const Term> terms);

// Names: "PCI0", "\\_SB_.PCI0"; segments are padded to four characters.
Term path(std::string_view name);

// Data (20.2.3).
Term integer(u64 value);
Term string(std::string_view text);
Term eisa_id(std::string_view id);  // "PNP0A08"
Term buffer(std::span<const u8> bytes);
Term package(std::span<const Term> elements);

// Named objects (20.2.5).
Term name(std::string_view object, const Term& value);
Term scope(std::string_view object, std::span<const Term> terms);
Term device(std::string_view object, std::span<const Term> terms);
Term method(std::string_view object, unsigned arguments, std::span<const Term> terms);
Term return_value(const Term& value);

// Resource descriptors (6.4); put into a Name(_CRS, ...) by resources().
Term resources(std::span<const Term> descriptors);
Term io_ports(u16 base, u8 length);
Term irq(unsigned number);      // edge-triggered, active high, exclusive
Term level_interrupt(u32 gsi);  // extended: level-triggered, active low, shared
Term fixed_memory(u32 base, u32 size);
Term bus_numbers(u16 first, u16 last);
Term word_io(u16 first, u16 last);
Term dword_memory(u32 first, u32 last);
Term qword_memory(u64 first, u64 last);

// A list for the span parameters above.
using List = std::vector<Term>;

}  // namespace tandem::machines::pc::aml
