// SPDX-License-Identifier: Apache-2.0
#include "engine/output_form.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/narrow_sink.h"
#include "engine/number/small_float.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/batches.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

std::string Bytes(const OutputForm& form, const std::vector<float>& vector) {
  std::string bytes;
  EXPECT_THAT(AppendOutput(form, vector, &bytes), IsOk());
  return bytes;
}

std::vector<float> Back(const OutputForm& form, const std::string& bytes, size_t dim) {
  std::vector<float> vector(dim);
  DecodeOutput(form, bytes.data(), absl::MakeSpan(vector));
  return vector;
}

// Numbers of every size, from the smallest to `most`.
std::vector<float> AnyNumbers(float most, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<float> numbers = {0.0f, -0.0f, most, -most, std::numeric_limits<float>::denorm_min(), most / 3};
  while (numbers.size() < 100'000) {
    const float number = std::bit_cast<float>(static_cast<uint32_t>(random()));
    if (std::abs(number) <= most) numbers.push_back(number);
  }
  return numbers;
}

#ifdef __FLT16_MAX__
// The compiler's own half floats.
TEST(OutputFormTest, Float16IsWhatTheCompilerMakesOfIt) {
  constexpr uint64_t kSeed = 1;
  SCOPED_TRACE(absl::StrCat("seed ", kSeed));
  const std::vector<float> numbers = AnyNumbers(65504, kSeed);
  const OutputForm form{.type = OutputType::kFloat16};
  const std::string bytes = Bytes(form, numbers);
  ASSERT_THAT(bytes, SizeIs(2 * numbers.size()));
  const std::vector<float> back = Back(form, bytes, numbers.size());
  for (size_t i = 0; i < numbers.size(); ++i) {
    const auto half = static_cast<_Float16>(numbers[i]);
    ASSERT_EQ(std::memcmp(&half, bytes.data() + 2 * i, sizeof half), 0) << numbers[i];
    ASSERT_EQ(std::bit_cast<uint32_t>(back[i]), std::bit_cast<uint32_t>(static_cast<float>(half))) << numbers[i];
  }
}
#endif

// Of the two neighbours that have no lower half, the nearer; of two that are as near, the one that is even.
TEST(OutputFormTest, Bfloat16IsTheNearestOfItsNeighbours) {
  constexpr uint64_t kSeed = 2;
  SCOPED_TRACE(absl::StrCat("seed ", kSeed));
  std::vector<float> numbers = AnyNumbers(3e38f, kSeed);
  for (uint32_t i = 0; i < 1000; ++i) numbers.push_back(std::bit_cast<float>(0x3f800000 + (i << 15)));  // ties
  const OutputForm form{.type = OutputType::kBfloat16};
  const std::string bytes = Bytes(form, numbers);
  const std::vector<float> back = Back(form, bytes, numbers.size());
  for (size_t i = 0; i < numbers.size(); ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(numbers[i]);
    const uint32_t below = bits & 0xffff0000, above = below + 0x10000;  // by magnitude
    const double to_below = std::abs(static_cast<double>(numbers[i]) - std::bit_cast<float>(below));
    const double to_above = std::abs(static_cast<double>(std::bit_cast<float>(above)) - numbers[i]);
    const bool up = to_above < to_below || (to_above == to_below && (above >> 16) % 2 == 0);
    ASSERT_EQ(std::bit_cast<uint32_t>(back[i]), up ? above : below) << numbers[i];
    uint16_t stored;
    std::memcpy(&stored, bytes.data() + 2 * i, sizeof stored);
    ASSERT_EQ(stored, (up ? above : below) >> 16);
  }
}

TEST(OutputFormTest, Int8IsTheNearestMultipleOfItsScale) {
  constexpr uint64_t kSeed = 3;
  SCOPED_TRACE(absl::StrCat("seed ", kSeed));
  for (const double scale : {127.0, 500.0, 64.0}) {
    const std::vector<float> numbers = AnyNumbers(static_cast<float>(127 / scale), kSeed);
    const OutputForm form{.type = OutputType::kInt8, .scale = scale};
    const std::string bytes = Bytes(form, numbers);
    const std::vector<float> back = Back(form, bytes, numbers.size());
    for (size_t i = 0; i < numbers.size(); ++i) {
      const double exact = numbers[i] * scale;
      const int stored = static_cast<signed char>(bytes[i]);
      ASSERT_LE(std::abs(stored - exact), 0.5) << numbers[i];
      ASSERT_TRUE(std::abs(stored - exact) < 0.5 || stored % 2 == 0) << numbers[i];
      ASSERT_EQ(back[i], static_cast<float>(stored / scale));
    }
  }
  EXPECT_EQ(Bytes({.type = OutputType::kInt8, .scale = 64}, {1.5f / 64, 2.5f / 64, -1.5f / 64}), "\x02\x02\xfe");
}

// As numpy.packbits(x > 0) has them.
TEST(OutputFormTest, BinaryIsOneBitANumberTheFirstHighest) {
  const OutputForm form{.type = OutputType::kBinary};
  EXPECT_EQ(Bytes(form, {1, -1, 0.5f, 0, -0.0f, 1e-40f, -3, 2, /**/ 0, 0, 0, 0, 0, 0, 0, 9}),
            std::string("\xa5\x01", 2));
  EXPECT_THAT(Back(form, "\xa5", 8), ElementsAre(1, 0, 1, 0, 0, 1, 0, 1));
  EXPECT_THAT(CheckOutputWidth(OutputType::kBinary, 16), IsOk());
  EXPECT_THAT(CheckOutputWidth(OutputType::kBinary, 20),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("take dim=16")));
}

TEST(OutputFormTest, WhatAFormCannotHoldIsRefusedWhole) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (const OutputType type :
       {OutputType::kFloat16, OutputType::kBfloat16, OutputType::kInt8, OutputType::kBinary, OutputType::kFloat32}) {
    for (const float bad : {nan, infinity, -infinity}) {
      std::string bytes = "before";
      EXPECT_THAT(AppendOutput({.type = type}, {0.5f, bad}, &bytes),
                  HasError(absl::StatusCode::kInvalidArgument, HasSubstr("expected finite numbers")))
          << OutputTypeName(type);
      EXPECT_EQ(bytes, "before");
    }
  }
  std::string bytes;
  EXPECT_THAT(AppendOutput({.type = OutputType::kFloat16}, {65520.0f}, &bytes),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("up to 65504")));
  EXPECT_THAT(AppendOutput({.type = OutputType::kInt8}, {0.1f, 1.5f}, &bytes),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("unit length")));
  EXPECT_THAT(AppendOutput({.type = OutputType::kBfloat16}, {std::numeric_limits<float>::max()}, &bytes),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("bfloat16")));
  EXPECT_EQ(bytes, "");
}

TEST(OutputFormTest, RoundingIsStoringAndReadingBack) {
  const std::vector<float> vector = {0.1f, -0.7f, 0.3333f, 0.9f, 0, 1, -1, 0.01f};
  for (const OutputType type :
       {OutputType::kFloat32, OutputType::kFloat16, OutputType::kBfloat16, OutputType::kInt8, OutputType::kBinary}) {
    std::vector<float> rounded = vector;
    RoundLikeOutput({.type = type}, absl::MakeSpan(rounded));
    EXPECT_EQ(rounded, Back({.type = type}, Bytes({.type = type}, vector), 8)) << OutputTypeName(type);
    EXPECT_EQ(rounded == vector, type == OutputType::kFloat32) << OutputTypeName(type);
  }
}

TEST(OutputFormTest, AddressesSayTheForm) {
  const auto form = [](std::map<std::string, std::string> parameters) {
    return OutputFormOf({.scheme = "npy", .path = "a.npy", .parameters = std::move(parameters)});
  };
  ASSERT_THAT(form({}), IsOk());
  EXPECT_EQ(form({})->type, OutputType::kFloat32);
  EXPECT_EQ(form({{"type", "int8"}, {"scale", "300"}})->scale, 300);
  EXPECT_THAT(form({{"type", "int4"}}), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("type=int4")));
  EXPECT_THAT(form({{"scale", "3"}}), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("with type=int8")));
  for (const std::string bad : {"0", "-1", "nan", "inf", "x"}) {
    EXPECT_FALSE(form({{"type", "int8"}, {"scale", bad}}).ok()) << bad;
  }
  const Location narrow{.scheme = "npy", .path = "a.npy", .parameters = {{"dim", "256"}}};
  EXPECT_EQ(*OutputDim(narrow, 1536), 256);
  EXPECT_EQ(*OutputDim(narrow, 0), 256);
  EXPECT_EQ(*OutputDim({}, 1536), 1536);
  EXPECT_THAT(OutputDim(narrow, 128), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("expected 1 to 128")));
}

// A Matryoshka model's short vector: the beginning of the long one, of length 1.
TEST(OutputFormTest, ANarrowVectorIsTheBeginningOfLengthOne) {
  std::vector<float> narrow(2);
  ASSERT_THAT(NarrowVector({3, 4, 100}, absl::MakeSpan(narrow)), IsOk());
  EXPECT_THAT(narrow, ElementsAre(0.6f, 0.8f));
  std::vector<float> all(3);
  ASSERT_THAT(NarrowVector({3, 4, 100}, absl::MakeSpan(all)), IsOk());
  EXPECT_THAT(all, ElementsAre(3, 4, 100));
  EXPECT_THAT(NarrowVector({0, 0, 1}, absl::MakeSpan(narrow)),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("only zeros")));
}

// Keeps what it is given.
class KeepingSink final : public VectorSink {
 public:
  absl::StatusOr<bool> Prepare(const SinkContext& context) override { return context.model.dim == 2; }
  absl::StatusOr<int64_t> Open(const SinkContext& context, const SinkPosition& last) override {
    EXPECT_EQ(context.model.dim, 2);
    return last.position;
  }
  absl::Status Write(absl::Span<const Batch* const> batches, std::vector<RefusedRow>*) override {
    for (const Batch* const batch : batches) {
      EXPECT_EQ(batch->dim(), 2);
      for (const BatchRow& row : batch->rows()) {
        keys.push_back(Own(row.key));
        vectors.emplace_back();
        if (row.vector != nullptr) vectors.back().assign(row.vector, row.vector + 2);
      }
      ranges.push_back(batch->range());
    }
    return absl::OkStatus();
  }
  absl::Status Flush() override { return absl::OkStatus(); }
  absl::Status Complete() override { return absl::OkStatus(); }
  absl::Status Publish(const SinkContext& context) override {
    EXPECT_EQ(context.model.dim, 2);
    return absl::OkStatus();
  }

  std::vector<Key> keys;
  std::vector<std::vector<float>> vectors;
  std::vector<RowRange> ranges;
};

TEST(NarrowSinkTest, HandsOnTheBeginningOfEachVector) {
  auto keeping = std::make_unique<KeepingSink>();
  KeepingSink* const kept = keeping.get();
  const auto sink = MakeNarrowSink(std::move(keeping), "npy:a.npy", 3, 2);
  const SinkContext context{.model = {.name = "m", .dim = 3}};
  EXPECT_THAT(sink->Prepare(context), testing::Eq(absl::StatusOr<bool>(true)));
  EXPECT_THAT(sink->Open(context, {.position = 4}), testing::Eq(absl::StatusOr<int64_t>(4)));
  const auto batch =
      MakeBatch(10, {Key("a"), Key(int64_t{2}), Key("c"), Key("d")}, {3, 4, 9, 0, 0, 1, 0, -2, 5, 6, 8, 0}, 3);
  batch->rows()[3].vector = nullptr;
  batch->set_range({10, 14});
  const Batch* const batches[] = {batch.get()};
  std::vector<RefusedRow> refused;
  ASSERT_THAT(sink->Write(batches, &refused), IsOk());
  EXPECT_THAT(kept->keys, ElementsAre(Key("a"), Key(int64_t{2}), Key("c"), Key("d")));
  EXPECT_THAT(kept->vectors, ElementsAre(ElementsAre(0.6f, 0.8f), SizeIs(0), ElementsAre(0, -1), SizeIs(0)));
  EXPECT_THAT(kept->ranges, ElementsAre(RowRange{10, 14}));
  ASSERT_THAT(refused, SizeIs(1));
  EXPECT_EQ(refused[0].ordinal, 11);
  EXPECT_THAT(refused[0].reason, HasError(absl::StatusCode::kInvalidArgument, HasSubstr("npy:a.npy: row 2: ")));
  ASSERT_THAT(sink->Publish(context), IsOk());
  const auto wide = MakeBatch(20, {Key("e")}, {1, 2, 3, 4}, 4);
  const Batch* const others[] = {wide.get()};
  EXPECT_THAT(sink->Write(others, &refused), HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("of 4")));
}

}  // namespace
}  // namespace reembed
