# SPDX-License-Identifier: Apache-2.0
# A store's name stands in its own room and in the one line that registers it; all other code asks its StoreKind
# (engine/store_kind.h). Comments do not count.
cmake_minimum_required(VERSION 3.25)

# The word that names a store in lower case, and its room. Each kind is declared in a header *_kind.h or *_kinds.h of its
# room, so that a new one needs no line here.
set(stores)
file(GLOB_RECURSE headers RELATIVE ${ROOT} ${ROOT}/io/*_kind.h ${ROOT}/io/*_kinds.h ${ROOT}/index/*_kind.h)
foreach(header ${headers})
  file(STRINGS ${ROOT}/${header} kinds REGEX "^extern const StoreKind k[A-Za-z0-9]+Kind;")
  foreach(kind ${kinds})
    string(REGEX REPLACE "^extern const StoreKind k([A-Za-z0-9]+)Kind;.*" "\\1" word "${kind}")
    string(TOLOWER "${word}" word)
    if(word STREQUAL "stream")
      continue()  # standard input and output: the word means other things, too
    endif()
    list(APPEND stores ${word})
    if(header MATCHES "^io/system/")
      set(room_${word} "^io/system/${word}_")
    else()
      get_filename_component(folder ${header} DIRECTORY)
      set(room_${word} "^${folder}/")
    endif()
  endforeach()
endforeach()

# Each entry: a file or a folder, the stores that it may name (or `all`), why.
set(allowed
  "tools/registry[.]cc!all!the registration"
  # Words for people.
  "tools/reembed[.]cc!all!examples in the help"
  "tools/(bench|job|run|setup|store)_flags[.]cc!all!examples in the help"
  "tools/index_place[.]cc!faiss!what the commands about indexes build"
  "tools/index_eval[.]cc!hdf5!the form of true neighbours is that of ann-benchmarks"
  "tools/index_info[.]cc!faiss!the version of the library"
  "tools/index_flags[.]cc!all!examples in the help"
  "tools/launch/launch_flags[.]cc!jsonl,fbin!examples in the help"
  "tools/option_table[.]cc!libsql,postgres,falkor,automem!flags' help"
  "tools/demo[.]cc!faiss!the commands that it prints and gives"
  "tools/recreate[.]cc!postgres!a flag's refusal"
  "tools/resolve_places[.]cc!sqlite,faiss!examples in refusals"
  "io/file/vectors_json!memu!the file is MemU's, and errors say so"
  "io/file/other_format[.]cc!sqlite!what a file is that has no lines"
  "io/store/(falkordb|qdrant)/[a-z]*_(backup|restore)[.]cc!automem!the form of a backup is AutoMem's, and errors say so"
  "io/store/postgres/postgres_backup[.]cc!jsonl!the name of a file"
  "engine/location[.]cc!jsonl!how `-` is written with parameters"
  # SQLite as a library: the ledger, and sample data.
  "io/job/!sqlite!the ledger is an SQLite file"
  "io/share/(file_cache[.]cc|vector_cache[.]h)!sqlite!a cache may be an SQLite file"
  "tools/sample/!sqlite!sample databases are SQLite files"
  # A system is what it keeps in which store.
  "io/system/memu_!sqlite!its rows"
  "io/system/automem_!falkor,qdrant!its rows and its points"
  "io/store/postgres/postgres_import[.]cc!sqlite,libsql!mode=insert reads whole rows of a source"
  # Keys lie beside an index as lines of JSON.
  "tools/reject_file[.]h!jsonl!the name of a file"
  "index/index_files[.]cc!jsonl!the name of a file"
  "index/faiss_kind[.]cc!jsonl!the name of a file"
  "io/net/resp_client[.]cc!falkor!the name of a kill point")

# Removes comments and what only looks like a store's name.
function(code_of text out)
  string(REGEX REPLACE "([^:\"])//[^\n]*" "\\1" text "${text}")
  string(REGEX REPLACE "\n//[^\n]*" "\n" text "${text}")
  string(TOLOWER "${text}" text)
  # JsonLine and kJsonLines are lines of output; json_list and kJsonPython are other words.
  string(REGEX REPLACE "jsonli|json_l|jsonpython" "" text "${text}")
  set(${out} "${text}" PARENT_SCOPE)
endfunction()

set(checked 0)
set(used)
foreach(folder engine io index tools bench)
  file(GLOB_RECURSE files RELATIVE ${ROOT} ${ROOT}/${folder}/*.h ${ROOT}/${folder}/*.cc)
  foreach(file ${files})
    math(EXPR checked "${checked} + 1")
    file(READ ${ROOT}/${file} text)
    # CMake's lists end at these.
    string(REPLACE ";" " " text "${text}")
    string(REPLACE "[" "(" text "${text}")
    string(REPLACE "]" ")" text "${text}")
    code_of("\n${text}" code)
    if(folder STREQUAL "bench")
      # A benchmark is of a store, and names it; but it may not ask which one a place is of.
      if(code MATCHES "scheme *(==|!=) *\"")
        message(SEND_ERROR "${file}: asks for a scheme by name; a StoreKind has a field for it")
      endif()
      continue()
    endif()
    foreach(store ${stores})
      if(NOT code MATCHES "${store}" OR file MATCHES "${room_${store}}")
        continue()
      endif()
      set(excused FALSE)
      foreach(entry ${allowed})
        string(REPLACE "!" ";" parts "${entry}")
        list(GET parts 0 where)
        list(GET parts 1 names)
        string(REPLACE "," ";" names "${names}")
        if(file MATCHES "^${where}" AND (names STREQUAL "all" OR store IN_LIST names))
          set(excused TRUE)
          list(APPEND used "${where}!${store}")
          list(APPEND used "${where}!all")
        endif()
      endforeach()
      if(NOT excused)
        string(REGEX MATCH "[^\n]*${store}[^\n]*" line "${code}")
        string(STRIP "${line}" line)
        message(SEND_ERROR "${file} names ${store} outside of ${room_${store}}:\n  ${line}\n"
                           "A StoreKind (engine/store_kind.h) has a field for it, or gets one.")
      endif()
    endforeach()
  endforeach()
endforeach()

# An excuse that nobody needs any more goes.
foreach(entry ${allowed})
  string(REPLACE "!" ";" parts "${entry}")
  list(GET parts 0 where)
  list(GET parts 1 names)
  string(REPLACE "," ";" names "${names}")
  foreach(name ${names})
    if(NOT "${where}!${name}" IN_LIST used)
      message(SEND_ERROR "tests/store_names.cmake: ${where} does not name ${name}; take the excuse out")
    endif()
  endforeach()
endforeach()
if(checked EQUAL 0)
  message(FATAL_ERROR "no file found below ${ROOT}: is ROOT right?")
endif()
message(STATUS "store_names: ${checked} files checked")
