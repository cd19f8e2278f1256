// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "io/net/trust_store.h"
#include "tools/commands.h"
#include "tools/format.h"
#include "tools/option_layers.h"
#include "tools/presets.h"
#include "tools/resolve.h"
#include "tools/sharing.h"

namespace reembed {

ExitCode PathsCommand(bool json, const Environment& environment) {
  std::vector<std::pair<std::string, std::string>> paths;
  std::error_code ignored;
  paths.emplace_back("program", std::filesystem::read_symlink("/proc/self/exe", ignored).string());
  paths.emplace_back("jobs", JobsFolder(environment));
  for (const ConfigFile& file : ConfigFiles(environment)) paths.emplace_back(NameOfLayer(file.layer), file.path);
  paths.emplace_back("cache", DefaultCacheFile(environment));
  for (const std::string& folder : DataFolders(environment)) paths.emplace_back("data", folder);
  paths.emplace_back("variables", std::filesystem::current_path(ignored) / ".env");
  const absl::StatusOr<TrustStore> trust = FindTrustStore();
  paths.emplace_back("certificates", trust.ok() ? trust->file : "");
  if (trust.ok() && !trust->folder.empty()) paths.emplace_back("certificates", trust->folder);
  for (const auto& [what, path] : paths) {
    const bool there = !path.empty() && std::filesystem::exists(path, ignored);
    if (json) {
      JsonLine line("path");
      std::cout << line.Add("what", what).Add("path", path).AddRaw("exists", there ? "true" : "false").ToString()
                << "\n";
    } else {
      std::cout << what << std::string(14 - what.size(), ' ') << (path.empty() ? "none" : path)
                << (there || path.empty() ? "" : " (not there)") << "\n";
    }
  }
  std::cout << std::flush;
  return kExitDone;
}

}  // namespace reembed
