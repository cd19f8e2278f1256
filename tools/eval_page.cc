// SPDX-License-Identifier: Apache-2.0
#include "tools/eval_page.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "engine/counted.h"
#include "tools/format.h"

namespace reembed {
namespace {

constexpr int kWidth = 720, kHeight = 420;
constexpr int kLeft = 80, kRight = 20, kTop = 20, kBottom = 50;

std::string Escaped(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
}

std::string RecallText(double recall) { return recall < 0 ? "-" : absl::StrFormat("%.4f", recall); }

// Where recall and speed are on the picture: recall from the lowest to 1, speed by its logarithm.
class Axes {
 public:
  explicit Axes(absl::Span<const EvalPoint> points) {
    for (const EvalPoint& point : points) {
      lowest_recall_ = std::min(lowest_recall_, point.recall_at_10);
      const double speed = std::log10(std::max(point.queries_per_second, 1e-3));
      slowest_ = std::min(slowest_, std::floor(speed));
      fastest_ = std::max(fastest_, std::ceil(speed));
    }
    lowest_recall_ = std::min(std::floor(lowest_recall_ * 20) / 20, 0.95);
    if (fastest_ <= slowest_) fastest_ = slowest_ + 1;
  }

  double X(double recall) const {
    return kLeft + (kWidth - kLeft - kRight) * (recall - lowest_recall_) / (1 - lowest_recall_);
  }
  double Y(double per_second) const {
    const double speed = std::log10(std::max(per_second, 1e-3));
    return kHeight - kBottom - (kHeight - kTop - kBottom) * (speed - slowest_) / (fastest_ - slowest_);
  }
  double lowest_recall() const { return lowest_recall_; }
  int slowest() const { return static_cast<int>(slowest_); }
  int fastest() const { return static_cast<int>(fastest_); }

 private:
  double lowest_recall_ = 1;
  double slowest_ = 9, fastest_ = -3;  // powers of ten
};

std::string Picture(absl::Span<const EvalPoint> points) {
  const Axes axes(points);
  std::string svg = absl::StrFormat(
      "<svg viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\" aria-label=\"recall against speed\">\n",
      kWidth, kHeight, kWidth, kHeight);
  constexpr int kRecallLines = 5;
  for (int i = 0; i <= kRecallLines; ++i) {
    const double recall = axes.lowest_recall() + (1 - axes.lowest_recall()) * i / kRecallLines;
    absl::StrAppend(
        &svg, absl::StrFormat("<path class=\"grid\" d=\"M%.1f %dV%d\"/><text x=\"%.1f\" y=\"%d\" "
                              "text-anchor=\"middle\">%.3f</text>\n",
                              axes.X(recall), kTop, kHeight - kBottom, axes.X(recall), kHeight - kBottom + 18, recall));
  }
  for (int power = axes.slowest(); power <= axes.fastest(); ++power) {
    const double y = axes.Y(std::pow(10, power));
    absl::StrAppend(&svg, absl::StrFormat("<path class=\"grid\" d=\"M%d %.1fH%d\"/><text x=\"%d\" y=\"%.1f\" "
                                          "text-anchor=\"end\">%s</text>\n",
                                          kLeft, y, kWidth - kRight, kLeft - 8, y + 4,
                                          power < 0 ? absl::StrFormat("%g", std::pow(10, power))
                                                    : WithCommas(static_cast<int64_t>(std::pow(10, power)))));
  }
  std::string line;
  for (const EvalPoint& point : points) {
    absl::StrAppend(&line, line.empty() ? "M" : "L",
                    absl::StrFormat("%.1f %.1f", axes.X(point.recall_at_10), axes.Y(point.queries_per_second)));
  }
  absl::StrAppend(&svg, "<path class=\"curve\" d=\"", line, "\"/>\n");
  for (const EvalPoint& point : points) {
    absl::StrAppend(&svg, absl::StrFormat("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\"><title>%s: recall@10 %.4f, %.0f "
                                          "queries/s</title></circle>\n",
                                          axes.X(point.recall_at_10), axes.Y(point.queries_per_second),
                                          SearchText(point.search), point.recall_at_10, point.queries_per_second));
  }
  absl::StrAppend(&svg,
                  absl::StrFormat("<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">recall@10</text>\n"
                                  "<text transform=\"translate(16 %d) rotate(-90)\" text-anchor=\"middle\">queries a "
                                  "second, one thread</text>\n</svg>\n",
                                  (kLeft + kWidth - kRight) / 2, kHeight - 10, (kTop + kHeight - kBottom) / 2));
  return svg;
}

constexpr char kStyle[] =
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:60em;padding:0 1em;color:#222;background:#fff}"
    "table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .8em;border-bottom:1px solid "
    "#ddd;text-align:right}"
    "td:first-child,th:first-child{text-align:left}svg{max-width:100%;height:auto}svg text{font-size:12px;fill:#444}"
    ".grid{stroke:#ddd;fill:none}.curve{stroke:#0b62a3;stroke-width:2;fill:none}circle{fill:#0b62a3}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}svg text{fill:#bbb}.grid{stroke:#444}"
    "td,th{border-color:#444}.curve{stroke:#6fb7ea}circle{fill:#6fb7ea}}";

}  // namespace

std::string SearchText(const SearchOptions& search) {
  if (search.nprobe > 0) return absl::StrCat("nprobe ", search.nprobe);
  if (search.ef_search > 0) return absl::StrCat("efSearch ", search.ef_search);
  return "-";
}

std::string EvalPage(const EvalHead& head, absl::Span<const EvalPoint> points) {
  std::string page = absl::StrCat(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width\"><title>Recall of ",
      Escaped(head.index), "</title><style>", kStyle, "</style></head><body>\n<h1>Recall of ", Escaped(head.index),
      "</h1>\n<p>", Escaped(head.factory.empty() ? "an index without a description" : head.factory), ", ",
      Escaped(head.metric), head.model.empty() ? "" : absl::StrCat(", ", Escaped(head.model)), ", ",
      Counted(head.rows, "row", "rows"), " of ", head.dim, " numbers, ", BytesText(head.bytes), ". ",
      Counted(head.queries, "query", "queries"), " ", Escaped(head.queries_from),
      ", each alone on one thread, ten neighbours.</p>\n", Picture(points),
      "<table><thead><tr><th>search</th><th>recall@1</th><th>recall@10</th><th>recall@100</th><th>queries/s</"
      "th><th>p50 "
      "ms</th><th>p99 ms</th></tr></thead><tbody>\n");
  for (const EvalPoint& point : points) {
    absl::StrAppend(&page, "<tr><td>", SearchText(point.search), "</td><td>", RecallText(point.recall_at_1),
                    "</td><td>", RecallText(point.recall_at_10), "</td><td>", RecallText(point.recall_at_100),
                    absl::StrFormat("</td><td>%.0f</td><td>%.3f</td><td>%.3f</td></tr>\n", point.queries_per_second,
                                    point.p50_ms, point.p99_ms));
  }
  return absl::StrCat(page, "</tbody></table>\n</body></html>\n");
}

}  // namespace reembed
