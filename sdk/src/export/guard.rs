//! The guard around every entry: errors and panics become a status and a text.
//! Prints nothing; the host fetches the text on the same thread.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use abi_stable::std_types::{RErr, ROk, RResult, RString};

use crate::Result;
use crate::abi::{FAILED, OK, PANICKED};

thread_local! {
    /// How many guarded entries this thread is in.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Where the last guarded panic of this thread was.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
    /// Text of the last failure of this thread.
    static FAULT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Panics of guarded entries of this library, on any thread.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// A panic of an inner entry that was told as a text, going on in the outer one.
struct Again(String);

/// What `f` returns, unless an entry that it had called panicked: then that panic goes on here, whatever `f` made of it.
///
/// Blocks run on other threads, and what they say comes back as an error only. So panics of the whole library are counted:
/// one of another step at the same time, which a host does not make, would count too.
pub fn as_panic<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = PANICS.load(Ordering::Relaxed);
    let result = f();
    if PANICS.load(Ordering::Relaxed) != before {
        let text = result.err().map_or_else(|| "panicked".to_string(), |error| error.to_string());
        resume_unwind(Box::new(Again(text)));
    }
    result
}

/// Makes panics inside guarded entries silent, and their place known. The hook is that of this library's own copy of
/// the standard library; all other panics go to the hook that was there.
pub fn install_hook() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if DEPTH.get() == 0 {
                return before(panic);
            }
            let place = panic.location().map(|at| format!("{}:{}", at.file(), at.line()));
            PLACE.set(place.unwrap_or_default());
        }));
    });
}

/// Takes the text of the last failure on this thread.
pub extern "C" fn take_fault() -> RString {
    FAULT.take().into()
}

/// Runs an entry that returns a status.
pub fn status(f: impl FnOnce() -> Result<()>) -> u32 {
    let (status, text) = match run(f) {
        Ok(Ok(())) => return OK,
        Ok(Err(error)) => (FAILED, error.to_string()),
        Err(panic) => (PANICKED, panic),
    };
    FAULT.set(text);
    status
}

/// Runs an entry that returns a value, or a text of what went wrong.
pub fn value<T>(f: impl FnOnce() -> Result<T>) -> RResult<T, RString> {
    match run(f) {
        Ok(Ok(value)) => ROk(value),
        Ok(Err(error)) => RErr(error.to_string().into()),
        Err(panic) => RErr(panic.into()),
    }
}

/// Runs an entry that has nothing to say about failure; the text can be fetched.
pub fn plain<T>(otherwise: T, f: impl FnOnce() -> T) -> T {
    run(f).unwrap_or_else(|panic| {
        FAULT.set(panic);
        otherwise
    })
}

/// The error is the text of a panic, with file and line.
fn run<T>(f: impl FnOnce() -> T) -> core::result::Result<T, String> {
    DEPTH.set(DEPTH.get() + 1);
    // Unwind safe: what `f` shares with the outside is the host's memory, and the host does not use an instance after a
    // panic.
    let result = catch_unwind(AssertUnwindSafe(f));
    DEPTH.set(DEPTH.get() - 1);
    result.map_err(|payload| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        match payload.downcast::<Again>() {
            Ok(again) => again.0,
            Err(payload) => format!("panicked: {} at {}", message(payload), PLACE.take()),
        }
    })
}

fn message(payload: Box<dyn Any + Send>) -> String {
    let text = match payload.downcast::<String>() {
        Ok(text) => return *text,
        Err(payload) => payload,
    };
    match text.downcast::<&'static str>() {
        Ok(text) => text.to_string(),
        Err(other) => {
            // Dropping it would run the plugin's code outside the guard.
            std::mem::forget(other);
            String::from("(no text)")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn errors_and_panics_become_a_status_and_a_text() {
        install_hook();
        assert_eq!(status(|| Ok(())), OK);
        assert_eq!(status(|| Err("no such shape".into())), FAILED);
        assert_eq!(take_fault(), "no such shape");
        assert_eq!(take_fault(), "", "a text is taken once");

        let line = line!() + 1;
        assert_eq!(status(|| panic!("step {}", 3)), PANICKED);
        assert_eq!(take_fault(), format!("panicked: step 3 at {}:{line}", file!()));
        assert_eq!(status(|| std::panic::panic_any(7)), PANICKED);
        assert!(take_fault().starts_with("panicked: (no text)"));
    }

    #[test]
    fn a_panic_on_another_thread_is_one_of_the_entry_that_waited_for_it() {
        install_hook();
        let inner = || {
            let told = || (status(|| panic!("in a block")), take_fault());
            let (_, text) = std::thread::spawn(told).join().unwrap();
            Err::<(), _>(Error::new(text.into_string()))
        };
        assert_eq!(status(|| as_panic(inner).or(Ok(()))), PANICKED);
        assert!(take_fault().starts_with("panicked: in a block at "));
    }

    #[test]
    fn each_thread_has_its_own_text() {
        assert_eq!(status(|| Err("here".into())), FAILED);
        assert_eq!(std::thread::spawn(|| take_fault()).join().unwrap(), "");
        assert_eq!(take_fault(), "here");
    }

    #[test]
    fn values_carry_their_text_with_them() {
        assert_eq!(value(|| Ok(1)), ROk(1));
        assert_eq!(value::<u32>(|| Err("why".into())), RErr("why".into()));
        assert!(value::<u32>(|| panic!("oh")).unwrap_err().starts_with("panicked: oh at "));
    }
}
