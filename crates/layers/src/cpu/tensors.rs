//! Tensors of the CPU backend as slices, and slices as tensors.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use burn::tensor::{Bytes, DType, Shape, Tensor};
use burn_flex::{FlexTensor, Layout};
use cubecl_common::bytes::{AllocationController, AllocationProperty};
use resect_kernels::{Accumulate, Buffer, Target};

use super::Cpu;
use crate::primitives::primitive;

/// A [`Buffer`] as the memory of a tensor, which returns to the pool with it.
struct Pooled(Buffer);

impl AllocationController for Pooled {
    fn alloc_align(&self) -> usize {
        align_of::<f32>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Native
    }

    unsafe fn memory_mut(&mut self) -> &mut [MaybeUninit<u8>] {
        let numbers: &mut [f32] = &mut self.0;
        // SAFETY: the numbers are borrowed as long as the result, any four bytes are an `f32`, and the caller writes initialised
        // bytes alone.
        unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast(), size_of_val(numbers)) }
    }

    fn memory(&self) -> &[MaybeUninit<u8>] {
        let numbers: &[f32] = &self.0;
        // SAFETY: the numbers are borrowed as long as the result, and initialised bytes may be taken for ones that perhaps are not.
        unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
    }
}

/// A tensor whose memory is a buffer; nothing is copied.
///
/// # Panics
/// When the shape has another number of elements.
pub fn from_buffer(buffer: Buffer, shape: &[usize]) -> FlexTensor {
    assert_eq!(buffer.len(), shape.iter().product::<usize>(), "numbers of a tensor of shape {shape:?}");
    let bytes = size_of_val::<[f32]>(&buffer);
    // SAFETY: all numbers of a buffer are initialised.
    let bytes = unsafe { Bytes::from_controller(Box::new(Pooled(buffer)), bytes) };
    FlexTensor::new(bytes, Layout::contiguous(Shape::from(shape.to_vec())), DType::F32)
}

/// The primitive of a tensor, contiguous.
pub(super) fn contiguous<const D: usize>(tensor: Tensor<Cpu, D>) -> FlexTensor {
    in_order(primitive(tensor))
}

/// The same numbers in row order: the tensor itself if it is contiguous, else a copy.
pub fn in_order(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() }
}

/// The numbers of a contiguous tensor in single precision.
///
/// # Panics
/// When it is in another format, or not contiguous: an error of the caller.
pub fn numbers(tensor: &FlexTensor) -> &[f32] {
    match tensor.as_slice::<f32>() {
        Some(numbers) => numbers,
        None => panic!("a contiguous tensor in single precision was expected, not {:?}", tensor.dtype()),
    }
}

/// The sizes of a tensor.
pub(super) fn shape(tensor: &FlexTensor) -> Vec<usize> {
    tensor.layout().shape().to_vec()
}

/// The sizes of a tensor of three axes.
pub(super) fn dims3(tensor: &FlexTensor) -> [usize; 3] {
    let shape = tensor.layout().shape();
    [shape[0], shape[1], shape[2]]
}

/// Elements of a tensor.
pub(super) fn len(tensor: &FlexTensor) -> usize {
    tensor.layout().num_elements()
}

/// The same numbers in memory that no other tensor shares: the tensor's own memory, or a copy.
pub fn owned(tensor: FlexTensor) -> FlexTensor {
    let mut tensor = tensor;
    if tensor.is_contiguous()
        && tensor.layout().start_offset() == 0
        && tensor.dtype() == DType::F32
        && tensor.try_storage_mut::<f32>().is_some()
    {
        return tensor;
    }
    let shape = shape(&tensor);
    let tensor = in_order(tensor);
    from_buffer(Buffer::copy_of(numbers(&tensor)), &shape)
}

/// The numbers of a tensor that [`owned`] gave.
///
/// # Panics
/// When the tensor shares its memory: an error of the caller.
pub fn numbers_mut(tensor: &mut FlexTensor) -> &mut [f32] {
    let len = len(tensor);
    match tensor.try_storage_mut::<f32>() {
        Some(numbers) => &mut numbers[..len],
        None => panic!("a tensor with memory of its own was expected"),
    }
}

/// A gradient that is written or added to.
#[derive(Debug)]
pub struct Gradient {
    tensor: FlexTensor,
    accumulate: Accumulate,
}

impl Gradient {
    /// A gradient that the kernel overwrites.
    pub(super) fn new(shape: &[usize]) -> Self {
        let buffer = Buffer::stale(shape.iter().product());
        Self { tensor: from_buffer(buffer, shape), accumulate: Accumulate::No }
    }

    /// A gradient that the kernel adds to.
    pub(super) fn onto(held: FlexTensor) -> Self {
        Self { tensor: owned(held), accumulate: Accumulate::Yes }
    }

    /// The memory that the kernel writes, and how.
    pub fn target(&mut self) -> Target<'_> {
        Target { accumulate: self.accumulate, gradient: numbers_mut(&mut self.tensor) }
    }

    /// The tensor, once a kernel wrote it.
    pub fn into_tensor(self) -> FlexTensor {
        self.tensor
    }
}
