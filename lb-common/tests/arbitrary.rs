//! Whatever the frame, the packet path decides, within the frame. A short run here; a long one
//! takes as many inputs as it is told (docs/fuzzing.md).

use bolero::check;
use lb_common::{
    pipeline::balance,
    testing::{Frame, Row, buffer::Buffer, rows, world},
    verdict::Verdict,
};

const RUNS: usize = 4_000;

/// A frame of the table, or none, with bytes replaced, cut or longer.
#[derive(Debug, bolero::TypeGenerator)]
struct Input {
    row: u16,
    replaced: Vec<(u8, u8)>,
    length: Option<u8>,
    more: Vec<u8>,
}

impl Input {
    fn frame(&self, rows: &[Row]) -> Frame {
        let mut bytes = match usize::from(self.row) % (rows.len() + 1) {
            0 => Vec::new(),
            row => rows[row - 1].frame.0.clone(),
        };
        bytes.truncate(self.length.map_or(usize::MAX, usize::from));
        bytes.extend_from_slice(&self.more);
        for &(at, byte) in &self.replaced {
            if let Some(old) = bytes.get_mut(usize::from(at)) {
                *old = byte;
            }
        }
        Frame(bytes)
    }
}

#[test]
fn any_frame() {
    let rows = rows();
    check!().with_iterations(RUNS).with_type::<[Input; 2]>().for_each(|inputs| {
        let model = world::model(1 << 40);
        for input in inputs {
            let frame = input.frame(&rows);
            let mut buffer = Buffer::new(&frame.0);
            let verdict = balance(&mut buffer, &model);
            if verdict == Verdict::Pass {
                assert_eq!(buffer.bytes(), frame.0, "a frame that passes is what it was");
            }
        }
    });
}
