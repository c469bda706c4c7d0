//! The card as the driver shows it: loads machine code and launches it, on libtorch's stream.
//! Holds no memory of the card; libtorch does.

use std::ffi::{c_int, c_void};

use cudarc::driver::{
    DriverError, result,
    sys::{self, CUdevice_attribute, CUfunction, CUmodule},
};

use crate::fault::{Exit, Fault};

unsafe extern "C" {
    fn host_cuda_stream(device: c_int, stream: *mut *mut c_void) -> c_int;
}

/// One card. Its context is the one that libtorch uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// As libtorch numbers it.
    pub index: usize,
    /// Such as `sm_90`.
    pub architecture: String,
    multiprocessors: u32,
    context: sys::CUcontext,
}

/// A kernel on a card, and how many of its blocks the card runs at a time.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    function: CUfunction,
    resident: u32,
}

/// A stream of a card; null is its default stream.
#[derive(Clone, Copy, Debug)]
pub struct Stream(sys::CUstream);

impl Card {
    /// The card that libtorch numbers `index`.
    ///
    /// # Errors
    /// E003: no driver, or one that refuses.
    pub fn open(index: usize) -> Result<Card, Fault> {
        // SAFETY: opens NVIDIA's driver library, as `tensor::device` did before any tensor came to a card.
        if !unsafe { sys::is_culib_present() } {
            return Err(Fault::new("E003", Exit::Environment, "the CUDA driver is not there"));
        }
        // SAFETY: the device is one that the driver just named, and its context is never given back.
        unsafe {
            result::init().map_err(refused("cuInit"))?;
            let device = result::device::get(index as c_int).map_err(refused("cuDeviceGet"))?;
            let attribute =
                |which| result::device::get_attribute(device, which).map_err(refused("cuDeviceGetAttribute"));
            let major = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
            let minor = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
            let multiprocessors = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)? as u32;
            let context = result::primary_ctx::retain(device).map_err(refused("cuDevicePrimaryCtxRetain"))?;
            Ok(Card { index, architecture: format!("sm_{major}{minor}"), multiprocessors, context })
        }
    }

    /// Makes it the card of this thread's next calls.
    ///
    /// # Errors
    /// E003.
    pub fn make_current(&self) -> Result<(), Fault> {
        // SAFETY: the context was retained and never released.
        unsafe { result::ctx::set_current(self.context) }.map_err(refused("cuCtxSetCurrent"))
    }

    /// Loads a cubin for the life of the process.
    ///
    /// # Errors
    /// E003: it is not for this card, or no memory.
    pub fn load(&self, cubin: &[u8]) -> Result<CUmodule, Fault> {
        self.make_current()?;
        // SAFETY: a cubin says its own length.
        unsafe { result::module::load_data(cubin.as_ptr().cast()) }.map_err(refused("cuModuleLoadData"))
    }

    /// A kernel of a loaded module, to be run with `threads` threads per block.
    ///
    /// # Errors
    /// E003.
    pub fn function(&self, module: CUmodule, name: &str, threads: u32) -> Result<Function, Fault> {
        let name = std::ffi::CString::new(name).unwrap_or_default();
        // SAFETY: modules are never unloaded.
        unsafe {
            let function = result::module::get_function(module, name).map_err(refused("cuModuleGetFunction"))?;
            let blocks = result::occupancy::max_active_block_per_multiprocessor(function, threads as c_int, 0)
                .map_err(refused("cuOccupancyMaxActiveBlocksPerMultiprocessor"))?;
            Ok(Function { function, resident: blocks as u32 * self.multiprocessors })
        }
    }

    /// The stream of libtorch's operations on this card.
    ///
    /// # Errors
    /// E003.
    pub fn stream(&self) -> Result<Stream, Fault> {
        let mut stream = std::ptr::null_mut();
        // SAFETY: the shim catches what libtorch throws, and the pointer is there to be written.
        match unsafe { host_cuda_stream(self.index as c_int, &mut stream) } {
            0 => Ok(Stream(stream.cast())),
            _ => Err(Fault::new("E003", Exit::Environment, "libtorch does not say which CUDA stream it uses")),
        }
    }
}

impl Function {
    /// Blocks for `work` pieces of work that blocks take in turn: as many as run at a time.
    pub fn blocks(&self, work: usize) -> u32 {
        self.resident.min(work as u32).max(1)
    }
}

impl Stream {
    /// Copies to the card, in the order of the stream. The bytes may be reused at once.
    ///
    /// # Safety
    /// `to` is the address of as many bytes on the current card, which live until the stream has passed.
    ///
    /// # Errors
    /// E003.
    pub unsafe fn upload(self, to: u64, bytes: &[u8]) -> Result<(), Fault> {
        // SAFETY: the caller's promise; memory that is not pinned is copied aside before the call returns.
        unsafe { result::memcpy_htod_async(to, bytes, self.0) }.map_err(refused("cuMemcpyHtoDAsync"))
    }

    /// Starts `blocks` blocks of `threads` threads.
    ///
    /// # Safety
    /// `arguments` points to what the kernel takes, in its order, and what those point to lives until the stream has
    /// passed.
    ///
    /// # Errors
    /// E003.
    pub unsafe fn launch(
        self,
        function: &Function,
        blocks: u32,
        threads: u32,
        arguments: &mut [*mut c_void],
    ) -> Result<(), Fault> {
        // SAFETY: the caller's promise; functions live as long as the process.
        unsafe { result::launch_kernel(function.function, (blocks, 1, 1), (threads, 1, 1), 0, self.0, arguments) }
            .map_err(refused("cuLaunchKernel"))
    }
}

fn refused(call: &'static str) -> impl Fn(DriverError) -> Fault {
    move |error| {
        Fault::new("E003", Exit::Environment, format!("the CUDA driver refused {call}"))
            .note("why", error.to_string())
            .hint("an earlier operation may have failed; `CUDA_LAUNCH_BLOCKING=1` shows which")
    }
}
