// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_ENVIRONMENT_H_
#define REEMBED_TOOLS_ENVIRONMENT_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace reembed {

// The folder that the system's list of accounts has for this process's user; empty: it has none.
std::string AccountHome();

// The process's environment, and behind it the variables of one `.env` file. A variable that is set wins over the file.
class Environment {
 public:
  struct FileVariable {
    std::string value;
    std::string file;  // empty: Add() has said it
  };

  // `account_home`: see Home().
  explicit Environment(std::string account_home = AccountHome()) : account_home_(std::move(account_home)) {}

  // Reads `path`; lines NAME=VALUE, `export` and quotes allowed, # begins a comment.
  // Errors: kNotFound, kInvalidArgument (names the line).
  absl::Status AddFile(const std::string& path);

  // As a line of a file would: a variable of the process wins.
  void Add(const std::string& name, std::string value) {
    file_.insert_or_assign(name, FileVariable{std::move(value), ""});
  }

  // Empty if it is nowhere, or empty.
  std::string Get(const std::string& name) const;

  // Those of files whose names begin so, and that the process does not have itself.
  std::map<std::string, FileVariable> FromFiles(absl::string_view prefix) const;

  // The user's folder: $HOME if it is the absolute path of a folder, else the one that the account has. Empty: there is
  // neither, as for an account of a service.
  std::string Home() const;

 private:
  std::string account_home_;
  std::map<std::string, FileVariable> file_;
};

// The variables of a `.env` text.
absl::StatusOr<std::map<std::string, std::string>> ParseEnvText(absl::string_view text);

// The value of the first of `variables` that is set; empty if there is none.
std::string FirstSet(const std::vector<std::string>& variables, const Environment& environment);

// `~` and `~/...` with the home directory put in; left as it is where there is none.
std::string ExpandHome(const std::string& path, const Environment& environment);

}  // namespace reembed

#endif  // REEMBED_TOOLS_ENVIRONMENT_H_
