//! Files with a mistake.

use crate::dice::Dice;

/// `text` with one: it must be refused whole.
pub(in crate::torture) fn spoiled(text: &str, dice: &mut Dice) -> String {
    let spoiled = match dice.below(8) {
        0 => text.replacen("[node]", "[node", 1),
        1 => text.replacen("handlers = [\"http\"]", "handlers = [\"htp\"]", 1),
        2 => text.replacen("[node]", "[node]\nmax_flows = 4096", 1),
        3 => text.replacen("[node]", "[node]\nno_such_key = 1", 1),
        4 => text.replacen("weight = ", "weight = -", 1),
        5 => text.replacen("address = \"10.", "address = \"310.", 1),
        _ => text[..dice.below(text.len())].to_owned() + "\n[[services",
    };
    // What was to be replaced may not be there.
    if spoiled != text {
        return spoiled;
    }
    text.to_owned() + "\n[[services]]\nname = \"half\"\naddresses = [\"203.0.113.99\"]\n"
}
