// SPDX-License-Identifier: Apache-2.0
// Base64 against a decoder that goes bit by bit.
#include "engine/number/base64.h"

#include <string>
#include <vector>

#include "tests/fuzz/fuzz.h"

namespace {

int ValueOf(char c) {
  constexpr absl::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const size_t at = kAlphabet.find(c);
  return at == absl::string_view::npos ? -1 : static_cast<int>(at);
}

bool DecodeSlowly(absl::string_view text, std::string* out) {
  if (text.size() % 4 != 0) return false;
  size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
  text.remove_suffix(padding);
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const int value = ValueOf(c);
    if (value < 0) return false;
    bits = (bits << 6 | static_cast<uint32_t>(value)) & 0xffff;
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out->push_back(static_cast<char>(bits >> count));
    bits &= (1u << count) - 1;
  }
  return bits == 0;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  std::string slow;
  const bool good = DecodeSlowly(text, &slow);
  Saw(good ? "good" : "bad");
  std::vector<unsigned char> fast(DecodedBase64Size(text));
  Require(fast.size() <= size, "what is decoded is not longer than the text");
  Require(DecodeBase64(text, absl::MakeSpan(fast)) == good, "the fast decoder takes what the slow one takes");
  if (good) Require(std::string(fast.begin(), fast.end()) == slow, "both make the same of it");
  fast.resize(fast.size() + 1);
  Require(!DecodeBase64(text, absl::MakeSpan(fast)), "another length is refused");

  std::string encoded;
  EncodeBase64({data, size}, &encoded);
  fast.assign(DecodedBase64Size(encoded), 0);
  Require(DecodeBase64(encoded, absl::MakeSpan(fast)) && std::vector<unsigned char>(data, data + size) == fast,
          "what was encoded is decoded");
  return 0;
}
