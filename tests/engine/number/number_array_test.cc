// SPDX-License-Identifier: Apache-2.0
#include "engine/number/number_array.h"

#include <bit>
#include <charconv>
#include <clocale>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <locale>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hwy/targets.h"

namespace reembed {
namespace {

using ::testing::ElementsAre;

std::vector<float> Parse(absl::string_view json) {
  std::vector<float> out(64, -7);
  const std::optional<int> count = ParseNumberArray(json, absl::MakeSpan(out));
  EXPECT_TRUE(count.has_value()) << json;
  out.resize(count.value_or(0));
  return out;
}

std::vector<float> ParseMany(absl::string_view json) {
  std::vector<float> out(2000, -7);
  out.resize(ParseNumberArray(json, absl::MakeSpan(out)).value_or(0));
  return out;
}

TEST(NumberArrayTest, ReadsEveryFormOfNumber) {
  EXPECT_THAT(Parse("[0, -0.5,1e2 , 2.5E-1,\n-3e+0, 12345678, 0.12345678]"),
              ElementsAre(0, -0.5f, 100, 0.25f, -3, 12345678, 0.12345678f));
  EXPECT_THAT(Parse(" [ ] "), ElementsAre());
  EXPECT_TRUE(std::signbit(Parse("[-0.0]").at(0)));
}

TEST(NumberArrayTest, CountsWhatDoesNotFit) {
  std::vector<float> out(2, -7);
  EXPECT_EQ(ParseNumberArray("[1,2,3,4]", absl::MakeSpan(out)), 4);
  EXPECT_THAT(out, ElementsAre(1, 2));
  EXPECT_EQ(ParseNumberArray("[0.1,0.2,0.3]", {}), 3);
}

TEST(NumberArrayTest, RefusesWhatIsNoNumber) {
  for (const char* bad :
       {"",     "[",   "]",     "[1",    "[1,",     "[1,]",   "[,1]",  "[1 2]", "[+1]",  "[.5]", "[1.]",    "[01]",
        "[1e]", "[-]", "[1e+]", "[0x1]", "[\"1\"]", "[true]", "[nul]", "[1]x",  "[[1]]", "{1}",  "[1.5.2]", "[--1]"}) {
    std::vector<float> out(4);
    EXPECT_EQ(ParseNumberArray(bad, absl::MakeSpan(out)), std::nullopt) << bad;
  }
}

TEST(NumberArrayTest, NotANumberIsReadAsSuch) {
  for (const char* bad : {"[null]", "[NaN]", "[-NaN]", "[Infinity]", "[-Infinity]", "[1e308]", "[1e999]", "[-1e999]"}) {
    EXPECT_FALSE(std::isfinite(Parse(bad).at(0))) << bad;
  }
  EXPECT_EQ(Parse("[1e-999]").at(0), 0);
}

// Digits beyond 19 overflow the fast way; the value must come out right all the same.
TEST(NumberArrayTest, ManyDigitsAreRight) {
  EXPECT_EQ(Parse("[18446744073709551616]").at(0), 18446744073709551616.0f);
  EXPECT_EQ(Parse("[184467440737095516160000000000000]").at(0), 1.8446744073709551616e32f);
  EXPECT_EQ(Parse(absl::StrCat("[0.", std::string(30, '0'), "123]")).at(0), 1.23e-31f);
  EXPECT_EQ(Parse(absl::StrCat("[1", std::string(500, '0'), "e-500]")).at(0), 1);
}

// Decimal texts of numbers, kind by kind: as servers print them, and where rounding is hard.
class NumberTexts {
 public:
  explicit NumberTexts(uint64_t seed) : random_(seed) {}

  std::string Next() {
    switch (random_() % 12) {
      case 0:
        return Shortest(AnyFloat());
      case 1:
        return Shortest(static_cast<double>(AnyFloat()));
      case 2:
        return Shortest(static_cast<double>(Coordinate()));
      case 3:
        return absl::StrFormat("%.9g", Coordinate());
      case 4:
        return absl::StrFormat("%.*f", static_cast<int>(1 + random_() % 26), Coordinate());
      case 5:
        return WithPoint(Digits(1 + random_() % 40)) + Exponent(60);
      case 6:
        return Sign() + "0." + std::string(random_() % 50, '0') + Digits(1 + random_() % 20);
      case 7:
        return Sign() + Digits(1 + random_() % 3) + "." + std::to_string(random_()) + Exponent(5);
      case 8:
        return Middle(Coordinate());
      case 9:
        return Middle(AnyFloat());
      case 10:  // denormal floats
        return random_() % 2 != 0 ? Middle(Denormal()) : Shortest(Denormal());
      default:  // as short as the fast way likes them, as close to the middle as 24 digits get
        return Close(Coordinate());
    }
  }

 private:
  static std::string Shortest(auto value) {
    char text[400];
    return {text, std::to_chars(text, text + sizeof(text), value).ptr};
  }
  float AnyFloat() {
    for (;;) {
      const auto value = std::bit_cast<float>(static_cast<uint32_t>(random_()));
      if (std::isfinite(value)) return value;
    }
  }
  float Denormal() { return std::bit_cast<float>(static_cast<uint32_t>(random_()) & 0x807FFFFFu); }
  float Coordinate() {
    return std::ldexp(static_cast<float>(static_cast<int32_t>(random_())), -31 - static_cast<int>(random_() % 12));
  }
  std::string Sign() { return random_() % 2 != 0 ? "-" : ""; }
  std::string Exponent(int greatest) {
    if (random_() % 2 != 0) return "";
    return absl::StrCat(random_() % 2 != 0 ? "e" : "E",
                        random_() % 2 != 0   ? "-"
                        : random_() % 2 != 0 ? "+"
                                             : "",
                        random_() % greatest);
  }
  // Without a leading zero.
  std::string Digits(size_t count) {
    std::string digits(1, static_cast<char>('1' + random_() % 9));
    while (digits.size() < count) digits.push_back(static_cast<char>('0' + random_() % 10));
    return digits;
  }
  std::string WithPoint(std::string digits) {
    if (digits.size() > 1 && random_() % 2 != 0) digits.insert(1 + random_() % (digits.size() - 1), ".");
    return digits;
  }
  // The exact text of the middle between two floats, or a number that is a little greater or less.
  std::string Middle(float value) {
    const float next = std::nextafter(value, 0.0f);
    const double middle = (static_cast<double>(value) + static_cast<double>(next)) / 2;
    std::string text = absl::StrFormat("%.*f", 160, middle);
    text.resize(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.push_back('0');
    if (random_() % 3 == 0) text += std::string(random_() % 20, '0') + "1";
    if (random_() % 3 == 0 && text.back() != '0' && text.back() != '.') --text.back();
    return text;
  }
  std::string Close(float value) {
    const float next = std::nextafter(value, 1.0f);
    const double middle = (static_cast<double>(value) + static_cast<double>(next)) / 2;
    return absl::StrFormat("%.*f", static_cast<int>(14 + random_() % 11), middle);
  }

  std::mt19937_64 random_;
};

// Every instruction set that this processor has, one by one; all of them again at the end.
class TargetChoice {
 public:
  ~TargetChoice() { Choose(0); }
  static void Choose(int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
  static std::vector<int64_t> All() {
    std::vector<int64_t> all;
    for (int64_t rest = hwy::SupportedTargets() & HWY_TARGETS; rest != 0; rest &= rest - 1) all.push_back(rest & -rest);
    return all;
  }
};

// REEMBED_NUMBERS=100000000 makes it long.
TEST(NumberArrayTest, ReadsEveryNumberAsStrtof) {
  const char* const wanted = std::getenv("REEMBED_NUMBERS");
  const int64_t numbers = wanted != nullptr ? std::atoll(wanted) : 1'000'000;
  const uint64_t seed = std::random_device()();
  NumberTexts texts(seed);
  const std::vector<int64_t> targets = TargetChoice::All();
  ASSERT_FALSE(targets.empty());
  std::printf("%lld numbers, seed %llu, %zu instruction sets\n", static_cast<long long>(numbers),
              static_cast<unsigned long long>(seed), targets.size());
  const TargetChoice restore;
  constexpr int kWidth = 1000;
  const char* const separators[] = {",", ", ", ",\n        ", " ,\t", ",\r\n  "};
  for (int64_t done = 0; done < numbers; done += kWidth) {
    const char* const separator = separators[done / kWidth % 5];
    std::vector<float> expected, out(kWidth);
    std::vector<std::string> written;
    std::string array = "[";
    for (int i = 0; i < kWidth; ++i) {
      written.push_back(texts.Next());
      absl::StrAppend(&array, i > 0 ? separator : "", written.back());
      expected.push_back(std::strtof(written.back().c_str(), nullptr));
    }
    array += "]";
    for (const int64_t target : targets) {
      TargetChoice::Choose(target);
      ASSERT_EQ(ParseNumberArray(array, absl::MakeSpan(out)), kWidth);
      for (int i = 0; i < kWidth; ++i) {
        ASSERT_EQ(std::bit_cast<uint32_t>(out[i]), std::bit_cast<uint32_t>(expected[i]))
            << written[i] << " with " << hwy::TargetName(target);
      }
    }
  }
}

// One damaged byte anywhere: what is still read has the numbers that are still there.
TEST(NumberArrayTest, DamageIsRefusedOrChangesOneNumber) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937_64 random(seed);
  std::string array = "[";
  for (int i = 0; i < 100; ++i) absl::StrAppend(&array, i > 0 ? ", " : "", absl::StrFormat("%.9g", std::sin(i)));
  array += "]";
  const std::vector<float> good = ParseMany(array);
  ASSERT_EQ(good.size(), 100u);
  for (int round = 0; round < 100'000; ++round) {
    std::string bad = array;
    const size_t at = random() % bad.size();
    bad[at] = random() % 2 != 0 ? "0123456789.-+eE, []\"\n"[random() % 22] : static_cast<char>(random());
    const std::unique_ptr<char[]> exact(new char[bad.size()]);  // so that a sanitizer sees reads past either end
    std::memcpy(exact.get(), bad.data(), bad.size());
    std::vector<float> out(101, -7);
    const std::optional<int> count = ParseNumberArray({exact.get(), bad.size()}, absl::MakeSpan(out));
    if (!count.has_value()) continue;
    ASSERT_GE(*count, 99) << bad;
    ASSERT_LE(*count, 101) << bad;
    int changed = 0;
    for (int i = 0; i < 99; ++i) {
      changed += *count == 100 && std::memcmp(&out[i], &good[i], sizeof(float)) != 0 ? 1 : 0;
    }
    ASSERT_LE(changed, 1) << bad;
  }
}

TEST(NumberArrayTest, IsTheSameInEveryLocale) {
  const std::string before = std::setlocale(LC_NUMERIC, nullptr);
  // Skipping silently would be no test: where no such locale is installed, the C++ one below has the comma all the
  // same.
  std::setlocale(LC_NUMERIC, "de_DE.UTF-8");
  struct Comma : std::numpunct<char> {
    char do_decimal_point() const override { return ','; }
  };
  const std::locale old = std::locale::global(std::locale(std::locale::classic(), new Comma));
  const std::vector<float> read = Parse("[0.5, 1.00000005960464477539062500001, 1e-50, 16777217]");
  std::locale::global(old);
  std::setlocale(LC_NUMERIC, before.c_str());
  EXPECT_THAT(read, ElementsAre(0.5f, 1.00000012f, 0, 16777216));
}

}  // namespace
}  // namespace reembed
