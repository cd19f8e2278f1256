// SPDX-License-Identifier: Apache-2.0
// `reembed index` as its users meet it.

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kDim = 16;

std::string Bytes(const void* from, size_t size) { return {static_cast<const char*>(from), size}; }

class IndexCliTest : public ::testing::Test {
 protected:
  ProcessResult Cli(std::vector<std::string> args) {
    args.insert(args.begin(), "index");
    return RunClean(REEMBED_BINARY, folder_.path(), args);
  }

  void Write(const std::string& name, const std::string& bytes) {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
  }
  std::string Read(const std::string& name) {
    std::ifstream file(folder_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  // Rows around some centres; row 3 is that of row 2 once more.
  static std::vector<float> Rows(int rows, uint64_t seed = 1) {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> centres(20 * kDim), matrix;
    for (float& x : centres) x = normal(random);
    for (int i = 0; i < rows; ++i) {
      const size_t centre = random() % 20;
      for (int j = 0; j < kDim; ++j) matrix.push_back(centres[centre * kDim + j] + 0.5f * normal(random));
    }
    std::copy_n(matrix.begin() + 2 * kDim, kDim, matrix.begin() + 3 * kDim);
    return matrix;
  }

  static std::string Fbin(const std::vector<float>& matrix, int dim = kDim) {
    const uint32_t header[] = {static_cast<uint32_t>(matrix.size() / dim), static_cast<uint32_t>(dim)};
    return Bytes(header, sizeof header) + Bytes(matrix.data(), matrix.size() * 4);
  }

  static std::string Fvecs(const std::vector<float>& matrix) {
    std::string bytes;
    const int32_t dim = kDim;
    for (size_t at = 0; at < matrix.size(); at += kDim) bytes += Bytes(&dim, 4) + Bytes(&matrix[at], kDim * 4);
    return bytes;
  }

  TempFolder folder_;
};

TEST_F(IndexCliTest, FromVectorsToAMeasuredIndexAndBack) {
  Write("rows.fbin", Fbin(Rows(2000)));
  const std::string index = folder_ / "rows.faiss";
  ProcessResult result = Cli({"build", folder_ / "rows.fbin", "-o", index, "--factory", "HNSW16", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(LastNumber(result, "rows"), 2000);
  EXPECT_GT(LastNumber(result, "bytes"), 2000 * kDim * 4);

  result = Cli({"info", index, "--check"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("HNSW16"), HasSubstr("cosine, rows are normalised"), HasSubstr("rows.fbin"),
                                HasSubstr("IDMap2, HNSW16, Flat"), HasSubstr("all files are as they were written")));

  result = Cli({"eval", index, "--queries", "100", "--ef-search", "16,128", "--json", "--html", folder_ / "page.html",
                "--write-truth", folder_ / "truth.h5"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(LastNumber(result, "queries"), 100);
  EXPECT_THAT(result.out, AllOf(HasSubstr("\"ef_search\":16,"), HasSubstr("\"ef_search\":128,")));
  EXPECT_THAT(Read("page.html"), AllOf(HasSubstr("<svg"), HasSubstr("efSearch 128"), Not(HasSubstr("http"))));

  // With the file of true neighbours the same comes out as without.
  const ProcessResult again = Cli({"eval", index, "--truth", folder_ / "truth.h5", "--ef-search", "128", "--json"});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(LastNumber(again, "queries"), 100);

  result = Cli({"search", index, "--vector", folder_ / "rows.fbin", "--row", "7", "-k", "2", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, testing::StartsWith("{\"message_type\":\"hit\",\"key\":7,\"score\":1"));
}

// A mapped index is opened by its head alone, so a bit in its lists is found only by reading it through.
TEST_F(IndexCliTest, ACheckReadsAMappedIndexThrough) {
  Write("rows.fbin", Fbin(Rows(40000)));
  const std::string index = folder_ / "rows.faiss";
  const auto build = [&](const std::string& memory) {
    return Cli(
        {"build", folder_ / "rows.fbin", "-o", index, "--factory", "IVF16,Flat", "--quiet", "--build-memory", memory});
  };
  const ProcessResult refused = build("1MiB");
  ASSERT_EQ(refused.exit_code, 2) << refused.err;
  const size_t words = refused.err.rfind(" MiB"), number = refused.err.rfind(' ', words - 1) + 1;
  ASSERT_NE(words, std::string::npos) << refused.err;
  const ProcessResult built = build(refused.err.substr(number, words - number) + "MiB");
  ASSERT_EQ(built.exit_code, 0) << built.err;
  EXPECT_THAT(Read("rows.faiss.json"), HasSubstr("mapped"));
  EXPECT_EQ(Cli({"info", index, "--check"}).exit_code, 0);
  std::string bytes = Read("rows.faiss");
  bytes[bytes.size() / 2] ^= 1;
  Write("rows.faiss", bytes);
  EXPECT_EQ(Cli({"info", index}).exit_code, 0) << "its size is what it should be";
  const ProcessResult checked = Cli({"info", index, "--check"});
  EXPECT_NE(checked.exit_code, 0);
  EXPECT_THAT(checked.err, HasSubstr("rows.faiss"));
}

TEST_F(IndexCliTest, AnExactIndexFindsAllAlsoAmongEqualRows) {
  std::vector<float> rows = Rows(400);
  for (int i = 0; i < 200; ++i) std::copy_n(rows.begin(), kDim, rows.begin() + i * kDim);
  Write("rows.fbin", Fbin(rows));
  const std::string index = folder_ / "a.faiss";
  ASSERT_EQ(Cli({"build", folder_ / "rows.fbin", "-o", index, "--factory", "Flat", "--quiet"}).exit_code, 0);
  const ProcessResult result = Cli({"eval", index, "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("\"recall_at_1\":1,\"recall_at_10\":1,\"recall_at_100\":1,"));
}

TEST_F(IndexCliTest, EveryPlaceOfVectorsGivesTheSameIndex) {
  const std::vector<float> rows = Rows(500);
  Write("rows.fbin", Fbin(rows));
  Write("rows.fvecs", Fvecs(rows));
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (500, 16), }";
  header.resize(117, ' ');
  Write("rows.npy", absl::StrCat(absl::string_view("\x93NUMPY\x01\x00\x76\x00", 10), header, "\n") +
                        Bytes(rows.data(), rows.size() * 4));
  for (const std::string name : {"rows.fbin", "rows.fvecs", "rows.npy"}) {
    const ProcessResult result =
        Cli({"build", folder_ / name, "-o", folder_ / (name + ".faiss"), "--factory", "IVF4,Flat", "--quiet"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_TRUE(Read(name + ".faiss") == Read("rows.fbin.faiss")) << name;
  }
}

TEST_F(IndexCliTest, AJobBecomesAnIndexThatKnowsItsModelAndItsTexts) {
  std::ofstream notes(folder_ / "notes.jsonl");
  for (int i = 0; i < 30; ++i) notes << "{\"id\":\"n" << i << "\",\"text\":\"note number " << i << "\"}\n";
  notes << "{\"id\":\"trip\",\"text\":\"the trip to Lisbon\"}\n";
  notes.close();
  std::vector<std::string> run = BuiltinRun(folder_.path());
  run.push_back("--keep-vectors=always");
  ProcessResult result = RunClean(REEMBED_BINARY, folder_.path(), run);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const std::string index = folder_ / "notes.faiss";
  result = Cli({"build", folder_ / "job", "-o", index, "--factory", "Flat", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("\"model\":\"reembed-lexical-1\""));
  result = Cli({"search", index, "trip", "to", "Lisbon", "-k", "1"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(testing::StartsWith("trip"), HasSubstr("the trip to Lisbon")));
  result = Cli({"search", index, "--model", "bge-m3", "trip"});
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_THAT(result.err, AllOf(HasSubstr("reembed-lexical-1"), HasSubstr("bge-m3")));
  Write("wide.fbin", Fbin(Rows(10)));
  result = Cli({"search", index, "--vector", folder_ / "wide.fbin"});
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_THAT(result.err, HasSubstr("expected a query of 64 numbers, as the index has, got 16"));
}

// The rows of an index that must be trained lie beside it until it is built.
TEST_F(IndexCliTest, APlanCountsTheRowsThatLieBesideAnIndex) {
  std::ofstream notes(folder_ / "notes.jsonl");
  for (int i = 0; i < 500; ++i) notes << "{\"id\":" << i << ",\"text\":\"note number " << i << "\"}\n";
  notes.close();
  const auto disk = [this](const std::string& factory) {
    const ProcessResult plan = RunClean(REEMBED_BINARY, folder_.path(),
                                        {"plan", "--source", "jsonl:" + (folder_ / "notes.jsonl"), "--target",
                                         "faiss:" + (folder_ / "notes.faiss") + "?factory=" + factory, "--embedder",
                                         "builtin", "--dimensions", "64", "--json"});
    EXPECT_EQ(plan.exit_code, 0) << plan.err;
    return LastNumber(plan, "disk_bytes");
  };
  EXPECT_EQ(disk("IVF4,Flat") - disk("HNSW32"), 500 * 64 * 4);
  EXPECT_EQ(disk("Flat"), disk("HNSW32"));
}

TEST_F(IndexCliTest, AnotherProgramsIndexIsSearchedByVectors) {
  Write("rows.fbin", Fbin(Rows(300)));
  const std::string index = folder_ / "a.index";
  ASSERT_EQ(Cli({"build", folder_ / "rows.fbin", "-o", index, "--factory", "HNSW8", "--quiet"}).exit_code, 0);
  std::filesystem::remove(index + ".json");
  ProcessResult result = Cli({"search", index, "--vector", folder_ / "rows.fbin", "--row", "5", "-k", "1"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, testing::StartsWith("5 "));
  result = Cli({"search", index, "a text"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("name it with --model"));
  result = Cli({"info", index});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("IDMap2, HNSW8, Flat"));
}

// What Git LFS leaves in place of a file, and files that are no index at all.
TEST_F(IndexCliTest, AFileThatIsNoIndexIsNamedAsWhatItIs) {
  const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n";
  Write("rows.fbin", Fbin(Rows(50)));
  for (const std::string name : {"a.faiss", "a.npy", "a.fbin", "a.h5", "a.fvecs", "a.jsonl"}) {
    Write(name, pointer);
    const ProcessResult result = name == "a.faiss" ? Cli({"search", folder_ / name, "--vector", folder_ / "rows.fbin"})
                                                   : Cli({"build", folder_ / name, "-o", folder_ / "o.faiss"});
    EXPECT_EQ(result.exit_code, 6) << name << result.err;
    EXPECT_THAT(result.err, AllOf(HasSubstr(name), HasSubstr("git lfs pull"))) << name;
  }
  for (const std::string command : {"info", "eval"}) {
    EXPECT_THAT(Cli({command, folder_ / "a.faiss"}).err, HasSubstr("git lfs pull"));
  }
  Write("b.faiss", "\x93NUMPY and so on, for some bytes");
  EXPECT_THAT(Cli({"info", folder_ / "b.faiss"}).err,
              AllOf(HasSubstr("expected an index of FAISS, got another kind of file"), Not(HasSubstr("older FAISS"))));
}

// FAISS would warn of few rows for each of a rotation's code words, fifty times over.
TEST_F(IndexCliTest, ABuildWithARotationSaysNothingUnasked) {
  Write("rows.fbin", Fbin(Rows(300)));
  const ProcessResult result =
      Cli({"build", folder_ / "rows.fbin", "-o", folder_ / "a.faiss", "--factory", "OPQ2_4,IVF2,PQ2", "--quiet"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out + result.err, "");
}

TEST_F(IndexCliTest, MistakesAreNamedAndLeaveWhatIsThere) {
  Write("rows.fbin", Fbin(Rows(300)));
  const std::string index = folder_ / "a.faiss", rows = folder_ / "rows.fbin";
  ASSERT_EQ(Cli({"build", rows, "-o", index, "--factory", "Flat", "--quiet"}).exit_code, 0);
  const std::string before = Read("a.faiss");
  const auto refused = [&](std::vector<std::string> args, int code, const std::string& words) {
    const ProcessResult result = Cli(args);
    EXPECT_EQ(result.exit_code, code) << result.err;
    EXPECT_THAT(result.err, HasSubstr(words));
    EXPECT_TRUE(Read("a.faiss") == before) << words;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
      const std::string name = entry.path().filename();
      EXPECT_TRUE(name.find("partial") == std::string::npos || name == "a.faiss.partial.lock") << name << ": " << words;
    }
  };
  refused({"build", rows, "-o", index, "--factory", "IVF4096,Flat"}, 2,
          "at least 4096 rows to train IVF4096,Flat, got 300");
  Write("few.fbin", Fbin(Rows(100)));
  refused({"build", folder_ / "few.fbin", "-o", index, "--factory", "IVF1,PQ8"}, 2, "at least 256 rows");
  refused({"build", rows, "-o", index, "--factory", "HNSW32,IVF"}, 2, "HNSW32,IVF");
  refused({"build", rows, "-o", index, "--factory", "Flat", "--recall", "0.9"}, 2,
          "--recall chooses the type of index");
  refused({"build", rows, "-o", index, "--memory", "4GiB"}, 2, "--memory 4GiB --recall 0.95");
  refused({"build", rows, "-o", index, "--recall", "0.9", "--memory", "lots"}, 2, "--memory lots: expected a size");
  refused({"build", rows, "-o", index, "--recall", "0.99", "--memory", "1kB"}, 2, "the smallest index that can takes");
  refused({"build", folder_ / "none.fbin", "-o", index}, 2, "none.fbin");
  refused({"build", rows, "-o", folder_ / "nowhere/a.faiss"}, 2, "nowhere");
  refused({"build", rows, "-o", index, "--simd", "mmx"}, 2, "mmx");

  std::vector<float> odd = Rows(300);
  std::fill_n(odd.begin() + 5 * kDim, kDim, 0.0f);
  Write("zeros.fbin", Fbin(odd));
  refused({"build", folder_ / "zeros.fbin", "-o", index}, 2,
          "row 5: expected a vector with a direction, got only zeros");
  odd[5 * kDim] = std::numeric_limits<float>::quiet_NaN();
  Write("nan.fbin", Fbin(odd));
  refused({"build", folder_ / "nan.fbin", "-o", index}, 2,
          "row 5: expected a vector with a direction, got a number that is not finite");
  std::string mixed = Fvecs(Rows(20));
  const int32_t narrow = 15;
  std::memcpy(mixed.data() + 7 * (4 + kDim * 4), &narrow, 4);
  Write("mixed.fvecs", mixed);
  refused({"build", folder_ / "mixed.fvecs", "-o", index}, 1,
          "row 7: expected a vector of 16 numbers, like the rows before, got 15");
  Write("empty.fbin", Fbin({}));
  refused({"build", folder_ / "empty.fbin", "-o", index}, 2, "got none");
  refused({"build", rows, "-o", index, "--model", "another"}, 2, "another");
  refused({"eval", rows}, 1, "rows.fbin");
  refused({"search", index}, 2, "say what to look for");
}

// Where a search looks there may be fewer rows than were asked for. Nothing stands in their place.
TEST_F(IndexCliTest, ASearchThatFindsFewerSaysHowToFindMore) {
  Write("rows.fbin", Fbin(Rows(400)));
  const std::string index = folder_ / "a.faiss";
  ASSERT_EQ(Cli({"build", folder_ / "rows.fbin", "-o", index, "--factory", "IVF10,Flat", "--quiet"}).exit_code, 0);
  const auto search = [&](const char* lists, const char* k) {
    return Cli({"search", index, "--vector", folder_ / "rows.fbin", "-k", k, "--nprobe", lists, "--json"});
  };
  const ProcessResult few = search("1", "400");
  EXPECT_EQ(few.exit_code, 0);
  EXPECT_THAT(few.err, AllOf(HasSubstr("of 400 rows found"), HasSubstr("--nprobe")));
  EXPECT_THAT(few.out, Not(HasSubstr("\"key\":-1")));
  const ProcessResult all = search("10", "1000");
  EXPECT_EQ(all.err, "");
  EXPECT_EQ(std::count(all.out.begin(), all.out.end(), '\n'), 400);
}

TEST_F(IndexCliTest, RowsOfNoUseAreLeftOutWhereThatIsAskedFor) {
  std::vector<float> rows = Rows(300);
  std::fill_n(rows.begin() + 5 * kDim, kDim, 0.0f);
  rows[9 * kDim] = std::numeric_limits<float>::infinity();
  Write("rows.fbin", Fbin(rows));
  const ProcessResult result = Cli(
      {"build", folder_ / "rows.fbin", "-o", folder_ / "a.faiss", "--factory", "Flat", "--skip-unusable", "--json"});
  EXPECT_EQ(result.exit_code, 3) << result.err;
  EXPECT_EQ(LastNumber(result, "rows"), 298);
  EXPECT_EQ(LastNumber(result, "rows_passed_over"), 2);
  EXPECT_THAT(result.err, HasSubstr("row 5: "));
}

TEST_F(IndexCliTest, MeasuringAgainstCodesTakesTheVectorsTheyWereMadeOf) {
  Write("rows.fbin", Fbin(Rows(3000)));
  const std::string index = folder_ / "a.faiss";
  ASSERT_EQ(Cli({"build", folder_ / "rows.fbin", "-o", index, "--factory", "IVF8,SQ8", "--quiet"}).exit_code, 0);
  ProcessResult result = Cli({"eval", index, "--queries", "50", "--nprobe", "8", "--json"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  Write("rows.fbin", Fbin(Rows(3000, 2)));
  result = Cli({"eval", index, "--queries", "50", "--nprobe", "8"});
  EXPECT_THAT(result.err, HasSubstr("is not what"));
  std::filesystem::remove(folder_ / "rows.fbin");
  result = Cli({"eval", index});
  EXPECT_EQ(result.exit_code, 2);
}

// An index of the first numbers of each vector, as `dim=` makes a target, against the whole ones.
TEST_F(IndexCliTest, MeasuringCutVectorsTakesTheWholeOnes) {
  const std::vector<float> rows = Rows(3000);
  const auto cut = [&rows](int dim) {
    std::vector<float> narrow;
    for (size_t at = 0; at < rows.size(); at += kDim) narrow.insert(narrow.end(), &rows[at], &rows[at] + dim);
    return narrow;
  };
  Write("rows.fbin", Fbin(rows));
  double before = 1;
  for (const int dim : {16, 12, 4}) {
    Write("cut.fbin", Fbin(cut(dim), dim));
    const std::string index = folder_ / "a.faiss";
    for (const char* const name : {"a.faiss", "a.faiss.json"}) std::filesystem::remove(folder_ / name);
    ASSERT_EQ(Cli({"build", folder_ / "cut.fbin", "-o", index, "--factory", "Flat", "--quiet"}).exit_code, 0);
    const ProcessResult result = Cli({"eval", index, "--vectors", folder_ / "rows.fbin", "--queries", "200", "--json",
                                      "--write-truth", folder_ / absl::StrCat("truth-", dim, ".h5")});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(LastNumber(result, "dim"), dim);
    EXPECT_EQ(LastNumber(result, "compared_dim"), kDim);
    const size_t at = result.out.find("\"recall_at_10\":");
    ASSERT_NE(at, std::string::npos) << result.out;
    const double recall = std::stod(result.out.substr(at + 15));
    if (dim == kDim) {
      EXPECT_EQ(recall, 1);
      EXPECT_EQ(result.err, "");
    } else {
      EXPECT_LT(recall, before) << dim;
      EXPECT_GT(recall, 0.01) << "queries are cut like the rows";
      EXPECT_THAT(result.err, HasSubstr(absl::StrCat("has vectors of 16 numbers and ")));
    }
    before = recall;
    // With the file of true neighbours of whole queries the same comes out.
    const ProcessResult again = Cli({"eval", index, "--truth", folder_ / absl::StrCat("truth-", dim, ".h5"), "--json"});
    ASSERT_EQ(again.exit_code, 0) << again.err;
    EXPECT_EQ(LastNumber(again, "compared_dim"), kDim);
  }
  // Narrower ones say nothing of wider rows.
  ASSERT_EQ(Cli({"build", folder_ / "rows.fbin", "-o", folder_ / "w.faiss", "--factory", "Flat", "--quiet"}).exit_code,
            0);
  const ProcessResult refused = Cli({"eval", folder_ / "w.faiss", "--vectors", folder_ / "cut.fbin"});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, HasSubstr("expected vectors of 16 numbers, as in "));
  const ProcessResult narrow =
      Cli({"eval", folder_ / "w.faiss", "--vectors", folder_ / "rows.fbin", "--queries-from", folder_ / "cut.fbin"});
  EXPECT_EQ(narrow.exit_code, 2);
  EXPECT_THAT(narrow.err, HasSubstr("cut.fbin: expected vectors of 16 numbers"));
}

// GNU OpenMP says at its start what it has found. Of programs that build no index nothing is changed.
TEST_F(IndexCliTest, ThreadsThatWaitSleepUnlessTheUserSaysOtherwise) {
  const auto spins = [this](const std::string& command, std::map<std::string, std::string> environment) {
    for (const char* const name : {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}) environment.emplace(name, "");
    environment["OMP_DISPLAY_ENV"] = "VERBOSE";
    const std::string err =
        RunClean(REEMBED_BINARY, folder_.path(), {command, "info", folder_ / "none.faiss"}, environment).err;
    const std::string name = "GOMP_SPINCOUNT = '";
    const size_t at = err.rfind(name);
    return at == std::string::npos ? err
                                   : err.substr(at + name.size(), err.find('\'', at + name.size()) - at - name.size());
  };
  EXPECT_EQ(spins("index", {}), "0");
  EXPECT_EQ(spins("index", {{"GOMP_SPINCOUNT", "77"}}), "77");
  EXPECT_NE(spins("index", {{"OMP_WAIT_POLICY", "active"}}), "0");
  EXPECT_NE(spins("status", {}), "0");

  // An index that only a file or a variable names is one, too.
  const std::string job = folder_ / "job.toml";
  std::ofstream(job) << "target = [\"faiss:" << folder_ / "rows.faiss"
                     << "\"]\n";
  const auto waits = [&](const std::vector<std::string>& words, std::map<std::string, std::string> environment) {
    for (const char* const name : {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}) environment.emplace(name, "");
    environment["OMP_DISPLAY_ENV"] = "VERBOSE";
    return absl::StrContains(RunClean(REEMBED_BINARY, folder_.path(), words, environment).err, "GOMP_SPINCOUNT = '0'");
  };
  EXPECT_TRUE(waits({"run", job}, {}));
  EXPECT_TRUE(waits({"run", "--plan=" + job}, {}));
  EXPECT_TRUE(waits({"run"}, {{"REEMBED_TARGET", "faiss:rows.faiss"}}));
  EXPECT_FALSE(waits({"run"}, {}));
  EXPECT_FALSE(waits({"status", job}, {})) << "it writes nothing";
}

TEST_F(IndexCliTest, TwoBuildsOfOneIndexDoNotMeet) {
  Write("rows.fbin", Fbin(Rows(60000)));
  const std::vector<std::string> args = {REEMBED_BINARY,      "index",     "build", folder_ / "rows.fbin", "-o",
                                         folder_ / "a.faiss", "--factory", "HNSW32"};
  Process first(args);
  // The owner's name is written behind the lock: a file that is there only is not locked yet.
  while (first.IsRunning() && Read("a.faiss.partial.lock").empty()) std::this_thread::yield();
  ASSERT_TRUE(first.IsRunning());
  first.Signal(SIGSTOP);
  const ProcessResult second = Cli({"build", folder_ / "rows.fbin", "-o", folder_ / "a.faiss", "--factory", "Flat"});
  first.Signal(SIGCONT);
  first.Signal(SIGKILL);
  first.Wait();
  EXPECT_EQ(second.exit_code, 11) << second.err;
  // A dead owner never blocks.
  EXPECT_EQ(Cli({"build", folder_ / "rows.fbin", "-o", folder_ / "a.faiss", "--factory", "Flat", "--quiet"}).exit_code,
            0);
}

TEST_F(IndexCliTest, ABuildThatIsKilledAgainAndAgainEndsAsOneThatIsNot) {
  Write("rows.fbin", Fbin(Rows(200000)));
  const auto args = [&](const std::string& index) {
    return std::vector<std::string>{REEMBED_BINARY,  "index",     "build",      folder_ / "rows.fbin", "-o",
                                    folder_ / index, "--factory", "IVF16,Flat", "--keep-every",        "0",
                                    "--json"};
  };
  ASSERT_EQ(RunProcess(args("whole.faiss")).exit_code, 0);
  // After training, and behind a step of 65,536 rows.
  for (const char* const rows : {"\"rows\":0,", "\"rows\":65536,"}) {
    Process build(args("killed.faiss"));
    while (build.IsRunning() && Read("killed.faiss.partial.stage.json").find(rows) == std::string::npos) {
      std::this_thread::yield();
    }
    build.Signal(SIGKILL);
    build.Wait();
  }
  const ProcessResult last = RunProcess(args("killed.faiss"));
  ASSERT_EQ(last.exit_code, 0) << last.err;
  EXPECT_GE(LastNumber(last, "rows_resumed"), 65536);
  EXPECT_TRUE(Read("killed.faiss") == Read("whole.faiss"));
  for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
    EXPECT_THAT(entry.path().filename().string(), Not(HasSubstr("partial")));
  }
}

}  // namespace
}  // namespace reembed
