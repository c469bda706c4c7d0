//! The host as a plugin sees it: its tables, found once, and its log.
//! Tensors are in `tensor`.
#![allow(unsafe_code)]

use std::sync::OnceLock;

use abi_stable::std_types::{RStr, RString};

use crate::abi::{CoreTable, GetTable, LinalgTable, OK, RngTable, Table, TableRef, TensorTable};
use crate::{Error, Result, table_entry};

/// The tables of the host that this library was connected to.
pub(crate) struct Host {
    core: TableRef<CoreTable>,
    tensor: core::result::Result<TableRef<TensorTable>, String>,
    linalg: core::result::Result<TableRef<LinalgTable>, String>,
    rng: core::result::Result<TableRef<RngTable>, String>,
}

static HOST: OnceLock<Host> = OnceLock::new();

/// Finds the host's tables. Only `host.core/1` must be there; that another is missing is an error where it is used.
pub(crate) fn connect(get_table: GetTable) -> Result<()> {
    fn find<T: Table>(get_table: GetTable) -> core::result::Result<TableRef<T>, String> {
        let header = get_table(RStr::from_str(T::ID), RStr::from_str(""));
        // SAFETY: the host gives null or a table of this id that lives as long as the process.
        unsafe { TableRef::new(header) }.map_err(|why| format!("the host: {why}"))
    }
    let host = Host { core: find(get_table)?, tensor: find(get_table), linalg: find(get_table), rng: find(get_table) };
    // There is one host per process: a second call finds the same tables.
    let _ = HOST.set(host);
    Ok(())
}

impl Host {
    /// The host, if this library was connected.
    pub(crate) fn get() -> Result<&'static Host> {
        HOST.get().ok_or_else(|| Error::new("the host has not handed over its tables"))
    }

    pub(crate) fn tensor(&self) -> Result<TableRef<TensorTable>> {
        self.tensor.clone().map_err(Error::from)
    }

    pub(crate) fn linalg(&self) -> Result<TableRef<LinalgTable>> {
        self.linalg.clone().map_err(Error::from)
    }

    pub(crate) fn rng(&self) -> Result<TableRef<RngTable>> {
        self.rng.clone().map_err(Error::from)
    }

    /// The result of a call by its status, with the host's text.
    pub(crate) fn outcome(&self, status: u32, function: &str) -> Result<()> {
        if status == OK {
            return Ok(());
        }
        let text = table_entry!(self.core, CoreTable, take_error).map(|take_error| take_error());
        let text = text.filter(|text| !text.is_empty()).unwrap_or_else(|| RString::from("the host gives no reason"));
        Err(Error::new(format!("{function}: {text}")))
    }
}

/// How much a line of the log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Level {
    /// Something failed.
    Error = 0,
    /// Something is not as it should be.
    Warning = 1,
    /// Something worth knowing.
    Info = 2,
    /// Something for the author.
    Debug = 3,
}

/// Writes to the run's log. Nothing is written where there is no host, such as in a plugin's own tests. Not for
/// elementwise rules: kernels are pure.
pub fn log(level: Level, message: &str) {
    if let Some(write) = HOST.get().and_then(|host| table_entry!(host.core, CoreTable, log)) {
        write(level as u32, RStr::from_str(message));
    }
}
