//! example-rule: momentum of which every row is brought to one length.
//!
//! ```text
//! M ← beta·M + (1 − beta)·G
//! D = M with each row divided by its L2 norm (+ eps)
//! X ← X·(1 − lr·weight_decay) − lr·D
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

/// Its state, a matrix like the parameter: the momentum M.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
}

impl Optimizer for ExampleRule {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-2, 0.0..=10.0, "length of a step in every row"),
            beta: knob(0.9, 0.0..=1.0, "decay of the momentum"),
            eps: knob(1e-8, 1e-12..=1.0, "added to a row's norm"),
            weight_decay: knob(0.0, 0.0..=10.0, "decoupled decay, times lr"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        // The momentum scales with the gradient to the power of one; the host carries state over by that.
        State { exp_avg: Slot::zeros().degree(1).decay(h.beta) }
    }

    fn accepts(shape: &[i64]) -> Result<()> {
        // Asked before training. What is refused here goes to the companion that the registry names.
        match shape.len() {
            2 => Ok(()),
            _ => Err(format!("example-rule takes matrices; shape {shape:?} is none").into()),
        }
    }

    fn update<'t>(
        h: &Hyper<f64>,
        _: TensorStep,
        x: Tensor<'t>,
        g: Tensor<'t>,
        state: &mut State<Tensor<'t>>,
    ) -> Result<Tensor<'t>> {
        // All tensors are [batch, rows, columns]: parameters of one shape come together.
        state.exp_avg = state.exp_avg.lerp(g, h.beta)?;
        let norms = state.exp_avg.norm(&[-1])?.add_scalar(h.eps)?; // [batch, rows, 1]
        let direction = state.exp_avg.div(norms)?;
        x.mul_scalar(1.0 - h.lr * h.weight_decay)?.add_scaled(direction, -h.lr)
    }
}

register!(
    Optimizer ExampleRule, "example-rule",
    summary = "momentum whose rows are brought to one length; an example to start from",
    paper = "none: the example of `host plugin new`"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_are_taken_and_vectors_are_not() {
        assert!(ExampleRule::accepts(&[4, 3]).is_ok());
        for shape in [&[][..], &[4], &[2, 4, 3]] {
            let refusal = ExampleRule::accepts(shape).unwrap_err().to_string();
            assert!(refusal.starts_with("example-rule takes matrices"), "{refusal}");
        }
    }

    /// A step of tensors needs the host: it lends the operations.
    #[test]
    fn defaults_lie_within_their_ranges() {
        let hyper = ExampleRule::hyper();
        for (name, default) in [("lr", hyper.lr.default()), ("beta", hyper.beta.default())] {
            assert!((0.0..=1.0).contains(&default), "{name}");
        }
    }
}
