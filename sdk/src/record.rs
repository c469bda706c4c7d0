//! Records: structs of named values of one kind, such as a rule's hyper-parameters or its state.
//! Written by authors, walked by the sdk; holds no values of its own.

use core::marker::PhantomData;

/// A struct whose fields all have one type `T`, known by name and by index.
///
/// One struct serves several readings: `Hyper<Knob>` is a schema, `Hyper<f64>` are numbers, `Hyper<Scalar<L>>` are
/// symbols; `State<Slot>` declares, `State<L>` computes. Derived:
///
/// ```
/// use sdk::Record;
///
/// #[derive(Record)]
/// struct State<T> { exp_avg: T, exp_avg_sq: T }
///
/// assert_eq!(<State<f64> as Record<f64>>::NAMES, ["exp_avg", "exp_avg_sq"]);
/// let state = State::build(|index| index as f64);
/// assert_eq!(state.exp_avg_sq, 1.0);
/// ```
///
/// Every field has the struct's parameter as its type:
///
/// ```compile_fail
/// #[derive(sdk::Record)]
/// struct State<T> { exp_avg: T, count: u64 }
/// ```
///
/// and there is exactly one parameter, without bounds, and at least one field ([`Nothing`] has none):
///
/// ```compile_fail
/// #[derive(sdk::Record)]
/// struct State { exp_avg: f64 }
/// ```
///
/// A crate that depends on the sdk under another name says so with `#[record(crate = name)]`.
pub trait Record<T: Copy>: Copy {
    /// Names of the fields, in order.
    const NAMES: &'static [&'static str];

    /// A record from a value per index.
    fn build(f: impl FnMut(usize) -> T) -> Self;

    /// Every index with its value, in order.
    fn visit(&self, f: impl FnMut(usize, T));
}

/// A record without fields: for a rule without state, a projection without inputs.
#[derive(Clone, Copy, Debug)]
pub struct Nothing<T>(PhantomData<T>);

impl<T> Default for Nothing<T> {
    #[inline(always)]
    fn default() -> Self {
        Nothing(PhantomData)
    }
}

impl<T: Copy> Record<T> for Nothing<T> {
    const NAMES: &'static [&'static str] = &[];

    #[inline(always)]
    fn build(_: impl FnMut(usize) -> T) -> Self {
        Nothing::default()
    }

    #[inline(always)]
    fn visit(&self, _: impl FnMut(usize, T)) {}
}

/// The values of a record, in order.
pub(crate) fn values<T: Copy, R: Record<T>>(record: &R) -> Vec<T> {
    let mut all = Vec::with_capacity(R::NAMES.len());
    record.visit(|_, value| all.push(value));
    all
}
