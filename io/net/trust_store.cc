// SPDX-License-Identifier: Apache-2.0
#include "io/net/trust_store.h"

#include <curl/curl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/setting.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

constexpr char kCertifi[] = "REEMBED_CERTIFI";

// Debian, Fedora and its kin, SUSE, Alpine and the BSDs, older Red Hats.
constexpr const char* kUsualFiles[] = {
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
};

bool IsReadableFile(const std::string& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored) && access(path.c_str(), R_OK) == 0;
}

absl::Status Unreadable(const char* variable, const std::string& path) {
  return absl::FailedPreconditionError(
      absl::StrCat("the variable ", variable, " names ", path, ", which cannot be read: expected the certificate ",
                   "authorities to trust; correct it, or unset it to use the system's"));
}

}  // namespace

absl::StatusOr<TrustStore> FindTrustStore(absl::Span<const std::string> usual, VariableReader variable) {
  TrustStore store{.origin = "this system"};
  if (const std::string folder = variable("SSL_CERT_DIR"); !folder.empty()) {
    std::error_code ignored;
    // OpenSSL takes several, and passes over those that are not there.
    if (fs::is_directory(folder, ignored)) store = {.folder = folder, .origin = "SSL_CERT_DIR"};
  }
  if (const std::string file = variable("SSL_CERT_FILE"); !file.empty()) {
    if (!IsReadableFile(file)) return Unreadable("SSL_CERT_FILE", file);
    return TrustStore{.file = file, .folder = store.folder, .origin = "SSL_CERT_FILE"};
  }
  for (const std::string& file : usual) {
    if (!IsReadableFile(file)) continue;
    store.file = file;
    return store;
  }
  if (!store.folder.empty()) return store;
  if (const std::string file = variable(kCertifi); !file.empty()) {
    if (!IsReadableFile(file)) return Unreadable(kCertifi, file);
    return TrustStore{.file = file, .origin = "Python's certifi"};
  }
  return WithSetting(
      absl::FailedPreconditionError(absl::StrCat(
          "there are no certificate authorities on this machine, so no server can be trusted: expected one of ",
          absl::StrJoin(usual, ", "),
          "; install the package ca-certificates, or name a PEM file, for example in SSL_CERT_FILE")),
      Setting::kCaFile);
}

absl::StatusOr<TrustStore> FindTrustStore() {
  std::vector<std::string> usual(std::begin(kUsualFiles), std::end(kUsualFiles));
  const curl_version_info_data* const library = curl_version_info(CURLVERSION_NOW);
  if (library->age >= CURLVERSION_EIGHTH && library->cainfo != nullptr) {
    usual.erase(std::remove(usual.begin(), usual.end(), library->cainfo), usual.end());
    usual.insert(usual.begin(), library->cainfo);
  }
  return FindTrustStore(usual, [](const char* name) -> std::string {
    const char* const value = std::getenv(name);
    return value == nullptr ? "" : value;
  });
}

std::string HttpLibraryText() { return curl_version(); }

}  // namespace reembed
