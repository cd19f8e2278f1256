// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_NET_TLS_STREAM_H_
#define REEMBED_IO_NET_TLS_STREAM_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace reembed {

// A connection over TLS for what is not HTTP, made and checked by libcurl as those to the APIs are: the certificate
// must be the host's and signed by somebody whom the system, or `ca_file`, trusts. Used by one thread at a time.
class TlsStream {
 public:
  // Errors: kUnavailable (nobody there, or no TLS), kFailedPrecondition (a certificate that is not good, or a CA file
  // that cannot be read).
  static absl::StatusOr<std::unique_ptr<TlsStream>> Connect(const std::string& host, int port,
                                                            const std::string& ca_file, absl::Duration timeout);
  ~TlsStream();
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  // All of it. Errors: kUnavailable.
  absl::Status Write(absl::string_view bytes, absl::Time deadline);
  // At least one byte, at most `size`. Errors: kUnavailable (also when the other end has closed it).
  absl::StatusOr<size_t> Read(char* bytes, size_t size, absl::Time deadline);

 private:
  explicit TlsStream(void* curl) : curl_(curl) {}
  absl::Status Await(bool to_write, absl::Time deadline);

  void* const curl_;  // CURL*
};

}  // namespace reembed

#endif  // REEMBED_IO_NET_TLS_STREAM_H_
