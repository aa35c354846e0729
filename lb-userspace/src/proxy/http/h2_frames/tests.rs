use super::*;

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

fn with_reserved_bit(mut frame: Vec<u8>) -> Vec<u8> {
    frame[5] |= 0x80;
    frame
}

fn headers(fields: &[u8]) -> Vec<u8> {
    frame(HEADERS, 4, fields)
}

/// Literals that no table keeps: name by index, value `/a#b` and `/##?x#`, as they are and
/// compressed.
const PLAIN: &[u8] = b"\x04\x04/a#b";
const CODED: &[u8] = b"\x04\x84\x60\x7f\xf5\x1f";
const CODED_OFTEN: &[u8] = b"\x04\x88\x63\xfe\xbf\xeb\xfc\xf3\xff\x5f";
/// The name as it is and compressed.
const NAMED: &[u8] = b"\x00\x05:path\x04/a#b";
const NAME_CODED: &[u8] = b"\x10\x84\xb9\x58\xd3\x3f\x04/a#b";
/// One that is kept, and others by its name.
const KEPT: &[u8] = b"\x45\x04/a#b";
const OTHER_KEPT: &[u8] = b"\x40\x01x\x04/a#b";
const BY_LATEST: &[u8] = b"\x0f\x2f\x04/a#b";
const BY_SECOND: &[u8] = b"\x7f\x00\x04/a#b";

/// Frames, and what they become where that is something else.
fn table() -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let marked = |fields: &[u8]| {
        let text = fields.iter().map(|&it| if it == b'#' { b'>' } else { it });
        text.collect::<Vec<_>>()
    };
    let row = |fields: &[u8]| (headers(fields), Some(headers(&marked(fields))));
    let same = |frames: Vec<u8>| (frames, None);
    let coded = |coded: &[u8], marked: &[u8]| (headers(coded), Some(headers(marked)));
    let padded = |fields: &[u8]| [&[3][..], &[0x80, 0, 0, 4, 16], fields, b"#\x04#"].concat();
    let split = |fields: &[u8], at: usize| {
        let (first, second) = fields.split_at(at);
        [frame(HEADERS, 0, first), frame(CONTINUATION, 4, second)].concat()
    };
    let many = [&OTHER_KEPT.repeat(126)[..], KEPT, &OTHER_KEPT.repeat(127)].concat();
    // The oldest of 128 is index 189.
    let by_oldest = b"\x0f\xae\x01\x04/a#b";
    vec![
        row(PLAIN),
        row(NAMED),
        row(NAME_CODED),
        row(&[&b"\x82\x86\x84\x3f\xe1\x1f"[..], PLAIN, b"\x00\x01x\x00"].concat()),
        coded(CODED, b"\x04\x84\x60\x7f\xf7\x1f"),
        coded(CODED_OFTEN, b"\x04\x88\x63\xfe\xff\xef\xfc\xf3\xff\x7f"),
        same(headers(b"\x04\x00\x00\x01x\x04/a#b\x00\x06:path2\x04/a#b\x00\x04:pat\x04/a#b")),
        same(headers(b"\x01\x04/a#b\x06\x04/a#b\x00\x84\xb9\x58\xd3\x3e\x04/a#b")),
        // A long value, whose length takes three bytes.
        row(&[&b"\x04\x7f\x81\x01"[..], &[b'#'; 256], PLAIN].concat()),
        same(frame(0, 1, NAMED)),
        same([frame(0, 0, b""), frame(6, 0, b"#######8"), frame(4, 0, b"")].concat()),
        (frame(HEADERS, 0x2c, &padded(PLAIN)), Some(frame(HEADERS, 0x2c, &padded(&marked(PLAIN))))),
        // A priority: the stream depends on itself, or on another one.
        (
            frame(HEADERS, 0x24, b"\x00\x00\x00\x01\x10\x82\x84"),
            Some(frame(HEADERS, 0x24, b"\x00\x00\x00\x00\x10\x80\x84")),
        ),
        (
            with_reserved_bit(frame(HEADERS, 0x24, b"\x00\x00\x00\x01\x10\x82\x84")),
            Some(with_reserved_bit(frame(HEADERS, 0x24, b"\x00\x00\x00\x00\x10\x80\x84"))),
        ),
        (
            frame(HEADERS, 0x24, b"\x80\x00\x00\x01\x10"),
            Some(frame(HEADERS, 0x24, b"\x80\x00\x00\x00\x10")),
        ),
        same(frame(HEADERS, 0x24, b"\x00\x00\x00\x03\x10\x82\x84")),
        (split(NAMED, 3), Some(split(&marked(NAMED), 3))),
        (split(NAMED, 10), Some(split(&marked(NAMED), 10))),
        (
            [headers(KEPT), headers(BY_LATEST)].concat(),
            Some([headers(&marked(KEPT)), headers(&marked(BY_LATEST))].concat()),
        ),
        (
            [headers(KEPT), headers(OTHER_KEPT), headers(BY_LATEST), headers(BY_SECOND)].concat(),
            Some(
                [
                    headers(&marked(KEPT)),
                    headers(OTHER_KEPT),
                    headers(BY_LATEST),
                    headers(&marked(BY_SECOND)),
                ]
                .concat(),
            ),
        ),
        (
            [headers(&many), headers(by_oldest)].concat(),
            Some(
                [
                    headers(
                        &[&OTHER_KEPT.repeat(126), &marked(KEPT)[..], &OTHER_KEPT.repeat(127)]
                            .concat(),
                    ),
                    headers(&marked(by_oldest)),
                ]
                .concat(),
            ),
        ),
    ]
}

#[test]
fn fragments_of_paths_are_marked_however_they_arrive() {
    for (index, (frames, marked)) in table().iter().enumerate() {
        let opening = [&[b'#'; PREFACE as usize][..], &frame(4, 0, b"")].concat();
        let text = [&opening[..], frames].concat();
        let expected = [&opening[..], marked.as_ref().unwrap_or(frames)].concat();
        for size in (1..=text.len()).take(300) {
            let mut fragments = TargetFragments::default();
            let mut passed = text.clone();
            passed.chunks_mut(size).for_each(|part| fragments.mark(part));
            assert!(passed == expected, "row {index} in parts of {size}: {passed:?}");
        }
    }
}
