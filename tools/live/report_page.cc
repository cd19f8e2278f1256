// SPDX-License-Identifier: Apache-2.0
#include "tools/live/report_page.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "engine/status_macros.h"
#include "io/file/file.h"
#include "tools/format.h"

namespace reembed {
namespace {

constexpr char kStyle[] = R"(
:root { --ground: #f6f6f3; --card: #fff; --ink: #1c1f24; --soft: #667080; --line: #e4e4de; --accent: #2c66d3;
  --warn: #b7791f; --fill: rgba(44, 102, 211, .10); }
@media (prefers-color-scheme: dark) { :root { --ground: #131518; --card: #1b1e22; --ink: #e7e8ea; --soft: #97a0ad;
  --line: #2a2e34; --accent: #74a4ff; --warn: #e0a94a; --fill: rgba(116, 164, 255, .12); } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 14px/1.5 system-ui, "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums; }
main { max-width: 920px; margin: 0 auto; padding: 28px 20px 48px; display: grid; gap: 16px; }
h1 { font-size: 24px; margin: 0; letter-spacing: -.02em; overflow-wrap: anywhere; }
h2 { font-size: 15px; margin: 0 0 10px; }
h3 { font-size: 12px; margin: 0 0 6px; color: var(--soft); font-weight: 600; }
p { margin: 0 0 10px; } .lead { color: var(--soft); margin: -8px 0 4px; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px; min-width: 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 550; color: var(--soft); }
th, td { padding: 5px 14px 5px 0; border-top: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
tr:first-child > * { border-top: 0; } td:last-child, th:last-child { padding-right: 0; }
.short { white-space: nowrap; }
.names th { width: 190px; white-space: nowrap; }
.wide + .plots { margin-top: 18px; }
.plots { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 20px; }
svg { display: block; width: 100%; height: auto; }
svg text { font-size: 11px; fill: var(--soft); } svg .base { stroke: var(--line); }
svg .line { fill: none; stroke: var(--accent); stroke-width: 1.6; } svg .area { fill: var(--fill); }
svg .bar { fill: var(--accent); } svg .narrow { fill: var(--warn); }
svg .limit { fill: none; stroke: var(--warn); stroke-dasharray: 4 4; }
@media (max-width: 640px) { main { padding: 14px; } .plots { grid-template-columns: minmax(0, 1fr); }
  .names th { width: 110px; white-space: normal; } h1 { font-size: 20px; } }
@media print { body { background: #fff; } section { break-inside: avoid; } }
)";

constexpr size_t kShortCell = 24;

std::string Html(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
}

std::string Number(double value) {
  return value >= 100 || value == 0 ? WithCommas(std::llround(value)) : absl::StrFormat("%.3g", value);
}

std::string BarsOf(const Plot& plot) {
  constexpr double kWidth = 420, kBar = 14, kStep = 40;
  double high = 0;
  for (const PlotLine& line : plot.lines) high = std::max(high, line.values.front());
  std::string svg = absl::StrFormat("<svg viewBox=\"0 0 %g %g\" role=\"img\" aria-label=\"%s\">", kWidth,
                                    kStep * static_cast<double>(plot.lines.size()), Html(plot.title));
  double top = 0;
  for (const PlotLine& line : plot.lines) {
    const double value = line.values.front();
    absl::StrAppend(&svg, "<text x=\"0\" y=\"", top + 12, "\">", Html(line.name), ": ", Html(Number(value)),
                    Html(plot.unit), "</text>",
                    absl::StrFormat("<rect class=\"%s\" x=\"0\" y=\"%g\" width=\"%.1f\" height=\"%g\" rx=\"2\"/>",
                                    line.is_limit ? "bar narrow" : "bar", top + 18,
                                    std::max(1.0, high > 0 ? kWidth * value / high : 0), kBar));
    top += kStep;
  }
  return absl::StrCat("<div><h3>", Html(plot.title), "</h3>", svg, "</svg></div>");
}

std::string SvgOf(const Plot& plot) {
  if (plot.is_bars) return BarsOf(plot);
  constexpr double kWidth = 420, kHeight = 120, kTop = 8, kFoot = 20;
  const auto across = [&plot](double at) { return plot.is_log ? std::log(std::max(at, plot.begin)) : at; };
  double end = plot.begin, high = 0;
  for (const PlotLine& line : plot.lines) {
    for (const double at : line.seconds) end = std::max(end, at);
    for (const double value : line.values) high = std::max(high, value);
  }
  const double scale = high > 0 ? high * 1.05 : 1;
  const auto place = [&](double at, double value) {
    const double width = across(end) - across(plot.begin);
    return absl::StrFormat("%.1f %.1f", width > 0 ? kWidth * (across(at) - across(plot.begin)) / width : 0,
                           kTop + kHeight * (1 - value / scale));
  };
  std::string svg = absl::StrFormat(
      "<svg viewBox=\"0 0 %g %g\" role=\"img\" aria-label=\"%s\"><path class=\"base\" d=\"M0 %g H%g\"/>", kWidth,
      kTop + kHeight + kFoot, Html(plot.title), kTop + kHeight, kWidth);
  for (const PlotLine& line : plot.lines) {
    std::string path;
    for (size_t i = 0; i < line.values.size(); ++i) {
      absl::StrAppend(&path, path.empty() ? "M" : "L", place(line.seconds[i], line.values[i]));
    }
    if (path.empty()) continue;
    if (!line.is_limit) {
      absl::StrAppend(&svg, "<path class=\"area\" d=\"", path, "L", place(line.seconds.back(), 0), "L",
                      place(line.seconds.front(), 0), "Z\"/>");
    }
    absl::StrAppend(&svg, "<path class=\"", line.is_limit ? "limit" : "line", "\" d=\"", path, "\"><title>",
                    Html(line.name), "</title></path>");
  }
  const std::string last =
      plot.across.empty() ? DurationText(absl::Seconds(end)) : absl::StrCat(Number(end), plot.across);
  absl::StrAppend(&svg, "<text x=\"0\" y=\"", kTop + kHeight + 15, "\">", Html(Number(plot.begin)), "</text><text x=\"",
                  kWidth, "\" y=\"", kTop + kHeight + 15, "\" text-anchor=\"end\">", Html(last), "</text></svg>");
  return absl::StrCat("<div><h3>", Html(plot.title), ", at most ", Html(Number(high)), Html(plot.unit), "</h3>", svg,
                      "</div>");
}

std::string HtmlTable(const ReportSection& section) {
  if (section.rows.empty()) return "";
  std::string table = absl::StrCat("<div class=\"wide\"><table", section.head.empty() ? " class=\"names\">" : ">");
  const auto row = [&table](const std::vector<std::string>& cells, bool is_head, bool names) {
    table.append("<tr>");
    for (size_t i = 0; i < cells.size(); ++i) {
      const char* const tag = is_head || (names && i == 0) ? "th" : "td";
      // What is short stays in one line, so that long texts give way.
      const bool is_short = !names && cells[i].size() <= kShortCell;
      absl::StrAppend(&table, "<", tag, is_short ? " class=\"short\">" : ">", Html(cells[i]), "</", tag, ">");
    }
    table.append("</tr>\n");
  };
  if (!section.head.empty()) row(section.head, true, false);
  for (const auto& cells : section.rows) row(cells, false, section.head.empty());
  return table + "</table></div>";
}

// In a cell of a table, and elsewhere.
std::string Markdown(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"|", "\\|"}, {"\n", " "}, {"<", "&lt;"}, {"`", "'"}});
}

std::string MarkdownRow(const std::vector<std::string>& cells) {
  std::string row = "|";
  for (const std::string& cell : cells) absl::StrAppend(&row, " ", Markdown(cell), " |");
  return row + "\n";
}

}  // namespace

std::string HtmlOf(const ReportPage& page) {
  std::string html = absl::StrCat(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\"><title>",
      Html(page.title), "</title><style>", kStyle, "</style></head><body><main>\n<h1>", Html(page.title),
      "</h1><p class=\"lead\">", Html(page.text), "</p>\n");
  for (const ReportSection& section : page.sections) {
    absl::StrAppend(&html, "<section><h2>", Html(section.title), "</h2>");
    if (!section.text.empty()) absl::StrAppend(&html, "<p>", Html(section.text), "</p>");
    absl::StrAppend(&html, HtmlTable(section));
    if (!section.plots.empty()) html.append("<div class=\"plots\">");
    for (const Plot& plot : section.plots) html.append(SvgOf(plot));
    if (!section.plots.empty()) html.append("</div>");
    html.append("</section>\n");
  }
  return html + "</main></body></html>\n";
}

std::string MarkdownOf(const ReportPage& page) {
  std::string text = absl::StrCat("# ", Markdown(page.title), "\n\n", Markdown(page.text), "\n");
  for (const ReportSection& section : page.sections) {
    if (section.text.empty() && section.rows.empty()) continue;
    absl::StrAppend(&text, "\n## ", Markdown(section.title), "\n\n");
    if (!section.text.empty()) absl::StrAppend(&text, Markdown(section.text), "\n");
    if (section.rows.empty()) continue;
    if (!section.text.empty()) text.push_back('\n');
    const std::vector<std::string> head = section.head.empty() ? std::vector<std::string>{"", ""} : section.head;
    absl::StrAppend(&text, MarkdownRow(head), MarkdownRow(std::vector<std::string>(head.size(), "---")));
    for (const auto& row : section.rows) text.append(MarkdownRow(row));
  }
  return text;
}

absl::Status CheckReportPath(const std::string& path) {
  if (absl::EndsWith(path, ".html") || absl::EndsWith(path, ".md")) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path, ": expected a name that ends with .html or .md"));
}

absl::Status WriteReport(const ReportPage& page, const std::string& path) {
  ABSL_RETURN_IF_ERROR(CheckReportPath(path));
  const std::string text = absl::EndsWith(path, ".md") ? MarkdownOf(page) : HtmlOf(page);
  const File file(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666), path);
  if (file.fd() < 0) return FileError(path, "write", errno);
  return file.WriteAt(0, text);
}

}  // namespace reembed
