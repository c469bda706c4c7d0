// What libtorch's allocator counted of a card's memory.
// Needs no header of CUDA: libtorch knows the card's allocator once libtorch_cuda is open.

#include <c10/core/CachingDeviceAllocator.h>

extern "C" {

// Puts the most bytes that were allocated on a card at a time into *bytes. Returns 0, or 1 if libtorch threw or has no
// allocator for cards.
int host_peak_device_bytes(int device, long long *bytes) noexcept {
  try {
    using c10::CachingAllocator::StatType;
    auto *allocator = c10::getDeviceAllocator(c10::DeviceType::CUDA);
    if (allocator == nullptr || !allocator->initialized()) {
      return 1;
    }
    const auto stats = allocator->getDeviceStats(static_cast<c10::DeviceIndex>(device));
    *bytes = stats.allocated_bytes[static_cast<size_t>(StatType::AGGREGATE)].peak;
    return 0;
  } catch (...) {
    return 1;
  }
}

}  // extern "C"
