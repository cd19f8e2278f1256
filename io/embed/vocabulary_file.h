// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_EMBED_VOCABULARY_FILE_H_
#define REEMBED_IO_EMBED_VOCABULARY_FILE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/text/bpe_tokenizer.h"

namespace reembed {

// Reads cl100k_base, the vocabulary of OpenAI's embedding models, in either of its formats: the JSON of the npm package
// `tiktoken` (encoders/cl100k_base.json: pat_str, special_tokens and bpe_ranks, lines of `! FIRST_RANK TOKEN ...` with
// tokens in base64), or lines of `TOKEN RANK` (cl100k_base.tiktoken).
// Errors: kNotFound (cannot be read); kInvalidArgument (another vocabulary, or none; names line or token).
absl::StatusOr<std::unique_ptr<BpeTokenizer>> LoadVocabulary(const std::string& path);

}  // namespace reembed

#endif  // REEMBED_IO_EMBED_VOCABULARY_FILE_H_
