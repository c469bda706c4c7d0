//! Gradient projections: what happens to a gradient between clipping and the optimizer.
//! Computes no projection itself; that is a plugin's, over the host's tables.
//!
//! # Codes
//!
//! | code | exit | fault |
//! |---|---|---|
//! | C060 | 3 | a pattern takes no parameter, or none that is trained |
//! | C061 | 4 | a hyper-parameter does not fit the plugin's schema |
//! | C062 | 3 | an input is missing, or the plugin asks for no such input |
//! | C063 | 3 | an operation changes a parameter for which a projection has inputs |
//! | D060 | 8 | a file of inputs cannot be read |
//! | D061 | 8 | a file of inputs does not fit the network: a tensor is missing, unknown, of another type or not finite |
//! | P020 | 5 | a plugin returned something that is no gradient of the parameter |

mod inputs;
mod plan;
mod run;

pub use plan::Projections;
pub use run::ProjectionReport;

#[cfg(test)]
mod tests;
