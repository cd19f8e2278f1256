// SPDX-License-Identifier: Apache-2.0
#include "index/faiss_sink.h"

#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVF.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "index/build_stage_file.h"
#include "index/graph_build.h"
#include "index/index_build.h"
#include "index/index_store.h"
#include "index/index_training.h"
#include "tests/fakes/vector_rows.h"
#include "tests/index/index_fixture.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

class FaissSinkTest : public IndexTest {
 protected:
  // The keys in the finished index, in its order.
  std::vector<Key> StoredKeys() const {
    const auto reader = IndexReader::Open(path());
    EXPECT_THAT(reader, IsOk());
    std::vector<Key> keys;
    if (!reader.ok()) return keys;
    for (;;) {
      const auto row = (*reader)->Next();
      EXPECT_THAT(row, IsOk());
      if (!row.ok() || !row->has_value()) return keys;
      keys.push_back(Own((*row)->key));
    }
  }

  IndexDescription Description(const std::string& name = "a.index.json") const {
    const auto description = ReadDescription(path(name));
    EXPECT_THAT(description, IsOk());
    return description.value_or(IndexDescription());
  }

  const std::vector<float> rows_ = ClusteredRows(500, 16, 1);
};

TEST_F(FaissSinkTest, AsksForAscendingOrder) {
  const auto sink = MakeSink();
  ASSERT_THAT(sink, IsOk());
  EXPECT_EQ((*sink)->row_order(), RowOrder::kAscending);
}

TEST_F(FaissSinkTest, IntegerKeysAreTheIds) {
  sink_options_.source = "sqlite:a.db?table=t";
  std::vector<Key> keys = NumberKeys(1000, 500);
  keys[7] = std::numeric_limits<int64_t>::max();
  keys[8] = int64_t{0};
  ASSERT_THAT(Build(keys, rows_), IsOk());
  EXPECT_EQ(StoredKeys(), keys);
  EXPECT_FALSE(std::filesystem::exists(path("a.index.keys.jsonl")));
  const IndexDescription d = Description();
  EXPECT_EQ(d.rows, 500);
  EXPECT_EQ(d.id_kind, IdKind::kKey);
  EXPECT_EQ(d.model.name, "test-model");
  EXPECT_EQ(d.source, "sqlite:a.db?table=t");
  EXPECT_THAT(refused_, SizeIs(0));
}

TEST_F(FaissSinkTest, OneRowWithALargeKeyComesBack) {
  for (const std::string factory : {"Flat", "HNSW16", "IVF,Flat"}) {
    ASSERT_THAT(Build({Key(int64_t{1} << 60)}, rows_, "factory=" + factory), IsOk());
    EXPECT_EQ(StoredKeys(), std::vector<Key>({Key(int64_t{1} << 60)}));
  }
}

TEST_F(FaissSinkTest, TextKeysAreBesideTheIndex) {
  std::vector<Key> keys;
  for (int i = 0; i < 500; ++i) keys.emplace_back(absl::StrCat("key \"", i, "\"\nnext"));
  ASSERT_THAT(Build(keys, rows_), IsOk());
  EXPECT_EQ(StoredKeys(), keys);
  EXPECT_EQ(Description().id_kind, IdKind::kOrdinal);
  EXPECT_THAT(ReadFile(path("a.index.keys.jsonl")),
              testing::StartsWith("{\"id\":0,\"key\":\"key \\\"0\\\"\\nnext\"}\n{\"id\":1,"));
}

TEST_F(FaissSinkTest, RowsWithoutAVectorArePassedOver) {
  const auto sink = MakeSink();
  ASSERT_THAT(sink, IsOk());
  ASSERT_THAT(Open(sink->get()), IsOk());
  const auto batch = MakeBatch(0, {Key("a"), Key("b"), Key("c")}, rows_, 16);
  batch->rows()[1].vector = nullptr;
  const Batch* const batches[] = {batch.get()};
  ASSERT_THAT((*sink)->Write(batches, &refused_), IsOk());
  ASSERT_THAT((*sink)->Complete(), IsOk());
  EXPECT_EQ(StoredKeys(), std::vector<Key>({Key("a"), Key("c")}));
  EXPECT_EQ(ReadFile(path("a.index.keys.jsonl")), "{\"id\":0,\"key\":\"a\"}\n{\"id\":2,\"key\":\"c\"}\n");
}

TEST_F(FaissSinkTest, AKeyOfAnotherKindIsRefusedAlone) {
  ASSERT_THAT(Build({Key(int64_t{1}), Key("b"), Key(int64_t{3})}, rows_), IsOk());
  ASSERT_THAT(refused_, SizeIs(1));
  EXPECT_THAT(refused_[0].reason,
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("row b: expected an integer")));
  EXPECT_EQ(Description().rows, 2);
}

TEST_F(FaissSinkTest, ANegativeKeyIsRefusedAloneAndDecidesNothing) {
  ASSERT_THAT(Build({Key(int64_t{-1}), Key("b"), Key("c")}, rows_), IsOk());
  ASSERT_THAT(refused_, SizeIs(1));
  EXPECT_THAT(refused_[0].reason, HasError(absl::StatusCode::kInvalidArgument, HasSubstr("row -1: ")));
  EXPECT_EQ(Description().rows, 2);
  EXPECT_THAT(CheckFaissKey({.scheme = "faiss", .path = "a"}, KeyView(int64_t{0})), IsOk());
  EXPECT_THAT(CheckFaissKey({.scheme = "faiss", .path = "a"}, KeyView(absl::string_view("b"))), IsOk());
}

TEST_F(FaissSinkTest, TooFewRowsToTrainAreKnownBefore) {
  for (const auto& [factory, least] :
       {std::pair("Flat", 1), std::pair("HNSW32", 1), std::pair("IVF,Flat", 1), std::pair("IVF64,Flat", 64),
        std::pair("PQ4", 256), std::pair("IVF16,PQ4x4", 16), std::pair("OPQ4_16,IVF300,PQ4", 300)}) {
    const Location asked{.scheme = "faiss", .path = path(), .parameters = {{"factory", factory}}};
    EXPECT_THAT(CheckFaissRows(asked, least), IsOk()) << factory;
    if (least == 1) continue;
    EXPECT_THAT(CheckFaissRows(asked, least - 1),
                HasError(absl::StatusCode::kInvalidArgument, HasSubstr(absl::StrCat("at least ", least, " rows"))))
        << factory;
    // FAISS says the same.
    std::filesystem::remove_all(path());
    EXPECT_FALSE(
        Build(NumberKeys(0, least - 1), ClusteredRows(least - 1, 16, 1), absl::StrCat("factory=", factory)).ok())
        << factory;
  }
}

TEST_F(FaissSinkTest, TheSecondRowWithAKeyIsRefused) {
  std::vector<Key> keys = NumberKeys(0, 500);
  keys[400] = int64_t{3};
  ASSERT_THAT(Build(keys, rows_), IsOk());
  ASSERT_THAT(refused_, SizeIs(1));
  EXPECT_EQ(refused_[0].ordinal, 400);
  EXPECT_THAT(refused_[0].reason, HasError(absl::StatusCode::kAlreadyExists, HasSubstr("row 3: ")));
  EXPECT_EQ(Description().rows, 499);
}

TEST_F(FaissSinkTest, RowsWithoutDirectionAreRefused) {
  std::vector<float> rows = rows_;
  std::fill_n(rows.begin(), 16, 0.0f);
  rows[17] = std::numeric_limits<float>::infinity();
  ASSERT_THAT(Build(NumberKeys(0, 500), rows), IsOk());
  ASSERT_THAT(refused_, SizeIs(2));
  EXPECT_THAT(refused_[0].reason, HasError(absl::StatusCode::kInvalidArgument, HasSubstr("only zeros")));
  EXPECT_THAT(refused_[1].reason, HasError(absl::StatusCode::kInvalidArgument, HasSubstr("not finite")));
  EXPECT_EQ(Description().rows, 498);
}

TEST_F(FaissSinkTest, OnlyCosineScalesRows) {
  for (const std::string metric : {"cosine", "ip", "l2"}) {
    ASSERT_THAT(Build(NumberKeys(0, 500), rows_, "factory=Flat&metric=" + metric), IsOk());
    const auto reader = IndexReader::Open(path());
    ASSERT_THAT(reader, IsOk());
    const auto row = (*reader)->Find(int64_t{3});
    ASSERT_THAT(row, IsOk());
    ASSERT_TRUE(row->has_value());
    double squares = 0;
    for (const float x : (*row)->vector) squares += static_cast<double>(x) * x;
    if (metric == "cosine") {
      EXPECT_NEAR(squares, 1, 1e-6);
    } else {
      EXPECT_EQ(std::vector<float>((*row)->vector.begin(), (*row)->vector.end()),
                std::vector<float>(rows_.begin() + 48, rows_.begin() + 64));
    }
  }
}

TEST_F(FaissSinkTest, NothingIsAtThePathBeforeFinish) {
  {
    const auto sink = MakeSink();
    ASSERT_THAT(sink, IsOk());
    ASSERT_THAT(Open(sink->get()), IsOk());
    ASSERT_THAT(Write(sink->get(), NumberKeys(0, 500), rows_), IsOk());
    ASSERT_THAT((*sink)->Flush(), IsOk());
  }
  EXPECT_TRUE(std::filesystem::is_empty(std::filesystem::path(path()).parent_path()));
  const auto again = MakeSink();
  ASSERT_THAT(again, IsOk());
  EXPECT_THAT(Open(again->get(), {.position = 500, .stored_rows = 500}), testing::Eq(absl::StatusOr<int64_t>(0)));
}

// A second run for rows 500 and above, after a first one for the rows below.
class ContinuedSinkTest : public FaissSinkTest, public testing::WithParamInterface<const char*> {};

TEST_P(ContinuedSinkTest, GoesOnBehindAFinishedIndex) {
  const std::string options = absl::StrCat("factory=", GetParam());
  const std::vector<float> rows = ClusteredRows(700, 16, 1);
  ASSERT_THAT(Build(NumberKeys(0, 500), rows, options), IsOk());
  const auto sink = MakeSink(options);
  ASSERT_THAT(sink, IsOk());
  // Ordinals 500 to 519 were rejected, so 500 rows are stored below position 520.
  ASSERT_THAT(Open(sink->get(), {.position = 520, .stored_rows = 500}), testing::Eq(absl::StatusOr<int64_t>(520)));
  const std::vector<float> more(rows.begin() + 500 * 16, rows.end());
  std::vector<Key> more_keys = NumberKeys(500, 200);
  more_keys[5] = int64_t{4};
  ASSERT_THAT(Write(sink->get(), more_keys, more, 520), IsOk());
  ASSERT_THAT((*sink)->Complete(), IsOk());
  EXPECT_THAT(refused_, SizeIs(1));
  EXPECT_THAT(StoredKeys(), SizeIs(699));
  EXPECT_FALSE(std::filesystem::exists(path("a.index.previous")));
}

INSTANTIATE_TEST_SUITE_P(Factories, ContinuedSinkTest, testing::Values("Flat", "HNSW16", "IVF,Flat"));

TEST_F(FaissSinkTest, GoesOnWithTextKeys) {
  ASSERT_THAT(Build({Key("a"), Key("b")}, rows_), IsOk());
  const auto sink = MakeSink();
  ASSERT_THAT(sink, IsOk());
  ASSERT_THAT(Open(sink->get(), {.position = 2, .stored_rows = 2}), testing::Eq(absl::StatusOr<int64_t>(2)));
  ASSERT_THAT(Write(sink->get(), {Key("c")}, rows_, 2), IsOk());
  ASSERT_THAT((*sink)->Complete(), IsOk());
  EXPECT_EQ(StoredKeys(), std::vector<Key>({Key("a"), Key("b"), Key("c")}));
}

TEST_F(FaissSinkTest, WithoutNewRowsTheFilesStayAsTheyAre) {
  ASSERT_THAT(Build(NumberKeys(0, 500), rows_), IsOk());
  const auto before = std::filesystem::last_write_time(path());
  const auto sink = MakeSink();
  ASSERT_THAT(sink, IsOk());
  ASSERT_THAT(Open(sink->get(), {.position = 500, .stored_rows = 500}), testing::Eq(absl::StatusOr<int64_t>(500)));
  ASSERT_THAT((*sink)->Complete(), IsOk());
  EXPECT_EQ(std::filesystem::last_write_time(path()), before);
}

TEST_F(FaissSinkTest, AnotherNumberOfRowsMeansFromTheStart) {
  ASSERT_THAT(Build(NumberKeys(0, 500), rows_), IsOk());
  const auto sink = MakeSink();
  ASSERT_THAT(sink, IsOk());
  EXPECT_THAT(Open(sink->get(), {.position = 600, .stored_rows = 600}), testing::Eq(absl::StatusOr<int64_t>(0)));
}

TEST_F(FaissSinkTest, AnotherFactoryMeansFromTheStartAndKeepsTheOld) {
  ASSERT_THAT(Build({Key("a"), Key("b")}, rows_, "factory=Flat"), IsOk());
  const auto sink = MakeSink("factory=HNSW16");
  ASSERT_THAT(sink, IsOk());
  ASSERT_THAT(Open(sink->get(), {.position = 2, .stored_rows = 2}), testing::Eq(absl::StatusOr<int64_t>(0)));
  ASSERT_THAT(Write(sink->get(), NumberKeys(0, 3), rows_), IsOk());
  ASSERT_THAT((*sink)->Complete(), IsOk());
  EXPECT_EQ(Description().factory, "HNSW16");
  EXPECT_FALSE(std::filesystem::exists(path("a.index.keys.jsonl")));
  const auto old = IndexReader::Open(path("a.index.previous"));
  ASSERT_THAT(old, IsOk());
  EXPECT_EQ((*old)->rows(), 2);
}

TEST_F(FaissSinkTest, ForeignFilesAreRefusedAndLeftAlone) {
  for (const char* const name : {"a.index", "a.index.json", "a.index.keys.jsonl"}) {
    WriteFile(path(name), "{\"precious\":1}");
    EXPECT_THAT(MakeSink(), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("move it away"))) << name;
    EXPECT_EQ(ReadFile(path(name)), "{\"precious\":1}");
    std::filesystem::remove(path(name));
  }
}

TEST_F(FaissSinkTest, AnIndexOfAnotherModelIsRefused) {
  ASSERT_THAT(Build(NumberKeys(0, 500), rows_), IsOk());
  model_.name = "another-model";
  EXPECT_THAT(MakeSink(), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("test-model of dim 16")));
  model_ = {.name = "test-model", .dim = 8};
  EXPECT_THAT(MakeSink(), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("move it away")));
}

TEST_F(FaissSinkTest, UnknownFactoryIsRefusedAtOnce) {
  EXPECT_THAT(MakeSink("factory=Florp"), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("`Florp`")));
  EXPECT_THAT(MakeSink("factory=IVF16,PQ7"), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("IVF16,PQ7")));
  EXPECT_TRUE(std::filesystem::is_empty(std::filesystem::path(path()).parent_path()));
}

TEST_F(FaissSinkTest, AMissingDirectoryIsTold) {
  const auto location = ParseLocation("faiss:" + path("none/a.index"));
  ASSERT_THAT(location, IsOk());
  EXPECT_THAT(MakeFaissSink(*location, model_), HasError(absl::StatusCode::kNotFound, HasSubstr("none/")));
}

TEST_F(FaissSinkTest, ACrashBetweenTheRenamesIsSeen) {
  ASSERT_THAT(Build(NumberKeys(0, 500), rows_), IsOk());
  const std::string old_index = ReadFile(path());
  const std::vector<float> other = ClusteredRows(500, 16, 2);
  ASSERT_THAT(Build(NumberKeys(0, 500), other), IsOk());
  // The description is the new one, the index still the old one, which has a second name already.
  std::filesystem::remove(path());
  std::filesystem::create_hard_link(path("a.index.previous"), path());
  ASSERT_EQ(ReadFile(path()), old_index);
  EXPECT_THAT(IndexReader::Open(path()), HasError(absl::StatusCode::kDataLoss, HasSubstr("another build")));
  const auto sink = MakeSink();
  ASSERT_THAT(sink, IsOk());
  EXPECT_THAT(Open(sink->get(), {.position = 500, .stored_rows = 500}), testing::Eq(absl::StatusOr<int64_t>(0)));
  ASSERT_THAT(Write(sink->get(), NumberKeys(0, 500), other), IsOk());
  ASSERT_THAT((*sink)->Complete(), IsOk());
  EXPECT_THAT(IndexReader::Open(path()), IsOk());
  EXPECT_THAT(IndexReader::Open(path("a.index.previous")), IsOk());
  EXPECT_EQ(ReadFile(path("a.index.previous")), old_index);
}

TEST_F(FaissSinkTest, ListsAreChosenByTheRowsThereAre) {
  const std::vector<float> rows = ClusteredRows(5000, 16, 3);
  ASSERT_THAT(Build(NumberKeys(0, 5000), rows, "factory=IVF,Flat", 5000), IsOk());
  EXPECT_EQ(Description().factory, "IVF128,Flat");  // 5,000 / 39
  EXPECT_EQ(Description().trained_rows, 5000);
  EXPECT_EQ(Description().rows, 5000);
}

TEST_F(FaissSinkTest, ListsAreFewerWhenTheStreamEndsEarly) {
  ASSERT_THAT(Build(NumberKeys(0, 500), rows_, "factory=IVF,Flat", 1'000'000), IsOk());
  EXPECT_EQ(Description().factory, "IVF12,Flat");  // 500 / 39
  EXPECT_THAT(StoredKeys(), SizeIs(500));
}

TEST_F(FaissSinkTest, TrainingTakesNoMoreMemoryThanAllowed) {
  sink_options_.max_training_bytes = 1000 * 16 * 4;
  const std::vector<float> rows = ClusteredRows(5000, 16, 3);
  ASSERT_THAT(Build(NumberKeys(0, 5000), rows, "factory=IVF,Flat", 5000), IsOk());
  EXPECT_EQ(Description().trained_rows, 1000);
  EXPECT_EQ(Description().factory, "IVF25,Flat");  // 1,000 / 39
  EXPECT_EQ(Description().rows, 5000);
}

// Rows that are sorted, as a table of topics is: the first of them say nothing of the others.
TEST_F(FaissSinkTest, TrainingSeesRowsOfTheWholeStream) {
  std::vector<float> rows = ClusteredRows(20000, 16, 5);
  for (int64_t i = 0; i < 20000; ++i) rows[i * 16] = static_cast<float>(i) / 100;
  sink_options_.max_training_bytes = 4096 * 16 * 4;
  ASSERT_THAT(Build(NumberKeys(0, 20000), rows, "factory=IVF64,Flat&metric=l2", 20000), IsOk());
  const IndexDescription d = Description();
  EXPECT_EQ(d.trained_rows, 4096);
  const auto index = IndexStore(path()).Load(d);
  ASSERT_THAT(index, IsOk());
  const auto& ivf = dynamic_cast<const faiss::IndexIVF&>(*static_cast<faiss::IndexIDMap2&>(**index).index);
  // Trained on the first rows, a few lists would have most of the others.
  EXPECT_LT(ivf.invlists->imbalance_factor(), 2);
}

TEST_F(FaissSinkTest, ARunAndABuildOfTheSameRowsTrainTheSameLists) {
  const std::vector<float> rows = ClusteredRows(3000, 16, 5);
  ASSERT_THAT(Build(NumberKeys(0, 3000), rows, "factory=IVF16,PQ4x4&seed=77", 3000), IsOk());
  MemoryReader reader(rows, 16);
  IndexBuildOptions options{.model = model_, .seed = 77};
  options.spec.factory = "IVF16,PQ4x4";
  ASSERT_THAT(BuildIndex(&reader, "rows", path("b.index"), options), IsOk());
  EXPECT_TRUE(ReadFile(path()) == ReadFile(path("b.index")));
  EXPECT_EQ(Description().fingerprint, Description("b.index.json").fingerprint);
  EXPECT_EQ(Description().seed, 77);
}

TEST_F(FaissSinkTest, TextKeysAreBesideATrainedIndex) {
  std::vector<Key> keys;
  for (int i = 0; i < 500; ++i) keys.emplace_back(absl::StrCat("key ", i));
  keys[7] = int64_t{7};
  ASSERT_THAT(Build(keys, rows_, "factory=IVF4,Flat"), IsOk());
  EXPECT_THAT(refused_, SizeIs(1));
  keys.erase(keys.begin() + 7);
  EXPECT_EQ(StoredKeys(), keys);
  EXPECT_THAT(ReadFile(path("a.index.keys.jsonl")), HasSubstr("{\"id\":6,\"key\":\"key 6\"}\n{\"id\":8,"));
}

// The last step fails as it does for a run that is killed there; what was trained is not trained again.
TEST_F(FaissSinkTest, WhatACompleteHadTrainedIsGoneOnWith) {
  const std::string options = "factory=IVF8,Flat";
  ASSERT_TRUE(std::filesystem::create_directory(path("a.index.partial")));
  EXPECT_FALSE(Build(NumberKeys(0, 500), rows_, options).ok());
  const auto kept = BuildStageFile::ReadRecord(path("a.index.partial.stage.json"));
  ASSERT_TRUE(kept.has_value());
  EXPECT_EQ(kept->trained_rows, 500);
  // Another training in its place shows whether it is taken.
  ASSERT_TRUE(std::filesystem::remove(path("a.index.partial")));
  const auto other = MakeFaissIndex({.factory = "IVF8,Flat"}, "IVF8,Flat", 16);
  ASSERT_THAT(other, IsOk());
  const std::vector<float> others = ClusteredRows(500, 16, 77);
  ASSERT_THAT(TrainIndex("b", "IVF8,Flat", others, other->get()), IsOk());
  const auto mark = SaveFaissIndex(**other, path("a.index.partial.stage-0"));
  ASSERT_THAT(mark, IsOk());
  ASSERT_THAT(BuildStageFile::WriteRecord(path("a.index.partial.stage.json"), {kept->identity, 0, 123, *mark}), IsOk());
  ASSERT_THAT(Build(NumberKeys(0, 500), rows_, options), IsOk());
  EXPECT_EQ(Description().trained_rows, 123);
  EXPECT_THAT(StoredKeys(), SizeIs(500));
  for (const auto& file : std::filesystem::directory_iterator(std::filesystem::path(path()).parent_path())) {
    EXPECT_THAT(file.path().filename().string(), testing::Not(HasSubstr("partial")));
  }
}

TEST_F(FaissSinkTest, ADeterministicGraphIsTheSameForAllThreadsAndInstructions) {
  const std::vector<float> rows = ClusteredRows(1000, 16, 6);
  std::string first;
  for (const GraphSimd simd : AvailableGraphSimds()) {
    if (simd == GraphSimd::kAvx512Bf16) continue;
    for (const int threads : {1, 2, 7}) {
      sink_options_.threads = threads;
      std::filesystem::remove(path());
      std::filesystem::remove(path("a.index.json"));
      ASSERT_THAT(
          Build(NumberKeys(0, 1000), rows, absl::StrCat("factory=HNSW8&deterministic=true&simd=", GraphSimdName(simd))),
          IsOk());
      if (first.empty()) first = ReadFile(path());
      EXPECT_TRUE(ReadFile(path()) == first) << GraphSimdName(simd) << " " << threads;
    }
  }
  // It is linked over float32, where a usual one is linked over bytes, by which others are near.
  std::filesystem::remove(path());
  std::filesystem::remove(path("a.index.json"));
  ASSERT_THAT(Build(NumberKeys(0, 1000), rows, "factory=HNSW8&storage=int8&simd=portable"), IsOk());
  EXPECT_FALSE(ReadFile(path()) == first);
}

TEST_F(FaissSinkTest, WhatNoGraphIsLinkedWithIsRefusedAtOnce) {
  EXPECT_THAT(MakeSink("simd=sse9"), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("simd `sse9`")));
  EXPECT_THAT(MakeSink("storage=int3"), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("int3")));
  EXPECT_THAT(MakeSink("deterministic=1"), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("got `1`")));
  EXPECT_THAT(MakeSink("deterministic=true&storage=bf16"),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("expected float32 or int8")));
  EXPECT_THAT(MakeSink("seed=0"), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("expected seed from 1")));
}

TEST_F(FaissSinkTest, TooFewRowsForTheListsIsTold) {
  EXPECT_THAT(Build(NumberKeys(0, 500), rows_, "factory=IVF501,Flat"),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("at least 501 rows")));
  EXPECT_FALSE(std::filesystem::exists(path()));
}

TEST_F(FaissSinkTest, NoRowsMakeAnEmptyIndexThatCanGrow) {
  for (const std::string factory : {"Flat", "HNSW16", "IVF,Flat"}) {
    ASSERT_THAT(Build({}, {}, "factory=" + factory), IsOk());
    EXPECT_THAT(StoredKeys(), SizeIs(0));
    const auto reader = IndexReader::Open(path());
    ASSERT_THAT(reader, IsOk());
    EXPECT_THAT((*reader)->Search(std::vector<float>(16, 1.0f), 5, {}), IsOk());
    ASSERT_THAT(Build(NumberKeys(0, 500), rows_, "factory=" + factory), IsOk());
    EXPECT_THAT(StoredKeys(), SizeIs(500));
  }
}

TEST_F(FaissSinkTest, EveryKindOfIndexComesBack) {
  sink_options_.threads = 1;  // many short loops: the threads would spend their time waiting for each other
  const std::vector<float> rows = ClusteredRows(1000, 16, 4);
  for (const char* const factory : {"SQ8", "PQ4", "HNSW16_SQ8", "IVF,SQ8", "IVF,PQ4", "IVF16_HNSW8,Flat", "PCA8,Flat",
                                    "PCAR8,IVF8,PQ4", "IVF8,PQ4x4fs", "PCAR8,IVF8,Flat,RFlat"}) {
    SCOPED_TRACE(factory);
    ASSERT_THAT(Build(NumberKeys(0, 1000), rows, absl::StrCat("factory=", factory), 1000), IsOk());
    const auto reader = IndexReader::Open(path());
    ASSERT_THAT(reader, IsOk());
    EXPECT_EQ((*reader)->rows(), 1000);
    EXPECT_THAT((*reader)->Search(absl::MakeConstSpan(rows).first(16), 10, {.nprobe = 16}), IsOk());
  }
}

TEST_F(FaissSinkTest, TheSameRowsTrainTheSameLists) {
  const std::vector<float> rows = ClusteredRows(1000, 16, 5);
  ASSERT_THAT(Build(NumberKeys(0, 1000), rows, "factory=IVF,Flat", 1000), IsOk());
  const std::string first = ReadFile(path());
  ASSERT_THAT(Build(NumberKeys(0, 1000), rows, "factory=IVF,Flat", 1000), IsOk());
  EXPECT_EQ(ReadFile(path()), first);
}

TEST_F(FaissSinkTest, ABatchOfAnotherWidthIsRefused) {
  const auto sink = MakeSink();
  ASSERT_THAT(sink, IsOk());
  ASSERT_THAT(Open(sink->get()), IsOk());
  VectorRows rows(15);
  rows.Add(0, int64_t{0});
  const Batch* const batch = rows.batch();
  std::vector<RefusedRow> refused;
  EXPECT_THAT((*sink)->Write({&batch, 1}, &refused),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("vectors of 16 numbers, got such of 15")));
}

TEST_F(FaissSinkTest, RowsOutOfOrderAreOurOwnMistake) {
  const auto sink = MakeSink();
  ASSERT_THAT(sink, IsOk());
  ASSERT_THAT(Open(sink->get()), IsOk());
  ASSERT_THAT(Write(sink->get(), NumberKeys(0, 2), rows_, 5), IsOk());
  EXPECT_THAT(Write(sink->get(), NumberKeys(2, 2), rows_, 6),
              HasError(absl::StatusCode::kInternal, HasSubstr("came after 6")));
}

}  // namespace
}  // namespace reembed
