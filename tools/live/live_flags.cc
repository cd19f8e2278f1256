// SPDX-License-Identifier: Apache-2.0
#include "tools/live/live_flags.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "tools/commands.h"
#include "tools/job_choice.h"

namespace reembed {

void AddLive(CLI::App* app, std::function<ExitCode(const Environment&)>* chosen) {
  CLI::App* const ctl = app->add_subcommand("ctl", "show and control a running job");
  auto options = std::make_shared<CtlOptions>();
  ctl->add_option("job", options->job, "its job directory")->required();
  ctl->add_option("words", options->words,
                  "status, pause, resume, rate rpm=N tpm=N (0: no limit), concurrency N, stop (finishes requests in "
                  "flight), abort (drops them), or dashboard (prints its address)")
      ->required();
  ctl->add_flag("--json", options->json, "JSON on standard output");
  ctl->footer(
      "Examples:\n  reembed ctl JOB status\n  reembed ctl JOB pause\n  reembed ctl JOB rate rpm=600 tpm=200000\n  "
      "reembed ctl JOB concurrency 8\n  reembed ctl JOB stop");
  ctl->callback([=] { *chosen = [=](const Environment&) { return CtlCommand(*options); }; });
  CLI::App* const dashboard =
      app->add_subcommand("dashboard", "serve a web page that shows a running job, or the last run of a job");
  auto page = std::make_shared<DashboardOptions>();
  auto jobs = std::make_shared<std::vector<std::string>>();
  dashboard->add_option("job", *jobs, "job directory; default: the newest job in the default folder")->expected(0, 1);
  dashboard->add_option("--listen", page->listen, "ADDRESS:PORT or PORT; default: this machine, any free port");
  dashboard->footer("Examples:\n  reembed dashboard\n  reembed dashboard JOB --listen 8080");
  dashboard->callback([=] {
    *chosen = [=](const Environment& environment) {
      return ForEachJob({.command = "dashboard"}, *jobs, environment, [&](const std::string& job) {
        page->job = job;
        return DashboardCommand(*page);
      });
    };
  });
  CLI::App* const report =
      app->add_subcommand("report", "write a report of a job: one file with plots, or Markdown for an issue");
  auto to = std::make_shared<ReportOptions>();
  auto of = std::make_shared<std::vector<std::string>>();
  report->add_option("job", *of, "job directory; default: the newest job in the default folder")->expected(0, 1);
  report->add_option("--to", to->to, "NAME.html or NAME.md; default: Markdown to standard output");
  report->footer("Examples:\n  reembed report JOB --to report.html\n  reembed report JOB > report.md");
  report->callback([=] {
    *chosen = [=](const Environment& environment) {
      return ForEachJob({.command = "report"}, *of, environment, [&](const std::string& job) {
        to->job = job;
        return ReportCommand(*to);
      });
    };
  });
}

}  // namespace reembed
