//! Gradients of a batch. On the CPU its sequences are dealt out to libtorch's threads, one share each.
//! Takes no step.
//!
//! Small networks spend much of their time where operations meet: each operation splits its work, waits for all
//! threads, and much is too small to be split at all. A share goes through the whole network on its own thread instead,
//! and threads meet once per batch. A share's gradient does not depend on the others, and shares are summed in their
//! order, so that the result has the same bits whichever thread ran which; as with libtorch's own threads it depends on
//! their number.

use std::sync::{Mutex, PoisonError};

use tch::{Device, Reduction, TchError, Tensor};

use super::{Gpt, gpt::refused, network::Network, parameter::Parameter, pass::Pass};
use crate::{config::settings::Format, fault::Fault, rules::threads};

/// Some sequences of a batch with the parameters they see.
struct Share {
    tokens: Tensor,
    targets: Tensor,
    /// The model's own for the first share, other leaves over the same values for the rest.
    parameters: Vec<Tensor>,
    /// Share of the batch's sequences.
    weight: f64,
}

impl Share {
    /// Gradients of the share into its parameters; its mean loss.
    fn backward(&self, network: &Network, scale: f64) -> Result<f64, TchError> {
        let pass = Pass::over(&self.tokens, &self.parameters, 0.0)?;
        let loss = network.nats(&pass, &self.tokens, &self.targets, Reduction::Mean)?;
        scaled(&loss, scale * self.weight)?.f_backward()?;
        loss.f_double_value(&[])
    }
}

impl Gpt {
    /// Adds `scale` times the gradient of the mean loss to the gradient of every trained parameter, and gives that mean
    /// loss in nats, unscaled.
    ///
    /// `tokens`, `targets` and `dropout_seed` are as in [`Gpt::loss`]. Batches with dropout are not dealt out: their
    /// masks follow from one seed for the whole batch.
    ///
    /// # Errors
    /// `E101` if libtorch fails; gradients are then of no use.
    pub fn backward(
        &self,
        tokens: &Tensor,
        targets: &Tensor,
        dropout_seed: Option<u64>,
        scale: f64,
    ) -> Result<f64, Fault> {
        let sequences = tokens.size().first().map_or(0, |&n| n.max(0) as usize);
        let dropped = dropout_seed.is_some() && self.settings().dropout > 0.0;
        // Gradients of shares would be rounded to bf16 before they are summed.
        let is_rounded = self.format() == Format::Bf16;
        let shares =
            if self.device() == Device::Cpu && !dropped && !is_rounded { threads::count().min(sequences) } else { 1 };
        if shares > 1 {
            return self.backward_in_shares(tokens, targets, scale, shares).map_err(refused);
        }
        let loss = self.loss(tokens, targets, dropout_seed)?;
        let backward = || scaled(&loss, scale)?.f_backward().and_then(|()| loss.f_double_value(&[]));
        backward().map_err(refused)
    }

    fn backward_in_shares(
        &self,
        tokens: &Tensor,
        targets: &Tensor,
        scale: f64,
        shares: usize,
    ) -> Result<f64, TchError> {
        let work = self.deal(tokens, targets, shares)?;
        let losses: Vec<Mutex<Option<Result<f64, TchError>>>> = work.iter().map(|_| Mutex::new(None)).collect();
        let (network, all) = (&self.network, threads::count());
        threads::for_each(work.len(), &|i| {
            // The share has this thread and no other.
            threads::set_count(1);
            let share = work[i].lock().unwrap_or_else(PoisonError::into_inner);
            let loss = share.backward(network, scale);
            *losses[i].lock().unwrap_or_else(PoisonError::into_inner) = Some(loss);
        });
        threads::set_count(all);
        let mut sum = 0.0;
        for (loss, share) in losses.into_iter().zip(&work) {
            let loss = loss.into_inner().unwrap_or_else(PoisonError::into_inner);
            let share = share.lock().unwrap_or_else(PoisonError::into_inner);
            sum += share.weight * loss.unwrap_or_else(|| Err(TchError::Torch("a share was not run".into())))?;
        }
        let rest: Vec<Share> =
            work.into_iter().skip(1).map(|share| share.into_inner().unwrap_or_else(PoisonError::into_inner)).collect();
        self.add(&rest)?;
        Ok(sum)
    }

    /// Near equal shares of the batch, in its order.
    fn deal(&self, tokens: &Tensor, targets: &Tensor, shares: usize) -> Result<Vec<Mutex<Share>>, TchError> {
        let sequences = tokens.size2()?.0;
        let begin = |i: usize| sequences * i as i64 / shares as i64;
        let leaf = |parameter: &Parameter| match parameter.tensor.requires_grad() {
            true => parameter.tensor.f_detach()?.f_set_requires_grad(true),
            false => Ok(parameter.handle()),
        };
        let share = |i: usize| {
            let (from, count) = (begin(i), begin(i + 1) - begin(i));
            let parameters = match i {
                0 => self.parameters().iter().map(Parameter::handle).collect(),
                _ => self.parameters().iter().map(leaf).collect::<Result<_, _>>()?,
            };
            Ok(Mutex::new(Share {
                tokens: tokens.f_narrow(0, from, count)?,
                targets: targets.f_narrow(0, from, count)?,
                parameters,
                weight: count as f64 / sequences as f64,
            }))
        };
        (0..shares).map(share).collect()
    }

    /// Adds the gradients of other shares to the model's.
    fn add(&self, shares: &[Share]) -> Result<(), TchError> {
        let _guard = tch::no_grad_guard();
        for share in shares {
            for (own, other) in self.parameters().iter().zip(&share.parameters) {
                if own.tensor.requires_grad() {
                    // In place: what comes back is another handle to the same gradient.
                    let _ = own.tensor.f_grad()?.f_add_(&other.f_grad()?)?;
                }
            }
        }
        Ok(())
    }
}

fn scaled(loss: &Tensor, scale: f64) -> Result<Tensor, TchError> {
    if scale == 1.0 { Ok(loss.shallow_clone()) } else { loss.f_mul_scalar(scale) }
}

#[cfg(test)]
#[path = "backward_tests.rs"]
mod tests;
