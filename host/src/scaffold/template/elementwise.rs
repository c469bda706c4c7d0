//! example-rule: a step along the softened sign of the momentum.
//!
//! ```text
//! m ← beta·m + (1 − beta)·g
//! d = m / (1 − betaᵗ)
//! x ← x·(1 − lr·weight_decay) − lr·d / (|d| + eps)
//! ```
//! Far from zero a step is a sign, near zero it is in proportion; eps is where the one becomes the other.
//!
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

impl Elementwise for ExampleRule {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-3, 0.0..=1.0, "length of a step where the momentum is large"),
            beta: knob(0.9, 0.0..=1.0, "decay of the momentum"),
            eps: knob(1e-4, 1e-12..=1.0, "momentum at which a step has half its length"),
            weight_decay: knob(0.0, 0.0..=10.0, "decoupled decay, times lr"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        // It scales with the gradient to the power of one, by which the host carries it over; a step keeps beta of it.
        State { exp_avg: Slot::zeros().degree(1).decay(h.beta) }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, step: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
        // Here: once per step and tensor, in f64.
        let keep = 1.0 - h.lr * h.weight_decay;
        let correction = 1.0 / (1.0 - h.beta.pow(step.t));
        move |x, g, state| {
            // Here: once per element. There is no `if` on data; say `select`.
            state.exp_avg = h.beta * state.exp_avg + (1.0 - h.beta) * g;
            let direction = correction * state.exp_avg;
            x * keep - h.lr * (direction / (direction.abs() + h.eps))
        }
    }
}

register!(
    Elementwise ExampleRule, "example-rule",
    summary = "the softened sign of the momentum; an example to start from",
    paper = "none: the example of `host plugin new`"
);

#[cfg(test)]
mod tests {
    use super::*;

    /// lr, beta, eps, weight_decay.
    const HYPER: [f64; 4] = [0.1, 0.9, 0.5, 0.01];

    #[test]
    fn the_formula_is_the_one_above() {
        let nodes = tape::record::<ExampleRule>(&HYPER).unwrap();
        let formula = tape::formula(&nodes, &["lr", "beta", "eps", "weight_decay"], &["exp_avg"]);
        let lines: Vec<&str> = formula.lines().collect();
        assert_eq!(
            lines,
            [
                "exp_avg ← beta·exp_avg + (1 − beta)·g",
                "a1 = (1 / (1 − beta^t))·exp_avg′",
                "x ← x·(1 − lr·weight_decay) − lr·(a1 / (|a1| + eps))",
            ]
        );
    }

    /// Replace this by steps of somebody else's implementation: agreement with oneself proves little.
    #[test]
    fn steps_are_those_of_plain_arithmetic() {
        let nodes = tape::record::<ExampleRule>(&HYPER).unwrap();
        let [lr, beta, eps, weight_decay] = HYPER;
        let (mut x, mut state) = (1.0, vec![0.0]);
        let (mut expected, mut m) = (1.0, 0.0);
        for (t, g) in [(1, 0.3), (2, -0.8), (3, 0.05)] {
            let scalars = tape::scalars(&nodes, &HYPER, &[f64::from(t), 1.0, 0.0]);
            (x, state) = tape::element_f64(&nodes, &scalars, x, g, &state);
            m = beta * m + (1.0 - beta) * g;
            let d: f64 = m / (1.0 - beta.powi(t));
            expected = expected * (1.0 - lr * weight_decay) - lr * d / (d.abs() + eps);
            assert!((x - expected).abs() < 1e-12, "step {t}: {x} and {expected}");
        }
    }
}
