// SPDX-License-Identifier: Apache-2.0
#include "index/index_build.h"

#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexScalarQuantizer.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "index/index_eval.h"
#include "index/index_merge.h"
#include "index/index_reader.h"
#include "index/index_store.h"
#include "index/shard_set.h"
#include "tests/fakes/file_size_limit.h"
#include "tests/index/index_fixture.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;

class IndexBuildTest : public IndexTest {
 protected:
  IndexBuildTest() {
    options_.model = {.name = "test-model"};
    options_.built_from = "npy:rows.npy";
    options_.version = "9.9.9";
    options_.threads = 2;
  }

  absl::StatusOr<BuiltIndex> Build(const std::vector<float>& matrix, const std::string& factory) {
    MemoryReader reader(matrix, 16);
    absl::StatusOr<std::string> parsed = ParseFactory(factory);
    if (!parsed.ok()) return parsed.status();
    options_.spec.factory = *std::move(parsed);
    return BuildIndex(&reader, "rows.npy", path(), options_);
  }

  std::set<std::string> Files() const {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(path()).parent_path())) {
      names.insert(entry.path().filename());
    }
    return names;
  }

  double RecallOf(const std::vector<float>& matrix, const SearchOptions& search) const {
    const auto index = IndexReader::Open(path());
    EXPECT_THAT(index, IsOk());
    MemoryReader reader(matrix, 16);
    const auto rows =
        RowSet::Read(&reader, "rows", {.metric = options_.spec.metric}, [](int64_t) { return absl::OkStatus(); });
    EXPECT_THAT(rows, IsOk());
    const auto set = DrawEvalSet(*rows, {.metric = options_.spec.metric, .count = 100});
    EXPECT_THAT(set, IsOk());
    const auto point = Evaluate(index->get(), *set, search, &*rows);
    EXPECT_THAT(point, IsOk());
    return point->recall_at_10;
  }

  const std::vector<float> rows_ = ClusteredRows(3000, 16, 1);
  IndexBuildOptions options_;
};

TEST_F(IndexBuildTest, WhatIsBuiltSaysWhatItIs) {
  options_.spec.ef_construction = 60;
  options_.seed = 42;
  const auto built = Build(rows_, "HNSW16");
  ASSERT_THAT(built, IsOk());
  EXPECT_EQ(Files(), (std::set<std::string>{"a.index", "a.index.json"}));
  const auto index = IndexReader::Open(path());
  ASSERT_THAT(index, IsOk());
  const IndexDescription& d = (*index)->description();
  EXPECT_EQ(d.model.name, "test-model");
  EXPECT_EQ(d.model.dim, 16);
  EXPECT_EQ(d.rows, 3000);
  EXPECT_EQ(d.factory, "HNSW16");
  EXPECT_EQ(d.built_from, "npy:rows.npy");
  EXPECT_EQ(d.seed, 42);
  EXPECT_EQ(d.ef_construction, 60);
  EXPECT_EQ(d.reembed_version, "9.9.9");
  EXPECT_NE(d.fingerprint, 0u);
  EXPECT_EQ((*index)->kind(), "IDMap2, HNSW16, Flat");
  EXPECT_GT(RecallOf(rows_, {.ef_search = 128}), 0.95);
}

TEST_F(IndexBuildTest, EveryKindFindsWhatItShould) {
  for (const auto& [factory, least] :
       {std::pair("Flat", 0.9999), std::pair("HNSW16", 0.95), std::pair("IVF32,Flat", 0.9), std::pair("IVF,SQ8", 0.85),
        std::pair("IVF32,PQ8x4fs", 0.3), std::pair("IVF32,PQ8x4fs,RFlat", 0.85), std::pair("HNSW16_SQ8", 0.85)}) {
    std::filesystem::remove(path());
    ASSERT_THAT(Build(rows_, factory), IsOk()) << factory;
    EXPECT_GT(RecallOf(rows_, {.nprobe = 16, .ef_search = 128}), least) << factory;
  }
}

TEST_F(IndexBuildTest, TheSameRowsAndSeedMakeTheSameIvf) {
  ASSERT_THAT(Build(rows_, "IVF32,Flat"), IsOk());
  const std::string first = ReadFile(path());
  ASSERT_THAT(Build(rows_, "IVF32,Flat"), IsOk());
  EXPECT_TRUE(ReadFile(path()) == first);
  options_.seed = 99;
  ASSERT_THAT(Build(rows_, "IVF32,Flat"), IsOk());
  EXPECT_TRUE(ReadFile(path()) != first) << "another sample and other first centroids";
}

TEST_F(IndexBuildTest, DeterministicListsAreTheSameForAllThreadsAndInstructions) {
  options_.deterministic = true;
  const std::vector<std::pair<std::string, Metric>> kinds = {{"IVF32,Flat", Metric::kCosine},
                                                             {"IVF32,SQ8", Metric::kInnerProduct},
                                                             {"IVF16,PQ4x4", Metric::kL2},
                                                             {"IVF16,PQ4x4fs", Metric::kCosine},
                                                             {"IVF4,PQ1x4", Metric::kL2}};
  for (const auto& [factory, metric] : kinds) {
    options_.spec.metric = metric;
    std::string first;
    for (const GraphSimd simd : AvailableGraphSimds()) {
      if (simd == GraphSimd::kAvx512Bf16) continue;
      for (const int threads : {1, 2, 7}) {
        if (simd != GraphSimd::kPortable && threads > 1) continue;
        options_.simd = simd;
        options_.threads = threads;
        ASSERT_THAT(Build(rows_, factory), IsOk());
        if (first.empty()) first = ReadFile(path());
        EXPECT_TRUE(ReadFile(path()) == first) << factory << " " << GraphSimdName(simd) << " " << threads;
        for (const std::string& file : Files()) std::filesystem::remove(path(file));
      }
    }
    EXPECT_GT(first.size(), 1000u);
  }
  options_.deterministic = true;
  options_.simd = GraphSimd::kAvx512Bf16;
  EXPECT_THAT(Build(rows_, "IVF32,Flat"), HasError(absl::StatusCode::kInvalidArgument, testing::_));
}

// The kernels find the lists that FAISS finds, but where two centroids are as near.
TEST_F(IndexBuildTest, DeterministicListsFindAsMuch) {
  ASSERT_THAT(Build(rows_, "IVF32,Flat"), IsOk());
  const double usual = RecallOf(rows_, {.nprobe = 4});
  options_.deterministic = true;
  ASSERT_THAT(Build(rows_, "IVF32,Flat"), IsOk());
  EXPECT_NEAR(RecallOf(rows_, {.nprobe = 4}), usual, 0.02);
}

// Rows that are sorted, as a table of topics is: the first of them say nothing of the others.
TEST_F(IndexBuildTest, TrainingSeesRowsOfTheWholeSet) {
  std::vector<float> matrix = ClusteredRows(20000, 16, 5);
  for (int64_t i = 0; i < 20000; ++i) matrix[i * 16] = static_cast<float>(i) / 100;
  options_.spec.metric = Metric::kL2;
  const auto built = Build(matrix, "IVF64,Flat");
  ASSERT_THAT(built, IsOk());
  EXPECT_EQ(built->description.trained_rows, 64 * 64);
  const auto index = IndexStore(path()).Load(built->description);
  ASSERT_THAT(index, IsOk());
  const auto& ivf = dynamic_cast<const faiss::IndexIVF&>(*static_cast<faiss::IndexIDMap2&>(**index).index);
  // Trained on the first rows, a few lists would have most of the others.
  EXPECT_LT(ivf.invlists->imbalance_factor(), 2);
}

// Where each row has a list of its own, a narrow search finds nothing but the row that was asked for.
TEST_F(IndexBuildTest, ARowIsNotItsOwnAnswer) {
  std::vector<float> matrix(16 * 16);
  for (int i = 0; i < 16; ++i) matrix[i * 16 + i] = 1;
  ASSERT_THAT(Build(matrix, "IVF16,Flat"), IsOk());
  EXPECT_EQ(RecallOf(matrix, {.nprobe = 1}), 0);
  EXPECT_EQ(RecallOf(matrix, {.nprobe = 16}), 1);
}

TEST_F(IndexBuildTest, AnOldIndexIsKept) {
  ASSERT_THAT(Build(rows_, "Flat"), IsOk());
  const std::string old = ReadFile(path());
  ASSERT_THAT(Build(ClusteredRows(100, 16, 9), "Flat"), IsOk());
  EXPECT_TRUE(ReadFile(path("a.index.previous")) == old);
  EXPECT_THAT(IndexReader::Open(path("a.index.previous")), IsOk());
}

TEST_F(IndexBuildTest, MistakesAreSaidBeforeAnythingIsRead) {
  EXPECT_THAT(Build(rows_, "HNSW32,,"), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("index factory")));
  EXPECT_THAT(Build(rows_, "NONSENSE"), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("NONSENSE")));
  EXPECT_THAT(Build(rows_, "IVF16,PQ7"), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("PQ7")))
      << "16 numbers are not divided into 7";
  EXPECT_THAT(Build(rows_, "PCA32,Flat"),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("at most 16 numbers, got one to 32")));
  EXPECT_THAT(Build(ClusteredRows(9, 16, 1), "PCAR10,Flat"),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("at least 10 rows to train PCAR10,Flat, got 9")));
  EXPECT_THAT(Build(rows_, "IVF4000,Flat"), HasError(absl::StatusCode::kInvalidArgument,
                                                     HasSubstr("at least 4000 rows to train IVF4000,Flat, got 3000")));
  EXPECT_TRUE(Files().empty());
}

TEST_F(IndexBuildTest, AFullDiskLeavesTheOldIndex) {
  ASSERT_THAT(Build(rows_, "Flat"), IsOk());
  const std::string old = ReadFile(path());
  for (const rlim_t bytes : {100'000, 200'000}) {
    const FileSizeLimit limit(bytes);  // rows of 192,000 bytes: while they are read, and while the index is saved
    EXPECT_THAT(Build(rows_, "HNSW16"), HasError(absl::StatusCode::kResourceExhausted, testing::_));
    EXPECT_TRUE(ReadFile(path()) == old);
    EXPECT_THAT(IndexReader::Open(path()), IsOk());
  }
}

// A build that dies while it saves leaves its stage; here the last rename cannot be done.
class ResumedBuildTest : public IndexBuildTest, public testing::WithParamInterface<const char*> {};

TEST_P(ResumedBuildTest, WhatWasDoneIsNotDoneAgain) {
  options_.keep_every = absl::ZeroDuration();
  // Five steps of rows.
  const std::vector<float> matrix = ClusteredRows(5000, 16, 3);
  options_.rows_per_step = 1000;
  ASSERT_THAT(Build(matrix, GetParam()), IsOk());
  const std::string whole = ReadFile(path());
  std::filesystem::remove(path());
  std::filesystem::remove(path("a.index.json"));
  {
    int64_t added = 0;
    options_.stopped = [&added] { return ++added > 3; };
    EXPECT_THAT(Build(matrix, GetParam()), HasError(absl::StatusCode::kCancelled, testing::_));
  }
  EXPECT_TRUE(Files().contains("a.index.partial.stage-3000"));
  options_.stopped = nullptr;
  const auto built = Build(matrix, GetParam());
  ASSERT_THAT(built, IsOk());
  EXPECT_EQ(built->resumed_rows, 3000);
  EXPECT_EQ(Files(), (std::set<std::string>{"a.index", "a.index.json"}));
  EXPECT_GT(RecallOf(matrix, {.nprobe = 8, .ef_search = 128}), 0.9);
  if (std::string(GetParam()).substr(0, 4) != "HNSW") {
    EXPECT_TRUE(ReadFile(path()) == whole);
  }
}

INSTANTIATE_TEST_SUITE_P(Factories, ResumedBuildTest, testing::Values("Flat", "HNSW16", "IVF16,Flat"),
                         [](const auto& info) {
                           return std::string(info.param).substr(0, std::string(info.param).find(','));
                         });

TEST_F(IndexBuildTest, AStageOfOtherRowsOrOptionsIsNotGoneOnWith) {
  options_.rows_per_step = 1000;
  options_.keep_every = absl::ZeroDuration();
  const auto stop_after_one = [this] {
    int64_t added = 0;
    options_.stopped = [added]() mutable { return ++added > 1; };
    EXPECT_THAT(Build(rows_, "IVF16,Flat"), HasError(absl::StatusCode::kCancelled, testing::_));
    options_.stopped = nullptr;
  };
  stop_after_one();
  auto built = Build(ClusteredRows(3000, 16, 2), "IVF16,Flat");
  ASSERT_THAT(built, IsOk());
  EXPECT_EQ(built->resumed_rows, 0);
  stop_after_one();
  options_.seed = 5;
  built = Build(rows_, "IVF16,Flat");
  ASSERT_THAT(built, IsOk());
  EXPECT_EQ(built->resumed_rows, 0);
  stop_after_one();
  std::string stage = ReadFile(path("a.index.partial.stage-1000"));
  stage[stage.size() / 2] ^= 1;
  WriteFile(path("a.index.partial.stage-1000"), stage);
  built = Build(rows_, "IVF16,Flat");
  ASSERT_THAT(built, IsOk());
  EXPECT_EQ(built->resumed_rows, 0) << "it is damaged";
  EXPECT_EQ(Files().count("a.index.partial.stage.json"), 0u);
}

class PartsTest : public IndexBuildTest, public testing::WithParamInterface<const char*> {
 public:
  static std::string NameOf(const testing::TestParamInfo<const char*>& info) { return absl::StrCat("Of", info.index); }

 protected:
  // Enough for the fixed part, and for some thousand rows of those there are.
  int64_t Memory(const std::vector<float>& matrix) {
    options_.memory = 1;
    options_.spec.train_rows = 2048;  // or the sample would take more than the rows
    const absl::Status refused = Build(matrix, GetParam()).status();
    EXPECT_THAT(refused, HasError(absl::StatusCode::kInvalidArgument, HasSubstr("the smallest that can is")));
    EXPECT_TRUE(Files().empty()) << "it is said before anything is written";
    const absl::string_view words = refused.message();
    int64_t mib = 0;
    EXPECT_TRUE(
        absl::SimpleAtoi(words.substr(words.rfind("is ") + 3, words.rfind(" MiB") - words.rfind("is ") - 3), &mib))
        << words;
    return mib << 20;
  }

  // Builds at once and then within the least memory, which stays; of the ten nearest to some rows, the share that is as
  // near in both.
  double ShareAlike(const std::vector<float>& matrix) {
    const int64_t memory = Memory(matrix);
    options_.memory = 0;
    EXPECT_THAT(Build(matrix, GetParam()), IsOk());
    const auto at_once = IndexReader::Open(path());
    options_.memory = memory;
    const auto built = Build(matrix, GetParam());
    const auto cut = IndexReader::Open(path());
    EXPECT_THAT(at_once, IsOk());
    EXPECT_THAT(built, IsOk());
    EXPECT_THAT(cut, IsOk());
    if (!at_once.ok() || !built.ok() || !cut.ok()) return 0;
    built_bytes_ = built->bytes;
    for (const std::string& file : Files()) EXPECT_THAT(file, testing::Not(HasSubstr("partial")));
    int64_t same = 0, asked = 0;
    for (int64_t row = 0; row < 30000; row += 997) {
      const auto query = absl::MakeConstSpan(matrix).subspan(row * 16, 16);
      const auto expected = (*at_once)->Search(query, 10, {.nprobe = 8, .ef_search = 400});
      const auto found = (*cut)->Search(query, 10, {.nprobe = 8, .ef_search = 400});
      EXPECT_THAT(expected, IsOk());
      EXPECT_THAT(found, IsOk());
      if (!expected.ok() || !found.ok()) return 0;
      EXPECT_EQ(found->size(), expected->size());
      for (size_t i = 0; i < std::min(found->size(), expected->size()); ++i) {
        ++asked;
        same += (*found)[i].score == (*expected)[i].score ? 1 : 0;
        EXPECT_TRUE(i == 0 || (*found)[i - 1].score >= (*found)[i].score) << row;
      }
    }
    return static_cast<double>(same) / static_cast<double>(asked);
  }

  // A build within the least memory that is stopped and then gone on with leaves what one that was not stopped does.
  void GoesOnBehind(std::function<bool()> stopped) {
    const std::vector<float> matrix = ClusteredRows(30000, 16, 3);
    options_.memory = Memory(matrix);
    ASSERT_THAT(Build(matrix, GetParam()), IsOk());
    std::map<std::string, std::string> whole;
    for (const std::string& file : Files()) {
      if (!absl::EndsWith(file, ".json")) whole[file] = ReadFile(path(file));
      std::filesystem::remove(path(file));
    }
    options_.stopped = std::move(stopped);
    EXPECT_THAT(Build(matrix, GetParam()), HasError(absl::StatusCode::kCancelled, testing::_));
    options_.stopped = nullptr;
    const auto built = Build(matrix, GetParam());
    ASSERT_THAT(built, IsOk());
    EXPECT_GT(built->resumed_rows, 0);
    EXPECT_LT(built->resumed_rows, 30000);
    for (const auto& [file, bytes] : whole) EXPECT_TRUE(ReadFile(path(file)) == bytes) << file;
  }

  int64_t built_bytes_ = 0;  // as ShareAlike() was told
};

TEST_P(PartsTest, AnIndexInPartsFindsWhatOneAtOnceFinds) {
  EXPECT_EQ(ShareAlike(ClusteredRows(30000, 16, 3)), 1);
  const auto in_parts = IndexReader::Open(path());
  ASSERT_THAT(in_parts, IsOk());
  EXPECT_TRUE((*in_parts)->description().is_mapped);
  EXPECT_EQ((*in_parts)->description().rows, 30000);
}

TEST_P(PartsTest, PartsThatAreThereAreNotBuiltAgain) {
  options_.rows_per_step = 1000;
  int64_t steps = 0;
  GoesOnBehind([&steps] { return ++steps > 28; });
}

INSTANTIATE_TEST_SUITE_P(Factories, PartsTest, testing::Values("IVF32,Flat", "IVF32,SQ8", "IVF32,SQfp16"),
                         PartsTest::NameOf);

// What cannot be put together stays a set of shards.
class ShardsTest : public PartsTest {
 protected:
  std::vector<std::string> ShardFiles() const {
    std::vector<std::string> names;
    for (const std::string& file : Files()) {
      if (absl::StrContains(file, ".shard-")) names.push_back(file);
    }
    return names;
  }
};

TEST_P(ShardsTest, OneSearchFindsWhatOneIndexFinds) {
  const double alike = ShareAlike(ClusteredRows(30000, 16, 3));
  const auto set = IndexReader::Open(path());
  ASSERT_THAT(set, IsOk());
  // A graph of fewer rows finds more, so only one that looks at everything finds the same.
  EXPECT_GT(alike, (*set)->breadth().is_graph ? 0.98 : 0.9999);
  EXPECT_EQ((*set)->shards(), static_cast<int64_t>(ShardFiles().size()));
  EXPECT_EQ((*set)->description().shards, (*set)->shards());
  EXPECT_GT((*set)->shards(), 1);
  EXPECT_EQ((*set)->description().rows, 30000);
  EXPECT_THAT((*set)->kind(), HasSubstr("shards of IDMap2"));
  int64_t bytes = static_cast<int64_t>(ReadFile(path()).size());
  for (const std::string& file : ShardFiles()) bytes += static_cast<int64_t>(ReadFile(path(file)).size());
  EXPECT_EQ(built_bytes_, bytes);
  const auto weighed = IndexBytes(path(), (*set)->description());
  ASSERT_THAT(weighed, IsOk());
  EXPECT_EQ(*weighed, bytes);
}

TEST_P(ShardsTest, ShardsThatAreThereAreNotBuiltAgain) {
  options_.deterministic = true;
  GoesOnBehind([this] { return Files().contains("a.index.partial.part-1.json"); });
}

TEST_P(ShardsTest, AHostileOrDamagedSetIsRefused) {
  const std::vector<float> matrix = ClusteredRows(30000, 16, 3);
  options_.memory = Memory(matrix);
  ASSERT_THAT(Build(matrix, GetParam()), IsOk());
  const IndexStore store(path());
  ASSERT_THAT(store.CheckFinished(), IsOk());
  const std::string last = ShardFiles().back();
  const std::string bytes = ReadFile(path(last));
  std::string changed = bytes;
  changed[changed.size() / 2] ^= 4;
  for (const std::string& bad : {bytes.substr(0, bytes.size() / 2), changed, std::string()}) {
    WriteFile(path(last), bad);
    EXPECT_THAT(store.CheckFinished(), HasError(absl::StatusCode::kDataLoss, HasSubstr(last)));
    // It is opened by its first shard; all the others are read when they are asked.
    const auto set = IndexReader::Open(path());
    const absl::Status found =
        set.ok() ? (*set)->Search(absl::MakeConstSpan(matrix).first(16), 5, {}).status() : set.status();
    EXPECT_THAT(found, HasError(absl::StatusCode::kDataLoss, HasSubstr(last)));
  }
  std::filesystem::remove(path(last));
  EXPECT_THAT(store.CheckFinished(), HasError(absl::StatusCode::kNotFound, HasSubstr(last)));
  WriteFile(path(last), bytes);
  ASSERT_THAT(store.CheckFinished(), IsOk());
  WriteFile(path(), ReadFile(path()) + "\n");
  EXPECT_THAT(IndexReader::Open(path()), HasError(absl::StatusCode::kDataLoss, HasSubstr("a.index")));
}

INSTANTIATE_TEST_SUITE_P(Factories, ShardsTest, testing::Values("Flat", "HNSW16", "IVF32,PQ4x4fs", "HNSW16_SQ8"),
                         PartsTest::NameOf);

TEST_F(IndexBuildTest, ASetGivesItsRowsBackAndIsMerged) {
  const std::vector<float> matrix = ClusteredRows(20000, 16, 3);
  // As much as a first refusal says, and a half more.
  options_.memory = 64 << 20;
  ASSERT_FALSE(Build(matrix, "Flat").ok());
  options_.memory = 66 << 20;
  ASSERT_THAT(Build(matrix, "Flat"), IsOk());
  const auto set = IndexReader::Open(path());
  ASSERT_THAT(set, IsOk());
  ASSERT_GT((*set)->shards(), 1);
  const auto plain = RowSet::Read(set->get(), "set", {}, [](int64_t) { return absl::OkStatus(); });
  ASSERT_THAT(plain, IsOk());
  ASSERT_EQ(plain->rows(), 20000);
  for (int64_t row = 0; row < 20000; ++row) ASSERT_EQ(plain->ids()[row], row);
  for (const int64_t key : {int64_t{19999}, int64_t{0}, int64_t{10000}, int64_t{1}}) {
    const auto found = (*set)->Find(key);
    ASSERT_THAT(found, IsOk());
    ASSERT_TRUE(found->has_value()) << key;
    const auto expected = plain->vector(key);
    EXPECT_EQ(std::vector<float>((*found)->vector.begin(), (*found)->vector.end()),
              std::vector<float>(expected.begin(), expected.end()));
  }
  EXPECT_FALSE((*(*set)->Find(int64_t{20000})).has_value());
  options_.memory = 0;
  options_.spec.factory = "";
  const auto merged = MergeIndexes({path()}, path("one.index"), options_);
  ASSERT_THAT(merged, IsOk());
  EXPECT_EQ(merged->description.shards, 0);
  EXPECT_EQ(merged->description.rows, 20000);
}

TEST_F(IndexBuildTest, AListOfShardsStaysInItsFolder) {
  for (const std::string& name :
       {std::string("../x"), std::string("a/b"), std::string(".."), std::string(), std::string("a\0b", 3)}) {
    const auto mark = WriteWholeFile(path(), ShardLines({{IndexShard{.file = name, .rows = 3}}}));
    ASSERT_THAT(mark, IsOk());
    EXPECT_THAT(ReadShards(path(), *mark, 3), HasError(absl::StatusCode::kDataLoss, HasSubstr("line 1"))) << name;
  }
  const std::vector<IndexShard> shards = {{.file = "one", .rows = 2}, {.file = "two", .rows = INT64_MAX}};
  const auto mark = WriteWholeFile(path(), ShardLines(shards));
  ASSERT_THAT(mark, IsOk());
  EXPECT_THAT(ReadShards(path(), *mark, 3), HasError(absl::StatusCode::kDataLoss, HasSubstr("line 2")));
  EXPECT_THAT(ReadShards(path(), *mark, 2), HasError(absl::StatusCode::kDataLoss, HasSubstr("line 2")));
  const std::vector<IndexShard> good = {{.file = "one", .rows = 2}, {.file = "two", .rows = 1}};
  const auto written = WriteWholeFile(path(), ShardLines(good));
  ASSERT_THAT(written, IsOk());
  EXPECT_EQ(*ReadShards(path(), *written, 3), good);
  EXPECT_THAT(ReadShards(path(), *written, 4), HasError(absl::StatusCode::kDataLoss, HasSubstr("expected shards")));
}

TEST_F(IndexBuildTest, AGraphThatDoesNotFitIsRefusedWithWhatItTakes) {
  options_.memory = 64 << 20;
  EXPECT_THAT(Build(rows_, "HNSW16"),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("the smallest that can is")));
  EXPECT_TRUE(Files().empty());
}

// Codes of a few bytes a row do not say what the sample takes that they are trained on.
TEST_F(IndexBuildTest, AMemoryThatTrainingDoesNotFitIntoIsRefused) {
  options_.spec.train_rows = 1 << 20;
  options_.memory = int64_t{66} << 20;  // without it, 65 MiB and some
  const std::vector<float> matrix = ClusteredRows(30000, 16, 3);
  EXPECT_THAT(Build(matrix, "IVF32,PQ4x4fs"),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("the smallest that can is 67 MiB")));
  EXPECT_TRUE(Files().empty());
  options_.spec.train_rows = 2048;
  EXPECT_THAT(Build(matrix, "IVF32,PQ4x4fs"), IsOk());
}

TEST_F(IndexBuildTest, AWishIsKeptAndBecomesTheSearchOfTheIndex) {
  const std::vector<float> matrix = ClusteredRows(8000, 16, 3);
  options_.wish = {.recall = 0.9};
  options_.queries = 300;
  const auto built = Build(matrix, "Flat");
  ASSERT_THAT(built, IsOk());
  const IndexDescription& d = built->description;
  EXPECT_EQ(d.factory, "HNSW32");
  EXPECT_GT(d.ef_search, 0);
  EXPECT_GE(d.recall_at_10, 0.9);
  EXPECT_EQ(d.recall_queries, 300);
  EXPECT_GE(RecallOf(matrix, {}), 0.87) << "other queries, and the search of its description";
}

TEST_F(IndexBuildTest, AWishThatNoMemoryCanKeepIsRefusedBefore) {
  options_.wish = {.memory = 100000, .recall = 0.95};
  EXPECT_THAT(Build(rows_, "Flat"),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("the smallest index that can takes")));
  EXPECT_TRUE(Files().empty());
  options_.wish = {.recall = 0.9999, .latency_ms = 1e-9};
  EXPECT_THAT(Build(rows_, "Flat"), HasError(absl::StatusCode::kFailedPrecondition,
                                             AllOf(HasSubstr("none of the recipes"), HasSubstr(" of it sure"))));
  EXPECT_TRUE(Files().empty());
}

class MergeTest : public IndexBuildTest {
 protected:
  void BuildPart(const std::string& name, const std::vector<float>& matrix, int64_t first_key,
                 const std::string& factory) {
    MemoryReader reader(matrix, 16, first_key);
    options_.spec.factory = factory;
    ASSERT_THAT(BuildIndex(&reader, "rows", path(name), options_), IsOk());
  }
  absl::StatusOr<BuiltIndex> Merge(const std::vector<std::string>& names) {
    std::vector<std::string> paths;
    for (const std::string& name : names) paths.push_back(path(name));
    options_.spec.factory = "";
    return MergeIndexes(paths, path(), options_);
  }
  const std::vector<float> more_ = ClusteredRows(2000, 16, 8);
};

TEST_F(MergeTest, ExactIndexesBecomeOneWithTheRowsOfAll) {
  for (const std::string factory : {"Flat", "HNSW16", "IVF16,Flat"}) {
    BuildPart("1.index", rows_, 0, factory);
    BuildPart("2.index", more_, 10000, factory);
    const auto merged = Merge({"1.index", "2.index"});
    ASSERT_THAT(merged, IsOk());
    EXPECT_EQ(merged->description.rows, 5000);
    EXPECT_EQ(merged->description.factory, factory);
    const auto index = IndexReader::Open(path());
    ASSERT_THAT(index, IsOk());
    const auto hits = (*index)->Search(absl::MakeConstSpan(more_).first(16), 1, {.nprobe = 16});
    ASSERT_THAT(hits, IsOk());
    EXPECT_EQ(std::get<int64_t>((*hits)[0].key), 10000);
  }
}

TEST_F(MergeTest, CodesArePutTogetherOnlyWhereTheyMeanTheSame) {
  BuildPart("1.index", rows_, 0, "IVF16,SQ8");
  BuildPart("same.index", rows_, 5000, "IVF16,SQ8");
  BuildPart("other.index", more_, 20000, "IVF16,SQ8");
  EXPECT_THAT(Merge({"1.index", "other.index"}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("other.index: was not trained like")));
  const auto merged = Merge({"1.index", "same.index"});
  ASSERT_THAT(merged, IsOk());
  EXPECT_EQ(merged->description.rows, 6000);
  const auto index = IndexReader::Open(path());
  ASSERT_THAT(index, IsOk());
  const auto hits = (*index)->Search(absl::MakeConstSpan(rows_).first(16), 2, {.nprobe = 16});
  ASSERT_THAT(hits, IsOk());
  EXPECT_EQ((*hits)[0].score, (*hits)[1].score) << "the same row is in both";
  EXPECT_EQ(std::abs(std::get<int64_t>((*hits)[0].key) - std::get<int64_t>((*hits)[1].key)), 5000);
}

TEST_F(MergeTest, WhatDoesNotBelongTogetherIsRefusedByName) {
  BuildPart("1.index", rows_, 0, "Flat");
  BuildPart("2.index", more_, 10, "Flat");
  EXPECT_THAT(Merge({"1.index", "2.index"}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("row 10: an earlier row has this key")));
  options_.model.name = "another-model";
  BuildPart("3.index", more_, 10000, "Flat");
  EXPECT_THAT(Merge({"1.index", "3.index"}),
              HasError(absl::StatusCode::kFailedPrecondition,
                       testing::AllOf(HasSubstr("test-model"), HasSubstr("another-model"))));
  EXPECT_FALSE(std::filesystem::exists(path()));
}

class ForeignIndexTest : public IndexBuildTest {};

TEST_F(ForeignIndexTest, AFileWithoutADescriptionIsSearchedAndNothingVouchesForIt) {
  for (const std::string factory : {"Flat", "HNSW16", "IVF16,Flat", "IVF16,PQ4x4"}) {
    std::filesystem::remove(path());
    ASSERT_THAT(Build(rows_, factory), IsOk());
    std::filesystem::remove(path("a.index.json"));
    EXPECT_THAT(IndexReader::Open(path()), HasError(absl::StatusCode::kNotFound, HasSubstr("a.index")));
    const auto index = IndexReader::OpenAny(path());
    ASSERT_THAT(index, IsOk()) << factory;
    EXPECT_FALSE((*index)->has_description());
    EXPECT_EQ((*index)->rows(), 3000);
    std::vector<float> query(rows_.begin() + 160, rows_.begin() + 176);
    const auto hits = (*index)->Search(query, 5, {.nprobe = 16});
    ASSERT_THAT(hits, IsOk());
    EXPECT_THAT(*hits, testing::Contains(testing::Field(&Hit::key, Key(int64_t{10})))) << factory;
    const std::string whole = ReadFile(path());
    for (const size_t size : {size_t{0}, size_t{3}, size_t{50}, whole.size() / 2, whole.size() - 1}) {
      WriteFile(path(), whole.substr(0, size));
      EXPECT_THAT(IndexReader::OpenAny(path()), HasError(absl::StatusCode::kDataLoss, HasSubstr("a.index"))) << size;
    }
    std::mt19937_64 random(4);
    for (int round = 0; round < 200; ++round) {  // must not crash
      std::string damaged = whole;
      damaged[random() % std::min<size_t>(damaged.size(), 2000)] ^= static_cast<char>(1 << random() % 8);
      WriteFile(path(), damaged);
      static_cast<void>(IndexReader::OpenAny(path()));
    }
  }
}

// FAISS 1.8 and later know more; 1.7.3 reads them without a word, and throws out of the first search.
TEST_F(ForeignIndexTest, AScalarQuantizerOfANewerFaissIsNamed) {
  for (const char* const factory : {"SQfp16", "IVF4,SQfp16"}) {
    const auto index = MakeFaissIndex({.factory = factory}, factory, 16);
    ASSERT_THAT(index, IsOk());
    faiss::Index* const proper = static_cast<faiss::IndexIDMap2&>(**index).index;
    (*index)->train(3000, rows_.data());
    constexpr auto kBf16 = static_cast<faiss::ScalarQuantizer::QuantizerType>(7);
    if (auto* const ivf = dynamic_cast<faiss::IndexIVFScalarQuantizer*>(proper)) ivf->sq.qtype = kBf16;
    if (auto* const flat = dynamic_cast<faiss::IndexScalarQuantizer*>(proper)) flat->sq.qtype = kBf16;
    ASSERT_THAT(SaveFaissIndex(**index, path()), IsOk());
    EXPECT_THAT(
        IndexReader::OpenAny(path()),
        HasError(absl::StatusCode::kDataLoss, testing::AllOf(HasSubstr("cannot read"), HasSubstr("of type 7"))));
  }
}

TEST_F(ForeignIndexTest, AKindThatFaissDoesNotKnowIsNamed) {
  WriteFile(path(), std::string("IxZZ") + std::string(100, '\0'));
  EXPECT_THAT(IndexReader::OpenAny(path()),
              HasError(absl::StatusCode::kDataLoss, testing::AllOf(HasSubstr("cannot read"), HasSubstr("IxZZ"))));
}

}  // namespace
}  // namespace reembed
