//! `host.core/1`: the log, and the text of the last failure.
//! Stops nothing: a plugin that logs an error goes on.

use abi_stable::std_types::{RStr, RString};
use sdk::abi::{CoreTable, TableHeader};

use super::entry::take_error_text;

/// The table.
pub static TABLE: CoreTable = CoreTable {
    header: TableHeader { struct_size: size_of::<CoreTable>(), id: RStr::from_str("host.core/1"), revision: 0 },
    log,
    take_error,
};

extern "C" fn log(level: u32, message: RStr<'_>) {
    let message = message.as_str();
    // A subscriber that panics must not unwind into the plugin.
    let _ = std::panic::catch_unwind(|| match level {
        0 => tracing::error!(target: "plugin", "{message}"),
        1 => tracing::warn!(target: "plugin", "{message}"),
        2 => tracing::info!(target: "plugin", "{message}"),
        _ => tracing::debug!(target: "plugin", "{message}"),
    });
}

extern "C" fn take_error() -> RString {
    std::panic::catch_unwind(take_error_text).unwrap_or_default().into()
}
