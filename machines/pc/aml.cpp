#include "machines/pc/aml.h"

#include <algorithm>

namespace tandem::machines::pc::aml {
namespace {

// Opcodes (20.3).
constexpr u8 kZero = 0x00, kOne = 0x01, kNameOp = 0x08, kByte = 0x0a, kWord = 0x0b, kDword = 0x0c, kString = 0x0d,
             kQword = 0x0e;
constexpr u8 kScopeOp = 0x10, kBufferOp = 0x11, kPackageOp = 0x12, kMethodOp = 0x14, kDualName = 0x2e, kMultiName = 0x2f;
constexpr u8 kExt = 0x5b, kDeviceOp = 0x82, kRoot = 0x5c, kReturnOp = 0xa4;

void append(Term& to, std::span<const u8> what) {
    for (const u8 b : what) to.push_back(b);
}

void append_le(Term& to, u64 value, unsigned bytes) {
    for (unsigned i = 0; i < bytes; ++i) to.push_back(static_cast<u8>(value >> (8 * i)));
}

// PkgLength (20.2.4) counts itself.
Term with_length(const Term& body) {
    Term out;
    const std::size_t n = body.size();
    if (n + 1 < 0x40) {
        out.push_back(static_cast<u8>(n + 1));
    } else {
        const unsigned extra = n + 2 < (1u << 12) ? 1 : n + 3 < (1u << 20) ? 2 : 3;
        const std::size_t total = n + 1 + extra;
        out.push_back(static_cast<u8>(extra << 6 | (total & 0xf)));
        append_le(out, total >> 4, extra);
    }
    append(out, body);
    return out;
}

Term op_with_length(std::initializer_list<u8> opcode, const Term& body) {
    Term out(opcode);
    append(out, with_length(body));
    return out;
}

// Address space descriptor (6.4.3.5): tag, length, type, flags, then granularity, minimum, maximum, translation, length.
enum class Space : u8 { Memory = 0, Io = 1, Bus = 2 };
Term address_space(u8 tag, unsigned width, Space type, u8 type_flags, u64 first, u64 last) {
    constexpr u8 kFixedMinAndMax = 0x0c;
    Term out{tag};
    append_le(out, 3 + 5 * width, 2);
    out.push_back(static_cast<u8>(type));
    out.push_back(kFixedMinAndMax);
    out.push_back(type_flags);
    for (const u64 field : {u64{0}, first, last, u64{0}, last - first + 1}) append_le(out, field, width);
    return out;
}

}  // namespace

Term concat(std::span<const Term> terms) {
    Term out;
    for (const auto& t : terms) append(out, t);
    return out;
}

Term path(std::string_view text) {
    Term out;
    if (!text.empty() && text.front() == '\\') {
        out.push_back(kRoot);
        text.remove_prefix(1);
    }
    std::vector<std::string_view> segments;
    while (!text.empty()) {
        const auto dot = std::min(text.find('.'), text.size());
        segments.push_back(text.substr(0, dot));
        text.remove_prefix(std::min(dot + 1, text.size()));
    }
    if (segments.size() == 2) out.push_back(kDualName);
    if (segments.size() > 2) {
        out.push_back(kMultiName);
        out.push_back(static_cast<u8>(segments.size()));
    }
    if (segments.empty()) out.push_back(0);
    for (const auto s : segments) {
        for (std::size_t i = 0; i < 4; ++i) out.push_back(i < s.size() ? static_cast<u8>(s[i]) : u8{'_'});
    }
    return out;
}

Term integer(u64 value) {
    if (value == 0) return {kZero};
    if (value == 1) return {kOne};
    const unsigned width = value <= 0xff ? 1 : value <= 0xffff ? 2 : value <= 0xffffffff ? 4 : 8;
    Term out{width == 1 ? kByte : width == 2 ? kWord : width == 4 ? kDword : kQword};
    append_le(out, value, width);
    return out;
}

Term string(std::string_view text) {
    Term out{kString};
    for (const char c : text) out.push_back(static_cast<u8>(c));
    out.push_back(0);
    return out;
}

// Three letters of five bits and four hexadecimal digits, most significant byte first (19.3.4).
Term eisa_id(std::string_view id) {
    const auto digit = [&](std::size_t i) { return static_cast<u32>(id[i] <= '9' ? id[i] - '0' : id[i] - 'A' + 10); };
    u32 value = 0;
    for (std::size_t i = 0; i < 3; ++i) value = value << 5 | static_cast<u32>(id[i] - 'A' + 1);
    for (std::size_t i = 3; i < 7; ++i) value = value << 4 | digit(i);
    Term out{kDword};
    for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<u8>(value >> shift));
    return out;
}

Term buffer(std::span<const u8> bytes) {
    Term body = integer(bytes.size());
    append(body, bytes);
    return op_with_length({kBufferOp}, body);
}

Term package(std::span<const Term> elements) {
    Term body{static_cast<u8>(elements.size())};
    append(body, concat(elements));
    return op_with_length({kPackageOp}, body);
}

Term name(std::string_view object, const Term& value) {
    Term out{kNameOp};
    append(out, path(object));
    append(out, value);
    return out;
}

Term scope(std::string_view object, std::span<const Term> terms) {
    Term body = path(object);
    append(body, concat(terms));
    return op_with_length({kScopeOp}, body);
}

Term device(std::string_view object, std::span<const Term> terms) {
    Term body = path(object);
    append(body, concat(terms));
    return op_with_length({kExt, kDeviceOp}, body);
}

Term method(std::string_view object, unsigned arguments, std::span<const Term> terms) {
    Term body = path(object);
    body.push_back(static_cast<u8>(arguments & 7));
    append(body, concat(terms));
    return op_with_length({kMethodOp}, body);
}

Term return_value(const Term& value) {
    Term out{kReturnOp};
    append(out, value);
    return out;
}

Term resources(std::span<const Term> descriptors) {
    Term bytes = concat(descriptors);
    bytes.push_back(0x79);  // end tag; checksum 0: not used
    bytes.push_back(0);
    return buffer(bytes);
}

Term io_ports(u16 base, u8 length) {
    Term out{0x47, 0x01};  // decodes 16 bits
    append_le(out, base, 2);
    append_le(out, base, 2);
    out.push_back(1);
    out.push_back(length);
    return out;
}

Term irq(unsigned number) {
    Term out{0x22};
    append_le(out, 1u << number, 2);
    return out;
}

Term level_interrupt(u32 gsi) {
    Term out{0x89, 6, 0, 0x0d, 1};  // consumer, level, active low, shared; one number (6.4.3.6)
    append_le(out, gsi, 4);
    return out;
}
Term fixed_memory(u32 base, u32 size) {
    Term out{0x86, 9, 0, 1};  // read-write
    append_le(out, base, 4);
    append_le(out, size, 4);
    return out;
}

Term bus_numbers(u16 first, u16 last) { return address_space(0x88, 2, Space::Bus, 0, first, last); }
Term word_io(u16 first, u16 last) { return address_space(0x88, 2, Space::Io, 3, first, last); }
Term dword_memory(u32 first, u32 last) { return address_space(0x87, 4, Space::Memory, 1, first, last); }
Term qword_memory(u64 first, u64 last) { return address_space(0x8a, 8, Space::Memory, 1, first, last); }

}  // namespace tandem::machines::pc::aml
