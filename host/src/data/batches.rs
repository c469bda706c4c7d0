//! Which stretches of the training text make a batch: a function of seed, step, micro-batch and row alone.
//! Keeps no generator state, so that a resumed run sees the same batches.

use tch::{Device, TchError, Tensor};

use crate::random::{Stream, below};

/// Where row `row` begins, in 0..`starts`.
pub(super) fn offset(stream: &Stream, step: u64, micro: u64, row: u64, starts: u64) -> u64 {
    // A step has below 2³² micro-batches and a micro-batch below 2³² rows.
    below(stream.words(step, micro << 32 | row)[0], starts)
}

/// Inputs and targets `[rows, t]` of i64; a target is the token after its input.
pub(super) fn tensors(text: &[u16], offsets: &[usize], t: usize, device: Device) -> Result<(Tensor, Tensor), TchError> {
    let shape = [offsets.len() as i64, t as i64];
    let rows = |shift: usize| -> Result<Tensor, TchError> {
        let stretch = |&start: &usize| text[start + shift..start + shift + t].iter().map(|&token| i64::from(token));
        let tokens: Vec<i64> = offsets.iter().flat_map(stretch).collect();
        Tensor::f_from_slice(&tokens)?.f_view(shape)?.f_to_device(device)
    };
    Ok((rows(0)?, rows(1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_does_not_depend_on_what_was_asked_before() {
        let stream = Stream::new(3, "batch");
        let later = offset(&stream, 900, 1, 5, 1000);
        let _ = (0..50).map(|row| offset(&stream, 1, 0, row, 1000)).max();
        assert_eq!(offset(&Stream::new(3, "batch"), 900, 1, 5, 1000), later);
    }

    #[test]
    fn seed_step_micro_and_row_each_matter() {
        let at = |seed, step, micro, row| offset(&Stream::new(seed, "batch"), step, micro, row, 1 << 40);
        let base = at(1, 1, 0, 0);
        for other in [at(2, 1, 0, 0), at(1, 2, 0, 0), at(1, 1, 1, 0), at(1, 1, 0, 1), at(1, 0, 1, 0)] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn offsets_are_uniform() {
        let stream = Stream::new(5, "batch");
        let (bins, draws) = (50_u64, 50_000_u64);
        let mut counts = vec![0_f64; bins as usize];
        for i in 0..draws {
            counts[offset(&stream, i / 100, i / 10 % 10, i % 10, bins) as usize] += 1.0;
        }
        let expected = draws as f64 / bins as f64;
        let chi2: f64 = counts.iter().map(|count| (count - expected).powi(2) / expected).sum();
        // 49 degrees of freedom: mean 49, standard deviation 9.9.
        assert!((15.0..100.0).contains(&chi2), "{chi2}");
    }
}
