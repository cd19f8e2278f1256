# SPDX-License-Identifier: Apache-2.0
# Puts the locked npm packages of the tests, and the scripts that use them, into the build tree: cmake -DTO=<dir> -P.
# Packages that are there already, from the same lock, are not fetched again.
cmake_minimum_required(VERSION 3.25)
set(from ${CMAKE_CURRENT_LIST_DIR})
file(MAKE_DIRECTORY ${TO})
file(COPY ${from}/package.json ${from}/package-lock.json ${from}/.npmrc ${from}/openai_client.mjs ${from}/tiktoken_ranks.mjs
     ${from}/libsql_read.mjs DESTINATION ${TO})
file(SHA256 ${from}/package-lock.json wanted)
set(stamp ${TO}/installed.sha256)
if(EXISTS ${stamp})
  file(READ ${stamp} installed)
endif()
if("${installed}" STREQUAL "${wanted}")
  return()
endif()
find_program(NPM npm REQUIRED)
execute_process(COMMAND ${NPM} ci --ignore-scripts WORKING_DIRECTORY ${TO} COMMAND_ERROR_IS_FATAL ANY)
file(WRITE ${stamp} ${wanted})
