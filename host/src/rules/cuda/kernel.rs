//! One rule in one storage format on one card: its machine code, and the buffers that its launches read.
//! Makes no source and no rows.

use std::ffi::c_void;

use sdk::tape::Node;
use tch::{Device, Kind, TchError, Tensor};

use super::{
    Item, cache,
    driver::{Card, Function, Stream},
    nvrtc,
    rows::{self, CHUNK_BYTES},
    source::{self, Shape, Storage, THREADS},
};
use crate::fault::{Exit, Fault};

/// A compiled rule.
pub struct Kernel {
    tape: Vec<Node>,
    shape: Shape,
    card: Card,
    update: Function,
    /// Sums within chunks, and over a tensor's blocks.
    sums: Option<(Function, Function)>,
    rows: Buffer,
    staged: Vec<u8>,
    update_plan: Plan,
    measure_plan: Plan,
    spans: Buffer,
}

/// Chunks on the card, for tensors of these sizes.
struct Plan {
    numels: Vec<usize>,
    chunks: Buffer,
    count: usize,
}

/// Opens a card, compiles a kernel that does nothing, and loads it. Gives the card's architecture, such as `sm_90`.
///
/// # Errors
/// E003, E004.
pub fn ready(card: usize) -> Result<String, Fault> {
    let card = Card::open(card)?;
    let source = "extern \"C\" __global__ void nothing() {}";
    let cubin = nvrtc::compile(source, &card.architecture).map_err(|why| unmade(&card, why))?;
    card.load(&cubin)?;
    Ok(card.architecture)
}

fn unmade(card: &Card, why: String) -> Fault {
    Fault::new("E004", Exit::Environment, format!("no kernel can be made for {}", card.architecture))
        .note("why", why)
        .hint("`cargo xtask setup` installs the compiler; `--device cpu` needs none")
}

impl Kernel {
    /// Compiled, or from disk.
    ///
    /// # Errors
    /// E003, E004.
    pub fn new(tape: &[Node], storage: Storage, narrow: u32, card: usize) -> Result<Kernel, Fault> {
        let card = Card::open(card)?;
        let shape = Shape::of(tape, storage).with_narrow(narrow);
        let text = source::source(tape, &shape, THREADS);
        let cubin = cache::cubin(&text, &card.architecture).map_err(|why| unmade(&card, why))?;
        let module = card.load(&cubin)?;
        let function = |name| card.function(module, name);
        let sums = if shape.sums > 0 { Some((function("measure")?, function("total")?)) } else { None };
        let update = function("update")?;
        let on = Device::Cuda(card.index);
        let plan = || Plan { numels: Vec::new(), chunks: Buffer::new(on), count: 0 };
        Ok(Kernel {
            tape: tape.to_vec(),
            shape,
            card,
            update,
            sums,
            rows: Buffer::new(on),
            staged: Vec::new(),
            update_plan: plan(),
            measure_plan: plan(),
            spans: Buffer::new(on),
        })
    }

    /// Whether it runs this.
    pub fn is_of(&self, tape: &[Node], storage: Storage, narrow: u32, card: usize) -> bool {
        (self.shape.storage, self.shape.narrow, self.card.index) == (storage, narrow, card) && self.tape == tape
    }

    /// One step of every item.
    ///
    /// # Errors
    /// E003, E005.
    pub fn update(&mut self, items: &[&Item<'_>]) -> Result<(), Fault> {
        let stream = self.begin(items)?;
        let numels = numels(items);
        if self.update_plan.numels != numels {
            let chunks = rows::update_chunks(&numels);
            self.update_plan.renew(numels, &chunks, stream)?;
        }
        let count = self.update_plan.count;
        if count == 0 {
            return Ok(());
        }
        let (mut rows, mut chunks) = (self.rows.address(), self.update_plan.chunks.address());
        let mut arguments = [argument(&mut rows), argument(&mut chunks)];
        // SAFETY: `update` takes two addresses, and there is a chunk per block. The rows hold addresses of tensors that live for this call,
        // whose memory libtorch reuses in the order of this stream only; they were checked to be contiguous and of the
        // kernel's storage format. The buffers are this kernel's own.
        unsafe { stream.launch(self.update, count as u32, THREADS, &mut arguments) }
    }

    /// The sums of every item.
    ///
    /// # Errors
    /// E003, E005; a rule that takes no sums.
    pub fn measure(&mut self, items: &[&Item<'_>]) -> Result<Vec<Vec<f64>>, Fault> {
        let Some((measure, total)) = self.sums else {
            return Err(Fault::new("P015", Exit::Bug, "the rule takes no sums"));
        };
        let stream = self.begin(items)?;
        let numels = numels(items);
        if self.measure_plan.numels != numels {
            let (chunks, spans) = rows::measure_chunks(&numels);
            self.spans.fill(&spans, stream)?;
            self.measure_plan.renew(numels, &chunks, stream)?;
        }
        let (sums, count) = (self.shape.sums, self.measure_plan.count);
        let doubles =
            |n: usize| Tensor::f_empty([n.max(1) as i64], (Kind::Double, Device::Cuda(self.card.index))).map_err(torch);
        let (partial, out) = (doubles(count * sums)?, doubles(items.len() * sums)?);
        let (mut rows, mut chunks) = (self.rows.address(), self.measure_plan.chunks.address());
        let (mut partial_at, mut spans, mut out_at) = (address(&partial), self.spans.address(), address(&out));
        let mut first = [argument(&mut rows), argument(&mut chunks), argument(&mut partial_at)];
        if count > 0 {
            // SAFETY: as in `update`; there is room for a row of sums per chunk.
            unsafe { stream.launch(measure, count as u32, THREADS, &mut first)? };
        }
        let mut second = [argument(&mut partial_at), argument(&mut spans), argument(&mut out_at)];
        // SAFETY: one block per item, whose span lies within the rows of sums, and room for its sums.
        unsafe { stream.launch(total, items.len() as u32, THREADS, &mut second)? };
        let values = out.f_to_device(Device::Cpu).and_then(Vec::<f64>::try_from).map_err(torch)?;
        Ok(values.chunks_exact(sums).map(<[f64]>::to_vec).collect())
    }

    /// Puts the rows of a launch on the card; gives the stream it belongs on.
    fn begin(&mut self, items: &[&Item<'_>]) -> Result<Stream, Fault> {
        self.card.make_current()?;
        let stream = self.card.stream()?;
        rows::rows(&self.tape, &self.shape, items, &mut self.staged);
        self.rows.fill(&self.staged, stream)?;
        Ok(stream)
    }
}

impl Plan {
    fn renew(&mut self, numels: Vec<usize>, chunks: &[u8], stream: Stream) -> Result<(), Fault> {
        // Forgotten first: half a plan must not pass for one.
        self.numels.clear();
        self.chunks.fill(chunks, stream)?;
        self.count = chunks.len() / CHUNK_BYTES;
        self.numels = numels;
        Ok(())
    }
}

/// Bytes on a card, in memory of libtorch's, that grow and never shrink.
struct Buffer {
    device: Device,
    memory: Option<Tensor>,
}

impl Buffer {
    fn new(device: Device) -> Buffer {
        Buffer { device, memory: None }
    }

    fn fill(&mut self, bytes: &[u8], stream: Stream) -> Result<(), Fault> {
        let room = self.memory.as_ref().map_or(0, Tensor::numel);
        if room < bytes.len() {
            let size = bytes.len().next_power_of_two() as i64;
            self.memory = Some(Tensor::f_empty([size], (Kind::Uint8, self.device)).map_err(torch)?);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        // SAFETY: there is room, and the memory is given back in the order of the stream.
        unsafe { stream.upload(self.address(), bytes) }
    }

    fn address(&self) -> u64 {
        self.memory.as_ref().map_or(0, address)
    }
}

fn address(tensor: &Tensor) -> u64 {
    tensor.data_ptr() as u64
}

fn argument<T>(value: &mut T) -> *mut c_void {
    std::ptr::from_mut(value).cast()
}

fn numels(items: &[&Item<'_>]) -> Vec<usize> {
    items.iter().map(|item| item.target.x.numel()).collect()
}

fn torch(error: TchError) -> Fault {
    let text = error.to_string();
    Fault::new("E005", Exit::Environment, "libtorch failed around an optimizer step on the card")
        .note("libtorch", text.lines().next().unwrap_or_default())
}
