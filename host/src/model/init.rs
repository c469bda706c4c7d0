//! Initial values: each number depends on the seed, the parameter's name and its index, and on nothing else.
//! So they are the same on every device and in any order of construction.

use crate::random::Stream;

/// The distribution of a parameter's initial values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Init {
    /// All zeros.
    Zeros,
    /// All ones.
    Ones,
    /// Mean 0 and this standard deviation.
    Normal(f64),
    /// Between minus and plus this bound.
    Uniform(f64),
}

impl Init {
    /// The first `n` values of the parameter called `name`, in row-major order.
    pub(super) fn values(self, seed: u64, name: &str, n: usize) -> Vec<f64> {
        let stream = Stream::new(seed, &format!("init/{name}"));
        let pairs = |value: &dyn Fn(u64) -> [f64; 2]| {
            let mut values: Vec<f64> = (0..n.div_ceil(2) as u64).flat_map(value).collect();
            values.truncate(n);
            values
        };
        match self {
            Init::Zeros => vec![0.0; n],
            Init::Ones => vec![1.0; n],
            Init::Normal(std) => pairs(&|i| stream.normals(0, i).map(|x| x * std)),
            Init::Uniform(bound) => pairs(&|i| stream.uniforms(0, i).map(|x| (2.0 * x - 1.0) * bound)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_depends_on_seed_name_and_index_alone() {
        let long = Init::Normal(0.02).values(1, "a", 101);
        assert_eq!(long[..7], Init::Normal(0.02).values(1, "a", 7));
        assert_ne!(long[..7], Init::Normal(0.02).values(2, "a", 7));
        assert_ne!(long[..7], Init::Normal(0.02).values(1, "b", 7));
    }

    #[test]
    fn spread_is_as_asked() {
        let variance = |values: Vec<f64>| values.iter().map(|x| x * x).sum::<f64>() / values.len() as f64;
        assert!((variance(Init::Normal(0.02).values(3, "w", 40_000)).sqrt() / 0.02 - 1.0).abs() < 0.02);
        let uniform = Init::Uniform(0.5).values(3, "w", 40_000);
        assert!(uniform.iter().all(|x| x.abs() <= 0.5));
        assert!((variance(uniform) * 12.0 - 1.0).abs() < 0.03);
    }
}
