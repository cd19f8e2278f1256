// SPDX-License-Identifier: Apache-2.0
// The FalkorDB sink beside a bare client that sends the same rows as the store's own bulk path, statements
// `UNWIND $rows ... SET` that lie ready in memory, turn by turn in the same run. The server is real and runs on this
// machine; its module comes from npm (CTest npm_install).
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/pairs.h"
#include "engine/batch.h"
#include "engine/number/float_list.h"
#include "io/net/resp_client.h"
#include "io/store/falkordb/falkordb_graph.h"
#include "io/store/falkordb/falkordb_sink.h"
#include "tests/fakes/falkordb_server.h"

namespace reembed {
namespace {

constexpr int kRows = 2048;
constexpr int kBatchRows = 256;
constexpr size_t kStatementBytes = size_t{1} << 20;  // as the sink cuts them

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::cerr << status << "\n";
  std::exit(1);
}

// Statements that set the vector of every row.
std::vector<std::string> Statements(const std::vector<std::unique_ptr<Batch>>& batches) {
  constexpr char kSet[] = "] UNWIND $rows AS r MATCH (n:M {id: r[0]}) SET n.v = vecf32(r[1])";
  constexpr char kHead[] = "CYPHER rows=[";
  std::vector<std::string> statements(1, kHead);
  for (const auto& batch : batches) {
    for (const BatchRow& row : batch->rows()) {
      if (statements.back().size() > kStatementBytes) {
        statements.back() += kSet;
        statements.emplace_back(kHead);
      }
      absl::StrAppend(&statements.back(), statements.back().back() == '[' ? "[" : ",[", row.ordinal, ",");
      AppendFloatList({row.vector, static_cast<size_t>(batch->dim())}, &statements.back());
      statements.back().push_back(']');
    }
  }
  statements.back() += kSet;
  return statements;
}

void BM_FalkorSink(benchmark::State& state) {
  const int dim = static_cast<int>(state.range(0));
  FalkorServer server;
  server.Run(absl::StrCat("UNWIND range(0, ", kRows - 1, ") AS i CREATE (:M {id: i, c: 'text ' + i})"));
  std::mt19937 random(7);
  std::normal_distribution<float> coordinate(0, 1 / std::sqrt(static_cast<float>(dim)));
  std::vector<float> vectors(static_cast<size_t>(kRows) * static_cast<size_t>(dim));
  for (float& number : vectors) number = coordinate(random);
  std::vector<std::unique_ptr<Batch>> batches;
  std::vector<const Batch*> views;
  for (int row = 0; row < kRows; ++row) {
    if (row % kBatchRows == 0) {
      batches.push_back(std::make_unique<Batch>(BatchLimits{}, dim));
      views.push_back(batches.back().get());
    }
    batches.back()->AddRow(row, int64_t{row}, row)->vector =
        vectors.data() + static_cast<size_t>(row) * vectors.size() / kRows;
  }
  const std::vector<std::string> statements = Statements(batches);
  const Model model{.name = "m", .dim = dim};
  auto sink = MakeFalkorSink(server.At("label=M&key=id&vector=v"), model, {});
  Require(sink.status());
  Require(PrepareAndOpen(sink->get(), {.model = model}, {}).status());
  const auto asked = ParseFalkorLocation(server.At("label=M&key=id&vector=v"), {});
  Require(asked.status());
  auto client = RespClient::Connect(asked->address, absl::ZeroDuration());
  Require(client.status());
  // A vector that is there already is not set again by the limit's statements, see the sink.
  ComparePairs(
      state, kRows, [&] { server.Run("MATCH (n:M) SET n.v = NULL"); },
      [&] {
        for (const std::string& statement : statements) {
          Require((*client)->Call({"GRAPH.QUERY", "g", statement, "--compact"}).status());
        }
      },
      [&] {
        std::vector<RefusedRow> refused;
        Require((*sink)->Write(views, &refused));
        if (!refused.empty()) Require(refused[0].reason);
      });
}
BENCHMARK(BM_FalkorSink)->ArgName("dim")->Arg(384)->Arg(1536)->Unit(benchmark::kMillisecond)->UseManualTime();

}  // namespace
}  // namespace reembed
