// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/fake_apis.h"

namespace reembed {
namespace {

FakeApi OpenAi() {
  return {.dialect = "openai",
          .base = "/v1",
          .path = "/embeddings",
          .key_header = "authorization",
          .key_prefix = "Bearer ",
          .inputs = "input",
          .required = {"input", "model"},
          .optional = {"dimensions", "encoding_format", "user"},
          .max_inputs = 2048,
          .base64_field = "encoding_format",
          .width_field = "dimensions"};
}

FakeApi Azure() {
  FakeApi api = OpenAi();
  api.dialect = "azure";
  api.base = "";
  api.path = "/openai/deployments/fake-model/embeddings?api-version=2024-10-21";
  api.key_header = "api-key";
  api.key_prefix = "";
  api.errors = FakeApi::Errors::kAzure;
  api.bad_key = {401, "401", "Access denied due to invalid subscription key or wrong API endpoint."};
  api.no_model = {404, "DeploymentNotFound", "The API deployment for this resource does not exist."};
  return api;
}

FakeApi Ollama() {
  return {.dialect = "ollama",
          .base = "",
          .path = "/api/embed",
          .key_header = "authorization",
          .key_prefix = "Bearer ",
          .inputs = "input",
          .required = {"input", "model"},
          .optional = {"truncate", "dimensions", "keep_alive", "options"},
          .cut_field = "truncate",
          .cut_word = "true",
          .cuts_by_default = true,
          .long_message = "the input length exceeds the context length",
          .width_field = "dimensions",
          .reply = FakeApi::Reply::kOllama,
          .errors = FakeApi::Errors::kOneString,
          .bad_key = {401, "", "unauthorized"},
          .no_model = {404, "", "model \"fake-model\" not found, try pulling it first"}};
}

FakeApi LlamaCpp() {
  FakeApi api = OpenAi();
  api.dialect = "llamacpp";
  api.optional = {"encoding_format", "embd_normalize"};
  api.max_inputs = 0;
  api.width_field = "";
  api.long_status = 500;
  api.long_message =
      "input ($TOKENS tokens) is too large to process. increase the physical batch size (current batch size: $LIMIT)";
  return api;
}

FakeApi Tei() {
  return {.dialect = "tei",
          .base = "",
          .path = "/embed",
          .key_header = "authorization",
          .key_prefix = "Bearer ",
          .inputs = "inputs",
          .required = {"inputs"},
          .optional = {"normalize", "truncate", "truncation_direction", "prompt_name", "dimensions"},
          .max_inputs = 32,
          .cut_field = "truncate",
          .cut_word = "true",
          .cuts_by_default = true,
          .long_status = 422,
          .long_message = "Input validation error: `inputs` must have less than $LIMIT tokens. Given: $TOKENS",
          .width_field = "dimensions",
          .reply = FakeApi::Reply::kBareArray,
          .errors = FakeApi::Errors::kWithErrorType};
}

FakeApi Vllm() {
  FakeApi api = OpenAi();
  api.dialect = "vllm";
  api.optional = {"dimensions", "encoding_format", "user", "truncate_prompt_tokens", "endianness", "embed_dtype"};
  api.max_inputs = 0;
  api.cut_field = "truncate_prompt_tokens";
  api.cut_word = "-1";
  api.long_message =
      "This model's maximum context length is $LIMIT tokens. However, you requested 0 output tokens and your prompt "
      "contains at least 101 input tokens, for a total of at least 101 tokens.";
  api.errors = FakeApi::Errors::kFlat;
  return api;
}

FakeApi Cohere() {
  return {.dialect = "cohere",
          .base = "",
          .path = "/v2/embed",
          .key_header = "authorization",
          .key_prefix = "Bearer ",
          .inputs = "texts",
          .required = {"model", "texts", "input_type"},
          .optional = {"embedding_types", "output_dimension", "max_tokens", "truncate"},
          .max_inputs = 96,
          .cut_field = "truncate",
          .cut_word = "\"END\"",
          .cuts_by_default = true,
          .long_message = "too many tokens",
          .base64_field = "embedding_types",
          .width_field = "output_dimension",
          .reply = FakeApi::Reply::kByType,
          .errors = FakeApi::Errors::kMessage,
          .bad_key = {401, "", "invalid api token"},
          .no_model = {404, "", "model 'fake-model' not found"}};
}

FakeApi Voyage() {
  return {.dialect = "voyage",
          .base = "/v1",
          .path = "/embeddings",
          .key_header = "authorization",
          .key_prefix = "Bearer ",
          .inputs = "input",
          .required = {"input", "model"},
          .optional = {"input_type", "truncation", "output_dimension", "output_dtype", "encoding_format"},
          .max_inputs = 1000,
          .cut_field = "truncation",
          .cut_word = "true",
          .cuts_by_default = true,
          .long_message =
              "Request to model 'fake-model' failed. The example at index 0 in your batch has too many tokens and does "
              "not fit into the model's context window of $LIMIT tokens. Please lower the number of tokens in the "
              "listed example(s) or use truncation.",
          .base64_field = "encoding_format",
          .width_field = "output_dimension",
          .reply = FakeApi::Reply::kTotalTokensOnly,
          .errors = FakeApi::Errors::kDetail,
          .bad_key = {401, "", "Provided API key is invalid."},
          .no_model = {400, "", "Model fake-model is not supported."}};
}

FakeApi Gemini() {
  return {.dialect = "gemini",
          .base = "/v1beta",
          .path = "/models/fake-model:batchEmbedContents",
          .key_header = "x-goog-api-key",
          .key_prefix = "",
          .inputs = "requests",
          .required = {"requests"},
          .max_inputs = 100,
          .cuts_by_default = true,
          .width_field = "outputDimensionality",
          .reply = FakeApi::Reply::kGemini,
          .errors = FakeApi::Errors::kGoogle,
          .bad_key = {400, "API_KEY_INVALID", "API key not valid. Please pass a valid API key."},
          .no_model = {404, "", "models/fake-model is not found for API version v1beta"}};
}

FakeApi Mistral() {
  FakeApi api = OpenAi();
  api.dialect = "mistral";
  api.optional = {"output_dimension", "output_dtype", "encoding_format", "metadata"};
  api.max_inputs = 0;
  api.width_field = "output_dimension";
  api.errors = FakeApi::Errors::kFlat;
  api.no_model = {400, "", "Invalid model: fake-model"};
  return api;
}

FakeApi Jina() {
  return {.dialect = "jina",
          .base = "/v1",
          .path = "/embeddings",
          .key_header = "authorization",
          .key_prefix = "Bearer ",
          .inputs = "input",
          .required = {"input", "model"},
          .optional = {"task", "dimensions", "embedding_type", "normalized", "truncate", "late_chunking"},
          .max_inputs = 512,
          .cut_field = "truncate",
          .cut_word = "true",
          .base64_field = "embedding_type",
          .width_field = "dimensions",
          .errors = FakeApi::Errors::kCodeAndDetail,
          .bad_key = {401, "AUTH_INVALID_API_KEY", "Invalid API key"},
          .no_model = {400, "INPUT_MODEL_NOT_FOUND", "Model fake-model not found"}};
}

// The ones that are OpenAI's in all but their address, and may cut.
FakeApi LikeOpenAi(const char* dialect, const char* base) {
  FakeApi api = OpenAi();
  api.dialect = dialect;
  api.base = base;
  api.cuts_by_default = true;
  return api;
}

}  // namespace

std::vector<FakeApi> FakeApis() {
  return {OpenAi(),
          Azure(),
          Ollama(),
          LlamaCpp(),
          Tei(),
          Vllm(),
          Cohere(),
          Voyage(),
          Gemini(),
          Mistral(),
          Jina(),
          LikeOpenAi("infinity", ""),
          LikeOpenAi("lmstudio", "/v1"),
          LikeOpenAi("together", "/v1"),
          LikeOpenAi("openrouter", "/api/v1")};
}

}  // namespace reembed
