// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "io/embed/dialect_table.h"

namespace reembed {
namespace {

constexpr char kApiVersion[] = "api-version=2024-10-21";
constexpr char kFoundryVersion[] = "api-version=2024-05-01-preview";

// Bases: {resource}/openai/v1 takes the deployment as the model in the body; {resource}/openai/deployments/{name} names
// it; {resource} alone, or with /openai, means the deployment that is called like the model; {resource}/models is that
// of Azure AI Foundry.
std::string AzureUrl(const std::string& base, const std::string& model) {
  if (absl::EndsWith(base, "/openai/v1")) return absl::StrCat(base, "/embeddings");
  if (absl::EndsWith(base, "/models")) return absl::StrCat(base, "/embeddings?", kFoundryVersion);
  if (absl::StrContains(base, "/openai/deployments/")) return absl::StrCat(base, "/embeddings?", kApiVersion);
  return absl::StrCat(absl::StripSuffix(base, "/openai"), "/openai/deployments/", model, "/embeddings?", kApiVersion);
}

}  // namespace

// OpenAI's bodies and limits under other addresses, with the key in a header of its own (Azure OpenAI REST reference).
Dialect AzureDialect() {
  return {.name = "azure",
          .title = "Azure OpenAI; the base of the API is the resource, a deployment of it, or its /openai/v1",
          .url = AzureUrl,
          .routes = kOpenAiRoutes,
          .wire = OpenAiWire,
          .key_header = "api-key: ",
          .key_variables = {"AZURE_OPENAI_API_KEY"},
          .base_variables = {"AZURE_OPENAI_ENDPOINT"},
          .limits = {.inputs = 2048, .request_tokens = 300000}};
}

}  // namespace reembed
