//! Many tensors as one vector.

use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::tensor::CubeTensor;

/// Pieces that are placed at once.
const TOGETHER: usize = 16;

/// `out [length]` with pieces in it, each from its start on.
pub(super) fn placed<R: CubeRuntime>(
    mut pieces: Vec<(usize, CubeTensor<R>)>,
    out: CubeTensor<R>,
) -> CubeTensor<R> {
    // Each has as many threads as the longest beside it.
    pieces.sort_by_key(|(_, piece)| piece.meta.num_elements());
    for pieces in pieces.chunks(TOGETHER) {
        let longest = pieces.last().map_or(0, |(_, piece)| piece.meta.num_elements());
        let cube = CubeDim::new_1d(256);
        let cubes = CubeCount::Static(longest.div_ceil(256) as u32, pieces.len() as u32, 1);
        let (mut starts, mut given) = (SequenceArg::new(), SequenceArg::new());
        for (start, piece) in pieces {
            starts.push(*start as u32);
            given.push(piece.clone().into_array_arg());
        }
        place::launch(&out.client.clone(), cubes, cube, given, starts, out.clone().into_array_arg());
    }
    out
}

/// A line of cubes for each piece.
#[cube(launch)]
fn place(pieces: &Sequence<Array<f32>>, starts: &Sequence<u32>, out: &mut Array<f32>) {
    let at = (CUBE_POS_X * CUBE_DIM_X + UNIT_POS_X) as usize;
    #[unroll]
    for i in 0..pieces.len() {
        if CUBE_POS_Y as usize == i {
            let piece = pieces.index(i);
            if at < piece.len() {
                out[*starts.index(i) as usize + at] = piece[at];
            }
        }
    }
}
