//! Runs recorded rules on a CUDA card: one launch for all tensors of a rule and storage format, bf16 slots included.
//! Does not choose tensors, and computes no scalars but what a tape says.
//!
//! A rule's tape becomes source ([`source`]), the source machine code ([`nvrtc`], kept by `cache`), and the machine
//! code is launched on libtorch's stream (`driver`). With portable operations the bits are those of the CPU's kernel,
//! sums included.

mod cache;
mod driver;
mod kernel;
pub mod nvrtc;
pub mod rows;
pub mod source;

pub use kernel::ready;

use sdk::tape::Node;
use tch::Tensor;

use self::{kernel::Kernel, source::Storage};
use crate::fault::{Exit, Fault};

use super::kernel::{Target, narrow_slots};

/// One tensor of a pass: the target, its gradient in row-major order, and the numbers of its step.
pub struct Item<'a> {
    /// The target.
    pub target: &'a Target<'a>,
    /// Contiguous.
    pub g: &'a Tensor,
    /// t, numel, grad_norm, then sums and memory as far as they are known.
    pub numbers: &'a [f64],
}

/// The kernels that a pass has used.
#[derive(Default)]
pub struct Cuda {
    kernels: Vec<Kernel>,
}

impl Cuda {
    /// Updates every item's parameter and state.
    ///
    /// # Errors
    /// E003 to E005: driver, compiler, libtorch.
    pub fn update(&mut self, items: &[Item<'_>]) -> Result<(), Fault> {
        for (kernel, members) in self.by_kernel(items)? {
            let members: Vec<&Item<'_>> = members.iter().map(|&member| &items[member]).collect();
            self.kernels[kernel].update(&members)?;
        }
        Ok(())
    }

    /// The sums of every item. Waits for the card.
    ///
    /// # Errors
    /// As [`Cuda::update`].
    pub fn measure(&mut self, items: &[Item<'_>]) -> Result<Vec<Vec<f64>>, Fault> {
        let mut sums = vec![Vec::new(); items.len()];
        for (kernel, members) in self.by_kernel(items)? {
            let of_kernel: Vec<&Item<'_>> = members.iter().map(|&member| &items[member]).collect();
            for (member, measured) in members.iter().zip(self.kernels[kernel].measure(&of_kernel)?) {
                sums[*member] = measured;
            }
        }
        Ok(sums)
    }

    /// Indices of items by the kernel that runs them; kernels that are missing are made.
    fn by_kernel(&mut self, items: &[Item<'_>]) -> Result<Vec<(usize, Vec<usize>)>, Fault> {
        let mut sorted: Vec<(usize, Vec<usize>)> = Vec::new();
        let mut last: Option<(*const [Node], Storage, u32, usize)> = None;
        for (index, item) in items.iter().enumerate() {
            let (storage, narrow, card) = placed(item.target)?;
            let same = (std::ptr::from_ref(item.target.expression), storage, narrow, card);
            // Tensors of one group follow each other and share their tape.
            if last == Some(same)
                && let Some((_, members)) = sorted.last_mut()
            {
                members.push(index);
                continue;
            }
            last = Some(same);
            let kernel = self.kernel(item.target.expression, storage, narrow, card)?;
            match sorted.iter().position(|(known, _)| *known == kernel) {
                Some(place) => {
                    let mut known = sorted.remove(place);
                    known.1.push(index);
                    sorted.push(known);
                }
                None => sorted.push((kernel, vec![index])),
            }
        }
        Ok(sorted)
    }

    fn kernel(&mut self, tape: &[Node], storage: Storage, narrow: u32, card: usize) -> Result<usize, Fault> {
        if let Some(known) = self.kernels.iter().position(|kernel| kernel.is_of(tape, storage, narrow, card)) {
            return Ok(known);
        }
        self.kernels.push(Kernel::new(tape, storage, narrow, card)?);
        Ok(self.kernels.len() - 1)
    }
}

/// Storage format, slots in bf16, card.
fn placed(target: &Target<'_>) -> Result<(Storage, u32, usize), Fault> {
    match (Storage::of(target.x.kind()), target.x.device()) {
        (Some(storage), tch::Device::Cuda(card)) => Ok((storage, narrow_slots(target.state) as u32, card)),
        _ => Err(Fault::new("P015", Exit::Bug, format!("`{}` is not on a card", target.name))),
    }
}
