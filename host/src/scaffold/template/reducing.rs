//! example-rule: momentum of gradients that are brought to one size, tensor by tensor.
//!
//! ```text
//! r = √(Σg² / numel)
//! m ← beta·m + (1 − beta)·g / (r + eps)
//! x ← x·(1 − lr·weight_decay) − lr·m
//! ```
//! An example from no paper. Say here where your rule comes from: authors, year, title, number of the equation.

use sdk::*;

/// The rule.
pub struct ExampleRule;

/// Its hyper-parameters. A knob named `lr` is the learning rate, which the host's schedule scales.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta: T,
    eps: T,
    weight_decay: T,
}

/// Its state, one number per element: the momentum m.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
}

/// Its sums, one number per tensor: Σg².
#[derive(Record)]
pub struct Sums<T> {
    squares: T,
}

impl Reducing for ExampleRule {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;
    type Sums<T: Copy> = Sums<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-3, 0.0..=1.0, "size of a step, as the root of its mean square"),
            beta: knob(0.9, 0.0..=1.0, "decay of the momentum"),
            eps: knob(1e-8, 1e-12..=1.0, "added to the gradient's size"),
            weight_decay: knob(0.0, 0.0..=10.0, "decoupled decay, times lr"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        // The momentum is of gradients brought to one size, so it does not scale with the gradient; and it is mixed, as that
        // size is the whole tensor's.
        State { exp_avg: Slot::zeros().degree(0).mixed().decay(h.beta) }
    }

    fn measure<L: Lane>(_: Hyper<Scalar<L>>, _: Step<L>) -> impl Fn(L, L, State<L>) -> Sums<L> {
        // Each element's share in the sums, from what is there before the step.
        |_, g, _| Sums { squares: g * g }
    }

    fn update<L: Lane>(
        h: Hyper<Scalar<L>>,
        step: Step<L>,
        sums: Sums<Scalar<L>>,
    ) -> impl Fn(L, L, &mut State<L>) -> L {
        // Here: once per step and tensor, in f64, with the sums known.
        let keep = 1.0 - h.lr * h.weight_decay;
        let scale = 1.0 / ((sums.squares / step.numel).sqrt() + h.eps);
        move |x, g, state| {
            // Here: once per element. There is no `if` on data; say `select`.
            state.exp_avg = h.beta * state.exp_avg + (1.0 - h.beta) * (g * scale);
            x * keep - h.lr * state.exp_avg
        }
    }
}

register!(
    Reducing ExampleRule, "example-rule",
    summary = "momentum of gradients brought to one size; an example to start from",
    paper = "none: the example of `host plugin new`"
);

#[cfg(test)]
mod tests {
    use super::*;

    /// lr, beta, eps, weight_decay.
    const HYPER: [f64; 4] = [0.1, 0.9, 0.5, 0.01];

    #[test]
    fn the_formula_is_the_one_above() {
        let nodes = tape::record_reducing::<ExampleRule>(&HYPER).unwrap();
        let hyper = ["lr", "beta", "eps", "weight_decay"];
        let names = tape::Names { hyper: &hyper, state: &["exp_avg"], sums: &["squares"], memory: &[] };
        let formula = tape::formula_with(&nodes, &names);
        let lines: Vec<&str> = formula.lines().collect();
        assert_eq!(
            lines,
            [
                "squares = Σ(g·g)",
                "exp_avg ← beta·exp_avg + (1 − beta)·(g·(1 / (√(squares / numel) + eps)))",
                "x ← x·(1 − lr·weight_decay) − lr·exp_avg′",
            ]
        );
    }

    /// Replace this by steps of somebody else's implementation: agreement with oneself proves little.
    #[test]
    fn steps_are_those_of_plain_arithmetic() {
        let nodes = tape::record_reducing::<ExampleRule>(&HYPER).unwrap();
        let [lr, beta, eps, weight_decay] = HYPER;
        // A tensor of one element, whose sum is its own square.
        let (mut x, mut state) = (1.0, vec![0.0]);
        let (mut expected, mut m) = (1.0, 0.0);
        for (t, g) in [(1.0, 0.3), (2.0, -0.8), (3.0, 0.05)] {
            let scalars = tape::scalars(&nodes, &HYPER, &[t, 1.0, 0.0]);
            let sums = tape::terms_f64(&nodes, &scalars, x, g, &state);
            let scalars = tape::scalars(&nodes, &HYPER, &[t, 1.0, 0.0, sums[0]]);
            (x, state) = tape::element_f64(&nodes, &scalars, x, g, &state);
            let r: f64 = (g * g / 1.0_f64).sqrt();
            m = beta * m + (1.0 - beta) * g / (r + eps);
            expected = expected * (1.0 - lr * weight_decay) - lr * m;
            assert!((x - expected).abs() < 1e-12, "step {t}: {x} and {expected}");
        }
    }
}
