//! What networks, and who means harm, do to frames.

use lb_common::testing::Frame;

use crate::dice::Dice;

const L3: usize = 14;

/// Whether it is an IP packet without tags.
pub(super) fn is_ip(frame: &Frame) -> bool {
    let version = |end: usize, version| frame.0.len() >= end && frame.0[L3] >> 4 == version;
    match frame.0[12..14] {
        [0x08, 0x00] => version(L3 + 20, 4) && frame.0[L3] == 0x45,
        [0x86, 0xdd] => version(L3 + 40, 6),
        _ => false,
    }
}

/// Options, extension headers, fragments, tags, padding: at least one frame, in the order in which
/// a sender would send them.
pub(super) fn dress(dice: &mut Dice, frame: Frame) -> Vec<Frame> {
    let mut frame = frame;
    if dice.one_in(10) {
        frame = extend(dice, frame);
    }
    let mut frames = if dice.one_in(10) { fragments(dice, &frame) } else { vec![frame] };
    if dice.one_in(6) {
        let tags = tags(dice);
        let tagged =
            |frame: Frame| tags.iter().fold(frame, |frame, (tpid, id)| frame.tagged(*tpid, *id));
        frames = frames.into_iter().map(tagged).collect();
    }
    if dice.one_in(8) {
        let more = dice.below(20);
        frames = frames.into_iter().map(|frame| pad(frame, more)).collect();
    }
    frames
}

pub(super) fn tag(dice: &mut Dice, frame: Frame) -> Frame {
    tags(dice).into_iter().fold(frame, |frame, (tpid, id)| frame.tagged(tpid, id))
}

fn pad(frame: Frame, more: usize) -> Frame {
    let length = frame.0.len() + more;
    frame.padded(length)
}

/// The innermost first.
fn tags(dice: &mut Dice) -> Vec<(u16, u16)> {
    let count = dice.pick(&[1, 1, 1, 2, 2, 3]);
    let kinds = [0x8100, 0x88a8];
    let ids = [0, 30, 40, 41, 100, 0x1000 | 30, 0xe000 | 40, 0xffff];
    (0..count).map(|_| (dice.pick(&kinds), dice.pick(&ids))).collect()
}

/// IPv4 options or IPv6 extension headers.
fn extend(dice: &mut Dice, mut frame: Frame) -> Frame {
    if frame.0[L3] >> 4 == 4 {
        let options = ip_options(dice);
        return frame.with_options(&options);
    }
    for _ in 0..dice.pick(&[1, 1, 2, 3, 9]) {
        let kind = dice.pick(&[0, 43, 44, 60, 60, 0, 44, 50, 51, 135, 59]);
        let words = dice.pick(&[0, 0, 0, 1, 3, 31]);
        let mut body = dice.bytes(7 + 8 * words);
        body[0] = words as u8;
        if kind == 44 {
            body.truncate(7);
            let frags = dice.pick(&[0, 0, 1, 8, 9, 0xfff8]);
            body[1..3].copy_from_slice(&u16::to_be_bytes(frags));
        } else if kind == 43 {
            body[2] = dice.pick(&[0, 0, 1]);
        }
        frame = frame.with_extension(kind, &body);
    }
    frame
}

fn ip_options(dice: &mut Dice) -> Vec<u8> {
    let words = 1 + dice.below(10);
    let mut options = Vec::new();
    while options.len() < 4 * words {
        let kind = dice.pick(&[0, 1, 1, 7, 68, 148, 131, 137, 130]);
        options.push(kind);
        if kind > 1 {
            let length = dice.pick(&[4, 4, 3, 8, 2, 1, 0, 40]);
            options.push(length);
            options.extend(dice.bytes(usize::from(length).saturating_sub(2)));
        }
    }
    options.truncate(4 * words);
    options
}

/// Mostly a maximum segment size, anywhere.
pub(super) fn tcp_options(dice: &mut Dice) -> Vec<u8> {
    let mut options = Vec::new();
    for _ in 0..dice.below(5) {
        match dice.below(5) {
            0 => options.push(1),
            1 => options.extend([3, 3, 7]),
            2 => options.extend([4, 2]),
            3 => {
                let length = dice.pick(&[0, 1, 2, 4, 10, 40]);
                options.extend([dice.pick(&[2, 8, 254]), length]);
            }
            _ => {
                let size: u16 = dice.pick(&[0, 536, 1300, 1301, 1460, 65_535]);
                options.extend([2, 4]);
                options.extend(size.to_be_bytes());
            }
        }
    }
    options.resize(options.len().next_multiple_of(4).min(40), 1);
    options
}

/// One after the other, overlapping or with a hole now and then.
fn fragments(dice: &mut Dice, frame: &Frame) -> Vec<Frame> {
    let (size, id) = (8 * (1 + dice.below(20)), dice.below(8) as u32);
    let mut pieces = frame.fragments(id, size);
    pieces.truncate(6);
    if dice.one_in(3) && pieces.len() > 1 {
        let place = dice.below(pieces.len());
        pieces.remove(place);
    }
    if dice.one_in(4) {
        let place = dice.below(pieces.len());
        let again = pieces[place].clone();
        pieces.push(again);
    }
    pieces
}

/// A few wrong bytes: at random, in lengths and offsets, or missing.
pub(super) fn spoil(dice: &mut Dice, mut frame: Frame) -> Frame {
    for _ in 0..dice.pick(&[1, 1, 2, 4]) {
        if frame.0.len() <= L3 {
            break;
        }
        let length = frame.0.len();
        let headers = length.min(96);
        match dice.below(7) {
            0 => {
                let place = dice.below(headers);
                frame.0[place] ^= 1 << dice.below(8);
            }
            1 => {
                let place = dice.below(headers);
                frame.0[place] = dice.pick(&[0, 1, 4, 5, 0x7f, 0x80, 0xff]);
            }
            2 => frame.0.truncate(L3 + dice.below(length - L3)),
            3 => spoil_length(dice, &mut frame),
            4 => {
                let more = dice.below(64);
                frame.0.resize(length + more, 0x55);
            }
            5 => {
                let place = dice.below(headers.max(16) - 1);
                let word: u16 = dice.pick(&[0, 1, 7, 8, 20, 40, 1500, 0x7fff, 0xffff]);
                frame.0[place.min(length - 2)..][..2].copy_from_slice(&word.to_be_bytes());
            }
            _ => {
                let place = L3 + dice.below(headers - L3);
                frame.0[place] = dice.half() as u8;
            }
        }
    }
    frame
}

/// The IP header's length a little off, or its header length.
fn spoil_length(dice: &mut Dice, frame: &mut Frame) {
    let place = match frame.0[12..14] {
        [0x08, 0x00] => L3 + 2,
        [0x86, 0xdd] => L3 + 4,
        _ => return,
    };
    if frame.0.len() < place + 2 {
        return;
    }
    let old = u16::from_be_bytes([frame.0[place], frame.0[place + 1]]);
    let new = old.wrapping_add_signed(dice.pick(&[-20, -8, -1, 1, 4, 8, 40]));
    frame.0[place..place + 2].copy_from_slice(&new.to_be_bytes());
    if place == L3 + 2 && dice.one_in(3) {
        frame.0[L3] = 0x40 | dice.below(16) as u8;
    }
}
