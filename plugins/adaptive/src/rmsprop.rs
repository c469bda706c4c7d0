//! RMSprop: the gradient over the root of its running mean square.
//!
//! ```text
//! g ← g + weight_decay·x
//! v ← α·v + (1 − α)·g²,   ḡ ← α·ḡ + (1 − α)·g         (ḡ with centered)
//! d = √v + eps,   or   √(v − ḡ²) + eps   (centered)
//! b ← momentum·b + g/d,   x ← x − lr·b                 (momentum 0: x ← x − lr·g/d)
//! ```
//! Tieleman and Hinton 2012, Lecture 6.5 of "Neural Networks for Machine Learning"; centered: Graves 2013, arXiv
//! 1308.0850, equation 40. As `torch.optim.RMSprop`. TensorFlow adds eps under the root.

use sdk::*;

/// The rule.
pub struct RmsProp;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    alpha: T,
    eps: T,
    weight_decay: T,
    momentum: T,
    centered: T,
}

/// Its state: v, ḡ, b.
#[derive(Record)]
pub struct State<T> {
    square_avg: T,
    grad_avg: T,
    momentum_buffer: T,
}

impl Elementwise for RmsProp {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-2, 0.0..=10.0, "step size"),
            alpha: knob(0.99, 0.0..=1.0, "decay of the mean square"),
            eps: knob(1e-8, 0.0..=1.0, "added to the root"),
            weight_decay: knob(0.0, 0.0..=10.0, "decay, added to the gradient"),
            momentum: knob(0.0, 0.0..=1.0, "decay of the momentum; 0 stands for none"),
            centered: flag(false, "divide by the deviation, not the mean square"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State {
            square_avg: Slot::zeros().degree(2).decay(h.alpha),
            grad_avg: Slot::zeros().degree(1).decay(h.alpha).only_if(h.centered),
            momentum_buffer: Slot::zeros().decay(h.momentum).only_if(h.momentum),
        }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, _: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
        move |x, g, state| {
            let g = g + h.weight_decay * x;

            state.square_avg = h.alpha * state.square_avg + (1.0 - h.alpha) * (g * g);
            let mut second = state.square_avg;
            if h.centered.is_on() {
                state.grad_avg = h.alpha * state.grad_avg + (1.0 - h.alpha) * g;
                second = second - state.grad_avg * state.grad_avg;
            }
            let scaled = g / (second.sqrt() + h.eps);
            // With momentum 0 the buffer is the step itself.
            state.momentum_buffer = h.momentum * state.momentum_buffer + scaled;
            x - h.lr * state.momentum_buffer
        }
    }
}

register!(
    Elementwise RmsProp, "rmsprop",
    summary = "gradient over the root of its running mean square",
    paper = "https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf",
    declares = ["sign symmetric", "gradient scale invariant"]
);
