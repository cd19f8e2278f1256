// SPDX-License-Identifier: Apache-2.0
// A plugin of clang-tidy, built by tools/tidy: the checks walk through our code alone, not through the declarations of
// the system's headers, whose findings nobody is shown and which take most of the time. clang's analyzer, and what a
// check looks up from our code (the type of a parameter, the body of a function that is called), are as they are
// without it.

#include <memory>
#include <string>
#include <vector>

#include "clang/AST/ASTConsumer.h"
#include "clang/AST/ASTContext.h"
#include "clang/AST/Decl.h"
#include "clang/Basic/SourceManager.h"
#include "clang/Frontend/CompilerInstance.h"
#include "clang/Frontend/FrontendPluginRegistry.h"

namespace {

class OwnCode : public clang::ASTConsumer {
 public:
  void HandleTranslationUnit(clang::ASTContext& context) override {
    const clang::SourceManager& sources = context.getSourceManager();
    std::vector<clang::Decl*> own;
    for (clang::Decl* decl : context.getTranslationUnitDecl()->decls()) {
      const clang::SourceLocation place = sources.getExpansionLoc(decl->getLocation());
      if (place.isValid() && !sources.isInSystemHeader(place)) own.push_back(decl);
    }
    context.setTraversalScope(own);
  }
};

// clang runs it before clang-tidy's own walk.
class OwnCodeAction : public clang::PluginASTAction {
 protected:
  std::unique_ptr<clang::ASTConsumer> CreateASTConsumer(clang::CompilerInstance&, llvm::StringRef) override {
    return std::make_unique<OwnCode>();
  }
  bool ParseArgs(const clang::CompilerInstance&, const std::vector<std::string>&) override { return true; }
  ActionType getActionType() override { return AddBeforeMainAction; }
};

const clang::FrontendPluginRegistry::Add<OwnCodeAction> registered("own-code", "walks through our code alone");

}  // namespace
