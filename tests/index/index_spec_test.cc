// SPDX-License-Identifier: Apache-2.0
#include "index/index_spec.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<IndexSpec> Parse(const std::string& options) {
  const absl::StatusOr<Location> location = ParseLocation("faiss:a.index" + options);
  if (!location.ok()) return location.status();
  return ParseIndexSpec(*location);
}

TEST(IndexSpecTest, DefaultsToAGraphByCosine) {
  const absl::StatusOr<IndexSpec> spec = Parse("");
  ASSERT_THAT(spec, IsOk());
  EXPECT_EQ(spec->factory, "HNSW32");
  EXPECT_EQ(spec->metric, Metric::kCosine);
}

TEST(IndexSpecTest, ReadsEveryParameter) {
  const absl::StatusOr<IndexSpec> spec = Parse("?factory=IVF64,PQ8&metric=l2&train=5000&efConstruction=80");
  ASSERT_THAT(spec, IsOk());
  EXPECT_EQ(spec->factory, "IVF64,PQ8");
  EXPECT_EQ(spec->metric, Metric::kL2);
  EXPECT_EQ(spec->train_rows, 5000);
  EXPECT_EQ(spec->ef_construction, 80);
}

TEST(IndexSpecTest, ListsAloneHoldPlainVectors) {
  EXPECT_EQ(Parse("?factory=IVF")->factory, "IVF,Flat");
  EXPECT_EQ(Parse("?factory=IVFauto")->factory, "IVFauto,Flat");
  EXPECT_EQ(Parse("?factory=IVF100")->factory, "IVF100,Flat");
}

TEST(IndexSpecTest, RefusesWhatFaissCouldNotTake) {
  for (const char* const bad :
       {"", "HNSW1", "HNSW0", "HNSW999999999999", "IVF0,Flat", "IVF-3,Flat", "IVF99999999999,Flat", "IVF64M,Flat",
        "IDMap2,Flat", "Flat,IDMap", "IVF10(Index3),Flat", "IVF16_HNSW1,Flat", "Flat Flat"}) {
    EXPECT_THAT(Parse(std::string("?factory=") + bad),
                HasError(absl::StatusCode::kInvalidArgument, HasSubstr("HNSW32")))
        << bad;
  }
  EXPECT_THAT(Parse("?factory=" + std::string(1000, '(')), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("")));
}

TEST(IndexSpecTest, RefusesUnknownParametersMetricsAndNumbers) {
  EXPECT_THAT(Parse("?factroy=Flat"), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("`factory`")));
  EXPECT_THAT(Parse("?metric=dot"), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("cosine, ip or l2")));
  for (const char* const number : {"0", "-1", "x", "", "1e3"}) {
    EXPECT_THAT(Parse(std::string("?train=") + number),
                HasError(absl::StatusCode::kInvalidArgument, HasSubstr("expected train")));
  }
}

TEST(IndexSpecTest, ChoosesListsThatCanBeTrained) {
  EXPECT_EQ(ResolveFactory("IVF,Flat", 1'000'000, 1'000'000), "IVF4000,Flat");
  EXPECT_EQ(ResolveFactory("OPQ8,IVFauto,PQ8", 10'000, 10'000), "OPQ8,IVF256,PQ8");  // 10,000 / 39
  EXPECT_EQ(ResolveFactory("IVF,Flat", 1'000'000, 39'000), "IVF1000,Flat");
  EXPECT_EQ(ResolveFactory("IVF,Flat", 3, 3), "IVF1,Flat");
  EXPECT_EQ(ResolveFactory("IVF,Flat", 0, 0), "IVF1,Flat");
  EXPECT_EQ(ResolveFactory("HNSW32", 1000, 1000), "HNSW32");
}

TEST(IndexSpecTest, TrainsOnSixtyFourRowsPerCentroid) {
  EXPECT_EQ(TrainingRows("IVF1000,Flat"), 64'000);
  EXPECT_EQ(TrainingRows("IVF1k_HNSW32,Flat"), 64 * 1024);
  EXPECT_EQ(TrainingRows("IVF10,PQ8"), 64 * 256);
  EXPECT_EQ(TrainingRows("PQ8"), 64 * 256);
}

}  // namespace
}  // namespace reembed
