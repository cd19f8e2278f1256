# SPDX-License-Identifier: Apache-2.0
# Flags are named in tools/ only: an error elsewhere says in words what to do, and carries the setting (engine/setting.h).
# Comments do not count.
cmake_minimum_required(VERSION 3.25)

# Words of others that look like a flag.
set(allowed "\"--compact\"")  # an argument of FalkorDB's commands

set(checked 0)
foreach(folder engine io index)
  file(GLOB_RECURSE files RELATIVE ${ROOT} ${ROOT}/${folder}/*.h ${ROOT}/${folder}/*.cc)
  foreach(file ${files})
    math(EXPR checked "${checked} + 1")
    file(STRINGS ${ROOT}/${file} lines REGEX "--[a-z]")
    foreach(line ${lines})
      string(REGEX REPLACE "(^|[^:\"])//.*" "" line "${line}")
      string(REPLACE "${allowed}" "" line "${line}")
      if(line MATCHES "\"[^\"]*--[a-z]")
        string(STRIP "${line}" line)
        message(SEND_ERROR "${file} names a flag:\n  ${line}\nSay it in words, and hand on the setting by WithSetting().")
      endif()
    endforeach()
  endforeach()
endforeach()
if(checked EQUAL 0)
  message(FATAL_ERROR "no file found below ${ROOT}: is ROOT right?")
endif()
message(STATUS "flags: ${checked} files checked")
