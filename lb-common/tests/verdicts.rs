//! The table of frames on the host. lb-tests runs the same table on the loaded object.

use lb_common::{
    abi::status,
    pipeline::balance,
    testing::{Frame, Model, Row, buffer::Buffer, rows, world},
    verdict::Verdict,
};

fn run(row: &Row) -> Result<(), String> {
    let mut model = world::model(1 << 40);
    for frame in &row.before {
        balance(&mut Buffer::new(&frame.0), &model);
    }
    for id in world::limits::falling().into_iter().filter(|_| row.fallen) {
        model.reach[id as usize].get_mut().status = status::GONE;
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
    let failed: Vec<_> = rows
        .iter()
        .filter_map(|row| run(row).err().map(|error| format!("{}: {error}", row.name)))
        .collect();
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), rows.len(), failed.join("\n"));
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
