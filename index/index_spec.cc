// SPDX-License-Identifier: Apache-2.0
#include "index/index_spec.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

constexpr absl::string_view kExamples = "for example Flat, HNSW32, IVF,Flat, IVF4096,Flat or IVF,PQ64";
constexpr size_t kLongestFactory = 128;
constexpr int64_t kMostLists = int64_t{1} << 22;

bool IsOpenToken(absl::string_view token) { return token == "IVF" || token == "IVFauto"; }

// The number of lists of a token like `IVF4096`, `IVF64k` or `IVF65536_HNSW32`; nullopt: it is not of that form.
std::optional<int64_t> ListsOf(absl::string_view token) {
  if (!absl::ConsumePrefix(&token, "IVF")) return std::nullopt;
  token = token.substr(0, token.find('_'));
  const int64_t unit = absl::ConsumeSuffix(&token, "k") ? 1 << 10 : absl::ConsumeSuffix(&token, "M") ? 1 << 20 : 1;
  int64_t number = 0;
  if (!absl::SimpleAtoi(token, &number) || number < 0 || number > kMostLists) return std::nullopt;
  return number * unit;
}

// FAISS ends the process, or runs for ever, on some strings that look right; those are refused here.
absl::Status CheckToken(absl::string_view factory, absl::string_view token) {
  const auto refuse = [factory](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("index factory `", factory, "`: ", why, "; write ", kExamples));
  };
  if (absl::StartsWith(token, "IDMap")) return refuse("ids are added without being asked for, leave out IDMap");
  if (absl::StrContains(token, "(Index")) return refuse("`(Index` is a form that FAISS keeps for itself");
  if (absl::StartsWith(token, "IVF") && !IsOpenToken(token)) {
    const std::optional<int64_t> lists = ListsOf(token);
    if (!lists.has_value() || *lists < 1 || *lists > kMostLists) {
      return refuse(absl::StrCat("expected a number of lists from 1 to ", kMostLists, " in `", token, "`"));
    }
  }
  const size_t hnsw = token.find("HNSW");
  if (hnsw == absl::string_view::npos) return absl::OkStatus();
  absl::string_view links = token.substr(hnsw + 4);
  links = links.substr(0, std::min(links.size(), links.find_first_not_of("0123456789")));
  int number = 32;
  if ((!links.empty() && !absl::SimpleAtoi(links, &number)) || number < 2 || number > 1024) {
    return refuse(absl::StrCat("expected 2 to 1024 links in `", token, "`"));
  }
  return absl::OkStatus();
}

template <typename T>
absl::Status ParseNumber(const Location& location, absl::string_view name, int64_t most, T* number) {
  const std::string text = location.Get(name);
  if (text.empty() && location.parameters.count(std::string(name)) == 0) return absl::OkStatus();
  int64_t parsed = 0;
  if (!absl::SimpleAtoi(text, &parsed) || parsed < 1 || parsed > most) {
    return absl::InvalidArgumentError(absl::StrCat(location.scheme, ":", location.path, ": expected ", name,
                                                   " from 1 to ", most, ", got `", text, "`"));
  }
  *number = static_cast<T>(parsed);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> ParseFactory(absl::string_view factory) {
  if (factory.empty() || factory.size() > kLongestFactory) {
    return absl::InvalidArgumentError(absl::StrCat("index factory: expected 1 to ", kLongestFactory,
                                                   " characters, got ", factory.size(), "; write ", kExamples));
  }
  for (const char c : factory) {
    if (!absl::ascii_isgraph(c)) {
      return absl::InvalidArgumentError(absl::StrCat("index factory: no blanks are allowed; write ", kExamples));
    }
  }
  const std::vector<std::string> tokens = absl::StrSplit(factory, ',');
  for (const std::string& token : tokens) {
    ABSL_RETURN_IF_ERROR(CheckToken(factory, token));
  }
  const bool ends_with_lists = IsOpenToken(tokens.back()) || ListsOf(tokens.back()).has_value();
  return ends_with_lists ? absl::StrCat(factory, ",Flat") : std::string(factory);
}

absl::string_view MetricName(Metric metric) {
  switch (metric) {
    case Metric::kCosine:
      return "cosine";
    case Metric::kInnerProduct:
      return "ip";
    case Metric::kL2:
      return "l2";
  }
  return "unknown";
}

absl::StatusOr<Metric> ParseMetric(absl::string_view name) {
  for (const Metric metric : {Metric::kCosine, Metric::kInnerProduct, Metric::kL2}) {
    if (name == MetricName(metric)) return metric;
  }
  return absl::InvalidArgumentError(absl::StrCat("expected metric cosine, ip or l2, got `", name, "`"));
}

absl::StatusOr<IndexSpec> ParseIndexSpec(const Location& location) {
  ABSL_RETURN_IF_ERROR(location.CheckParameters(
      {"factory", "metric", "train", "efConstruction", "seed", "simd", "storage", "deterministic"}));
  const auto here = [&location](const absl::Status& status) {
    return absl::Status(status.code(), absl::StrCat(location.scheme, ":", location.path, ": ", status.message()));
  };
  IndexSpec spec;
  absl::StatusOr<std::string> factory = ParseFactory(location.Get("factory", spec.factory));
  if (!factory.ok()) return here(factory.status());
  spec.factory = *std::move(factory);
  const absl::StatusOr<Metric> metric = ParseMetric(location.Get("metric", MetricName(spec.metric)));
  if (!metric.ok()) return here(metric.status());
  spec.metric = *metric;
  ABSL_RETURN_IF_ERROR(ParseNumber(location, "train", int64_t{1} << 40, &spec.train_rows));
  ABSL_RETURN_IF_ERROR(ParseNumber(location, "efConstruction", 1 << 16, &spec.ef_construction));
  ABSL_RETURN_IF_ERROR(ParseNumber(location, "seed", std::numeric_limits<int64_t>::max(), &spec.seed));
  return spec;
}

bool IsFactoryOpen(absl::string_view factory) {
  const std::vector<absl::string_view> tokens = absl::StrSplit(factory, ',');
  return std::any_of(tokens.begin(), tokens.end(), IsOpenToken);
}

std::string ResolveFactory(absl::string_view factory, int64_t rows, int64_t training_rows) {
  const auto by_guideline = static_cast<int64_t>(4 * std::sqrt(static_cast<double>(rows)));
  const int64_t trainable = std::min(rows, training_rows) / kLeastTrainingRowsPerList;
  const int64_t lists = std::clamp<int64_t>(std::min(by_guideline, trainable), 1, kMostLists);
  std::vector<std::string> tokens = absl::StrSplit(factory, ',');
  for (std::string& token : tokens) {
    if (IsOpenToken(token)) token = absl::StrCat("IVF", lists);
  }
  return absl::StrJoin(tokens, ",");
}

int64_t ListCount(absl::string_view resolved_factory) {
  int64_t lists = 0;
  for (const absl::string_view token : absl::StrSplit(resolved_factory, ',')) {
    lists = std::max(lists, ListsOf(token).value_or(0));
  }
  return lists;
}

int64_t LeastTrainingRows(absl::string_view resolved_factory) {
  int64_t least = std::max<int64_t>(ListCount(resolved_factory), 1);
  for (absl::string_view token : absl::StrSplit(resolved_factory, ',')) {
    if (absl::ConsumePrefix(&token, "PCA")) {
      int64_t numbers = 0;
      if (!absl::ConsumePrefix(&token, "R")) absl::ConsumePrefix(&token, "W");
      if (absl::SimpleAtoi(token.substr(0, token.find_first_not_of("0123456789")), &numbers)) {
        least = std::max(least, numbers);
      }
      continue;
    }
    const bool rotated = absl::ConsumePrefix(&token, "O");
    if (!absl::ConsumePrefix(&token, "PQ")) continue;
    // PQ<bytes>x<bits>, as PQ16x4fs; a rotation is trained with a quantizer of bytes.
    const size_t times = token.find('x');
    int bits = 0;
    const absl::string_view digits = times == absl::string_view::npos ? "" : token.substr(times + 1);
    if (rotated || !absl::SimpleAtoi(digits.substr(0, digits.find_first_not_of("0123456789")), &bits)) bits = 8;
    least = std::max(least, int64_t{1} << std::clamp(bits, 1, 16));
  }
  return least;
}

int64_t TrainingRows(absl::string_view resolved_factory) {
  constexpr int64_t kRowsPerCentroid = 64;
  constexpr int64_t kCodeWords = 256;  // of one byte of a product quantizer
  const std::vector<absl::string_view> tokens = absl::StrSplit(resolved_factory, ',');
  const int64_t lists = ListCount(resolved_factory);
  return kRowsPerCentroid * (lists > 0 && tokens.back() == "Flat" ? lists : std::max(lists, kCodeWords));
}

}  // namespace reembed
