//! Which instructions a kernel may use on this machine.
//! Does not decide what a kernel computes: all of them give the same bits.

use std::sync::OnceLock;

use sdk::cpu::Isa;

/// The variants that every kernel comes in; the numbers are those of `KernelCall::isa`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum InstructionSet {
    /// What every machine of the target has.
    Baseline = 0,
    /// AVX2 with FMA.
    Avx2 = 1,
    /// AVX-512 with F, VL, DQ and BW.
    Avx512 = 2,
}

impl InstructionSet {
    /// All variants, smallest first.
    pub const ALL: [InstructionSet; 3] = [InstructionSet::Baseline, InstructionSet::Avx2, InstructionSet::Avx512];

    /// The largest variant that this machine can run.
    pub fn detect() -> InstructionSet {
        static FOUND: OnceLock<InstructionSet> = OnceLock::new();
        *FOUND.get_or_init(|| {
            #[cfg(target_arch = "x86_64")]
            {
                let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
                let avx512 = is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512bw");
                if avx2 && avx512 {
                    return InstructionSet::Avx512;
                }
                if avx2 {
                    return InstructionSet::Avx2;
                }
            }
            InstructionSet::Baseline
        })
    }

    /// As shown to people.
    pub fn name(self) -> &'static str {
        match self {
            InstructionSet::Baseline => "baseline",
            InstructionSet::Avx2 => "avx2",
            InstructionSet::Avx512 => "avx512",
        }
    }
}

impl From<Isa> for InstructionSet {
    fn from(isa: Isa) -> InstructionSet {
        match isa {
            Isa::Baseline => InstructionSet::Baseline,
            Isa::Avx2 => InstructionSet::Avx2,
            Isa::Avx512 => InstructionSet::Avx512,
        }
    }
}
