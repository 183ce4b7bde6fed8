//! The depth of JSON, found before it is read.

/// Where objects and arrays are deeper within one another than `limit`, if they are. The text need not be sound.
pub fn too_deep_json(text: &[u8], limit: u32) -> Option<usize> {
    let (mut depth, mut at) = (0u32, 0);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return Some(at);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => at = end_of_string(text, at + 1),
            _ => {}
        }
        at += 1;
    }
    None
}

/// Where the string that starts here ends: at its quote.
fn end_of_string(text: &[u8], mut at: usize) -> usize {
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}
