// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_LIVE_REPORT_PAGE_H_
#define REEMBED_TOOLS_LIVE_REPORT_PAGE_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace reembed {

// A line of a plot, over seconds.
struct PlotLine {
  std::string name;
  std::vector<double> seconds, values;
  bool is_limit = false;  // drawn as one: dashed
};

struct Plot {
  std::string title;
  std::string unit;
  std::vector<PlotLine> lines;
};

// A part of a report: whatever it has of text, table and plots, in this order.
struct ReportSection {
  std::string title;
  std::string text;
  std::vector<std::string> head;               // of the table; empty: each row is a name and a value
  std::vector<std::vector<std::string>> rows;  // of the table
  std::vector<Plot> plots;                     // only where pictures can be shown
};

struct ReportPage {
  std::string title;
  std::string text;
  std::vector<ReportSection> sections;
};

// One file that needs no other: styles and plots are in it, for a light and a dark screen, and for paper. Whatever the
// texts hold is shown as it is.
std::string HtmlOf(const ReportPage& page);

// For an issue or a README: tables, without plots.
std::string MarkdownOf(const ReportPage& page);

}  // namespace reembed

#endif  // REEMBED_TOOLS_LIVE_REPORT_PAGE_H_
