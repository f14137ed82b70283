// Random well-typed IR blocks over the toy guest's state.
#pragma once

#include <random>
#include <vector>

#include "jit/ir/ir.h"

namespace tandem::jit::test {

struct BlockShape {
    unsigned operations = 60;
    unsigned memory_percent = 6;
    unsigned vector_percent = 20;
    unsigned call_percent = 3;
    bool wide_vectors = false;  // V256, and rows that the host needs AVX for
    bool leaves = true;         // helpers that may leave
    unsigned reach_back = 24;   // how far back operands may lie: larger means more values live at once
};

class RandomBlock {
public:
    RandomBlock(u64 seed, const BlockShape& shape) : random_(seed), shape_(shape) {}
    ir::Block make();

private:
    using Type = ir::Type;
    using Op = ir::Op;
    u64 pick(u64 n) { return random_() % n; }
    bool chance(unsigned percent) { return pick(100) < percent; }
    u16 emit(Op op, Type t, std::initializer_list<u16> args, u64 imm = 0, u32 aux = 0);
    u16 value(Type t);
    u16 boolean();
    u16 constant(Type t);
    u16 address(u64& displacement);
    Type any_int() { return static_cast<Type>(1 + pick(4)); }
    Type any_vector() { return shape_.wide_vectors && pick(2) != 0 ? Type::V256 : Type::V128; }
    Type word() { return pick(2) != 0 ? Type::I64 : Type::I32; }
    u32 slot(Type t);
    void get();
    void set();
    void integer();
    void carry_pair();
    void memory();
    void masked_memory(u16 address, u64 displacement, u32 flags);
    void vector();
    void vector_row();
    void call();
    void end();
    void operation();

    std::mt19937_64 random_;
    BlockShape shape_;
    ir::Block block_;
    std::vector<u16> by_type_[7];
    std::vector<u16> booleans_;
    u64 pc_ = 0;
    u16 last_address_ = 0xffff;
    u64 last_displacement_ = 0;
};

}  // namespace tandem::jit::test
