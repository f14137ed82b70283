// Options from files: words as on the command line, and groups as QEMU writes them.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace tandem::frontend {

// The words of a file, separated by white space; '...' and "..." keep what they enclose together, # begins a comment. Io or
// InvalidArgument, with the file's name and the line.
Result<std::vector<std::string>> read_words(const std::string& path);

// A file of groups,
//   [drive "disk0"]
//     file = "a.img"
// as words: -drive id=disk0,file=a.img. Errors as above.
Result<std::vector<std::string>> read_groups(const std::string& path);

// The command line with every @FILE and -readconfig FILE replaced by what is in the file; files may name others, to a depth
// of 8.
Result<std::vector<std::string>> expand_files(const std::vector<std::string>& words, unsigned depth = 0);

}  // namespace tandem::frontend
