// SPDX-License-Identifier: Apache-2.0
#include "engine/number/base64.h"

#include <cstdint>
#include <cstring>

#include "engine/number/base64_alphabet.h"

// This file is compiled once per SIMD target; HWY_DYNAMIC_DISPATCH picks the best one for the processor at run time.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/number/base64.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace reembed {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR
// Without vectors the caller's own loop does everything.
size_t DecodeVectors(const unsigned char*, size_t, unsigned char*, size_t) { return 0; }
size_t EncodeVectors(const unsigned char*, size_t, unsigned char*) { return 0; }
#else

// 16 characters make 12 bytes, in every 128-bit block; these move the 12-byte groups of all blocks together, as 32-bit
// lanes, and apart again. Lanes that carry nothing repeat lane 0.
struct GroupLanes {
  uint32_t together[16] = {0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 0, 0, 0, 0};
  uint32_t apart[16] = {0, 1, 2, 0, 3, 4, 5, 0, 6, 7, 8, 0, 9, 10, 11, 0};
};

constexpr hn::CappedTag<uint8_t, 64> kBytes;
constexpr hn::Repartition<int8_t, decltype(kBytes)> kSigned;
constexpr hn::Repartition<uint16_t, decltype(kBytes)> kPairs;
constexpr hn::Repartition<uint32_t, decltype(kBytes)> kQuads;

// Only the first lanes that exist, and none that points behind the vector.
template <class D>
auto LaneIndices(D d, const uint32_t (&lanes)[16]) {
  alignas(64) uint32_t in_range[16];
  for (size_t i = 0; i < 16; ++i) in_range[i] = lanes[i] < hn::Lanes(d) ? lanes[i] : 0;
  return hn::SetTableIndices(d, in_range);
}

// Decodes whole vectors from the front while the text and `out` have room for a whole load and a whole store.
// Returns the number of characters decoded, a multiple of 4, or SIZE_MAX if one of them is not in the alphabet.
size_t DecodeVectors(const unsigned char* HWY_RESTRICT text, size_t characters, unsigned char* HWY_RESTRICT out,
                     size_t bytes) {
  const size_t step = hn::Lanes(kBytes);
  const auto by_upper = hn::LoadDup128(kBytes, base64::kHalves.by_upper);
  const auto by_lower = hn::LoadDup128(kBytes, base64::kHalves.by_lower);
  const auto distance = hn::LoadDup128(kBytes, base64::kHalves.distance);
  alignas(16) static constexpr uint8_t kBigEndian[16] = {2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, 0, 0, 0, 0};
  const auto big_endian = hn::LoadDup128(kBytes, kBigEndian);
  const auto together = LaneIndices(kQuads, GroupLanes().together);
  const auto half = hn::Set(kBytes, 0x0F);
  const auto slash = hn::Set(kBytes, '/');
  auto bad = hn::Zero(kBytes);

  size_t done = 0;
  for (size_t stored = 0; done + step <= characters && stored + step <= bytes; done += step, stored += step / 4 * 3) {
    const auto c = hn::LoadU(kBytes, text + done);
    const auto upper = hn::And(hn::BitCast(kBytes, hn::ShiftRight<4>(hn::BitCast(kPairs, c))), half);
    const auto lower = hn::And(c, half);
    bad = hn::Or(bad, hn::And(hn::TableLookupBytes(by_upper, upper), hn::TableLookupBytes(by_lower, lower)));
    const auto is_slash = hn::VecFromMask(kBytes, hn::Eq(c, slash));
    const auto six = hn::BitCast(kPairs, hn::Add(c, hn::TableLookupBytes(distance, hn::Add(upper, is_slash))));
    // Four times six bits, first character on top: 6 -> 12 -> 24 bits. What ends above them is not picked up below.
    const auto twelve =
        hn::BitCast(kQuads, hn::Or(hn::ShiftLeft<6>(hn::And(six, hn::Set(kPairs, 0xFF))), hn::ShiftRight<8>(six)));
    const auto all = hn::Or(hn::ShiftLeft<12>(twelve), hn::ShiftRight<16>(twelve));
    const auto groups = hn::BitCast(kQuads, hn::TableLookupBytes(hn::BitCast(kBytes, all), big_endian));
    hn::StoreU(hn::BitCast(kBytes, hn::TableLookupLanes(groups, together)), kBytes, out + stored);
  }
  return hn::AllTrue(kBytes, hn::Eq(bad, hn::Zero(kBytes))) ? done : SIZE_MAX;
}

// Encodes whole groups of three bytes from the front while `bytes` has room for a whole load. Returns the number of
// bytes encoded, a multiple of 3.
size_t EncodeVectors(const unsigned char* HWY_RESTRICT in, size_t bytes, unsigned char* HWY_RESTRICT text) {
  const size_t step = hn::Lanes(kBytes);
  const auto apart = LaneIndices(kQuads, GroupLanes().apart);
  alignas(16) static constexpr uint8_t kBigEndian[16] = {2, 1, 0, 0, 5, 4, 3, 0, 8, 7, 6, 0, 11, 10, 9, 0};
  const auto big_endian = hn::LoadDup128(kBytes, kBigEndian);

  size_t done = 0;
  for (; done + step <= bytes; done += step / 4 * 3, text += step) {
    const auto groups = hn::TableLookupLanes(hn::BitCast(kQuads, hn::LoadU(kBytes, in + done)), apart);
    const auto all = hn::BitCast(kQuads, hn::TableLookupBytes(hn::BitCast(kBytes, groups), big_endian));
    const auto first = hn::And(hn::ShiftRight<18>(all), hn::Set(kQuads, 0x3F));
    const auto second = hn::And(hn::ShiftRight<4>(all), hn::Set(kQuads, 0x3F00));
    const auto third = hn::And(hn::ShiftLeft<10>(all), hn::Set(kQuads, 0x3F0000));
    const auto fourth = hn::And(hn::ShiftLeft<24>(all), hn::Set(kQuads, 0x3F000000));
    const auto six = hn::BitCast(kSigned, hn::Or(hn::Or(first, second), hn::Or(third, fourth)));
    auto to_character = hn::Set(kSigned, 'A');
    to_character = hn::IfThenElse(hn::Gt(six, hn::Set(kSigned, 25)), hn::Set(kSigned, 'a' - 26), to_character);
    to_character = hn::IfThenElse(hn::Gt(six, hn::Set(kSigned, 51)), hn::Set(kSigned, '0' - 52), to_character);
    to_character = hn::IfThenElse(hn::Eq(six, hn::Set(kSigned, 62)), hn::Set(kSigned, '+' - 62), to_character);
    to_character = hn::IfThenElse(hn::Eq(six, hn::Set(kSigned, 63)), hn::Set(kSigned, '/' - 63), to_character);
    hn::StoreU(hn::BitCast(kBytes, hn::Add(six, to_character)), kBytes, text);
  }
  return done;
}

#endif  // HWY_TARGET == HWY_SCALAR
}  // namespace HWY_NAMESPACE
}  // namespace reembed
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reembed {
namespace {

HWY_EXPORT(DecodeVectors);
HWY_EXPORT(EncodeVectors);

// Three bytes from four characters of the alphabet.
bool DecodeGroup(const unsigned char* text, unsigned char* out) {
  const uint32_t a = base64::kValues[text[0]];
  const uint32_t b = base64::kValues[text[1]];
  const uint32_t c = base64::kValues[text[2]];
  const uint32_t d = base64::kValues[text[3]];
  if ((a | b | c | d) > 63) return false;
  const uint32_t all = a << 18 | b << 12 | c << 6 | d;
  out[0] = static_cast<unsigned char>(all >> 16);
  out[1] = static_cast<unsigned char>(all >> 8);
  out[2] = static_cast<unsigned char>(all);
  return true;
}

// The last group, which stands for one, two or three bytes. The bits that no byte takes must be zero: there is one
// text only for given bytes.
bool DecodeLastGroup(const unsigned char* text, unsigned char* out, size_t bytes) {
  unsigned char padded[4] = {text[0], text[1], 'A', 'A'};
  if (bytes >= 2) padded[2] = text[2];
  if (bytes == 3) padded[3] = text[3];
  for (size_t i = bytes + 1; i < 4; ++i) {
    if (text[i] != '=') return false;
  }
  unsigned char decoded[3];
  if (!DecodeGroup(padded, decoded)) return false;
  for (size_t i = bytes; i < 3; ++i) {
    if (decoded[i] != 0) return false;
  }
  std::memcpy(out, decoded, bytes);
  return true;
}

void EncodeGroup(const unsigned char* in, unsigned char* text) {
  const uint32_t all = static_cast<uint32_t>(in[0]) << 16 | static_cast<uint32_t>(in[1]) << 8 | in[2];
  for (int i = 0; i < 4; ++i) text[i] = base64::kAlphabet[all >> (18 - 6 * i) & 63];
}

}  // namespace

size_t DecodedBase64Size(absl::string_view text) {
  const size_t bytes = text.size() / 4 * 3;
  if (bytes == 0 || text.back() != '=') return bytes;
  return text[text.size() - 2] == '=' ? bytes - 2 : bytes - 1;
}

bool DecodeBase64(absl::string_view text, absl::Span<unsigned char> out) {
  if (text.size() % 4 != 0 || DecodedBase64Size(text) != out.size()) return false;
  if (text.empty()) return true;
  const auto* const characters = reinterpret_cast<const unsigned char*>(text.data());
  const size_t last_group = text.size() - 4;
  size_t done = HWY_DYNAMIC_DISPATCH(DecodeVectors)(characters, last_group, out.data(), out.size());
  if (done == SIZE_MAX) return false;
  for (; done < last_group; done += 4) {
    if (!DecodeGroup(characters + done, out.data() + done / 4 * 3)) return false;
  }
  const size_t decoded = last_group / 4 * 3;
  return DecodeLastGroup(characters + last_group, out.data() + decoded, out.size() - decoded);
}

void EncodeBase64(absl::Span<const unsigned char> bytes, std::string* out) {
  out->resize((bytes.size() + 2) / 3 * 4);
  auto* const text = reinterpret_cast<unsigned char*>(out->data());
  size_t done = HWY_DYNAMIC_DISPATCH(EncodeVectors)(bytes.data(), bytes.size(), text);
  for (; done + 3 <= bytes.size(); done += 3) EncodeGroup(bytes.data() + done, text + done / 3 * 4);
  const size_t rest = bytes.size() - done;
  if (rest == 0) return;
  unsigned char padded[3] = {};
  std::memcpy(padded, bytes.data() + done, rest);
  unsigned char* const last = text + done / 3 * 4;
  EncodeGroup(padded, last);
  for (size_t i = rest + 1; i < 4; ++i) last[i] = '=';
}

}  // namespace reembed
#endif  // HWY_ONCE
