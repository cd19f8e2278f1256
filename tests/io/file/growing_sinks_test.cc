// SPDX-License-Identifier: Apache-2.0
// What every growing file promises, for each format.

#include <unistd.h>

#include <filesystem>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/file/fbin_sink.h"
#include "io/file/jsonl_reader.h"
#include "io/file/jsonl_sink.h"
#include "io/file/matrix_reader.h"
#include "io/file/npy_sink.h"
#include "tests/fakes/file_batches.h"
#include "tests/fakes/file_size_limit.h"
#include "tests/fakes/status_matchers.h"
#include "tests/io/file/format_case.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class GrowingSinksTest : public ::testing::TestWithParam<FormatCase> {
 protected:
  std::unique_ptr<VectorSink> Make(const std::string& path, int dim = 4) {
    auto sink = GetParam().make_sink(GetParam().At(path), {"m", dim});
    EXPECT_THAT(sink, IsOk());
    return std::move(*sink);
  }

  absl::Status Check(const FileRowSet& rows, int64_t end, const std::string& path) {
    auto reader = GetParam().open_reader(GetParam().At(path));
    return reader.ok() ? CheckReader(rows, end, reader->get()) : reader.status();
  }

  // The files of a target: itself, and its keys where the format has no room for them.
  static std::string AllBytes(const std::string& path) {
    return absl::StrCat(FileBytes(path), "|", FileBytes(path + ".keys.jsonl"));
  }

  absl::StatusOr<int64_t> Open(VectorSink* sink, int dim, SinkPosition last) {
    return sink->Open({.model = {"m", dim}, .expected_rows = 0}, last);
  }

  FileTestFolder folder_;
  const std::string path_ = folder_ / "out";
};

TEST_P(GrowingSinksTest, ReaderGivesBackEveryRow) {
  const FileRowSet rows = {.dim = 7, .keys = FileKeys::kTexts, .reject_every = 5};
  ASSERT_THAT(WriteAll(rows, 123, 10, Make(path_, 7).get()), IsOk());
  EXPECT_THAT(Check(rows, 123, path_), IsOk());
}

TEST_P(GrowingSinksTest, IsAbsentUntilComplete) {
  const auto sink = Make(path_);
  ASSERT_THAT(Open(sink.get(), 4, {}), IsOk());
  ASSERT_THAT(WriteRows({}, {0, 10}, sink.get()), IsOk());
  ASSERT_THAT(sink->Flush(), IsOk());
  EXPECT_THAT(folder_.Names(), Each(HasSubstr(".partial")));
  ASSERT_THAT(sink->Complete(), IsOk());
  EXPECT_THAT(folder_.Names(), Each(Not(HasSubstr(".partial"))));
}

TEST_P(GrowingSinksTest, FindGoesForwardAndOnceAround) {
  const FileRowSet rows = {.keys = FileKeys::kTexts};
  ASSERT_THAT(WriteAll(rows, 300, 100, Make(path_).get()), IsOk());
  const auto reader = GetParam().open_reader(GetParam().At(path_));
  ASSERT_THAT(reader, IsOk());
  for (const int64_t ordinal : {7, 250, 3, 3, 299, 0}) {
    const auto found = (*reader)->Find(ViewOf(rows.KeyOf(ordinal)));
    ASSERT_THAT(found, IsOk());
    ASSERT_TRUE(found->has_value()) << ordinal;
    EXPECT_EQ((*found)->vector[0], static_cast<float>(ordinal));
  }
  const auto next = (*reader)->Next();
  ASSERT_TRUE(next.ok() && next->has_value());
  EXPECT_EQ((*next)->vector[0], 1.0F);
  const auto none = (*reader)->Find(KeyView(int64_t{5}));
  ASSERT_THAT(none, IsOk());
  EXPECT_FALSE(none->has_value());
}

// A crash loses the sink without Complete(); what was written behind the last Flush() may be there, in part or not.
TEST_P(GrowingSinksTest, CrashAnywhereEndsInTheSameBytes) {
  constexpr int64_t kRows = 200;
  const FileRowSet rows = {.dim = 5, .keys = FileKeys::kTexts, .reject_every = 7};
  ASSERT_THAT(WriteAll(rows, kRows, 16, Make(folder_ / "whole", 5).get()), IsOk());
  const std::string whole = AllBytes(folder_ / "whole");
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937 random(seed);
    const std::string path = folder_ / absl::StrCat("run", seed);
    SinkPosition last;
    for (bool finished = false; !finished;) {
      const auto sink = Make(path, 5);
      const auto position = Open(sink.get(), 5, last);
      ASSERT_THAT(position, IsOk());
      ASSERT_EQ(*position, last.position);
      int64_t at = *position;
      for (int steps = static_cast<int>(random() % 12); steps > 0 && at < kRows; --steps) {
        const RowRange range = {at, std::min<int64_t>(kRows, at + 1 + static_cast<int64_t>(random() % 20))};
        ASSERT_THAT(WriteRows(rows, range, sink.get()), IsOk());
        at = range.end;
        if (random() % 3 != 0) continue;
        ASSERT_THAT(sink->Flush(), IsOk());
        last = {at, rows.StoredRows(at)};
      }
      finished = at == kRows && random() % 2 == 0;
      if (!finished) continue;
      ASSERT_THAT(sink->Complete(), IsOk());
    }
    EXPECT_EQ(AllBytes(path), whole);
  }
}

TEST_P(GrowingSinksTest, TornTailIsCut) {
  const FileRowSet rows = {.reject_every = 4};
  ASSERT_THAT(WriteAll(rows, 90, 30, Make(folder_ / "whole").get()), IsOk());
  for (uint32_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937 random(seed);
    const std::string path = folder_ / absl::StrCat("run", seed);
    uintmax_t safe_bytes = 0;
    {
      const auto sink = Make(path);
      ASSERT_THAT(Open(sink.get(), 4, {}), IsOk());
      ASSERT_THAT(WriteRows(rows, {0, 40}, sink.get()), IsOk());
      ASSERT_THAT(sink->Flush(), IsOk());
      safe_bytes = std::filesystem::file_size(path + ".partial");
      ASSERT_THAT(WriteRows(rows, {40, 80}, sink.get()), IsOk());
      ASSERT_THAT(sink->Flush(), IsOk());
    }
    const uintmax_t written = std::filesystem::file_size(path + ".partial") - safe_bytes;
    std::filesystem::resize_file(path + ".partial", safe_bytes + random() % written);
    const auto sink = Make(path);
    const auto position = Open(sink.get(), 4, {40, rows.StoredRows(40)});
    ASSERT_THAT(position, IsOk());
    ASSERT_EQ(*position, 40);
    ASSERT_THAT(WriteRows(rows, {40, 90}, sink.get()), IsOk());
    ASSERT_THAT(sink->Complete(), IsOk());
    EXPECT_EQ(AllBytes(path), AllBytes(folder_ / "whole"));
  }
}

TEST_P(GrowingSinksTest, NothingStaysOfRowsBehindThePosition) {
  for (const int64_t from : {0, 40}) {
    SCOPED_TRACE(from);
    {
      const auto sink = Make(path_);
      ASSERT_THAT(Open(sink.get(), 4, {}), IsOk());
      ASSERT_THAT(WriteRows({}, {0, 80}, sink.get()), IsOk());
      ASSERT_THAT(sink->Flush(), IsOk());
    }
    const auto sink = Make(path_);
    ASSERT_THAT(Open(sink.get(), 4, {from, from}), IsOk());
    ASSERT_THAT(WriteRows({}, {from, 60}, sink.get()), IsOk());
    ASSERT_THAT(sink->Complete(), IsOk());
    EXPECT_THAT(Check({}, 60, path_), IsOk());
    for (const std::string& name : folder_.Names()) std::filesystem::remove(folder_ / name);
  }
}

TEST_P(GrowingSinksTest, StartsOverWhenThePartialFileIsTooShort) {
  {
    const auto sink = Make(path_);
    ASSERT_THAT(Open(sink.get(), 4, {}), IsOk());
    ASSERT_THAT(WriteRows({}, {0, 40}, sink.get()), IsOk());
    ASSERT_THAT(sink->Flush(), IsOk());
  }
  std::filesystem::resize_file(path_ + ".partial", std::filesystem::file_size(path_ + ".partial") - 1);
  const auto sink = Make(path_);
  const auto position = Open(sink.get(), 4, {40, 40});
  ASSERT_THAT(position, IsOk());
  EXPECT_EQ(*position, 0);
  ASSERT_THAT(WriteRows({}, {0, 50}, sink.get()), IsOk());
  ASSERT_THAT(sink->Complete(), IsOk());
  EXPECT_THAT(Check({}, 50, path_), IsOk());
}

TEST_P(GrowingSinksTest, StartsOverWhenThePartialFileHasAnotherWidth) {
  {
    const auto sink = Make(path_, 8);
    ASSERT_THAT(Open(sink.get(), 8, {}), IsOk());
    ASSERT_THAT(WriteRows({.dim = 8}, {0, 40}, sink.get()), IsOk());
    ASSERT_THAT(sink->Flush(), IsOk());
  }
  const auto sink = Make(path_, 4);
  const auto position = Open(sink.get(), 4, {40, 40});
  ASSERT_THAT(position, IsOk());
  EXPECT_EQ(*position, 0);
}

TEST_P(GrowingSinksTest, RerunWithNewRowsKeepsTheOldFileUntilTheNewOneIsComplete) {
  ASSERT_THAT(WriteAll({}, 40, 10, Make(path_).get()), IsOk());
  const std::string old = AllBytes(path_);
  const auto sink = Make(path_);
  const auto position = Open(sink.get(), 4, {40, 40});
  ASSERT_THAT(position, IsOk());
  ASSERT_EQ(*position, 40);
  ASSERT_THAT(WriteRows({}, {40, 60}, sink.get()), IsOk());
  ASSERT_THAT(sink->Flush(), IsOk());
  EXPECT_EQ(AllBytes(path_), old);
  ASSERT_THAT(sink->Complete(), IsOk());
  EXPECT_THAT(Check({}, 60, path_), IsOk());
}

// Complete() renames the keys, then the vectors; a re-run copies the keys, then the vectors.
TEST_P(GrowingSinksTest, CrashBetweenTheFilesOfATargetLosesNothing) {
  if (GetParam().scheme == "jsonl") return;  // one file
  const std::string keys = path_ + ".keys.jsonl";
  {
    const auto sink = Make(path_);
    ASSERT_THAT(Open(sink.get(), 4, {}), IsOk());
    ASSERT_THAT(WriteRows({}, {0, 40}, sink.get()), IsOk());
    ASSERT_THAT(sink->Flush(), IsOk());
  }
  std::filesystem::rename(keys + ".partial", keys);
  {
    const auto sink = Make(path_);
    const auto position = Open(sink.get(), 4, {40, 40});
    ASSERT_THAT(position, IsOk());
    ASSERT_EQ(*position, 40);
    ASSERT_THAT(sink->Complete(), IsOk());
  }
  EXPECT_THAT(Check({}, 40, path_), IsOk());
  std::filesystem::copy(keys, keys + ".partial");
  const auto sink = Make(path_);
  const auto position = Open(sink.get(), 4, {40, 40});
  ASSERT_THAT(position, IsOk());
  ASSERT_EQ(*position, 40);
  ASSERT_THAT(WriteRows({}, {40, 60}, sink.get()), IsOk());
  ASSERT_THAT(sink->Complete(), IsOk());
  EXPECT_THAT(Check({}, 60, path_), IsOk());
}

TEST_P(GrowingSinksTest, RerunWithoutNewRowsChangesNothing) {
  ASSERT_THAT(WriteAll({}, 40, 10, Make(path_).get()), IsOk());
  const std::string old = AllBytes(path_);
  const std::vector<std::string> names = folder_.Names();
  const auto sink = Make(path_);
  ASSERT_THAT(Open(sink.get(), 4, {40, 40}), IsOk());
  EXPECT_EQ(folder_.Names(), names);
  ASSERT_THAT(sink->Flush(), IsOk());
  ASSERT_THAT(sink->Complete(), IsOk());
  EXPECT_EQ(AllBytes(path_), old);
  EXPECT_EQ(folder_.Names(), names);
}

TEST_P(GrowingSinksTest, RefusesAFileThatIsNotOurs) {
  WriteFileBytes(path_, "precious");
  const auto sink = Make(path_);
  EXPECT_THAT(Open(sink.get(), 4, {}),
              HasError(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr(path_), HasSubstr("move it away"))));
  EXPECT_EQ(FileBytes(path_), "precious");
  EXPECT_EQ(folder_.Names().size(), 1U);
}

TEST_P(GrowingSinksTest, WhatTookTheNameMeanwhileIsKept) {
  ASSERT_THAT(WriteAll({}, 40, 10, Make(path_).get()), IsOk());
  WriteFileBytes(path_, "precious");
  const auto sink = Make(path_);
  const auto position = Open(sink.get(), 4, {40, 40});
  ASSERT_THAT(position, IsOk());
  ASSERT_EQ(*position, 0);
  ASSERT_THAT(WriteRows({}, {0, 40}, sink.get()), IsOk());
  ASSERT_THAT(sink->Complete(), IsOk());
  EXPECT_EQ(FileBytes(path_ + ".previous"), "precious");
  EXPECT_THAT(Check({}, 40, path_), IsOk());
}

TEST_P(GrowingSinksTest, RefusesKeysThatAreNotOurs) {
  if (GetParam().scheme == "jsonl") return;  // keys are in the lines
  WriteFileBytes(path_ + ".keys.jsonl", "precious");
  EXPECT_THAT(Open(Make(path_).get(), 4, {}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr(".keys.jsonl exists already")));
  EXPECT_EQ(FileBytes(path_ + ".keys.jsonl"), "precious");
}

TEST_P(GrowingSinksTest, MakingChangesNothing) {
  Make(path_);
  EXPECT_THAT(folder_.Names(), IsEmpty());
}

TEST_P(GrowingSinksTest, NamesWhatIsWrongWithThePlace) {
  const Model model = {"m", 4};
  EXPECT_THAT(GetParam().make_sink(GetParam().At(folder_ / "no/out"), model),
              HasError(absl::StatusCode::kNotFound, HasSubstr("there is no folder")));
  EXPECT_THAT(GetParam().make_sink(GetParam().At(folder_ / ""), model),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("expected a file")));
  Location odd = GetParam().At(path_);
  odd.parameters["kez"] = "id";
  EXPECT_THAT(GetParam().make_sink(odd, model), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("kez")));
  EXPECT_THAT(GetParam().make_sink(GetParam().At(path_), {"m", 0}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("width")));
}

TEST_P(GrowingSinksTest, ABatchOfAnotherWidthIsRefused) {
  const auto sink = Make(path_);
  ASSERT_THAT(Open(sink.get(), 4, {}), IsOk());
  const std::vector<float> vector = {1, 2, 3};
  Batch three(BatchLimits{.max_rows = 1}, 3);
  three.AddRow(0, KeyView(int64_t{0}), 0)->vector = vector.data();
  const Batch* const batch = &three;
  std::vector<RefusedRow> refused;
  EXPECT_THAT(sink->Write({&batch, 1}, &refused),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("vectors of 4 numbers, got such of 3")));
}

TEST_P(GrowingSinksTest, RowsThatComeTooLateAreRefused) {
  const auto sink = Make(path_);
  ASSERT_THAT(Open(sink.get(), 4, {}), IsOk());
  ASSERT_THAT(WriteRows({}, {10, 20}, sink.get()), IsOk());
  EXPECT_THAT(WriteRows({}, {19, 21}, sink.get()),
              HasError(absl::StatusCode::kInternal, HasSubstr("ordinal above 19")));
}

TEST_P(GrowingSinksTest, FullDiskIsNamedAndTheNextRunGoesOn) {
  const FileRowSet rows = {.dim = 64};
  {
    const auto sink = Make(path_, 64);
    ASSERT_THAT(Open(sink.get(), 64, {}), IsOk());
    ASSERT_THAT(WriteRows(rows, {0, 100}, sink.get()), IsOk());
    ASSERT_THAT(sink->Flush(), IsOk());
    const FileSizeLimit limit(100000);
    absl::Status status = WriteRows(rows, {100, 3000}, sink.get());
    if (status.ok()) status = sink->Flush();
    EXPECT_THAT(status, HasError(absl::StatusCode::kResourceExhausted,
                                 AllOf(HasSubstr(path_), HasSubstr("more bytes"), HasSubstr("make room"))));
    EXPECT_EQ(sink->Complete(), status);
  }
  const auto sink = Make(path_, 64);
  const auto position = Open(sink.get(), 64, {100, 100});
  ASSERT_THAT(position, IsOk());
  ASSERT_EQ(*position, 100);
  ASSERT_THAT(WriteRows(rows, {100, 3000}, sink.get()), IsOk());
  ASSERT_THAT(sink->Complete(), IsOk());
  EXPECT_THAT(Check(rows, 3000, path_), IsOk());
}

TEST_P(GrowingSinksTest, NoRowsMakeAnEmptyFile) {
  ASSERT_THAT(WriteAll({}, 0, 1, Make(path_).get()), IsOk());
  EXPECT_THAT(Check({}, 0, path_), IsOk());
}

// Hostile or damaged files: an error or wrong numbers, never a crash; sanitizers watch.
TEST_P(GrowingSinksTest, ReaderSurvivesMutations) {
  const FileRowSet rows = {.keys = FileKeys::kTexts};
  ASSERT_THAT(WriteAll(rows, 20, 20, Make(path_).get()), IsOk());
  const std::string sound = FileBytes(path_);
  const std::string sound_keys = FileBytes(path_ + ".keys.jsonl");
  int opened = 0;
  int refused = 0;
  for (uint32_t seed = 1; seed <= 20000; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937 random(seed);
    std::string bytes = sound;
    std::string keys = sound_keys;
    std::string* const victim = keys.empty() || random() % 2 == 0 ? &bytes : &keys;
    const size_t reach = random() % 2 == 0 ? std::min<size_t>(victim->size(), 128) : victim->size();
    for (uint32_t i = 0; i <= random() % 4; ++i) (*victim)[random() % reach] = static_cast<char>(random());
    if (random() % 3 == 0) victim->resize(random() % (victim->size() + 1));
    WriteFileBytes(path_, bytes);
    if (!keys.empty() || !sound_keys.empty()) WriteFileBytes(path_ + ".keys.jsonl", keys);
    const auto reader = GetParam().open_reader(GetParam().At(path_));
    ++(reader.ok() ? opened : refused);
    if (!reader.ok()) continue;
    for (int64_t i = 0; i < 40; ++i) {
      const auto row = (*reader)->Next();
      if (!row.ok() || !row->has_value()) break;
      ASSERT_EQ((*row)->vector.size(), static_cast<size_t>((*reader)->dim()));
    }
    (*reader)->Find(KeyView("absent")).status().IgnoreError();
  }
  EXPECT_GT(opened, 500);
  EXPECT_GT(refused, 500);
}

INSTANTIATE_TEST_SUITE_P(Formats, GrowingSinksTest,
                         ::testing::Values(FormatCase{"fbin", MakeFbinSink, OpenFbinReader},
                                           FormatCase{"npy", MakeNpySink, OpenNpyReader},
                                           FormatCase{"jsonl", MakeJsonlSink, OpenJsonlReader}),
                         [](const auto& info) { return info.param.scheme; });

}  // namespace
}  // namespace reembed
