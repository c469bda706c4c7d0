//! `host.rng/1`: random tensors that depend on seed, step and parameter name alone.
//! Has no stream to advance: asked twice, it answers twice the same.

use abi_stable::std_types::RStr;
use sdk::abi::{RngTable, TableHeader, host_tables::Handle};
use sha2::{Digest, Sha256};
use tch::{Kind, TchError, Tensor};

use super::{
    entry::{Refusal, compute},
    philox,
};
use crate::tensor::trace::Argument::{Integer, Text};

/// The table.
pub static TABLE: RngTable = RngTable {
    header: TableHeader { struct_size: size_of::<RngTable>(), id: RStr::from_str("host.rng/1"), revision: 0 },
    uniform,
    normal,
};

extern "C" fn uniform(seed: u64, step: u64, parameter: RStr<'_>, like: Handle, out: *mut Handle) -> u32 {
    draw("uniform", (seed, step, parameter), like, out, |source, like| {
        // The leading bits of one number: narrower types cut it off, so that none rounds up to 1.
        let bits = (0..like.numel() as u64).map(|i| source.pair(i / 2)[(i % 2) as usize]);
        match like.f_kind()? {
            Kind::Double => Tensor::f_from_slice(&bits.map(|b| (b >> 11) as f64 * 2f64.powi(-53)).collect::<Vec<_>>()),
            Kind::Float => Tensor::f_from_slice(&bits.map(|b| (b >> 40) as f32 * 2f32.powi(-24)).collect::<Vec<_>>()),
            Kind::BFloat16 => Tensor::f_from_slice(&bits.map(|b| (b >> 56) as f32 * 2f32.powi(-8)).collect::<Vec<_>>()),
            other => Err(TchError::Kind(format!("no random numbers of type {other:?}"))),
        }
    })
}

extern "C" fn normal(seed: u64, step: u64, parameter: RStr<'_>, like: Handle, out: *mut Handle) -> u32 {
    draw("normal", (seed, step, parameter), like, out, |source, like| {
        let n = like.numel();
        let mut values = Vec::with_capacity(n + 1);
        for i in 0..n.div_ceil(2) as u64 {
            values.extend(box_muller(source.pair(i)));
        }
        values.truncate(n);
        Tensor::f_from_slice(&values)
    })
}

/// Box and Muller 1958: two uniform numbers become two standard normal ones. libm, so that every machine has the same.
fn box_muller([a, b]: [u64; 2]) -> [f64; 2] {
    // In (0, 1], whose logarithm is finite.
    let u = ((a >> 11) + 1) as f64 * 2f64.powi(-53);
    let angle = std::f64::consts::TAU * ((b >> 11) as f64 * 2f64.powi(-53));
    let radius = (-2.0 * libm::log(u)).sqrt();
    [radius * libm::cos(angle), radius * libm::sin(angle)]
}

/// The random bits of one seed, step and parameter, by counter.
struct Source {
    key: [u32; 2],
    high: [u32; 2],
}

impl Source {
    fn new(seed: u64, step: u64, parameter: &str) -> Source {
        let digest =
            Sha256::new().chain_update(seed.to_le_bytes()).chain_update(step.to_le_bytes()).chain_update(parameter);
        let digest = digest.finalize();
        let word = |at: usize| u32::from_le_bytes([digest[at], digest[at + 1], digest[at + 2], digest[at + 3]]);
        Source { key: [word(0), word(4)], high: [word(8), word(12)] }
    }

    /// Two times 64 bits.
    fn pair(&self, counter: u64) -> [u64; 2] {
        let c = [counter as u32, (counter >> 32) as u32, self.high[0], self.high[1]];
        let [a, b, c, d] = philox::block(c, self.key);
        [u64::from(a) << 32 | u64::from(b), u64::from(c) << 32 | u64::from(d)]
    }
}

/// Draws row-major on the CPU, whatever the device, and hands over in the type and on the device of `like`.
fn draw(
    name: &str,
    (seed, step, parameter): (u64, u64, RStr<'_>),
    like: Handle,
    out: *mut Handle,
    values: impl FnOnce(&Source, &Tensor) -> Result<Tensor, TchError>,
) -> u32 {
    let arguments = [Integer(seed as i64), Integer(step as i64), Text(parameter.as_str())];
    // SAFETY: the boundary's contract is that result places are null or valid.
    unsafe {
        compute(name, &[like], &arguments, [out], |t| {
            let values = values(&Source::new(seed, step, parameter.as_str()), t[0]).map_err(Refusal::Torch)?;
            Ok([values.f_reshape(t[0].size())?.f_to_kind(t[0].f_kind()?)?.f_to_device(t[0].device())?])
        })
    }
}
