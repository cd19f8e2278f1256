// SPDX-License-Identifier: Apache-2.0
#include "index/index_reader.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVF.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "index/brute_force.h"
#include "index/faiss_io.h"
#include "tests/fakes/own_memory.h"
#include "tests/index/index_fixture.h"

// FAISS 1.7.3 loses what it has made so far when it throws while reading a file or a factory string; the tests of
// damaged files and bad strings would end with its leaks.
extern "C" const char* __lsan_default_suppressions() { return "leak:faiss::read_\nleak:index_factory_sub"; }

namespace reembed {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

class IndexReaderTest : public IndexTest {
 protected:
  std::unique_ptr<IndexReader> OpenReader() const {
    auto reader = IndexReader::Open(path());
    EXPECT_THAT(reader, IsOk());
    return reader.ok() ? *std::move(reader) : nullptr;
  }

  // What part of the ten truly nearest rows a search finds, for 100 rows of the same kind that are not in the index.
  double RecallAtTen(const SearchOptions& options) {
    const auto reader = OpenReader();
    const std::vector<float> matrix(clustered_.begin(), clustered_.end() - 100 * model_.dim);
    const std::vector<float> queries(clustered_.end() - 100 * model_.dim, clustered_.end());
    int found = 0;
    for (int q = 0; q < 100; ++q) {
      const auto query = absl::MakeConstSpan(queries).subspan(q * model_.dim, model_.dim);
      MemoryReader exact(matrix, model_.dim);
      const auto expected = SearchExactly(&exact, query, 10, Metric::kCosine);
      const auto hits = reader->Search(query, 10, options);
      EXPECT_THAT(expected, IsOk());
      EXPECT_THAT(hits, IsOk());
      if (!expected.ok() || !hits.ok()) return 0;
      std::set<Key> truth;
      for (const Hit& hit : *expected) truth.insert(hit.key);
      for (const Hit& hit : *hits) found += static_cast<int>(truth.count(hit.key));
    }
    return found / 1000.0;
  }

  // 5,000 rows for the index and 100 queries.
  void BuildClustered(const std::string& options) {
    model_.dim = 64;
    clustered_ = ClusteredRows(5100, 64, 7);
    const std::vector<float> rows(clustered_.begin(), clustered_.begin() + 5000 * 64);
    ASSERT_THAT(Build(NumberKeys(0, 5000), rows, options, 5000), IsOk());
  }

  std::vector<float> clustered_;

  // Replaces the index file, and makes the description vouch for it.
  void PlantIndex(const std::string& bytes) {
    auto description = ReadDescription(path("a.index.json"));
    ASSERT_THAT(description, IsOk());
    WriteFile(path(), bytes);
    Checksum checksum;
    checksum.Add(bytes.data(), bytes.size());
    description->index_file = {.bytes = static_cast<int64_t>(bytes.size()), .checksum = checksum.Value()};
    WriteFile(path("a.index.json"), DescriptionJson(*description));
  }
};

TEST_F(IndexReaderTest, FlatFindsWhatAnExactSearchFinds) {
  const std::vector<float> rows = ClusteredRows(1000, 16, 1);
  for (const auto& [name, metric] :
       {std::pair("cosine", Metric::kCosine), std::pair("ip", Metric::kInnerProduct), std::pair("l2", Metric::kL2)}) {
    ASSERT_THAT(Build(NumberKeys(0, 1000), rows, absl::StrCat("factory=Flat&metric=", name)), IsOk());
    const auto reader = OpenReader();
    const std::vector<float> query = ClusteredRows(1, 16, 2);
    MemoryReader exact(rows, 16);
    const auto expected = SearchExactly(&exact, query, 20, metric);
    const auto hits = reader->Search(query, 20, {});
    ASSERT_THAT(hits, IsOk());
    ASSERT_THAT(*hits, SizeIs(20));
    for (int i = 0; i < 20; ++i) {
      EXPECT_EQ((*hits)[i].key, (*expected)[i].key) << name << " " << i;
      EXPECT_NEAR((*hits)[i].score, (*expected)[i].score, 1e-4) << name << " " << i;
    }
  }
}

TEST_F(IndexReaderTest, AGraphFindsNearlyAll) {
  BuildClustered("factory=HNSW32");
  EXPECT_GE(RecallAtTen({}), 0.95);
}

TEST_F(IndexReaderTest, ListsFindNearlyAllAndMoreProbesFindMore) {
  BuildClustered("factory=IVF,Flat");
  EXPECT_GE(RecallAtTen({}), 0.95);
  EXPECT_GE(RecallAtTen({.nprobe = 1000}), 0.999);
  EXPECT_LT(RecallAtTen({.nprobe = 1}), 0.95);
}

TEST_F(IndexReaderTest, TextKeysAreFoundAndReturned) {
  const std::vector<float> rows = ClusteredRows(50, 16, 1);
  std::vector<Key> keys;
  for (int i = 0; i < 50; ++i) keys.emplace_back(absl::StrCat("\"", 49 - i, "\"\n"));
  ASSERT_THAT(Build(keys, rows, "factory=HNSW16"), IsOk());
  const auto reader = OpenReader();
  for (int i = 0; i < 50; ++i) {
    const auto hits = reader->Search(absl::MakeConstSpan(rows).subspan(i * 16, 16), 1, {});
    ASSERT_THAT(hits, IsOk());
    EXPECT_EQ(hits->at(0).key, keys[i]);
    EXPECT_NEAR(hits->at(0).score, 1, 1e-5);
  }
}

TEST_F(IndexReaderTest, FindGoesAnywhereAndNextGoesOnBehind) {
  const std::vector<float> rows = ClusteredRows(50, 16, 1);
  for (const bool text : {false, true}) {
    std::vector<Key> keys;
    for (int64_t i = 0; i < 50; ++i) keys.push_back(text ? Key(absl::StrCat("k", i)) : Key(i * 3));
    for (const std::string factory : {"Flat", "HNSW16", "IVF4,Flat"}) {
      ASSERT_THAT(Build(keys, rows, "factory=" + factory + "&metric=ip"), IsOk());
      const auto reader = OpenReader();
      for (const int place : {40, 41, 3, 49, 0}) {
        const auto row = reader->Find(ViewOf(keys[place]));
        ASSERT_THAT(row, IsOk());
        ASSERT_TRUE(row->has_value());
        EXPECT_EQ(Own((*row)->key), keys[place]);
        EXPECT_EQ(std::memcmp((*row)->vector.data(), rows.data() + place * 16, 64), 0) << factory << place;
      }
      const auto next = reader->Next();
      ASSERT_THAT(next, IsOk());
      EXPECT_EQ(Own((*next)->key), keys[1]);
      EXPECT_FALSE(reader->Find(int64_t{1})->has_value());
      EXPECT_FALSE(reader->Find("none")->has_value());
    }
  }
}

// FAISS searches in memory, so the index is there; beside it there are an id and a place in a table for each row.
TEST_F(IndexReaderTest, TakesTheIndexItselfAndAHundredBytesARow) {
  if (!kMemoryIsOurs) GTEST_SKIP() << "measured without sanitizers";
  constexpr int64_t kRows = 10'000;
  int64_t kib[2], file_kib[2];
  for (const int times : {1, 10}) {
    model_.dim = 64;
    ASSERT_THAT(Build(NumberKeys(0, times * kRows), ClusteredRows(times * kRows, 64, 1)), IsOk());
    file_kib[times == 10] = static_cast<int64_t>(std::filesystem::file_size(path())) / 1024;
    const auto read = [this] {
      const auto reader = OpenReader();
      for (auto row = reader->Next(); row.ok() && row->has_value(); row = reader->Next()) {
      }
    };
    // Twice: what libraries keep for good is none of it.
    PeakKib(read);
    kib[times == 10] = PeakKib(read);
    std::filesystem::remove(path());
    std::filesystem::remove(path() + ".json");
  }
  EXPECT_LE(kib[1] - kib[0], (file_kib[1] - file_kib[0]) * 1.1 + 9 * kRows * 100 / 1024) << kib[0] << " " << kib[1];
}

TEST_F(IndexReaderTest, RefusesAQueryThatHasNoAnswer) {
  ASSERT_THAT(Build(NumberKeys(0, 50), ClusteredRows(50, 16, 1)), IsOk());
  const auto reader = OpenReader();
  EXPECT_THAT(reader->Search(std::vector<float>(15, 1.0f), 1, {}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("16 numbers")));
  EXPECT_THAT(reader->Search(std::vector<float>(16, 0.0f), 1, {}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("only zeros")));
  EXPECT_THAT(reader->Search(std::vector<float>(16, 1.0f), 0, {}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("at least 1")));
  EXPECT_THAT(*reader->Search(std::vector<float>(16, 1.0f), 1000, {.ef_search = 1}), SizeIs(50));
}

TEST_F(IndexReaderTest, AMissingIndexIsTold) {
  EXPECT_THAT(IndexReader::Open(path()),
              HasError(absl::StatusCode::kNotFound, HasSubstr("a run with the target faiss:")));
}

TEST_F(IndexReaderTest, EveryDamageIsSeen) {
  constexpr uint64_t kSeed = 23;
  SCOPED_TRACE(kSeed);
  std::mt19937_64 random(kSeed);
  std::vector<Key> keys;
  for (int i = 0; i < 200; ++i) keys.emplace_back(absl::StrCat("k", i));
  ASSERT_THAT(Build(keys, ClusteredRows(200, 16, 1), "factory=HNSW16"), IsOk());
  for (const char* const name : {"a.index", "a.index.keys.jsonl", "a.index.json"}) {
    const std::string good = ReadFile(path(name));
    for (int round = 0; round < 200; ++round) {
      std::string bad = good;
      if (round % 2 == 0) {
        bad.resize(random() % good.size());
      } else {
        const size_t at = random() % good.size();
        bad[at] = static_cast<char>(bad[at] ^ 1 << random() % 8);
      }
      WriteFile(path(name), bad);
      const auto reader = IndexReader::Open(path());
      // A description may be changed into another true one, e.g. by a blank; an index or key file may not.
      if (reader.ok()) {
        EXPECT_STREQ(name, "a.index.json") << round;
      } else {
        EXPECT_THAT(reader, HasError(absl::StatusCode::kDataLoss, HasSubstr(path()))) << name << " " << round;
      }
    }
    WriteFile(path(name), good);
  }
  EXPECT_THAT(IndexReader::Open(path()), IsOk());
}

// The description vouches for these files, so FAISS gets to read them: it must neither crash nor take much memory, and
// what it accepts must be searched without harm.
TEST_F(IndexReaderTest, HostileFilesDoNoHarm) {
  constexpr uint64_t kSeed = 29;
  SCOPED_TRACE(kSeed);
  std::mt19937_64 random(kSeed);
  const std::vector<float> rows = ClusteredRows(300, 16, 1);
  for (const char* const factory : {"Flat", "HNSW8", "IVF8,Flat", "PCA8,IVF4,Flat", "IVF4_HNSW4,Flat"}) {
    ASSERT_THAT(Build(NumberKeys(0, 300), rows, absl::StrCat("factory=", factory)), IsOk());
    const std::string good = ReadFile(path());
    for (int round = 0; round < 400; ++round) {
      SCOPED_TRACE(absl::StrCat(factory, " round ", round));
      std::string bad = good;
      if (round % 4 == 0) bad.resize(random() % good.size());
      for (size_t i = round % 4; i > 0 && bad.size() > 8; --i) {
        // Half of the changes go to the head, where the sizes are.
        const size_t at = random() % (random() % 2 == 0 ? std::min<size_t>(bad.size(), 200) : bad.size() - 7);
        const uint64_t value = random() % 3 == 0   ? random()
                               : random() % 3 == 0 ? ~uint64_t{0} >> random() % 40
                                                   : random() % 5;
        std::memcpy(bad.data() + at, &value, std::min<size_t>(1 + random() % 8, bad.size() - at));
      }
      PlantIndex(bad);
      const auto reader = IndexReader::Open(path());
      if (!reader.ok()) continue;
      const auto hits = (*reader)->Search(absl::MakeConstSpan(rows).first(16), 10, {});
      for (auto row = (*reader)->Next(); row.ok() && row->has_value(); row = (*reader)->Next()) {
      }
    }
    std::filesystem::remove(path("a.index.json"));
    std::filesystem::remove(path());
  }
}

TEST_F(IndexReaderTest, LinksOutOfTheGraphAreSeen) {
  ASSERT_THAT(Build(NumberKeys(0, 300), ClusteredRows(300, 16, 1), "factory=HNSW8"), IsOk());
  const auto description = ReadDescription(path("a.index.json"));
  ASSERT_THAT(description, IsOk());
  const auto index = LoadFaissIndex(path(), description->index_file);
  ASSERT_THAT(index, IsOk());
  auto& graph = dynamic_cast<faiss::IndexHNSW&>(*dynamic_cast<faiss::IndexIDMap2&>(**index).index).hnsw;
  const auto plant = [&](auto change, const char* expected) {
    const faiss::HNSW good = graph;
    change();
    const auto mark = SaveFaissIndex(**index, path("bad"));
    ASSERT_THAT(mark, IsOk());
    EXPECT_THAT(LoadFaissIndex(path("bad"), *mark), HasError(absl::StatusCode::kDataLoss, HasSubstr(expected)));
    graph = good;
  };
  const auto first_of_level = [&](int level) {
    return std::find(graph.levels.begin(), graph.levels.end(), level) - graph.levels.begin();
  };
  const int64_t low = first_of_level(1);
  const int64_t high = first_of_level(2);
  ASSERT_LT(high, 300);
  size_t begin = 0;
  size_t end = 0;
  graph.neighbor_range(high, 1, &begin, &end);
  plant([&] { graph.neighbors[begin] = static_cast<int>(low); }, "links");
  plant([&] { graph.neighbors[100] = 300; }, "links");
  plant([&] { graph.neighbors[100] = -2; }, "links");
  plant([&] { graph.entry_point = 300; }, "entry");
  plant([&] { graph.max_level += 1; }, "entry");
  plant([&] { graph.levels[7] = 0; }, "level");
  plant([&] { graph.offsets[7] += 1; }, "level");
  plant([&] { graph.neighbors.pop_back(); }, "graph");
  plant([&] { graph.levels.pop_back(); }, "graph");
}

TEST_F(IndexReaderTest, PlacesOutOfTheListsAreSeen) {
  ASSERT_THAT(Build(NumberKeys(0, 300), ClusteredRows(300, 16, 1), "factory=IVF4,Flat"), IsOk());
  const auto description = ReadDescription(path("a.index.json"));
  ASSERT_THAT(description, IsOk());
  const auto index = LoadFaissIndex(path(), description->index_file);
  ASSERT_THAT(index, IsOk());
  auto& with_ids = dynamic_cast<faiss::IndexIDMap2&>(**index);
  auto& lists = *dynamic_cast<faiss::ArrayInvertedLists*>(dynamic_cast<faiss::IndexIVF&>(*with_ids.index).invlists);
  const auto expect_refused = [&](const char* expected) {
    const auto mark = SaveFaissIndex(**index, path("bad"));
    ASSERT_THAT(mark, IsOk());
    EXPECT_THAT(LoadFaissIndex(path("bad"), *mark), HasError(absl::StatusCode::kDataLoss, HasSubstr(expected)));
  };
  const int64_t place = std::exchange(lists.ids[0][0], 300);
  expect_refused("places");
  lists.ids[0][0] = place;
  with_ids.id_map[5] = 6;
  expect_refused("each id once");
}

}  // namespace
}  // namespace reembed
