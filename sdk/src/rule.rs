//! Rules over elements: [`Elementwise`], from each element alone; [`Reducing`], after sums over its tensor;
//! [`Remembering`], with a few numbers that each tensor keeps; [`Global`], after sums over all tensors, with a few numbers
//! that all of them share. What runs them is elsewhere: `cpu` as a kernel, `tape` as an expression.

use core::marker::PhantomData;

use crate::record::values;
use crate::{Cond, Knob, Lane, Nothing, Record, Scalar, Slot};

/// The moment of one tensor's step.
#[derive(Clone, Copy, Debug)]
pub struct Step<L: Lane> {
    /// This tensor's own step, from 1.
    pub t: Scalar<L>,
    /// Elements of this tensor.
    pub numel: Scalar<L>,
    /// L2 norm of all gradients of the run, before clipping.
    pub grad_norm: Scalar<L>,
}

impl<L: Lane> Step<L> {
    /// Names of the fields, in the order in which their values cross the boundary.
    pub(crate) const NAMES: [&'static str; 3] = ["t", "numel", "grad_norm"];

    #[inline(always)]
    pub(crate) fn build(mut f: impl FnMut(usize) -> Scalar<L>) -> Self {
        Step { t: f(0), numel: f(1), grad_norm: f(2) }
    }

    /// Whether t is a multiple of `k`, a whole number of at least 1.
    #[inline(always)]
    pub fn every(&self, k: Scalar<L>) -> Cond<L> {
        let rest = self.t - k * (self.t / k).floor();
        Scalar::from(0.5).gt(rest)
    }
}

/// A rule that runs on each element: new x from x, g and the state, which it moves on.
///
/// Written once, read three ways: with SIMD lanes it is the CPU kernel, with recording lanes it is an expression, from
/// which come the formula, the fingerprint and kernels for other devices. The crate's front page shows one whole.
pub trait Elementwise: 'static {
    /// Hyper-parameters.
    type Hyper<T: Copy>: Record<T>;
    /// State, one number per element and slot.
    type State<T: Copy>: Record<T>;

    /// Schema of the hyper-parameters.
    fn hyper() -> Self::Hyper<Knob>;

    /// Slots for these hyper-parameters.
    fn state(h: &Self::Hyper<f64>) -> Self::State<Slot>;

    /// Called once per step and tensor; what it returns is called once per element, with x, g and the state.
    ///
    /// The gradient already is what the host wants seen: clipped and projected, never non-finite.
    fn update<L: Lane>(h: Self::Hyper<Scalar<L>>, step: Step<L>) -> impl Fn(L, L, &mut Self::State<L>) -> L;

    /// Whether evaluation, sampling and exported weights use others than training moves: those of
    /// [`Elementwise::prepare_for_eval`].
    const PREPARES_FOR_EVAL: bool = false;

    /// The weights to evaluate at, from x and the state, which stay as they are. Called as [`Elementwise::update`], with
    /// the step that was done last.
    fn prepare_for_eval<L: Lane>(_: Self::Hyper<Scalar<L>>, _: Step<L>) -> impl Fn(L, Self::State<L>) -> L {
        |x, _| x
    }
}

/// A rule that first sums over its tensor, such as LAMB with its norms.
///
/// One pass measures, a second one updates. A sum is taken in f64, in an order that depends on nothing but the tensor's
/// length: its bits are the same for any number of threads.
pub trait Reducing: 'static {
    /// Hyper-parameters.
    type Hyper<T: Copy>: Record<T>;
    /// State, one number per element and slot.
    type State<T: Copy>: Record<T>;
    /// Sums, one number per tensor; at most 8.
    type Sums<T: Copy>: Record<T>;

    /// Schema of the hyper-parameters.
    fn hyper() -> Self::Hyper<Knob>;

    /// Slots for these hyper-parameters.
    fn state(h: &Self::Hyper<f64>) -> Self::State<Slot>;

    /// Each element's share in the sums, from x, g and the state before the step.
    fn measure<L: Lane>(h: Self::Hyper<Scalar<L>>, step: Step<L>) -> impl Fn(L, L, Self::State<L>) -> Self::Sums<L>;

    /// As [`Elementwise::update`], knowing the sums over the tensor.
    fn update<L: Lane>(
        h: Self::Hyper<Scalar<L>>,
        step: Step<L>,
        sums: Self::Sums<Scalar<L>>,
    ) -> impl Fn(L, L, &mut Self::State<L>) -> L;
}

/// A rule that keeps a few numbers per tensor, such as NovoGrad's running norm or NAdam's product of momenta.
///
/// Before a tensor is updated its numbers move on, from the sums over the tensor if the rule takes any. They are f64, lie
/// in main memory wherever the tensor is, and are saved, loaded and carried over growth with its state.
pub trait Remembering: 'static {
    /// Hyper-parameters.
    type Hyper<T: Copy>: Record<T>;
    /// State, one number per element and slot.
    type State<T: Copy>: Record<T>;
    /// Sums, one number per tensor; at most 8. [`Nothing`] where it takes none.
    type Sums<T: Copy>: Record<T>;
    /// Numbers kept per tensor; at most 8.
    type Memory<T: Copy>: Record<T>;

    /// Schema of the hyper-parameters.
    fn hyper() -> Self::Hyper<Knob>;

    /// Slots for these hyper-parameters.
    fn state(h: &Self::Hyper<f64>) -> Self::State<Slot>;

    /// The numbers before the first step, and how they scale.
    fn memory(h: &Self::Hyper<f64>) -> Self::Memory<Slot>;

    /// Each element's share in the sums, from x, g, the state and the memory before the step. For rules that take sums.
    #[inline(always)]
    fn measure<L: Lane>(
        _: Self::Hyper<Scalar<L>>,
        _: Step<L>,
        _: Self::Memory<Scalar<L>>,
    ) -> impl Fn(L, L, Self::State<L>) -> Self::Sums<L> {
        const { assert!(<Self::Sums<f64> as Record<f64>>::NAMES.is_empty(), "a rule with sums says how they are measured") };
        |_, _, _| Self::Sums::build(|_| L::from(0.0))
    }

    /// The memory of one tensor after its sums are known.
    fn advance<L: Lane>(
        h: Self::Hyper<Scalar<L>>,
        step: Step<L>,
        sums: Self::Sums<Scalar<L>>,
        memory: Self::Memory<Scalar<L>>,
    ) -> Self::Memory<Scalar<L>>;

    /// As [`Elementwise::update`], knowing the memory after [`Remembering::advance`].
    fn update<L: Lane>(
        h: Self::Hyper<Scalar<L>>,
        step: Step<L>,
        memory: Self::Memory<Scalar<L>>,
    ) -> impl Fn(L, L, &mut Self::State<L>) -> L;

    /// As [`Elementwise::PREPARES_FOR_EVAL`].
    const PREPARES_FOR_EVAL: bool = false;

    /// As [`Elementwise::prepare_for_eval`].
    fn prepare_for_eval<L: Lane>(_: Self::Hyper<Scalar<L>>, _: Step<L>) -> impl Fn(L, Self::State<L>) -> L {
        |x, _| x
    }
}

/// A rule that first sums over all tensors it runs, and remembers a few numbers from step to step, such as Prodigy with
/// its estimate of the distance.
///
/// The sums are taken as [`Reducing`]'s, over every tensor with its own group's hyper-parameters. The memory is saved
/// with the optimizer's state.
pub trait Global: 'static {
    /// Hyper-parameters.
    type Hyper<T: Copy>: Record<T>;
    /// State, one number per element and slot.
    type State<T: Copy>: Record<T>;
    /// Sums over all tensors; at most 8.
    type Sums<T: Copy>: Record<T>;
    /// Numbers kept from step to step; at most 8.
    type Memory<T: Copy>: Record<T>;

    /// Schema of the hyper-parameters.
    fn hyper() -> Self::Hyper<Knob>;

    /// Slots for these hyper-parameters.
    fn state(h: &Self::Hyper<f64>) -> Self::State<Slot>;

    /// The memory before the first step.
    fn memory(h: &Self::Hyper<f64>) -> Self::Memory<f64>;

    /// Each element's share in the sums, from x, g, the state and the memory before the step.
    fn measure<L: Lane>(
        h: Self::Hyper<Scalar<L>>,
        step: Step<L>,
        memory: Self::Memory<Scalar<L>>,
    ) -> impl Fn(L, L, Self::State<L>) -> Self::Sums<L>;

    /// The memory after the sums are known. Called once per step, with the hyper-parameters of the group with the
    /// largest `lr`, and the step of the tensor that has taken the most.
    fn advance<L: Lane>(
        h: Self::Hyper<Scalar<L>>,
        step: Step<L>,
        sums: Self::Sums<Scalar<L>>,
        memory: Self::Memory<Scalar<L>>,
    ) -> Self::Memory<Scalar<L>>;

    /// As [`Elementwise::update`], knowing the memory after [`Global::advance`].
    fn update<L: Lane>(
        h: Self::Hyper<Scalar<L>>,
        step: Step<L>,
        memory: Self::Memory<Scalar<L>>,
    ) -> impl Fn(L, L, &mut Self::State<L>) -> L;
}

/// What kernels and tapes run: the one form that the traits above are views of.
#[doc(hidden)]
pub trait Kernel: 'static {
    type Hyper<T: Copy>: Record<T>;
    type State<T: Copy>: Record<T>;
    type Sums<T: Copy>: Record<T>;
    type Memory<T: Copy>: Record<T>;
    /// Whether sums and memory are those of all tensors.
    const GLOBAL: bool = false;
    const PREPARES_FOR_EVAL: bool = false;

    fn hyper() -> Self::Hyper<Knob>;
    fn state(h: &Self::Hyper<f64>) -> Self::State<Slot>;
    fn memory(h: &Self::Hyper<f64>) -> Self::Memory<Slot>;
    fn measure<L: Lane>(now: Now<Self, L>) -> impl Fn(L, L, Self::State<L>) -> Self::Sums<L>;
    fn advance<L: Lane>(now: Now<Self, L>) -> Self::Memory<Scalar<L>>;
    fn update<L: Lane>(now: Now<Self, L>) -> impl Fn(L, L, &mut Self::State<L>) -> L;
    fn prepare_for_eval<L: Lane>(_: Self::Hyper<Scalar<L>>, _: Step<L>) -> impl Fn(L, Self::State<L>) -> L {
        |x, _| x
    }
}

/// All numbers of one tensor's step.
#[doc(hidden)]
pub struct Now<K: Kernel + ?Sized, L: Lane> {
    pub h: K::Hyper<Scalar<L>>,
    pub step: Step<L>,
    pub sums: K::Sums<Scalar<L>>,
    pub memory: K::Memory<Scalar<L>>,
}

impl<K: Kernel + ?Sized, L: Lane> Clone for Now<K, L> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: Kernel + ?Sized, L: Lane> Copy for Now<K, L> {}

/// [`Elementwise`] as a [`Kernel`]: no sums, no memory.
#[doc(hidden)]
pub struct ElementwiseKernel<R>(PhantomData<R>);

impl<R: Elementwise> Kernel for ElementwiseKernel<R> {
    type Hyper<T: Copy> = R::Hyper<T>;
    type State<T: Copy> = R::State<T>;
    type Sums<T: Copy> = Nothing<T>;
    type Memory<T: Copy> = Nothing<T>;

    fn hyper() -> R::Hyper<Knob> {
        R::hyper()
    }
    fn state(h: &R::Hyper<f64>) -> R::State<Slot> {
        R::state(h)
    }
    fn memory(_: &R::Hyper<f64>) -> Nothing<Slot> {
        Nothing::default()
    }
    #[inline(always)]
    fn measure<L: Lane>(_: Now<Self, L>) -> impl Fn(L, L, R::State<L>) -> Nothing<L> {
        |_, _, _| Nothing::default()
    }
    fn advance<L: Lane>(now: Now<Self, L>) -> Nothing<Scalar<L>> {
        now.memory
    }
    #[inline(always)]
    fn update<L: Lane>(now: Now<Self, L>) -> impl Fn(L, L, &mut R::State<L>) -> L {
        R::update(now.h, now.step)
    }
    const PREPARES_FOR_EVAL: bool = R::PREPARES_FOR_EVAL;
    #[inline(always)]
    fn prepare_for_eval<L: Lane>(h: R::Hyper<Scalar<L>>, step: Step<L>) -> impl Fn(L, R::State<L>) -> L {
        R::prepare_for_eval(h, step)
    }
}

/// [`Kernel::prepare_for_eval`] as a [`Kernel`]: its update writes the weights to evaluate at.
#[doc(hidden)]
pub struct EvalKernel<K>(PhantomData<K>);

impl<K: Kernel> Kernel for EvalKernel<K> {
    type Hyper<T: Copy> = K::Hyper<T>;
    type State<T: Copy> = K::State<T>;
    type Sums<T: Copy> = Nothing<T>;
    type Memory<T: Copy> = Nothing<T>;

    fn hyper() -> K::Hyper<Knob> {
        K::hyper()
    }
    fn state(h: &K::Hyper<f64>) -> K::State<Slot> {
        K::state(h)
    }
    fn memory(_: &K::Hyper<f64>) -> Nothing<Slot> {
        Nothing::default()
    }
    #[inline(always)]
    fn measure<L: Lane>(_: Now<Self, L>) -> impl Fn(L, L, K::State<L>) -> Nothing<L> {
        |_, _, _| Nothing::default()
    }
    fn advance<L: Lane>(now: Now<Self, L>) -> Nothing<Scalar<L>> {
        now.memory
    }
    #[inline(always)]
    fn update<L: Lane>(now: Now<Self, L>) -> impl Fn(L, L, &mut K::State<L>) -> L {
        let prepare = K::prepare_for_eval(now.h, now.step);
        move |x, _, state| prepare(x, *state)
    }
}

/// [`Reducing`] as a [`Kernel`]: no memory.
#[doc(hidden)]
pub struct ReducingKernel<R>(PhantomData<R>);

impl<R: Reducing> Kernel for ReducingKernel<R> {
    type Hyper<T: Copy> = R::Hyper<T>;
    type State<T: Copy> = R::State<T>;
    type Sums<T: Copy> = R::Sums<T>;
    type Memory<T: Copy> = Nothing<T>;

    fn hyper() -> R::Hyper<Knob> {
        R::hyper()
    }
    fn state(h: &R::Hyper<f64>) -> R::State<Slot> {
        R::state(h)
    }
    fn memory(_: &R::Hyper<f64>) -> Nothing<Slot> {
        Nothing::default()
    }
    #[inline(always)]
    fn measure<L: Lane>(now: Now<Self, L>) -> impl Fn(L, L, R::State<L>) -> R::Sums<L> {
        R::measure(now.h, now.step)
    }
    fn advance<L: Lane>(now: Now<Self, L>) -> Nothing<Scalar<L>> {
        now.memory
    }
    #[inline(always)]
    fn update<L: Lane>(now: Now<Self, L>) -> impl Fn(L, L, &mut R::State<L>) -> L {
        R::update(now.h, now.step, now.sums)
    }
}

/// [`Remembering`] as a [`Kernel`].
#[doc(hidden)]
pub struct RememberingKernel<R>(PhantomData<R>);

impl<R: Remembering> Kernel for RememberingKernel<R> {
    type Hyper<T: Copy> = R::Hyper<T>;
    type State<T: Copy> = R::State<T>;
    type Sums<T: Copy> = R::Sums<T>;
    type Memory<T: Copy> = R::Memory<T>;

    fn hyper() -> R::Hyper<Knob> {
        R::hyper()
    }
    fn state(h: &R::Hyper<f64>) -> R::State<Slot> {
        R::state(h)
    }
    fn memory(h: &R::Hyper<f64>) -> R::Memory<Slot> {
        R::memory(h)
    }
    #[inline(always)]
    fn measure<L: Lane>(now: Now<Self, L>) -> impl Fn(L, L, R::State<L>) -> R::Sums<L> {
        R::measure(now.h, now.step, now.memory)
    }
    fn advance<L: Lane>(now: Now<Self, L>) -> R::Memory<Scalar<L>> {
        R::advance(now.h, now.step, now.sums, now.memory)
    }
    #[inline(always)]
    fn update<L: Lane>(now: Now<Self, L>) -> impl Fn(L, L, &mut R::State<L>) -> L {
        R::update(now.h, now.step, now.memory)
    }
    const PREPARES_FOR_EVAL: bool = R::PREPARES_FOR_EVAL;
    #[inline(always)]
    fn prepare_for_eval<L: Lane>(h: R::Hyper<Scalar<L>>, step: Step<L>) -> impl Fn(L, R::State<L>) -> L {
        R::prepare_for_eval(h, step)
    }
}

/// [`Global`] as a [`Kernel`].
#[doc(hidden)]
pub struct GlobalKernel<R>(PhantomData<R>);

impl<R: Global> Kernel for GlobalKernel<R> {
    type Hyper<T: Copy> = R::Hyper<T>;
    type State<T: Copy> = R::State<T>;
    type Sums<T: Copy> = R::Sums<T>;
    type Memory<T: Copy> = R::Memory<T>;
    const GLOBAL: bool = true;

    fn hyper() -> R::Hyper<Knob> {
        R::hyper()
    }
    fn state(h: &R::Hyper<f64>) -> R::State<Slot> {
        R::state(h)
    }
    fn memory(h: &R::Hyper<f64>) -> R::Memory<Slot> {
        let start = values(&R::memory(h));
        R::Memory::build(|k| Slot::fill(start[k]))
    }
    #[inline(always)]
    fn measure<L: Lane>(now: Now<Self, L>) -> impl Fn(L, L, R::State<L>) -> R::Sums<L> {
        R::measure(now.h, now.step, now.memory)
    }
    fn advance<L: Lane>(now: Now<Self, L>) -> R::Memory<Scalar<L>> {
        R::advance(now.h, now.step, now.sums, now.memory)
    }
    #[inline(always)]
    fn update<L: Lane>(now: Now<Self, L>) -> impl Fn(L, L, &mut R::State<L>) -> L {
        R::update(now.h, now.step, now.memory)
    }
}
