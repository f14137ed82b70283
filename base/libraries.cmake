# Options of everything that is compiled, and how libraries are made.
add_library(tandem_options INTERFACE)
target_include_directories(tandem_options INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(tandem_options INTERFACE -Wall -Wextra -Wshadow -Wconversion -fno-omit-frame-pointer)
if(TANDEM_WERROR)
  target_compile_options(tandem_options INTERFACE -Werror)
endif()
if(TANDEM_SANITIZE)
  target_compile_options(tandem_options INTERFACE -fsanitize=${TANDEM_SANITIZE} -fno-sanitize-recover=undefined)
  target_link_options(tandem_options INTERFACE -fsanitize=${TANDEM_SANITIZE})
  # Helpers are called by addresses from tables, whose signatures the IR knows and the C++ type does not.
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    target_compile_options(tandem_options INTERFACE -fno-sanitize=function)
  endif()
  # TSan does not model fences; the ones there are order writes towards the guest, which it does not see anyway.
  if(TANDEM_SANITIZE MATCHES thread AND CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    target_compile_options(tandem_options INTERFACE -Wno-tsan)
  endif()
  # g++'s flow analysis does not understand sanitized code and warns about the standard library.
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(tandem_options INTERFACE -Wno-maybe-uninitialized)
  endif()
endif()
target_link_libraries(tandem_options INTERFACE fmt::fmt Threads::Threads)

# The headers that take longest to read. One precompiled set for the libraries, one for programs, which are not compiled as
# position-independent code. Sources include what they use all the same: the build for clang-tidy does without.
set(TANDEM_PCH_HEADERS <algorithm> <array> <atomic> <filesystem> <fstream> <functional> <map> <memory> <mutex> <random> <sstream> <string>
  <thread> <vector> <fmt/format.h> <nlohmann/json.hpp>)
function(tandem_precompile target owner)
  if(TANDEM_PCH AND target STREQUAL owner)
    target_precompile_headers(${target} PRIVATE ${TANDEM_PCH_HEADERS} ${ARGN})
  elseif(TANDEM_PCH)
    target_precompile_headers(${target} REUSE_FROM ${owner})
  endif()
  # GCC 12 no longer knows precompiled system headers as such, and warns of std::string's own code (its bugs 105329, 105651).
  if(TANDEM_PCH AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(${target} PRIVATE -Wno-array-bounds -Wno-restrict)
  endif()
endfunction()

# A library from every .cpp below the given folders; which libraries it may use mirrors docs/architecture.md.
function(tandem_library name)
  cmake_parse_arguments(arg "" "" "DIRS;LINK" ${ARGN})
  set(sources "")
  foreach(dir ${arg_DIRS})
    file(GLOB_RECURSE found CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${dir}/*.cpp)
    list(APPEND sources ${found})
  endforeach()
  list(FILTER sources EXCLUDE REGEX "/accel/kvm/arm64/|/arm64_host/")  # machines/arm64_host/build.cmake
  if(NOT sources)
    file(WRITE ${CMAKE_BINARY_DIR}/empty.cpp "")
    set(sources ${CMAKE_BINARY_DIR}/empty.cpp)
  endif()
  add_library(${name} STATIC ${sources})
  set_target_properties(${name} PROPERTIES LINKER_LANGUAGE CXX POSITION_INDEPENDENT_CODE ON)
  target_link_libraries(${name} PUBLIC tandem_options ${arg_LINK})
  tandem_precompile(${name} tandem_base)
endfunction()
