//! The table of frames on the host. lb-tests runs the same table on the loaded object.

use lb_common::{
    parsed::{Forwarding, Limit},
    pipeline::balance,
    testing::{
        Frame, Model, Row,
        buffer::Buffer,
        rows,
        world::{self, QUIC_PORT},
    },
    verdict::Verdict,
};

fn run(row: &Row, left: Forwarding) -> Result<(), String> {
    let mut model = world::model(1 << 40);
    model.left.set(left);
    for frame in &row.before {
        balance(&mut Buffer::new(&frame.0), &model);
    }
    for id in world::members::falling() {
        model.reach[id as usize].get_mut().status = row.falling;
    }
    let mut buffer = Buffer::new(&row.frame.0);
    let verdict = balance(&mut buffer, &model);
    if verdict != row.verdict {
        return Err(format!("{verdict:?}, not {:?}", row.verdict));
    }
    let out = Frame(buffer.bytes().to_vec());
    let expected = row.out.as_ref().unwrap_or(&row.frame);
    if !matches!(verdict, Verdict::Drop(_)) && !row.wants(&out) {
        return Err(format!("out {out:?}\nexpected {expected:?}"));
    }
    let family = usize::from(row.name.starts_with("v6"));
    match row.live {
        Some(live) if model.load[family].get() != live => {
            Err(format!("{} live flows, not {live}", model.load[family].get()))
        }
        _ => Ok(()),
    }
}

#[test]
fn every_row_of_the_table() {
    let rows = rows();
    assert!(rows.len() >= 60, "{} rows", rows.len());
    for left in [Forwarding::default(), left()] {
        let failed = rows.iter().filter_map(|row| {
            let result = run(row, left);
            result.err().map(|error| format!("{}: {error}", row.name))
        });
        let failed: Vec<_> = failed.collect();
        assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), rows.len(), failed.join("\n"));
    }
}

/// What another packet may leave behind for the next one on its CPU.
fn left() -> Forwarding {
    let mut left = Forwarding::default();
    (left.flow, left.service, left.backend, left.load) = (5, 3, 4, 1);
    (left.carried, left.position, left.limit) = (1300, 6, Limit::Hard);
    (left.burden, left.least, left.contested) = (7, 2, 1);
    left
}

#[test]
fn where_a_source_s_backend_stands_is_not_what_was_left() {
    let mut model = world::model(1 << 40);
    let service = model
        .vips
        .iter()
        .find(|(key, _)| key.port() == QUIC_PORT.to_be_bytes() && key.address.is_v4());
    let service = service.expect("one").1.service;
    model.services[service as usize].affinity = 1 << 40;
    model.left.set(left());
    let rows =
        rows().into_iter().filter(|row| row.name == "v4: a short header leads to its server");
    for row in rows {
        balance(&mut Buffer::new(&row.frame.0), &model);
    }
    let kept = model.affinity.lock().expect("no panic");
    let positions: Vec<_> = kept.values().map(|kept| kept.position).collect();
    assert_eq!(positions, [0]);
}

#[test]
fn every_steered_frame_of_the_table_has_right_checksums() {
    for row in rows().into_iter().filter(|row| row.verified) {
        let Some(out) = &row.out else { continue };
        out.verify().unwrap_or_else(|error| panic!("{}: {error}: {out:?}", row.name));
    }
}

#[test]
fn no_truncation_panics_or_leads_anywhere() {
    for row in rows() {
        for length in 0..row.frame.0.len() {
            let model = world::filled(Model::with_buckets(2), 1 << 40);
            for frame in &row.before {
                balance(&mut Buffer::new(&frame.0), &model);
            }
            let verdict = balance(&mut Buffer::new(&row.frame.0[..length]), &model);
            let goes_on = !matches!(verdict, Verdict::Drop(_) | Verdict::Pass);
            let cut = row.frame.packet_end().is_some_and(|end| length < end);
            assert!(!(goes_on && cut), "{}: {verdict:?} at {length}", row.name);
        }
    }
}
