//! The frozen root module: what abi_stable loads, and nothing that must evolve.

use abi_stable::{
    StableAbi,
    library::RootModule,
    sabi_types::VersionStrings,
    std_types::{RResult, RStr, RString, RVec},
};

use super::Descriptor;

/// What a plugin was built for and what it needs.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbiVersion {
    /// Must equal the host's major.
    pub major: u32,
    /// Must be at most the host's minor; follows from what the plugin uses.
    pub required_minor: u32,
}

/// What every table begins with.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TableHeader {
    /// Bytes of the table as its maker knows it; fields beyond it are absent.
    pub struct_size: usize,
    /// The id under which it was asked for.
    pub id: RStr<'static>,
    /// Counts the appended fields, for people.
    pub revision: u32,
}

/// Finds a table by id, and by label where the table belongs to one (else the empty string). Null: there is none.
/// Any thread; the table lives as long as the process.
pub type GetTable = extern "C" fn(id: RStr<'_>, label: RStr<'_>) -> *const TableHeader;

/// The root module of every plugin.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = RootRef)))]
pub struct Root {
    /// Asked first; on a misfit nothing else is called.
    pub abi_version: extern "C" fn() -> AbiVersion,
    /// What the plugin offers, sorted by label. The error is the text of a panic.
    pub describe: extern "C" fn() -> RResult<RVec<Descriptor>, RString>,
    /// Tables as of [`GetTable`], as an address: raw table types are not `StableAbi`.
    #[sabi(last_prefix_field)]
    pub get_table: extern "C" fn(id: RStr<'_>, label: RStr<'_>) -> usize,
}

impl RootModule for RootRef {
    abi_stable::declare_root_module_statics! {RootRef}
    const BASE_NAME: &'static str = "trainer_plugin";
    const NAME: &'static str = "trainer_plugin";
    // The root's own version, not the package's: abi_stable would refuse plugins of every other release.
    const VERSION_STRINGS: VersionStrings = VersionStrings::new("1.0.0");
}
