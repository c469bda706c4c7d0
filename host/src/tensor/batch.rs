//! A batch of tensors of one shape: stacked along a leading dimension, or each where it lies.
//! Copies nothing until somebody asks for the stack.

use std::{cell::OnceCell, ops::Range, slice};

use tch::{Device, Kind, TchError, Tensor};

use super::memory::extent;

/// Tensors of one shape, element type and device.
pub enum Batch {
    /// `[batch, …shape]`.
    Stacked(Tensor),
    /// `[1, …shape]` each, at least one.
    Apart(Vec<Tensor>, OnceCell<Tensor>),
}

impl Batch {
    /// Of tensors `[…shape]`, at least one.
    ///
    /// # Errors
    /// libtorch fails.
    pub fn of(members: &[&Tensor]) -> Result<Batch, TchError> {
        if let [one] = members {
            return Ok(Batch::Stacked(one.f_unsqueeze(0)?));
        }
        Ok(Batch::apart(members.iter().map(|member| member.f_unsqueeze(0)).collect::<Result<_, _>>()?))
    }

    /// Of tensors `[1, …shape]`, at least one.
    pub fn apart(members: Vec<Tensor>) -> Batch {
        Batch::Apart(members, OnceCell::new())
    }

    /// What lies apart: one tensor, where the batch is stacked.
    pub fn parts(&self) -> &[Tensor] {
        match self {
            Batch::Stacked(all) => slice::from_ref(all),
            Batch::Apart(members, _) => members,
        }
    }

    /// The whole batch as one tensor; a copy, made once, where it is not stacked.
    ///
    /// # Errors
    /// libtorch fails.
    pub fn stacked(&self) -> Result<&Tensor, TchError> {
        match self {
            Batch::Stacked(all) => Ok(all),
            Batch::Apart(members, stacked) => {
                if let Some(all) = stacked.get() {
                    return Ok(all);
                }
                let all = Tensor::f_cat(members, 0)?;
                Ok(stacked.get_or_init(|| all))
            }
        }
    }

    /// `[batch, …shape]`.
    pub fn size(&self) -> Vec<i64> {
        let mut size = self.parts()[0].size();
        if let Batch::Apart(members, _) = self {
            size[0] = members.len() as i64;
        }
        size
    }

    /// The element type.
    pub fn kind(&self) -> Kind {
        self.parts()[0].kind()
    }

    /// Where it lies.
    pub fn device(&self) -> Device {
        self.parts()[0].device()
    }

    /// One tensor of the batch, `[…shape]`.
    ///
    /// # Errors
    /// There is none of that index.
    pub fn member(&self, index: usize) -> Result<Tensor, TchError> {
        match self {
            Batch::Stacked(all) => all.f_select(0, index as i64),
            Batch::Apart(members, _) => members[index].f_select(0, 0),
        }
    }

    /// The same batch of other tensors; `of` keeps the leading dimension.
    ///
    /// # Errors
    /// Those of `of`.
    pub fn map(&self, of: impl FnMut(&Tensor) -> Result<Tensor, TchError>) -> Result<Batch, TchError> {
        let mut mapped = self.parts().iter().map(of).collect::<Result<Vec<_>, _>>()?;
        Ok(match self {
            Batch::Stacked(_) => Batch::Stacked(mapped.remove(0)),
            Batch::Apart(..) => Batch::apart(mapped),
        })
    }

    /// The same tensors in another shape, the leading dimension of which is the batch's; a view where they allow it.
    ///
    /// # Errors
    /// A shape that does not fit.
    pub fn reshaped(&self, shape: &[i64]) -> Result<Batch, TchError> {
        match (self, shape) {
            (Batch::Apart(members, _), [batch, own @ ..]) if *batch == members.len() as i64 => {
                let one = [&[1], own].concat();
                self.map(|member| member.f_reshape(&one[..]))
            }
            _ => Ok(Batch::Stacked(self.stacked()?.f_reshape(shape)?)),
        }
    }

    /// Other references to the same tensors.
    pub fn shallow_clone(&self) -> Batch {
        match self {
            Batch::Stacked(all) => Batch::Stacked(all.shallow_clone()),
            Batch::Apart(members, _) => Batch::apart(members.iter().map(Tensor::shallow_clone).collect()),
        }
    }

    /// Where it lies in memory, with the stack if one was made.
    pub fn extents(&self) -> Vec<Range<usize>> {
        let stacked = if let Batch::Apart(_, stacked) = self { stacked.get() } else { None };
        self.parts().iter().chain(stacked).map(extent).collect()
    }
}

#[cfg(test)]
mod tests {
    use tch::kind::DOUBLE_CPU;

    use super::*;

    fn values(tensor: &Tensor) -> Vec<f64> {
        Vec::try_from(tensor.contiguous().reshape([-1])).unwrap()
    }

    /// Whether tensors are stacked shows in nothing but where they lie.
    #[test]
    fn a_batch_is_its_stack() {
        let all: Vec<Tensor> =
            (0..3).map(|k| Tensor::arange(6, DOUBLE_CPU).reshape([2, 3]) + f64::from(k) * 10.0).collect();
        let stack = Tensor::stack(&all, 0);
        let apart = Batch::of(&all.iter().collect::<Vec<_>>()).unwrap();
        let stacked = Batch::Stacked(stack.shallow_clone());
        assert_eq!((apart.parts().len(), stacked.parts().len()), (3, 1));
        assert!(apart.parts().iter().zip(&all).all(|(part, own)| part.data_ptr() == own.data_ptr()));
        assert_eq!(Batch::of(&[&all[1]]).unwrap().parts()[0].data_ptr(), all[1].data_ptr());
        for batch in [&apart, &stacked, &apart.shallow_clone()] {
            assert_eq!((batch.size(), batch.kind(), batch.device()), (vec![3, 2, 3], Kind::Double, Device::Cpu));
            assert_eq!(values(batch.stacked().unwrap()), values(&stack));
            assert_eq!(values(&batch.member(2).unwrap()), values(&all[2]));
            assert_eq!(batch.member(2).unwrap().size(), [2, 3]);
            for shape in [&[3, 6][..], &[3, 3, 2], &[3, 1, 6], &[18], &[-1], &[9, 2]] {
                let reshaped = batch.reshaped(shape).unwrap();
                assert_eq!(reshaped.size(), stack.reshape(shape).size(), "{shape:?}");
                assert_eq!(values(reshaped.stacked().unwrap()), values(&stack), "{shape:?}");
            }
            assert!(batch.reshaped(&[3, 5]).is_err());
            let twice = batch.map(|part| part.f_add(part)).unwrap();
            assert_eq!((twice.size(), values(twice.stacked().unwrap())), (vec![3, 2, 3], values(&(&stack + &stack))));
        }
        assert_eq!(apart.reshaped(&[3, 6]).unwrap().parts()[1].data_ptr(), all[1].data_ptr());
        // The stack that was made lies somewhere, too.
        assert_eq!((apart.extents().len(), apart.shallow_clone().extents().len()), (4, 3));
    }
}
