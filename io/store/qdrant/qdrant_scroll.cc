// SPDX-License-Identifier: Apache-2.0
#include "io/store/qdrant/qdrant_scroll.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

constexpr size_t kLongAnswerBytes = size_t{16} << 20;

}  // namespace

QdrantScroll::QdrantScroll(QdrantClient* client, std::string path, std::string wanted, int max_page)
    : client_(client), path_(std::move(path)), wanted_(std::move(wanted)), max_page_(max_page) {}

absl::Status QdrantScroll::Fill(const std::optional<QdrantId>& from, int limit) {
  page_ = {};
  has_page_ = false;
  next_ = 0;
  while (true) {
    limit = std::min(limit, max_page_);
    QdrantClient::Answer answer = client_->Call(
        {"POST", absl::StrCat(path_, "/points/scroll"),
         absl::StrCat(R"({"limit":)", limit, from.has_value() ? absl::StrCat(R"(,"offset":)", from->Json()) : "", ",",
                      wanted_, "}")});
    const bool too_long = absl::IsDataLoss(answer.status()) || (answer.ok() && answer->size() > kLongAnswerBytes);
    if (too_long) max_page_ = std::max(1, limit / 2);
    if (!answer.ok() && too_long && limit > 1) continue;
    ABSL_RETURN_IF_ERROR(answer.status());
    answer_ = *std::move(answer);
    break;
  }
  absl::StatusOr<QdrantPage> page = ReadQdrantPage(&answer_);
  if (!page.ok()) {
    return absl::Status(page.status().code(), absl::StrCat(client_->url(), path_, ": ", page.status().message()));
  }
  page_ = *std::move(page);
  page_from_ = from;
  has_page_ = true;
  return absl::OkStatus();
}

bool QdrantScroll::Covers(const QdrantId& id) const {
  if (!has_page_ || (page_from_.has_value() && id < *page_from_)) return false;
  return !page_.next.has_value() || (!page_.points.empty() && id <= page_.points.back().id);
}

void QdrantScroll::SeekAfter(const QdrantId& id) {
  begun_ = false;
  after_ = id;
}

absl::StatusOr<const QdrantPoint*> QdrantScroll::Next() {
  if (!begun_) {
    // A scroll begins with its offset, or with what is behind it.
    const std::optional<QdrantId> after = std::exchange(after_, std::nullopt);
    if (absl::Status status = Fill(after, max_page_); !status.ok()) {
      after_ = after;
      return status;
    }
    begun_ = true;
    if (after.has_value() && !page_.points.empty() && page_.points[0].id == *after) next_ = 1;
  }
  while (next_ == page_.points.size()) {
    if (!page_.next.has_value()) return nullptr;
    const QdrantId from = *page_.next;
    if (absl::Status status = Fill(from, max_page_); !status.ok()) {
      page_.next = from;  // to go on there when asked again
      return status;
    }
  }
  return &page_.points[next_++];
}

absl::StatusOr<const QdrantPoint*> QdrantScroll::Find(const QdrantId& id) {
  SeekAfter(id);
  const auto look = [&]() -> const QdrantPoint* {
    const auto found =
        std::lower_bound(page_.points.begin(), page_.points.end(), id,
                         [](const QdrantPoint& point, const QdrantId& wanted) { return point.id < wanted; });
    return found != page_.points.end() && found->id == id ? &*found : nullptr;
  };
  if (const QdrantPoint* const point = look()) {
    ++find_hits_;
    return point;
  }
  // Points that are gone from the middle of a page cost no request.
  if (Covers(id)) return nullptr;
  const bool in_order = 2 * find_hits_ >= page_.points.size();
  find_limit_ = in_order ? std::min(max_page_, 2 * find_limit_) : 1;
  find_hits_ = 0;
  ABSL_RETURN_IF_ERROR(Fill(id, find_limit_));
  const QdrantPoint* const point = look();
  if (point != nullptr) ++find_hits_;
  return point;
}

}  // namespace reembed
