# SPDX-License-Identifier: Apache-2.0
# Writes completions and man page of the command: cmake -DREEMBED=<command> -DTO=<dir> -P.
cmake_minimum_required(VERSION 3.25)
file(MAKE_DIRECTORY ${TO})
foreach(pair bash=reembed.bash zsh=_reembed fish=reembed.fish man=reembed.1)
  string(REPLACE "=" ";" pair ${pair})
  list(GET pair 0 what)
  list(GET pair 1 file)
  execute_process(COMMAND ${REEMBED} completion ${what} OUTPUT_FILE ${TO}/${file} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
