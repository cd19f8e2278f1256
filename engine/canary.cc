// SPDX-License-Identifier: Apache-2.0
#include "engine/canary.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/owed_rows.h"

namespace reembed {
namespace {

constexpr std::array<absl::string_view, 5> kTexts = {
    "The museum opens at nine, but the tickets are cheaper in the afternoon.",
    "Der Zug nach Hamburg hat heute zwanzig Minuten Verspätung.",
    "¿Dónde puedo dejar la bicicleta mientras trabajo?",
    "明日の会議は三時からに変わりました。",
    "for (int i = 0; i < n; ++i) total += price[i] * count[i];",
};

constexpr absl::Duration kLongWithoutCheck = absl::Minutes(1);

bool IsZero(absl::Span<const float> vector) {
  return std::all_of(vector.begin(), vector.end(), [](float value) { return value == 0; });
}

}  // namespace

absl::Span<const absl::string_view> CanaryTexts() { return kTexts; }

double CosineSimilarity(absl::Span<const float> a, absl::Span<const float> b) {
  double dot = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    dot += double{a[i]} * b[i];
    aa += double{a[i]} * a[i];
    bb += double{b[i]} * b[i];
  }
  return aa > 0 && bb > 0 ? dot / std::sqrt(aa * bb) : 0;
}

std::optional<double> LowestCosine(absl::Span<const float> a, absl::Span<const float> b, int dim) {
  std::optional<double> lowest;
  for (size_t row = 0; row + dim <= std::min(a.size(), b.size()); row += dim) {
    const absl::Span<const float> left = a.subspan(row, dim);
    const absl::Span<const float> right = b.subspan(row, dim);
    if (IsZero(left) || IsZero(right)) continue;
    lowest = std::min(lowest.value_or(1), CosineSimilarity(left, right));
  }
  return lowest;
}

void DoubtfulRows::Add(const RowRange& range, int64_t count) {
  if (count == 0) return;
  if (!IsOwed(range)) {
    rows = rows.size() == 0 ? range : RowRange{std::min(rows.begin, range.begin), std::max(rows.end, range.end)};
  }
  texts += count;
}

CanaryWatch::CanaryWatch(int endpoints, int dim, absl::Duration interval, std::vector<float> reference)
    : dim_(dim), interval_(interval), reference_(std::move(reference)), watched_(endpoints) {}

void CanaryWatch::SetReference(std::vector<float> vectors, int endpoint) {
  reference_ = std::move(vectors);
  reference_endpoint_ = endpoint;
}

bool CanaryWatch::TakeDue(int endpoint, Moment now) {
  const Watched& watched = watched_[endpoint];
  if (watched.under_way || !watched.ever_good || now - watched.begun < interval_) return false;
  Begin(endpoint, now);
  return true;
}

bool CanaryWatch::TakeLast(int endpoint, Moment now) {
  const Watched& watched = watched_[endpoint];
  if (interval_ == absl::InfiniteDuration() || watched.under_way || watched.since_good.texts == 0) return false;
  if (!watched.ever_good || now - watched.begun < std::min(interval_, kLongWithoutCheck)) return false;
  Begin(endpoint, now);
  return true;
}

void CanaryWatch::Begin(int endpoint, Moment now) {
  watched_[endpoint].under_way = true;
  watched_[endpoint].begun = now;
  watched_[endpoint].since_begun = {};
}

void CanaryWatch::Abandon(int endpoint) { watched_[endpoint].under_way = false; }

void CanaryWatch::Received(int endpoint, const RowRange& range, int64_t texts) {
  watched_[endpoint].since_good.Add(range, texts);
  watched_[endpoint].since_begun.Add(range, texts);
}

absl::Status CanaryWatch::Judge(int endpoint, int first_text, absl::Span<const float> vectors,
                                absl::Span<const std::string> names) {
  Watched& watched = watched_[endpoint];
  watched.under_way = false;
  const absl::Span<const float> expected =
      absl::MakeConstSpan(reference_).subspan(static_cast<size_t>(first_text) * dim_, vectors.size());
  const std::optional<double> cosine = LowestCosine(expected, vectors, dim_);
  // Texts that the API refuses today say nothing about the model.
  if (!cosine.has_value() || *cosine >= kSameModelCosine) {
    if (cosine.has_value()) ++passed_;
    watched.ever_good = true;
    watched.since_good = std::exchange(watched.since_begun, {});
    return absl::OkStatus();
  }
  const std::string same = absl::StrFormat("a cosine of at least %.3f", kSameModelCosine);
  const std::string came = absl::StrFormat("%.4f", *cosine);
  if (!watched.ever_good && reference_endpoint_ >= 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        names[endpoint], " and ", names[reference_endpoint_], ": expected the same vectors for the same texts, ", same,
        ", got ", came, "; their vectors would be mixed. name endpoints that serve one model"));
  }
  if (!watched.ever_good) {
    return absl::FailedPreconditionError(
        absl::StrCat(names[endpoint], ": expected the vectors that this job began with, ", same, ", got ", came,
                     "; the model behind the name has changed since then, and its vectors cannot be compared with "
                     "those of the job. let the endpoint serve that model again; to continue with the new one, "
                     "everything must be bought again: remove the folder of this job"));
  }
  std::string doubtful = "; nothing has been received from it since the last good check";
  if (watched.since_good.texts > 0) {
    doubtful =
        absl::StrCat("; ", watched.since_good.texts,
                     " vectors that came from it since the last good check are doubtful: they are of rows "
                     "between the ",
                     watched.since_good.rows.begin + 1, ". and the ", watched.since_good.rows.end, ". of this job");
  }
  return absl::FailedPreconditionError(
      absl::StrCat(names[endpoint], ": expected the vectors that it gave before, ", same, ", got ", came,
                   "; the model behind the name was changed during the run. stopped, nothing more was bought", doubtful,
                   ". let the endpoint serve that model again; to continue with the new one, everything must be bought "
                   "again: remove the folder of this job"));
}

}  // namespace reembed
