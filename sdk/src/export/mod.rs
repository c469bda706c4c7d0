//! What a plugin's library exports: the only way in from the host.
//! Decides nothing about rules; every entry is guarded, so nothing unwinds across the boundary.
//!
//! [`register!`](crate::register) puts a label on the list, [`plugin!`](crate::plugin) makes the root module that hands
//! the list out.
#![allow(unsafe_code)]

mod arch_op;
mod call;
mod core_table;
mod entry;
mod guard;
mod optimizer;
mod pass;
mod projection;
mod root;
mod rule;

pub use arch_op::arch_op;
pub use entry::Entry;
#[cfg(feature = "conformance")]
pub(crate) use guard::take_fault;
pub use optimizer::optimizer;
pub(crate) use pass::run as run_pass;
pub use projection::projection;
pub use root::root;
pub use rule::{elementwise, global, reducing, remembering};

/// Puts one label on the list of the library's plugin: kind, type, label, one line, and where the method comes from.
///
/// ```ignore
/// register!(Elementwise Lion, "lion", summary = "sign of an interpolated momentum", paper = "arXiv 2302.06675");
/// ```
///
/// An optimizer to which a check does not apply says so, and why:
/// `except = ["lr = 0: lr is where step sizes start, and they have a floor"]`. The checks that may have exceptions are
/// `lr = 0` and `zero gradient` of conformance, `lr doubled` and `schedule changed` of `host preflight`.
///
/// An optimizer may declare properties that conformance then checks: `declares = ["sign symmetric"]`, after `except`. They
/// are `sign symmetric`, `gradient scale invariant` and `decoupled weight decay`.
///
/// The kinds are the traits: `Elementwise`, `Reducing`, `Remembering`, `Global`, `Optimizer`, `Projection`, `ArchOp`.
#[macro_export]
macro_rules! register {
    (
        Elementwise $type:ty, $label:literal, summary = $summary:literal, paper = $paper:literal
        $(, except = [$($except:literal),+ $(,)?])? $(, declares = [$($declares:literal),+ $(,)?])? $(,)?
    ) => {
        $crate::register!(@ $crate::export::elementwise::<$type>($label, $summary, $paper)
            $(.except(&[$($except),+]))? $(.declares(&[$($declares),+]))?);
    };
    (
        Reducing $type:ty, $label:literal, summary = $summary:literal, paper = $paper:literal
        $(, except = [$($except:literal),+ $(,)?])? $(, declares = [$($declares:literal),+ $(,)?])? $(,)?
    ) => {
        $crate::register!(@ $crate::export::reducing::<$type>($label, $summary, $paper)
            $(.except(&[$($except),+]))? $(.declares(&[$($declares),+]))?);
    };
    (
        Remembering $type:ty, $label:literal, summary = $summary:literal, paper = $paper:literal
        $(, except = [$($except:literal),+ $(,)?])? $(, declares = [$($declares:literal),+ $(,)?])? $(,)?
    ) => {
        $crate::register!(@ $crate::export::remembering::<$type>($label, $summary, $paper)
            $(.except(&[$($except),+]))? $(.declares(&[$($declares),+]))?);
    };
    (
        Global $type:ty, $label:literal, summary = $summary:literal, paper = $paper:literal
        $(, except = [$($except:literal),+ $(,)?])? $(, declares = [$($declares:literal),+ $(,)?])? $(,)?
    ) => {
        $crate::register!(@ $crate::export::global::<$type>($label, $summary, $paper)
            $(.except(&[$($except),+]))? $(.declares(&[$($declares),+]))?);
    };
    (
        Optimizer $type:ty, $label:literal, summary = $summary:literal, paper = $paper:literal
        $(, except = [$($except:literal),+ $(,)?])? $(, declares = [$($declares:literal),+ $(,)?])? $(,)?
    ) => {
        $crate::register!(@ $crate::export::optimizer::<$type>($label, $summary, $paper)
            $(.except(&[$($except),+]))? $(.declares(&[$($declares),+]))?);
    };
    (Projection $type:ty, $label:literal, summary = $summary:literal, paper = $paper:literal $(,)?) => {
        $crate::register!(@ $crate::export::projection::<$type>($label, $summary, $paper));
    };
    (ArchOp $type:ty, $label:literal, summary = $summary:literal, paper = $paper:literal $(,)?) => {
        $crate::register!(@ $crate::export::arch_op::<$type>($label, $summary, $paper));
    };
    (@ $entry:expr) => {
        $crate::inventory::submit! { $entry }
    };
}

/// Makes a crate's `cdylib` a plugin. Once per crate, at its root; offers what [`register!`](crate::register) listed in
/// any of its modules.
// Spells out abi_stable's `#[export_root_module]`, which would make every plugin depend on abi_stable by name.
#[macro_export]
macro_rules! plugin {
    () => {
        $crate::plugin!(@ $crate::abi::MAJOR, $crate::abi::REQUIRED_MINOR);
    };
    // Claims another version, for tests of the host.
    (abi = ($major:literal, $required_minor:literal)) => {
        $crate::plugin!(@ $major, $required_minor);
    };
    (@ $major:expr, $required_minor:expr) => {
        #[doc(hidden)]
        #[unsafe(no_mangle)]
        pub static _1as_0lib_1header_0root_bmodule_bloader: $crate::abi_stable::library::LibHeader = {
            extern "C" fn root() -> $crate::abi_stable::library::RootModuleResult {
                $crate::abi_stable::library::__call_root_module_loader(
                    $crate::export::root::<{ $major }, { $required_minor }>,
                )
            }
            // SAFETY: `root` loads the module of the type named.
            unsafe {
                $crate::abi_stable::library::LibHeader::from_constructor::<$crate::abi::RootRef>(
                    root,
                    $crate::abi_stable::library::CheckTypeLayout::Yes,
                )
            }
        };
    };
}
