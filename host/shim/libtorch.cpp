// What the libtorch that this process runs on says about itself.

#include <ATen/Version.h>

#include <cstddef>
#include <cstring>
#include <string>

extern "C" {

// Puts libtorch's description of its build into `text`, which has room for `size` bytes, cut off where there is more.
// Returns the number of bytes, or 0 if libtorch threw.
size_t host_torch_config(char *text, size_t size) noexcept {
  try {
    const std::string config = at::show_config();
    const size_t length = config.size() < size ? config.size() : size;
    std::memcpy(text, config.data(), length);
    return length;
  } catch (...) {
    return 0;
  }
}

}  // extern "C"
