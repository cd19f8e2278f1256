// SPDX-License-Identifier: Apache-2.0
#include "engine/number/base64.h"

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/simd_targets.h"

namespace reembed {
namespace {

using Bytes = std::vector<unsigned char>;

constexpr absl::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

Bytes RandomBytes(size_t size, std::mt19937_64& random) {
  Bytes bytes(size);
  for (unsigned char& byte : bytes) byte = static_cast<unsigned char>(random());
  return bytes;
}

// Three bytes at a time, by the text of RFC 4648.
std::string ReferenceText(const Bytes& bytes) {
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j) group = group << 8 | (i + j < bytes.size() ? bytes[i + j] : 0);
    for (size_t j = 0; j < 4; ++j) {
      text.push_back(i + j < bytes.size() + 1 ? kAlphabet[group >> (18 - 6 * j) & 63] : '=');
    }
  }
  return text;
}

// Decodes into exactly `size` bytes of their own, so that the address sanitizer sees a byte too many.
bool Decode(absl::string_view text, size_t size, Bytes* out) {
  out->assign(size, 0xEE);
  return DecodeBase64(text, absl::MakeSpan(*out));
}

TEST(Base64Test, KnowsTheExamplesOfTheRfc) {
  ForEachSimdTarget([] {
    for (const auto& [plain, text] : std::vector<std::pair<std::string, std::string>>{
             {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"foobar", "Zm9vYmFy"}}) {
      const Bytes bytes(plain.begin(), plain.end());
      std::string encoded;
      EncodeBase64(bytes, &encoded);
      EXPECT_EQ(encoded, text);
      Bytes decoded;
      EXPECT_TRUE(Decode(text, bytes.size(), &decoded)) << text;
      EXPECT_EQ(decoded, bytes);
    }
  });
}

TEST(Base64Test, RoundTripsEveryLength) {
  ForEachSimdTarget([] {
    constexpr uint64_t kSeed = 20240601;
    SCOPED_TRACE(kSeed);
    std::mt19937_64 random(kSeed);
    std::vector<size_t> sizes;
    for (size_t size = 0; size <= 400; ++size) sizes.push_back(size);
    for (const size_t size : {6143, 6144, 6145, 100001}) sizes.push_back(size);
    for (const size_t size : sizes) {
      const Bytes bytes = RandomBytes(size, random);
      std::string text = "left over";
      EncodeBase64(bytes, &text);
      ASSERT_EQ(text, ReferenceText(bytes)) << size;
      EXPECT_EQ(DecodedBase64Size(text), size);
      Bytes decoded;
      ASSERT_TRUE(Decode(text, size, &decoded)) << size;
      ASSERT_EQ(decoded, bytes) << size;
    }
  });
}

TEST(Base64Test, DecodesAtEveryAlignmentAndTouchesNothingBehind) {
  ForEachSimdTarget([] {
    std::mt19937_64 random(7);
    for (const size_t size : {1, 48, 96, 191, 200}) {
      const Bytes bytes = RandomBytes(size, random);
      const std::string text = ReferenceText(bytes);
      for (size_t from = 0; from < 64; ++from) {
        const std::string shifted = std::string(from, '#') + text;
        Bytes out(64 + size + 64, 0xEE);
        const size_t to = (from * 29) % 64;
        ASSERT_TRUE(DecodeBase64(absl::string_view(shifted).substr(from), absl::MakeSpan(out).subspan(to, size)));
        ASSERT_EQ(std::memcmp(out.data() + to, bytes.data(), size), 0) << size << " from " << from;
        ASSERT_THAT(Bytes(out.begin() + to + size, out.end()), testing::Each(0xEE)) << size << " from " << from;
        ASSERT_THAT(Bytes(out.begin(), out.begin() + to), testing::Each(0xEE)) << size << " from " << from;
      }
    }
  });
}

TEST(Base64Test, RefusesEveryForeignByteAtEveryPlace) {
  ForEachSimdTarget([] {
    std::mt19937_64 random(11);
    for (const size_t size : {3, 12, 99, 300}) {
      const std::string good = ReferenceText(RandomBytes(size, random));
      for (int byte = 0; byte < 256; ++byte) {
        const char c = static_cast<char>(byte);
        if (kAlphabet.find(c) != absl::string_view::npos) continue;
        for (size_t place = 0; place < good.size(); ++place) {
          std::string text = good;
          text[place] = c;
          Bytes out;
          ASSERT_FALSE(Decode(text, size, &out)) << "byte " << byte << " at " << place << " of " << good.size();
        }
      }
    }
  });
}

TEST(Base64Test, AcceptsEveryCharacterAtEveryPlace) {
  ForEachSimdTarget([] {
    for (size_t place = 0; place < 132; ++place) {
      for (const char c : kAlphabet) {
        std::string text(132, 'A');
        text[place] = c;
        Bytes out;
        ASSERT_TRUE(Decode(text, 99, &out)) << c << " at " << place;
        ASSERT_EQ(ReferenceText(out), text);
      }
    }
  });
}

TEST(Base64Test, RefusesWrongPadding) {
  ForEachSimdTarget([] {
    const std::string before(128, 'A');
    for (const char* const end : {"Zg=", "Zg", "Zg===", "=", "====", "Z===", "Zg=A", "=Zg=", "Zm8=Zm8=", "Zg==Zg=="}) {
      for (const std::string& text : {std::string(end), before + end}) {
        for (size_t size = 0; size < 110; ++size) {
          Bytes out;
          EXPECT_FALSE(Decode(text, size, &out)) << end << " into " << size;
        }
      }
    }
  });
}

TEST(Base64Test, RefusesBitsThatNoByteTakes) {
  Bytes out;
  EXPECT_TRUE(Decode("Zg==", 1, &out));
  EXPECT_FALSE(Decode("Zh==", 1, &out));
  EXPECT_TRUE(Decode("Zm8=", 2, &out));
  EXPECT_FALSE(Decode("Zm9=", 2, &out));
}

TEST(Base64Test, RefusesAnotherLengthThanAskedFor) {
  const std::string text = ReferenceText(Bytes(6144, 7));
  Bytes out;
  EXPECT_TRUE(Decode(text, 6144, &out));
  for (const size_t size : {0, 1, 6143, 6145, 6146, 6147, 12288}) EXPECT_FALSE(Decode(text, size, &out)) << size;
  EXPECT_FALSE(Decode("", 3, &out));
}

}  // namespace
}  // namespace reembed
