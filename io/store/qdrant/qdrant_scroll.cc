// SPDX-License-Identifier: Apache-2.0
#include "io/store/qdrant/qdrant_scroll.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

constexpr size_t kPageBytes = size_t{16} << 20;

PageSize::Limits Pages(size_t points) {
  return {.first_rows = points, .least_rows = 1, .most_rows = points, .most_found = points, .page_bytes = kPageBytes};
}

}  // namespace

QdrantScroll::QdrantScroll(QdrantClient* client, std::string path, std::string wanted, int max_page)
    : client_(client),
      path_(std::move(path)),
      wanted_(std::move(wanted)),
      walk_(this, Pages(static_cast<size_t>(max_page))) {}

absl::StatusOr<Page> QdrantScroll::ReadPage(const PageStart& start, size_t max_rows) {
  points_.clear();
  keys_.clear();
  std::optional<QdrantId> from;
  if (start.from != PageStart::From::kFirst) from = ParseQdrantId(ViewOf(start.key));
  QdrantClient::Answer answer = client_->Call(
      {"POST", absl::StrCat(path_, "/points/scroll"),
       absl::StrCat(R"({"limit":)", max_rows, from.has_value() ? absl::StrCat(R"(,"offset":)", from->Json()) : "", ",",
                    wanted_, "}")});
  too_long_ = absl::IsDataLoss(answer.status());
  ABSL_RETURN_IF_ERROR(answer.status());
  answer_ = *std::move(answer);
  absl::StatusOr<QdrantPage> read = ReadQdrantPage(&answer_);
  if (!read.ok()) {
    return absl::Status(read.status().code(), absl::StrCat(client_->url(), path_, ": ", read.status().message()));
  }
  points_ = std::move(read->points);
  // A scroll begins with its offset.
  if (start.from == PageStart::From::kBehind && !points_.empty() && points_[0].id == from) {
    points_.erase(points_.begin());
  }
  for (const QdrantPoint& point : points_) keys_.push_back(point.id.AsKey());
  Page page{.rows = points_.size(), .bytes = answer_.size(), .more = read->next.has_value()};
  if (page.more) page.next = {PageStart::From::kAt, read->next->AsKey()};
  return page;
}

bool QdrantScroll::IsBefore(KeyView a, KeyView b) const {
  const std::optional<QdrantId> first = ParseQdrantId(a), second = ParseQdrantId(b);
  return first.has_value() && second.has_value() && *first < *second;
}

void QdrantScroll::SeekAfter(const QdrantId& id) { walk_.Seek({PageStart::From::kBehind, id.AsKey()}); }

void QdrantScroll::SeekTo(const QdrantId& id) { walk_.Seek({PageStart::From::kAt, id.AsKey()}); }

absl::StatusOr<const QdrantPoint*> QdrantScroll::Next() {
  ABSL_ASSIGN_OR_RETURN(const bool more, walk_.Next());
  return more ? &points_[walk_.at()] : nullptr;
}

absl::StatusOr<const QdrantPoint*> QdrantScroll::Find(const QdrantId& id) {
  const Key key = id.AsKey();
  ABSL_ASSIGN_OR_RETURN(const bool found, walk_.Find(ViewOf(key)));
  return found ? &points_[walk_.at()] : nullptr;
}

}  // namespace reembed
