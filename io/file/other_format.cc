// SPDX-License-Identifier: Apache-2.0
#include "io/file/other_format.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace reembed {

std::string OtherFormat(absl::string_view line) {
  struct Magic {
    absl::string_view bytes;
    absl::string_view what;
  };
  constexpr absl::string_view kUtf16 = "text in UTF-16; make it UTF-8, as with iconv -f UTF-16 -t UTF-8";
  constexpr absl::string_view kUtf32 = "text in UTF-32; make it UTF-8, as with iconv -f UTF-32 -t UTF-8";
  static constexpr Magic kMagic[] = {
      {{"\xff\xfe\0\0", 4}, kUtf32},
      {{"\0\0\xfe\xff", 4}, kUtf32},
      {"\xff\xfe", kUtf16},
      {"\xfe\xff", kUtf16},
      {{"{\0", 2}, kUtf16},
      {{"\0{", 2}, kUtf16},
      {"\x1f\x8b", "packed by gzip, and read as it comes; unpack it before, as with gunzip -c"},
      {"\x28\xb5\x2f\xfd", "packed by zstd, and read as it comes; unpack it before, as with zstd -dc"},
      {"BZh", "packed by bzip2; unpack it before, as with bunzip2"},
      {{"\xfd\x37zXZ", 5}, "packed by xz; unpack it before, as with unxz"},
      {{"\x04\x22\x4d\x18", 4}, "packed by lz4; unpack it before, as with lz4 -d"},
      {"PK\x03\x04", "a ZIP archive; unpack it before"},
      {"PAR1", "a Parquet file; write it as one JSON object a line"},
      {"SQLite format 3", "an SQLite database; write sqlite:PATH?table=T"},
      {"\x89HDF", "an HDF5 file; write hdf5:PATH"},
      {"\x93NUMPY", "a NumPy file, which has no texts"},
  };
  for (const Magic& magic : kMagic) {
    if (absl::StartsWith(line, magic.bytes)) return absl::StrCat("is ", magic.what);
  }
  if (absl::StartsWith(absl::StripLeadingAsciiWhitespace(line), "[")) {
    return "is a JSON array; write one object a line, as with jq -c '.[]'";
  }
  return "";
}

}  // namespace reembed
