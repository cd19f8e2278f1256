// SPDX-License-Identifier: Apache-2.0
// Files of some hundred bytes that claim to hold more than any memory: nothing is as large as a number in a file says.

#include <hdf5.h>
#include <sqlite3.h>

#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/own_memory.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// More than any command of these needs, and less than any claim.
constexpr int kAddressSpaceKib = 800'000;

// Runs its arguments, then says how much memory that took.
constexpr char kMeasure[] =
    "import resource, subprocess, sys\n"
    "code = subprocess.run(sys.argv[1:]).returncode\n"
    "print('peak', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)\n"
    "sys.exit(code if code >= 0 else 128 - code)\n";

std::string BytesOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void WriteBytes(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

struct Measured {
  ProcessResult result;
  int64_t peak_kib = 0;
};

class ClaimedCountsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!kMemoryIsOurs) GTEST_SKIP() << "measured without sanitizers";
    std::ofstream notes(folder_ / "notes.jsonl");
    for (int i = 0; i < 5; ++i) notes << "{\"id\":" << i << ",\"text\":\"note " << i << "\"}\n";
  }

  Measured Command(const std::vector<std::string>& args) const {
    std::vector<std::string> words = {
        "-c",
        kMeasure,
        "/bin/bash",
        "-c",
        absl::StrCat("ulimit -v ", kAddressSpaceKib, "; exec timeout -s KILL 60 \"$0\" \"$@\""),
        REEMBED_BINARY};
    words.insert(words.end(), args.begin(), args.end());
    Measured measured{.result = RunClean("/usr/bin/python3", folder_.path(), words)};
    const std::string& err = measured.result.err;
    const size_t at = err.rfind("peak ");
    EXPECT_NE(at, std::string::npos) << err;
    if (at != std::string::npos) measured.peak_kib = std::strtoll(err.c_str() + at + 5, nullptr, 10);
    return measured;
  }

  std::vector<std::string> Search(const std::string& target) const {
    return {"search", "--target", target, "--embedder", "builtin", "--dimensions", "64", "some words"};
  }

  std::vector<std::string> RunArgs(const std::string& target) const {
    return {"run",
            "--source",
            "jsonl:" + (folder_ / "notes.jsonl"),
            "--target",
            target,
            "--job",
            folder_ / "job",
            "--embedder",
            "builtin",
            "--dimensions",
            "64",
            "--progress",
            "off"};
  }
  ProcessResult RunInto(const std::string& target) const {
    return RunClean(REEMBED_BINARY, folder_.path(), RunArgs(target));
  }

  // `args` after each claim, beside what they take when nothing is claimed: no more than a tenth above that, and an
  // error that is none of memory, unless the claim is of no account.
  void CheckClaims(const std::vector<std::string>& args, const std::vector<std::pair<std::string, bool>>& claims,
                   const std::function<void(const std::string&)>& make) const {
    const Measured honest = Command(args);
    ASSERT_EQ(honest.result.exit_code, 0) << honest.result.err;
    for (const auto& [claim, is_refused] : claims) {
      SCOPED_TRACE(claim);
      make(claim);
      const Measured lied = Command(args);
      EXPECT_LE(lied.peak_kib, honest.peak_kib * 1.1) << lied.result.err;
      EXPECT_LT(lied.result.exit_code, 124) << lied.result.err;
      EXPECT_EQ(lied.result.exit_code > 0, is_refused) << lied.result.out << lied.result.err;
      EXPECT_THAT(lied.result.err, Not(HasSubstr("memory"))) << lied.result.err;
    }
  }

  TempFolder folder_;
};

TEST_F(ClaimedCountsTest, Npy) {
  const std::string path = folder_ / "rows.npy";
  ASSERT_EQ(RunInto("npy:" + path).exit_code, 0);
  const std::string good = BytesOf(path);
  CheckClaims(Search("npy:" + path),
              {{"(1000000000000, 64)", true}, {"(5, 1000000)", true}, {"(9000000000000000000, 64)", true}},
              [&](const std::string& claim) {
                std::string bytes = good;
                const size_t at = bytes.find("(5, 64)");
                ASSERT_NE(at, std::string::npos);
                bytes.replace(at, 7, claim);
                bytes.erase(bytes.find("  ", at), claim.size() - 7);  // the header keeps its length
                WriteBytes(path, bytes);
              });
}

TEST_F(ClaimedCountsTest, Fbin) {
  const std::string path = folder_ / "rows.fbin";
  ASSERT_EQ(RunInto("fbin:" + path).exit_code, 0);
  const std::string good = BytesOf(path);
  CheckClaims(Search("fbin:" + path), {{"0", true}, {"4", true}}, [&](const std::string& offset) {
    std::string bytes = good;
    bytes.replace(static_cast<size_t>(offset[0] - '0'), 4, "\xff\xff\xff\x7f");
    WriteBytes(path, bytes);
  });
}

// A dataset of `rows` x `columns` without a single chunk in the file.
void MakeEmptyDataset(const std::string& path, hsize_t rows, hsize_t columns, hsize_t chunk_rows) {
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  const hsize_t extent[] = {rows, columns}, chunk[] = {chunk_rows, columns};
  const hid_t space = H5Screate_simple(2, extent, nullptr);
  const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_chunk(properties, 2, chunk);
  const hid_t dataset = H5Dcreate2(file, "train", H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT);
  EXPECT_GE(dataset, 0);
  H5Dclose(dataset);
  H5Pclose(properties);
  H5Sclose(space);
  H5Fclose(file);
}

TEST_F(ClaimedCountsTest, Hdf5) {
  const std::string path = folder_ / "rows.h5";
  ASSERT_EQ(RunInto("hdf5:" + path).exit_code, 0);
  CheckClaims(Search("hdf5:" + path), {{"rows", true}, {"columns", true}, {"chunks", true}},
              [&](const std::string& claim) {
                if (claim == "rows") MakeEmptyDataset(path, 1'000'000'000'000, 64, 1024);
                if (claim == "columns") MakeEmptyDataset(path, 5, 500'000'000, 1);
                if (claim == "chunks") MakeEmptyDataset(path, 16'000'000, 64, 16'000'000);
              });
}

TEST_F(ClaimedCountsTest, IndexAndItsDescription) {
  const std::string path = folder_ / "notes.faiss";
  ASSERT_EQ(RunInto("faiss:" + path + "?factory=Flat").exit_code, 0);
  const std::string described = path + ".json";
  std::string json = BytesOf(described);
  // Descriptions of earlier versions have no checksum of their own, and a planted one can have the right one.
  const size_t checksum = json.find(",\n  \"checksum\"");
  ASSERT_NE(checksum, std::string::npos) << json;
  json = json.substr(0, checksum) + "\n}\n";
  WriteBytes(described, json);
  const std::string index = BytesOf(path);
  CheckClaims({"search", "--index", path, "some words"},
              {{"\"rows\": 9000000000000000000", true},
               {"\"rows\": 4000000000", true},
               {"\"dim\": 2147483647", true},
               {"\"index_bytes\": 9000000000000000000", true},
               {"\"keys_bytes\": 9000000000000000000", false},
               {"\"trained_rows\": 9000000000000000000", false}},
              [&](const std::string& claim) {
                const std::string name = claim.substr(0, claim.find(':') + 1);
                const size_t at = json.find(name);
                ASSERT_NE(at, std::string::npos) << json;
                WriteBytes(described, json.substr(0, at) + claim + json.substr(json.find(',', at)));
              });
}

TEST_F(ClaimedCountsTest, JsonLines) {
  // Nothing in it is a count, but nesting is a number, too: what follows each level would be.
  const std::string path = folder_ / "rows.jsonl";
  ASSERT_EQ(RunInto("jsonl:" + path).exit_code, 0);
  const std::string good = BytesOf(path);
  CheckClaims(Search("jsonl:" + path), {{"nested", true}, {"exponent", true}}, [&](const std::string& claim) {
    WriteBytes(path, claim == "nested" ? absl::StrCat("{\"key\":1,\"embedding\":", std::string(200'000, '['), "}\n")
                                       : "{\"key\":1,\"embedding\":[1e999999999999999999]}\n");
  });
}

TEST_F(ClaimedCountsTest, Ledger) {
  ASSERT_EQ(RunInto("fbin:" + (folder_ / "out.fbin")).exit_code, 0);
  const std::string ledger = folder_ / "job/ledger.db";
  const std::string good = BytesOf(ledger);
  const auto spoil = [&](const std::string& sql) {
    WriteBytes(ledger, good);
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(ledger.c_str(), &db), SQLITE_OK);
    ASSERT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK) << sql << sqlite3_errmsg(db);
    sqlite3_close(db);
  };
  const std::vector<std::pair<std::string, bool>> of_all = {
      {"UPDATE rows SET ordinal = 9000000000000000000 WHERE ordinal = 4", true},
      {"UPDATE rows SET ordinal = 9223372036854775807 WHERE ordinal = 4", true},
      {"UPDATE rows SET slot = 9000000000000000000 WHERE ordinal = 2", true},
      {"UPDATE texts SET slot = 4000000000 WHERE slot = 4", true},
      {"UPDATE kept SET slot_end = 4000000000", true},
      {"UPDATE kept SET epoch = 9223372036854775806", true},
      {"INSERT INTO rejected_texts VALUES(9000000000000000000, 3, '')", true},
      {"UPDATE meta SET value = '2000000000' WHERE key = 'dim'", true}};
  CheckClaims({"verify", folder_ / "job"}, of_all, spoil);
  spoil("");
  CheckClaims(RunArgs("fbin:" + (folder_ / "out.fbin")),
              {{"UPDATE rows SET ordinal = 9000000000000000000 WHERE ordinal = 4", true},
               {"UPDATE rows SET slot = 9000000000000000000 WHERE ordinal = 2; UPDATE sinks SET position = 0", true},
               {"UPDATE texts SET slot = 4000000000 WHERE slot = 4", true},
               {"UPDATE kept SET slot_end = 4000000000", true},
               {"UPDATE sinks SET position = 9000000000000000000", true},
               {"INSERT INTO owed VALUES((SELECT name FROM sinks), 9000000000000000000, 9000000000000000000)", false},
               {"UPDATE meta SET value = '2000000000' WHERE key = 'dim'", true}},
              spoil);
}

}  // namespace
}  // namespace reembed
