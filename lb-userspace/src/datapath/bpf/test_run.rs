//! Runs frames through the loaded program without an interface (`BPF_PROG_TEST_RUN`).

use aya::programs::{TestRun as _, TestRunOptions, Xdp};

use super::error::DatapathError;

/// The program's result for one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// `enum xdp_action`.
    pub action: u32,
    pub frame: Vec<u8>,
}

/// Returns a `struct xdp_md` (include/uapi/linux/bpf.h): data, data_end, data_meta,
/// ingress_ifindex, rx_queue_index, egress_ifindex. The kernel sets `data` and `data_meta` itself
/// and requires 0 there.
fn context(length: usize, ingress: u32) -> [u8; 24] {
    let mut context = [0; 24];
    context[4..8].copy_from_slice(&(length as u32).to_ne_bytes());
    context[12..16].copy_from_slice(&ingress.to_ne_bytes());
    context
}

/// Runs `program`, named `name`, over `frame`.
pub(crate) fn run(
    program: &Xdp,
    name: &'static str,
    frame: &[u8],
    ingress: u32,
) -> Result<TestRun, DatapathError> {
    /// Room for a tunnel's headers, and more.
    const GROWTH: usize = 256;
    let context = context(frame.len(), ingress);
    let mut out = vec![0; frame.len() + GROWTH];
    let options = TestRunOptions {
        data_in: Some(frame),
        data_out: Some(&mut out),
        ctx_in: Some(&context),
        ..TestRunOptions::default()
    };
    let result = program.test_run(options).map_err(|error| DatapathError::program(name, error))?;
    out.truncate(result.data_size_out as usize);
    Ok(TestRun { action: result.return_value, frame: out })
}
