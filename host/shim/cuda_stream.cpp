// The stream that libtorch's CUDA operations run on, so that the host's kernels run between them.
// Needs no header of CUDA: libtorch's guard knows the card once libtorch_cuda is open.

#include <c10/core/impl/VirtualGuardImpl.h>

extern "C" {

// Puts the current stream of a card for this thread into *stream; null is the card's default stream. Returns 0, or 1 if
// libtorch threw.
int host_cuda_stream(int device, void **stream) noexcept {
  try {
    const c10::Device card(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(device));
    *stream = c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA).getStream(card).native_handle();
    return 0;
  } catch (...) {
    return 1;
  }
}

}  // extern "C"
