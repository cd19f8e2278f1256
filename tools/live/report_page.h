// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_LIVE_REPORT_PAGE_H_
#define REEMBED_TOOLS_LIVE_REPORT_PAGE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace reembed {

// A line of a plot, over seconds or what else Plot::across says.
struct PlotLine {
  std::string name;
  std::vector<double> seconds, values;
  bool is_limit = false;  // drawn as one: dashed; of a bar: in the colour of a warning
};

struct Plot {
  std::string title;
  std::string unit;
  std::vector<PlotLine> lines;
  std::string across = {};  // what it is over, if that is not time: " rows a write"
  double begin = 0;         // where it begins, there
  bool is_log = false;      // it is over the logarithm of that, whose begin is above 0
  bool is_bars = false;     // each line is a bar as long as its first value, with its name
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

// That `path` says which form is wanted: .html or .md. Errors: kInvalidArgument.
absl::Status CheckReportPath(const std::string& path);

// Writes the page in the form that the path's end says, over what is there. Errors also: of the file.
absl::Status WriteReport(const ReportPage& page, const std::string& path);

}  // namespace reembed

#endif  // REEMBED_TOOLS_LIVE_REPORT_PAGE_H_
