//! Checks that a plugin declares not to apply to a rule: `check: why`, where the rule is registered.
//! Does not decide whether a check fails.

use crate::abi::Descriptor;

/// That another learning rate changes something; checked by `host preflight`, in training.
pub const LR_DOUBLED: &str = "lr doubled";
/// That another learning-rate schedule changes something; checked by `host preflight`, in training.
pub const SCHEDULE_CHANGED: &str = "schedule changed";

/// Checks that may be declared not to apply. Bits, memory and convergence have no exceptions.
pub const EXCEPTIONS: [&str; 4] = ["lr = 0", "zero gradient", LR_DOUBLED, SCHEDULE_CHANGED];

/// Why a check does not apply, where the plugin declares that.
pub fn exception<'a>(descriptor: &'a Descriptor, check: &str) -> Option<&'a str> {
    let facts = descriptor.facts.iter().filter(|fact| fact.0 == "except");
    let mut reasons = facts.filter_map(|fact| reason(fact.1.as_str(), check));
    reasons.next().filter(|_| EXCEPTIONS.contains(&check))
}

/// Whether a declared exception names a check that may have one, and says why.
pub(super) fn is_understood(text: &str) -> bool {
    EXCEPTIONS.iter().any(|check| reason(text, check).is_some_and(|why| !why.trim().is_empty()))
}

fn reason<'a>(text: &'a str, check: &str) -> Option<&'a str> {
    text.strip_prefix(check)?.strip_prefix(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_names_a_check_and_says_why() {
        for text in ["lr = 0: it has a floor", "zero gradient: it starts elsewhere", "lr doubled: it has none"] {
            assert!(is_understood(text), "{text}");
        }
        for text in ["lr = 0", "lr = 0: ", "lr doubled:", "repeats: it is random", "schedule: why", ""] {
            assert!(!is_understood(text), "{text}");
        }
    }
}
