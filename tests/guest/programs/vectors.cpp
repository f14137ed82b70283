// A program for x86-64-v3 processors whose loops the compiler turns into AVX, AVX2 and FMA: it prints hashes of what they
// compute, which must be the same wherever it runs.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

constexpr int kCount = 4099;
constexpr int kRounds = 50;

float a[kCount], b[kCount], c[kCount];
double d[kCount], e[kCount];
std::int32_t words[kCount], places[kCount];
std::int64_t quads[kCount];
std::uint16_t halves[kCount];
std::uint8_t bytes[kCount], mixed[kCount];

std::uint64_t next() {
    static std::uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

template <class T>
void print_hash(const char* name, const T& data) {
    const auto* from = reinterpret_cast<const unsigned char*>(&data);
    std::uint64_t hash = 0xcbf29ce484222325;
    for (std::size_t i = 0; i < sizeof data; ++i) hash = (hash ^ from[i]) * 0x100000001b3;
    std::printf("%s %016lx\n", name, hash);
}

void fill() {
    for (int i = 0; i < kCount; ++i) {
        a[i] = static_cast<float>(next() % 10007) / 37.0f - 100;
        b[i] = static_cast<float>(next() % 977) / 11.0f;
        d[i] = a[i] * 1.7;
        e[i] = b[i] / 3.1;
        words[i] = static_cast<std::int32_t>(next());
        places[i] = static_cast<std::int32_t>(next() % kCount);
        quads[i] = static_cast<std::int64_t>(next());
        halves[i] = static_cast<std::uint16_t>(next());
        bytes[i] = static_cast<std::uint8_t>(next());
    }
}

void compute(int round) {
    for (int i = 0; i < kCount; ++i) c[i] = a[i] * b[i] + c[i] * 0.5f;
    for (int i = 0; i < kCount; ++i) e[i] = d[i] * 0.25 + std::sqrt(std::fabs(e[i]));
    for (int i = 0; i < kCount; ++i) d[i] = d[i] > e[i] ? d[i] * 0.5 : e[i] - 1.0;
    for (int i = 0; i < kCount; ++i) quads[i] += static_cast<std::int64_t>(words[places[i]]) << (places[i] & 31);
    for (int i = 0; i < kCount; ++i) words[i] = words[i] * 3 + (words[i] >> (places[i] & 15));
    for (int i = 0; i < kCount; ++i) halves[i] = static_cast<std::uint16_t>(halves[i] * 7 + bytes[i]);
    for (int i = 0; i < kCount; ++i) {
        const bool average = bytes[i] > 100;
        mixed[i] = static_cast<std::uint8_t>(average ? (bytes[i] + mixed[i] + 1) / 2 : mixed[i] ^ bytes[i]);
    }
    for (int i = 0; i < kCount; ++i) {
        if (a[i] > 0) b[i] = a[i] / (b[i] + 1.0f);
    }
    for (int i = 0; i < kCount; ++i) a[i] = static_cast<float>(d[i]) + static_cast<float>(words[i]) * 1e-9f;
    std::memmove(bytes + (round & 7), bytes, kCount - 8);
}

}  // namespace

int main() {
    fill();
    for (int round = 0; round < kRounds; ++round) compute(round);
    print_hash("a", a);
    print_hash("b", b);
    print_hash("c", c);
    print_hash("d", d);
    print_hash("e", e);
    print_hash("words", words);
    print_hash("quads", quads);
    print_hash("halves", halves);
    print_hash("mixed", mixed);
    std::printf("libm %.17g %.17g %.17g\n", std::sin(1.5) * std::exp(2.25), std::pow(1.1, 50.5), std::log(12345.678));
    std::puts("vectors done");
    return 0;
}
